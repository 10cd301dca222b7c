"""How data were read: what a fit says first, so that a wrong reading shows."""

from typing import Any

from priorwise.data.spec import DataSpec
from priorwise.data.splits import Splits
from priorwise.data.stream import Stream

__all__ = ["reading", "reading_doubts", "reading_words"]

_SEEN: dict[str, str] = {
    "none": "as they are",
    "unit": "r / {last}",
    "midpoint": "(r + 1/2) / {levels}",
    "dequantize": "(r + u) / {levels}, u uniform in [0, 1) and drawn afresh",
}
_USUAL_SPREAD = (0.01, 10.0)


def reading(data: Splits | Stream) -> dict[str, Any]:
    """How the data were read, as plain data: origin, shape, values, likelihood, sizes, labels."""
    splits = data.kept if isinstance(data, Stream) else data
    spec = splits.spec
    return {
        "name": spec.name,
        "origin": splits.origin or splits.source,
        "shape": list(spec.shape),
        "levels": spec.levels,
        "value_range": list(splits.value_range),
        "seen_as": _seen_as(spec),
        "likelihood": spec.likelihood,
        "train": data.train_size,
        "validation": len(splits.validation),
        "test": len(splits.test),
        "classes": None if splits.labels is None else len(splits.labels.unique()),
    }


def reading_words(data: Splits | Stream) -> str:
    """The same in a few lines."""
    facts = reading(data)
    origin = f"read {facts['origin']}" if facts["origin"] else "read from memory"
    labels = "no labels" if facts["classes"] is None else f"labels of {facts['classes']} classes"
    if isinstance(data, Stream):
        labels = "labels of a data set of torch are not kept"
    return (
        f"data {data.describe()}\n"
        f"     {origin}\n"
        f"     the model sees values {facts['seen_as']}; {labels}"
    )


def reading_doubts(data: Splits | Stream) -> tuple[str, ...]:
    """Reasons to read the data otherwise, in words; empty if there are none."""
    spec = data.spec
    x = data.kept.validation if isinstance(data, Stream) else data.train
    if spec.levels is not None or spec.binarize != "none" or x.numel() < 2:
        return ()
    spread = float(x.std())
    if spread == 0 or _USUAL_SPREAD[0] <= spread <= _USUAL_SPREAD[1]:
        return ()
    low, high = (float(bound) for bound in x.aminmax())
    return (
        f"the training data are real values from {low:.6g} to {high:.6g} with a standard deviation "
        f"of {spread:.3g}. Networks learn badly at this scale, and a Gaussian likelihood begins "
        "with a standard deviation of 1. Standardise them, (x - mean) / std, or divide by their "
        "largest value; bytes may stay integers.",
    )


def _seen_as(spec: DataSpec) -> str:
    if spec.binarize == "dynamic":
        return "0 and 1, drawn afresh with the grey values as probabilities"
    if spec.binarize == "threshold":
        return "0 and 1, cut at one half"
    if spec.levels == 2:
        return "0 and 1"
    levels = spec.levels or 0
    return _SEEN[spec.scaling].format(levels=levels, last=levels - 1)
