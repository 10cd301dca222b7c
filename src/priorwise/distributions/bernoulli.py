"""Bernoulli pixels from logits, summed over the event in two reductions."""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn import functional as F

from priorwise.nn import at_least_float32, no_autocast
from priorwise.typing import SizeLike

__all__ = ["IndependentBernoulli"]


class IndependentBernoulli(Distribution):
    r"""Independent Bernoulli variables over an event, parametrised by logits.

    .. math:: \log p(x) = \sum_i x_i l_i - \log(1 + e^{l_i})

    The same law as ``Independent(Bernoulli(logits=...), n)``. It exists because the density of many
    logits against one image is the hot path of every likelihood estimate: no probability is formed,
    nothing is clamped, and the image is broadcast instead of repeated. Values in [0, 1] are
    accepted, as the cross-entropy of grey images needs them.

    Arguments:
        logits: ``(*batch, *event)``.
        event_dims: How many trailing dimensions form one event.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, logits: Tensor, event_dims: int = 1) -> None:
        self.logits = logits
        self.event_dims = event_dims
        cut = logits.dim() - event_dims
        super().__init__(logits.shape[:cut], logits.shape[cut:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Events of zeros and ones."""
        return constraints.independent(constraints.boolean, self.event_dims)

    @property
    def mean(self) -> Tensor:
        """The probabilities, ``(*batch, *event)``."""
        return self.logits.sigmoid()

    @property
    def variance(self) -> Tensor:
        """``p (1 - p)``, ``(*batch, *event)``."""
        return self.mean * (1.0 - self.mean)

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "IndependentBernoulli":
        """The same pixels for every member of a larger batch."""
        return IndependentBernoulli(
            self.logits.expand(*batch_shape, *self.event_shape), self.event_dims
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """``(*batch, *event) -> (*batch)``, in nats; ``x`` broadcasts."""
        with no_autocast(x):
            logits = at_least_float32(self.logits).flatten(-self.event_dims)
            x = x.to(logits.dtype).flatten(-self.event_dims)
            return (x * logits).sum(-1) - F.softplus(logits).sum(-1)

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Zeros and ones as floats, ``(*sample, *batch, *event)``."""
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(self._extended_shape(sample_shape)))
