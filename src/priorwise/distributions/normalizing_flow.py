"""Normalising flows: the law of a standard normal draw after an invertible map.

Letters: ``L`` dimensions.
"""

import math
from abc import ABC, abstractmethod
from itertools import chain

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from priorwise.nn import at_least_float32, no_autocast
from priorwise.typing import Shape, SizeLike

__all__ = ["AbstractBijection", "NormalizingFlow"]


class AbstractBijection(nn.Module, ABC):
    r"""How to write an invertible map g from the space of a density to standard normal noise.

    1. Inherit, and set ``features`` to the number of dimensions L.
    2. Implement ``forward(z)``: :math:`z_0 = g(z)` and :math:`\log|\det \partial g / \partial z|`,
       for any leading dimensions.
    3. Implement ``inverse(z0)``: the exact inverse, differentiable.
    """

    features: int

    @abstractmethod
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``(*, L)`` to the noise ``(*, L)`` and the log-determinant ``(*)`` in nats."""

    @abstractmethod
    def inverse(self, z0: Tensor) -> Tensor:
        """Noise ``(*, L)`` to points ``(*, L)``."""


class NormalizingFlow(Distribution):
    r"""The density of :math:`z = g^{-1}(z_0)` with :math:`z_0 \sim \mathcal{N}(0, I_L)`.

    .. math:: p(z) = \mathcal{N}(g(z); 0, I_L) \, \left|\det \frac{\partial g(z)}{\partial z}\right|

    Normalised; exact sampling; reparameterised in the draw and in the parameters of g. A density
    costs one pass through g, a draw costs one pass through its inverse.

    References:
        dpVAEs: Fixing Sample Generation for Regularized VAEs (Bhalodia et al., 2020), equation 2.
        https://arxiv.org/abs/1911.10506

        Density estimation using Real NVP (Dinh et al., 2017), equation 2.
        https://arxiv.org/abs/1605.08803

    Arguments:
        bijection: The map g.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.real, 1)
    has_rsample = True

    def __init__(self, bijection: AbstractBijection, *, batch_shape: Shape = ()) -> None:
        self.bijection = bijection
        super().__init__(
            torch.Size(batch_shape), torch.Size((bijection.features,)), validate_args=False
        )

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "NormalizingFlow":
        """The same distribution for every member of a larger batch."""
        return NormalizingFlow(self.bijection, batch_shape=tuple(batch_shape))

    def log_prob(self, z: Tensor) -> Tensor:
        """The log density: ``(*, L) -> (*)``, in nats."""
        with no_autocast(z):
            z0, log_det = self.bijection(at_least_float32(z))
            return (
                log_det
                - 0.5 * z0.square().sum(-1)
                - 0.5 * self.bijection.features * math.log(2 * math.pi)
            )

    def from_noise(self, eps: Tensor) -> Tensor:
        """The draw that belongs to standard normal noise: ``(*, L) -> (*, L)``."""
        with no_autocast(eps):
            return self.bijection.inverse(at_least_float32(eps))

    def rsample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Draws with gradients to the parameters of g, ``(*sample, *batch, L)``."""
        like = next(chain(self.bijection.parameters(), self.bijection.buffers()), torch.zeros(()))
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.from_noise(torch.randn(shape, dtype=like.dtype, device=like.device))
