"""An invertible map of standardised points.

Letters: ``L`` dimensions, ``N`` points.
"""

import torch
from torch import Tensor

from priorwise.distributions import AbstractBijection

__all__ = ["Standardised", "location_and_scale"]


def location_and_scale(points: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of points ``(N, L)``, in float64; 1 where nothing varies."""
    scale, loc = torch.std_mean(points.double(), 0, correction=0)
    return loc, torch.where(scale > 0, scale, 1.0)


class Standardised(AbstractBijection):
    r"""A map that sees points with mean 0 and variance 1 in each dimension.

    .. math:: g(z) = g_0\big((z - \mu) / \sigma\big), \qquad
              \log\left|\det \frac{\partial g}{\partial z}\right|
              = \log\left|\det \frac{\partial g_0}{\partial u}\right| - \sum_l \log \sigma_l

    Mean and standard deviation are buffers: they are set once (``standardise``) and stay with the
    map, also in checkpoints. Until then they are 0 and 1.

    Arguments:
        inner: The map :math:`g_0`.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, inner: AbstractBijection) -> None:
        super().__init__()
        self.inner = inner
        self.features = inner.features
        like = next(inner.parameters(), torch.empty(0))
        self.register_buffer("loc", torch.zeros(inner.features, device=like.device))
        self.register_buffer("scale", torch.ones(inner.features, device=like.device))

    def standardise(self, points: Tensor) -> None:
        """Take the mean and standard deviation of points ``(N, L)``; 1 where nothing varies."""
        loc, scale = location_and_scale(points)
        self.loc.copy_(loc)
        self.scale.copy_(scale)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``(*, L)`` to the noise ``(*, L)`` and the log-determinant ``(*)`` in nats."""
        z0, log_det = self.inner((z - self.loc) / self.scale)
        return z0, log_det - self.scale.log().sum()

    def inverse(self, z0: Tensor) -> Tensor:
        """Noise ``(*, L)`` to points ``(*, L)``."""
        return self.loc + self.scale * self.inner.inverse(z0)
