"""How large an evaluation is: a smaller one does not replace a larger one."""

import math
import warnings
from typing import Any

from priorwise.config.run import EvaluationConfig
from priorwise.evaluation.quantities import QUANTITIES
from priorwise.evaluation.record import EvaluationRecord

__all__ = ["not_smaller"]

_SIZES = (
    "samples",
    "images",
    "quality_images",
    "log_norm_samples",
    "log_norm_chains",
    "log_norm_temperatures",
)


def not_smaller(config: EvaluationConfig, earlier: EvaluationRecord) -> EvaluationConfig:
    """The settings, with the sizes of an earlier evaluation where that was larger.

    A number stays as it was measured if the settings ask for the same with fewer samples or images.
    If they ask for more of one and less of another, or for another seed or method, it is measured
    as they say. A warning names the sizes that stay.

    Arguments:
        config: The settings of an evaluation.
        earlier: The record of an earlier one, of the same model and data.
    """
    wanted = config.model_dump(mode="json")
    larger: dict[str, Any] = {}
    replaced: set[str] = set()
    for quantity in QUANTITIES:
        before = earlier.numbers["settings"].get(quantity.key)
        value = earlier.numbers.get(quantity.key)
        if not before or value is None or not before.keys() <= wanted.keys():
            continue
        sizes = {name: before[name] for name in before if name in _SIZES}
        if (isinstance(value, dict) and "refused" in value) or not sizes:
            continue
        same = all(before[name] == wanted[name] for name in before if name not in _SIZES)
        if same and all(_count(before[name]) >= _count(wanted[name]) for name in sizes):
            larger |= sizes
        else:
            replaced |= sizes.keys()
    kept = {
        name: value
        for name, value in larger.items()
        if name not in replaced and value != wanted[name]
    }
    if not kept:
        return config
    words = ", ".join(
        f"{name}={_words(value)} instead of {_words(wanted[name])}" for name, value in kept.items()
    )
    warnings.warn(
        f"the earlier evaluation is larger and stays: {words}. --again (in Python again=True) "
        "measures everything anew with the smaller numbers, and replaces it.",
        stacklevel=4,
    )
    return config.model_copy(update=kept)


def _count(size: int | None) -> float:
    """A size as a number; None stands for all."""
    return math.inf if size is None else float(size)


def _words(size: int | None) -> str:
    return "all" if size is None else str(size)
