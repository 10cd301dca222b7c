"""A VAE whose aggregate posterior is any mixture of one's choice: the encodings are the
observations, with given widths.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from priorwise import VAE
from priorwise.priors import StandardNormal


class Around(nn.Module):
    """A Gaussian around the input."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)

    def forward(self, x: Tensor) -> Distribution:
        return Independent(
            Normal(x, self.scale.expand_as(x), validate_args=False), 1, validate_args=False
        )


def modes_vae(*scales: float, prior: nn.Module | None = None) -> VAE:
    """Encodings N(x, diag scales^2) and a decoder whose mean is z; the prior is N(0, I) if None."""
    prior = StandardNormal(len(scales)) if prior is None else prior
    return VAE(Around(torch.tensor(scales)), Around(torch.full((len(scales),), 0.1)), prior)


def two_modes(count: int, mode: list[float]) -> Tensor:
    """As many observations at ``mode`` as at its opposite, in turn."""
    signs = 1.0 - 2.0 * (torch.arange(count) % 2)
    return signs.unsqueeze(1) * torch.tensor(mode)


def mixture(means: Tensor, scales: list[float]) -> Distribution:
    """The mixture of Gaussians about the means, by torch and in float64."""
    scale = torch.tensor(scales, dtype=torch.float32).double().expand(len(means), -1)
    parts = Independent(Normal(means.double(), scale), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(means), dtype=torch.float64)), parts)
