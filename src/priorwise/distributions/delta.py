"""All mass on one point: what a deterministic encoder returns."""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from priorwise.refusals import UnavailableError
from priorwise.typing import SizeLike

__all__ = ["Delta"]


class Delta(Distribution):
    """A point mass: draws are the point itself.

    It has no density with respect to volume, so ``log_prob`` refuses.

    Arguments:
        value: The point, ``(*batch, *event)``.
        event_dims: How many trailing dimensions form one event.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(self, value: Tensor, event_dims: int = 1) -> None:
        self.value = value
        self.event_dims = event_dims
        cut = value.dim() - event_dims
        super().__init__(value.shape[:cut], value.shape[cut:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """All real events."""
        return constraints.independent(constraints.real, self.event_dims)

    @property
    def mean(self) -> Tensor:
        """The point."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.value)

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "Delta":
        """The same point, repeated over a larger batch shape."""
        return Delta(self.value.expand(*batch_shape, *self.event_shape), self.event_dims)

    def rsample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """The point, ``(*sample, *batch, *event)``."""
        return self.value.expand(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Refuse, since a bound on the likelihood needs an encoder with a density."""
        raise UnavailableError(
            "a Delta (deterministic encoder or decoder) has no density, so ELBO and likelihood "
            "are undefined. NCP, k-NN distances and Frechet distances work with it. For "
            "likelihoods, give the encoder a Gaussian output and the decoder a likelihood."
        )
