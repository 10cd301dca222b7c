"""The two-level hierarchical VAE of the VampPrior paper."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.models.base import AbstractModel, Draw, Group
from priorwise.priors import as_prior
from priorwise.typing import Shape

__all__ = ["HVAE"]


class HVAE(AbstractModel):
    r"""Two groups of latents; prior and posterior of the lower one depend on the upper one.

    .. math:: p(x, z) = p(x | z_1, z_2)\, p(z_1 | z_2)\, p(z_2), \qquad
              q(z | x) = q(z_1 | x, z_2)\, q(z_2 | x)

    In the paper's notation :math:`z_2` is the top. Our groups count from the top, so it is group 1.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 4, equations 12-16.
        https://arxiv.org/abs/1705.07120

    Arguments:
        encoder_top: Module x -> q(z2|x).
        encoder_bottom: Module (x, z2) -> q(z1|x, z2).
        prior_bottom: Module z2 -> p(z1|z2).
        decoder: Module (z1, z2) -> p(x|z1, z2).
        prior: Prior of z2: a module of ``priorwise.priors``, or any module that returns a
            distribution when called.
    """

    def __init__(
        self,
        encoder_top: nn.Module,
        encoder_bottom: nn.Module,
        prior_bottom: nn.Module,
        decoder: nn.Module,
        prior: nn.Module,
    ) -> None:
        super().__init__()
        self.encoder_top = encoder_top
        self.encoder_bottom = encoder_bottom
        self.prior_bottom = prior_bottom
        self.decoder = decoder
        self.prior = prior

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - as torch has it
        super().__setattr__(name, as_prior(value) if name == "prior" else value)

    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """z2, then z1 given z2."""
        size = torch.Size(batch_shape)
        posterior = None if x is None else self.encoder_top(x).expand(size)
        top = Group(1, self.prior(self.encoder_top).expand(size), posterior)
        top.z = draw(top)
        posterior = None if x is None else self.encoder_bottom(x, top.z)
        bottom = Group(2, self.prior_bottom(top.z), posterior, context=top.z)
        bottom.z = draw(bottom)
        return [top, bottom]

    def likelihood(self, groups: list[Group]) -> Distribution:
        """p(x | z1, z2)."""
        top, bottom = groups
        return self.decoder(bottom.z, top.z)
