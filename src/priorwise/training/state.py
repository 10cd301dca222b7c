"""The progress of a fit: all that a checkpoint stores besides tensors."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from priorwise.training.checkpoint import CheckpointError

__all__ = ["FitState", "state_from"]

_LATER = {"optimizers", "untrained"}
"""Fields that the first runs of 0.1.0 did not store; they have their defaults there."""


@dataclass
class FitState:
    """Counters, sums and marks of a fit in progress.

    Attributes:
        step: Number of steps so far.
        best: The best validation so far, infinite before the first.
        best_step: The step after which the best validation came.
        since_best: Number of validations since then that were no better.
        seconds: Wall-clock time, over all sessions of the run.
        sums: Sum over examples of each term since the last line of metrics.
        examples: Number of examples in these sums; 0 right after a line.
        metrics_bytes: Length of the metrics file at this point.
        stopped: Why the fit ended; empty while it goes on.
        probe: The number that identifies the model on a resume, see ``priorwise.training.probe``.
        large: Identity of the file of large state that goes with the checkpoint; empty if none.
        optimizers: What optimisers and schedules of the user's own keep besides tensors, by player.
        untrained: The validation before the first step; None if there was none.
    """

    step: int = 0
    best: float = math.inf
    best_step: int = 0
    since_best: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    examples: int = 0
    metrics_bytes: int = 0
    stopped: str = ""
    probe: dict[str, Any] | None = None
    large: str = ""
    optimizers: dict[str, Any] = field(default_factory=dict)
    untrained: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)


def state_from(stored: dict[str, Any], path: Path) -> FitState:
    """The state that a checkpoint holds.

    Raises:
        CheckpointError: if it holds something else.
    """
    known = FitState.__dataclass_fields__.keys()
    if not known - _LATER <= stored.keys() <= known:
        raise CheckpointError(
            f"expected the progress of a fit in {path}; it holds none, and may be a copy of "
            "best.safetensors. Restore it from a backup, or remove it to start this run again."
        )
    try:
        return TypeAdapter(FitState).validate_python(stored)
    except ValidationError as error:
        fields = ", ".join(str(problem["loc"][0]) for problem in error.errors()[:4])
        raise CheckpointError(
            f"expected the progress of a fit in {path}; these fields are damaged: {fields}. "
            "Restore it from a backup, or remove it to start this run again."
        ) from error
