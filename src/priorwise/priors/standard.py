"""The standard normal prior."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorwise.distributions import diagonal_gaussian
from priorwise.priors.base import AbstractPrior
from priorwise.typing import Encode, Shape

__all__ = ["StandardNormal"]


class StandardNormal(AbstractPrior):
    r""":math:`p(z) = \mathcal{N}(z; 0, I)`.

    Normalised; exact sampling; reparameterised; no parameters; analytic KL to a Gaussian posterior.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014). https://arxiv.org/abs/1312.6114

    Arguments:
        features: Number of latent dimensions, or the shape of the latents.
    """

    _zero: Tensor

    def __init__(self, features: int | Shape) -> None:
        super().__init__()
        self.shape = (features,) if isinstance(features, int) else tuple(features)
        if any(size < 1 for size in self.shape):
            raise ValueError(f"expected `features` of at least 1; got {features}.")
        self.register_buffer("_zero", torch.zeros(self.shape), persistent=False)

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        return diagonal_gaussian(self._zero, torch.ones_like(self._zero), len(self.shape))

    def extra_repr(self) -> str:
        """The shape that repr shows."""
        return f"shape={self.shape}"
