"""The progress of a fit: all that a checkpoint stores besides tensors."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from priorwise.training.checkpoint import CheckpointError

__all__ = ["FitState", "state_from"]


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

    def as_json(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)


def state_from(stored: dict[str, Any], path: Path) -> FitState:
    """The state that a checkpoint holds.

    Raises:
        CheckpointError: if it holds something else.
    """
    known = FitState.__dataclass_fields__.keys()
    if not known - {"optimizers"} <= stored.keys() <= known:  # earlier versions stored none
        raise CheckpointError(
            f"expected the progress of a fit in {path}; it holds none, and may be a copy of "
            "best.safetensors. Restore it from a backup, or remove it to start this run again."
        )
    return FitState(**stored)
