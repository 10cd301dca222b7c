"""A line of metrics: for the file, for the checkpoint of the best weights, and for the reader."""

from collections.abc import Callable
from typing import Any

from priorwise.training.state import FitState

__all__ = ["about_weights", "metrics_line", "status"]


def metrics_line(
    state: FitState, metric: str, value: float | None, epoch_of: Callable[[int], int]
) -> dict[str, Any]:
    """The line of a validation, whose verdict the state has counted; see ``metrics.jsonl``.

    Arguments:
        state: The progress of the fit, with the sums since the last line.
        metric: Name of the verdict.
        value: The verdict; None if there was none.
        epoch_of: The epoch that a step belongs to.
    """
    means = {name: total / state.examples for name, total in state.sums.items()}
    return {
        "epoch": epoch_of(state.step),
        "step": state.step,
        "train": means,
        **({} if value is None else {"validation": {metric: value}}),
        "best_epoch": epoch_of(state.best_step),
        "best_step": state.best_step,
    }


def about_weights(line: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint of the best weights says about them."""
    return {"epoch": line["epoch"], "step": line["step"], **line.get("validation", {})}


def status(line: dict[str, Any], epochs: int, best: float) -> str:
    """The line for a reader.

    Example:
        >>> status({"epoch": 2, "validation": {"negative_elbo": 3.14159}}, 20, 3.1)
        'epoch 2 of 20: negative_elbo 3.14, best 3.10'
    """
    verdicts = [f"{name} {value:.2f}" for name, value in line.get("validation", {}).items()]
    judged = f": {verdicts[0]}, best {best:.2f}" if verdicts else ""
    return f"epoch {line['epoch']} of {epochs}{judged}"
