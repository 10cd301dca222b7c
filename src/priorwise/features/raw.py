"""Observations that are their own features."""

from torch import Tensor

from priorwise.features.base import AbstractExtractor

__all__ = ["Raw"]


class Raw(AbstractExtractor):
    """The observation itself, flattened: for points such as two moons. For images use a network: pixels say little."""

    @property
    def name(self) -> str:
        """What distances are named after."""
        return "raw"

    @property
    def resize(self) -> str:
        """Nothing is done."""
        return "none"

    def forward(self, x: Tensor) -> Tensor:
        """``(N, *event)`` to ``(N, F)``."""
        if x.dim() < 2 or not x.is_floating_point():
            raise ValueError(
                f"expected floats (N, *event); got {x.dtype} of shape {tuple(x.shape)}."
            )
        return x.flatten(1)
