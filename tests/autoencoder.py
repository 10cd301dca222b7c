"""A deterministic autoencoder: its encoder returns points."""

from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.conditionals import Conditional
from priorwise.distributions import Delta
from priorwise.likelihoods import Gaussian
from priorwise.models import VAE
from priorwise.priors import StandardNormal


class PointEncoder(nn.Module):
    """x -> the point that a dense layer makes of it."""

    def __init__(self, observed: int, latent: int) -> None:
        super().__init__()
        self.linear = nn.Linear(observed, latent)

    def forward(self, x: Tensor) -> Distribution:
        return Delta(self.linear(x))


def autoencoder(prior: nn.Module | None = None) -> VAE:
    """Three observed and two latent dimensions."""
    decoder = Conditional(nn.Linear(2, 3), Gaussian(None, (3,), scale=0.5))
    return VAE(PointEncoder(3, 2), decoder, StandardNormal(2) if prior is None else prior)
