"""What a fit came to."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

__all__ = ["FitResult"]

_ENDS = {
    "epochs": "all of them",
    "patience": "stopped early, as validation no longer improved",
    "solved": "solved without steps",
}


@dataclass(frozen=True, repr=False)
class FitResult:
    """What a fit came to; it prints in three lines.

    Attributes:
        model: The model that was given, with the weights of the best validation, or the last ones
            with ``keep="last"``.
        trained: What was trained, in words.
        metric: Name of the validation number, lower is better.
        best: Its value for these weights; None if the objective judged nothing, and then the
            weights are the last ones.
        best_epoch: The epoch in which they were found, counted from 1.
        best_step: The number of steps after which they were found.
        epochs: Epochs that were run to their end.
        seconds: Wall-clock time, all sessions of the run together.
        stopped: ``"epochs"`` if all were run, ``"patience"`` if validation stopped improving,
            ``"solved"`` if the objective was minimised without steps.
        history: One record a validation, as in ``metrics.jsonl``.
        folder: Where the run lies, None if it was kept in memory.
        data: How the data were read, see ``priorwise.data.reading``.
    """

    model: nn.Module
    trained: str
    metric: str
    best: float | None
    best_epoch: int
    best_step: int
    epochs: int
    seconds: float
    stopped: str
    history: list[dict[str, Any]]
    folder: Path | None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt the fit, in words, as in the last line of ``metrics.jsonl``."""
        return tuple(self.history[-1].get("warnings", ())) if self.history else ()

    @property
    def numbers(self) -> dict[str, Any]:
        """What a program wants to know, as plain data."""
        names = ("metric", "best", "best_epoch", "epochs", "seconds", "stopped", "data")
        numbers = {name: getattr(self, name) for name in names}
        return {**numbers, "warnings": list(self.warnings)}

    @property
    def verdict(self) -> str:
        """The validation number and its epoch, in words."""
        if self.best is None:
            return f"{self.metric} not judged, epoch {self.epochs}"
        return f"{self.metric} {self.best:.3f} at epoch {self.best_epoch}"

    def __str__(self) -> str:
        """What was trained and for how long, how good it is, where it lies and what to do next."""
        name = type(self.model).__name__
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        verdict = (
            f"Nothing was judged, so {name} has its last weights, those of epoch {self.epochs}."
            if self.best is None
            else f"{self.metric} {self.best:.3f} on validation data (lower is better), with the "
            f"weights of epoch {self.best_epoch}, which {name} has now."
        )
        place = (
            "Kept in memory; `out=FOLDER` keeps a fit on the disk."
            if self.folder is None
            else f"Kept in {self.folder}."
        )
        return (
            f"{name} was trained for {epochs} ({_ENDS.get(self.stopped, self.stopped)}) in "
            f"{self.seconds:.1f} s: {self.trained}.\n"
            f"{verdict}{''.join(f' In doubt: {doubt}' for doubt in self.warnings)}\n"
            f'{place} Next: priorwise.report(result.model, data, "report.html").'
        )

    __repr__ = __str__
