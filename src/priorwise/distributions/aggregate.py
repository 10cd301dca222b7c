"""The aggregate posterior of a data set: what the decoder was trained on."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints

from priorwise.distributions.mixture import DiagonalGaussianMixture
from priorwise.typing import SizeLike

__all__ = ["AggregatePosterior"]


class AggregatePosterior(Distribution):
    r"""The mixture of the encodings of a data set.

    .. math:: q(z) = \frac{1}{N} \sum_{n=1}^{N} q(z | x_n)

    Normalised; exact sampling; not reparameterised. A density runs over the N encodings in tiles with a streamed
    logsumexp, so its memory grows with points x tile, not with points x N.

    References:
        ELBO surgery (Hoffman & Johnson, 2016); dpVAE (Bhalodia et al., 2020), section 3.1.

    Arguments:
        posterior: q(z|x) of the whole set: an ``Independent`` Normal of batch shape ``(N,)`` over vectors.
        tile: Encodings that are evaluated at once; changes memory and speed, the value only by rounding.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.real, 1)

    def __init__(self, posterior: Distribution, *, tile: int = 4096) -> None:
        if not (isinstance(posterior, Independent) and isinstance(posterior.base_dist, Normal)):
            raise TypeError(
                f"expected the posterior as an Independent Normal; got {type(posterior).__name__}. Other encoders have "
                "no closed aggregate posterior here; use the k-NN estimators on draws."
            )
        if len(posterior.batch_shape) != 1 or len(posterior.event_shape) != 1:
            raise ValueError(
                "expected a posterior of batch shape (N,) and event shape (D,); got "
                f"{tuple(posterior.batch_shape)} and {tuple(posterior.event_shape)}."
            )
        if tile < 1:
            raise ValueError(f"expected `tile` of at least 1; got {tile}.")
        self.loc = posterior.base_dist.loc.detach()
        self.scale = posterior.base_dist.scale.detach()
        self.tile = tile
        super().__init__(torch.Size(), posterior.event_shape, validate_args=False)

    @property
    def count(self) -> int:
        """The number of encodings N."""
        return len(self.loc)

    @property
    def mean(self) -> Tensor:
        """The mean, ``(D,)``."""
        return self.loc.mean(0)

    @property
    def variance(self) -> Tensor:
        """The variance of each dimension, ``(D,)``."""
        return self.scale.square().mean(0) + self.loc.var(0, unbiased=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """The log density over all N encodings: ``(*, D) -> (*)``, in nats."""
        total = torch.full(z.shape[:-1], -torch.inf, dtype=self.loc.dtype, device=z.device)
        for start in range(0, self.count, self.tile):
            part = slice(start, start + self.tile)
            tile = DiagonalGaussianMixture(self.loc[part], self.scale[part])
            share = torch.tensor(tile.components / self.count, dtype=total.dtype, device=total.device)
            total = torch.logaddexp(total, tile.log_prob(z) + share.log())
        return total

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Exact draws, ``(*sample, D)``."""
        return DiagonalGaussianMixture(self.loc, self.scale).sample(sample_shape)
