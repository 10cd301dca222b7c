"""Conditional distributions: a body computes features, a head turns them into a distribution.

Encoders, decoders and conditional priors are the same kind of thing: a module whose ``forward``
returns a ``torch.distributions.Distribution``.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from priorwise.distributions import diagonal_gaussian
from priorwise.nn import at_least_float32

__all__ = ["Conditional", "GaussianHead"]


class GaussianHead(nn.Module):
    """Features to a diagonal Gaussian over latents.

    Arguments:
        in_features: Size of the features.
        latent_features: Number of latent dimensions.
        log_var_range: The log-variance is clamped to this range; None leaves it free.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), whose code clamps the log-variance to
        [-6, 2]. https://arxiv.org/abs/1705.07120
    """

    def __init__(
        self,
        in_features: int,
        latent_features: int,
        log_var_range: tuple[float, float] | None = (-6.0, 2.0),
    ) -> None:
        super().__init__()
        self.log_var_range = log_var_range
        self.linear = nn.Linear(in_features, 2 * latent_features)

    def forward(self, features: Tensor) -> Distribution:
        """``(*batch, in_features)`` to a Gaussian of event shape ``(latent_features,)``."""
        loc, log_var = at_least_float32(self.linear(features)).chunk(2, -1)
        if self.log_var_range is not None:
            log_var = F.hardtanh(log_var, *self.log_var_range)
        return diagonal_gaussian(loc, torch.exp(0.5 * log_var))


class Conditional(nn.Module):
    """A distribution that depends on inputs: ``head(body(*inputs))``.

    Arguments:
        body: Maps the inputs to features ``(*batch, features)``.
        head: Maps features to a distribution: ``GaussianHead``, or a module of
            ``priorwise.likelihoods``.

    Example:
        >>> encoder = Conditional(nn.Linear(3, 8), GaussianHead(8, 2))
        >>> encoder(torch.zeros(5, 3)).batch_shape
        torch.Size([5])
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, *inputs: Tensor) -> Distribution:
        """The distribution for these inputs; their leading dimensions broadcast."""
        return self.head(self.body(*inputs))
