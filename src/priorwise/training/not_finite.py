"""A fit that diverges: its message says where, and what is left."""

from pathlib import Path
from typing import NoReturn

from torch import Tensor

from priorwise.objectives import Terms

__all__ = ["TrainingDivergedError", "bad_terms", "refuse"]


class TrainingDivergedError(ArithmeticError):
    """A loss that is not a number."""


def bad_terms(loss: Tensor, terms: Terms) -> list[str]:
    """The terms that are not finite, or "sum" if only their sum is not; empty if all is well."""
    if bool(loss.isfinite()):
        return []
    named = terms.per_example | terms.batch
    return [name for name, term in named.items() if not bool(term.isfinite().all())] or ["sum"]


def refuse(problem: str, best: Path | None, epoch: int) -> NoReturn:
    """End a fit.

    Arguments:
        problem: What is not finite, and where.
        best: The file of the best weights; None if there is none.
        epoch: The epoch of these weights; 0 if none were stored yet.

    Raises:
        TrainingDivergedError: always.
    """
    where = f"{best} (epoch {epoch})" if best is not None and epoch else "none was written yet"
    raise TrainingDivergedError(
        f"{problem} The last good checkpoint: {where}. Lower `lr`, set `gradient_clip`, lengthen "
        "`warmup_epochs`, or look for extreme values in the data."
    )
