"""Where a fit stands: all that a checkpoint needs beside tensors."""

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
        step: Steps that were done.
        best: The best validation so far, infinite before the first.
        best_step: The step after which it was found.
        since_best: Validations since then that were no better.
        seconds: Wall-clock time, all sessions together.
        sums: Sum over examples of each term since the last line of metrics.
        examples: How many examples those are; 0 right after a line.
        metrics_bytes: Length of the metrics file at this point.
        stopped: Why the fit ended; empty while it goes on.
        probe: By what a resumed run knows its model, see ``priorwise.training.probe``.
        large: Which file of large state goes with the checkpoint; empty if there is none.
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

    def as_json(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)


def state_from(stored: dict[str, Any], path: Path) -> FitState:
    """The state that a checkpoint holds.

    Raises:
        CheckpointError: if it holds something else.
    """
    if stored.keys() != FitState.__dataclass_fields__.keys():
        raise CheckpointError(
            f"{path} does not say where a fit stands; it may be a copy of best.safetensors. "
            "Restore it from a copy, or remove it to start this run again."
        )
    return FitState(**stored)
