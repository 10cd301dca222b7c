"""Part of a data set, for quick looks."""

import torch
from torch import Tensor

from priorwise.data.splits import Splits
from priorwise.randomness import seeded

__all__ = ["random_part", "training_part"]


def random_part(x: Tensor, images: int | None, seed: int) -> Tensor:
    """All of ``x``, or a random subset: some test sets are sorted, so the first images stand for nothing."""
    if images is None or images >= len(x):
        return x
    with seeded(seed, "subset"):
        return x[torch.randperm(len(x))[:images].sort().values]


def training_part(splits: Splits, seed: int, *, at_most: int = 2000) -> Tensor:
    """Random training data as a model sees them, ``(N, *shape)``: enough to say where the aggregate posterior lies."""
    raw = random_part(splits.train, at_most, seed)
    with seeded(seed, "training_part"):
        return splits.prepare(raw)
