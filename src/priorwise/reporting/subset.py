"""Part of a test set, for quick looks."""

import torch
from torch import Tensor

from priorwise.randomness import seeded

__all__ = ["random_part"]


def random_part(x: Tensor, images: int | None, seed: int) -> Tensor:
    """All of ``x``, or a random subset: some test sets are sorted, so the first images stand for nothing."""
    if images is None or images >= len(x):
        return x
    with seeded(seed, "subset"):
        return x[torch.randperm(len(x))[:images].sort().values]
