"""The range of what a model sees, and how pictures and pseudo-inputs follow it."""

from torch import Tensor

__all__ = ["in_unit_range", "observed_range"]


def observed_range(x: Tensor, *, margin: float = 0.0) -> tuple[float, float]:
    """The range that real values use: [0, 1] or [-1, 1] if they fit in there, else their own.

    Arguments:
        x: Real values of any shape, at least one.
        margin: How far beyond the two usual ranges values may lie, as a share of the width: means
            of a decoder reach a little beyond its data.
    """
    low, high = (float(bound) for bound in x.aminmax())
    for start, end in ((0.0, 1.0), (-1.0, 1.0)):
        beyond = margin * (end - start)
        if start - beyond <= low and high <= end + beyond:
            return (start, end)
    return (low, high) if low < high else (low, low + 1.0)


def in_unit_range(x: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Values of a range mapped linearly to [0, 1], and clipped there: what pictures show.

    Arguments:
        x: Values of any shape.
        value_range: What becomes 0 and 1.
    """
    low, high = value_range
    return ((x - low) / (high - low)).clamp(0, 1) if (low, high) != (0, 1) else x.clamp(0, 1)
