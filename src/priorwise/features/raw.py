"""Observations as their own features."""

from torch import Tensor

from priorwise.features.base import AbstractExtractor

__all__ = ["Raw"]


class Raw(AbstractExtractor):
    """The observation itself, flattened; for points such as two moons.

    For images use a network, since distances between pixels say little.
    """

    @property
    def name(self) -> str:
        """The name that distances carry."""
        return "raw"

    @property
    def resize(self) -> str:
        """Observations are not resized."""
        return "none"

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, *event)`` to ``(N, F)``."""
        if x.dim() < 2 or not x.is_floating_point():
            raise ValueError(
                f"expected floats (N, *event); got {x.dtype} of shape {tuple(x.shape)}."
            )
        return x.flatten(1)
