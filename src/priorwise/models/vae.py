"""The variational autoencoder with one group of latents."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.models.base import AbstractModel, Draw, Group, as_distribution
from priorwise.priors import as_prior
from priorwise.typing import Shape

__all__ = ["VAE"]


class VAE(AbstractModel):
    """A VAE with any prior, which may be replaced later: ``model.prior = prior``.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014). https://arxiv.org/abs/1312.6114

    Arguments:
        encoder: Module x -> q(z|x).
        decoder: Module z -> p(x|z).
        prior: A module of ``priorwise.priors``, or any module that returns a distribution when
            called.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, prior: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - as torch has it
        super().__setattr__(name, as_prior(value) if name == "prior" else value)

    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """The single group."""
        size = torch.Size(batch_shape)
        posterior = None if x is None else as_distribution(self.encoder(x), "encoder").expand(size)
        group = Group(1, self.prior(self.encoder).expand(size), posterior)
        group.z = draw(group)
        return [group]

    def likelihood(self, groups: list[Group]) -> Distribution:
        """p(x | z)."""
        return as_distribution(self.decoder(groups[0].z), "decoder")
