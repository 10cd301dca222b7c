"""Random parts of a data set."""

import torch
from torch import Tensor

from priorwise.data.splits import Splits
from priorwise.randomness import seeded

__all__ = ["random_part", "training_part"]


def random_part(x: Tensor, images: int | None, seed: int) -> Tensor:
    """All of ``x``, or a random subset of so many images.

    The first images would not do: some test sets are sorted by class.
    """
    if images is None or images >= len(x):
        return x
    with seeded(seed, "subset"):
        return x[torch.randperm(len(x))[:images].sort().values]


def training_part(splits: Splits, seed: int, *, at_most: int = 2000) -> Tensor:
    """Random training data as a model sees them, ``(N, *shape)``.

    By default there are enough of them to locate the aggregate posterior.
    """
    raw = random_part(splits.train, at_most, seed)
    with seeded(seed, "training_part"):
        return splits.prepare(raw)
