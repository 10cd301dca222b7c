"""A line of metrics: for the file, for the checkpoint of the best weights, and for the reader."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a folder is opened without torch
    from priorwise.training.state import FitState

__all__ = ["about_weights", "fault_of", "metrics_line", "status"]

_COUNTS = ("epoch", "step", "best_epoch", "best_step")


def metrics_line(
    state: "FitState", metric: str, value: float | None, epoch_of: Callable[[int], int]
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


def fault_of(line: Mapping[str, Any]) -> str:
    """What a line that was read holds instead of what ``metrics_line`` makes; empty if nothing.

    Example:
        >>> fault_of({"epoch": 1, "step": 3, "train": {"kl": "much"}})
        '`train` is not a record of numbers'
    """
    for name in ("epoch", "step"):
        if name not in line:
            return f"it has no `{name}`"
    for name in line.keys() & set(_COUNTS):
        if type(line[name]) is not int:
            return f"`{name}` is not a whole number"
    for name in ("train", "validation"):
        if not _is_of_numbers(line.get(name, {})):
            return f"`{name}` is not a record of numbers"
    words = line.get("warnings", [])
    if not (isinstance(words, list) and all(isinstance(each, str) for each in words)):
        return "`warnings` is not a list of text"
    return ""


def _is_of_numbers(record: object) -> bool:
    return isinstance(record, dict) and all(type(v) in (int, float) for v in record.values())


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
