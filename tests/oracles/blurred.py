"""What the oracles of objectives share: a model whose aggregate posterior is known, and terms at
repeatable draws.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from priorwise.conditionals import Conditional
from priorwise.likelihoods import Gaussian
from priorwise.models import VAE
from priorwise.objectives import AbstractObjective, Terms
from priorwise.priors import StandardNormal


class Blurred(nn.Module):
    """q(z|x) = N(x, scale^2 I)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Distribution:
        return Independent(
            Normal(x, x.new_tensor(self.scale), validate_args=False), 1, validate_args=False
        )


def blurred(scale: float, features: int = 2, prior: nn.Module | None = None) -> VAE:
    decoder = Conditional(nn.Identity(), Gaussian(features, (features,)))
    return VAE(Blurred(scale), decoder, StandardNormal(features) if prior is None else prior)


def evaluated(objective: AbstractObjective, x: Tensor, step: int = 3, **options: str) -> Terms:
    """The terms without gradients, always with the same draws for the same batch."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return objective(x, step, **options)
