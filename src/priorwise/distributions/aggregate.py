"""The aggregate posterior of a data set: what the decoder was trained on."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from priorwise.distributions.exponents import log_sum_exp_
from priorwise.distributions.gaussian import require_diagonal_gaussian
from priorwise.distributions.gaussian_mixture import DiagonalGaussianMixture
from priorwise.nn import event_rows
from priorwise.typing import SizeLike

__all__ = ["AggregatePosterior"]

_POINTS = 256  # points at once: the exponents of a block and a tile, 4 MB in float32, stay near the processor


class AggregatePosterior(Distribution):
    r"""The mixture of the encodings of a data set.

    .. math:: q(z) = \frac{1}{N} \sum_{n=1}^{N} q(z | x_n)

    Normalised; exact sampling; not reparameterised. A density runs over blocks of points and tiles
    of encodings with a streamed logsumexp: one matrix product a block and tile, and memory for one
    of them, whatever the number of points and N.

    References:
        ELBO surgery (Hoffman & Johnson, 2016); dpVAE (Bhalodia et al., 2020), section 3.1.

    Arguments:
        posterior: q(z|x) of the whole set: an ``Independent`` Normal of batch shape ``(N,)`` over
            vectors.
        tile: Encodings that are evaluated at once; changes memory and speed, the value only by
            rounding.

    Attributes:
        tiles: The encodings as mixtures of ``tile`` components, the last of what is left; each
            keeps the coefficients of its product once it was evaluated.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.real, 1)

    def __init__(self, posterior: Distribution, *, tile: int = 4096) -> None:
        normal = require_diagonal_gaussian(
            posterior,
            "the posterior as an Independent Normal",
            "Other encoders have no closed aggregate posterior here; use the k-NN estimators on "
            "draws.",
        )
        if len(posterior.batch_shape) != 1 or len(posterior.event_shape) != 1:
            raise ValueError(
                "expected a posterior of batch shape (N,) and event shape (D,); got "
                f"{tuple(posterior.batch_shape)} and {tuple(posterior.event_shape)}."
            )
        if tile < 1:
            raise ValueError(f"expected `tile` of at least 1; got {tile}.")
        self.loc = normal.loc.detach()
        self.scale = normal.scale.detach()
        self.tile = tile
        self.tiles = [
            DiagonalGaussianMixture(loc, scale)
            for loc, scale in zip(self.loc.split(tile), self.scale.split(tile), strict=True)
        ]
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
        points, batch_shape = event_rows(z, 1)
        return (self.log_sum(points) - math.log(self.count)).reshape(batch_shape)

    def log_sum(self, z: Tensor, without: Tensor | None = None) -> Tensor:
        """The log of the sum of the N densities: ``(B, D) -> (B)``, in nats.

        Arguments:
            z: Points.
            without: Which encoding each point leaves out of its sum, ``(B,)``; -1 for none.
        """
        points = z.split(_POINTS)
        left_out = [None] * len(points) if without is None else without.split(_POINTS)
        blocks = zip(points, left_out, strict=True)
        return torch.cat([self._log_sum(*block) for block in blocks])

    def _log_sum(self, z: Tensor, without: Tensor | None) -> Tensor:
        """A block of points, tile after tile."""
        total = torch.full(z.shape[:1], -torch.inf, dtype=self.loc.dtype, device=z.device)
        for start, tile in zip(range(0, self.count, self.tile), self.tiles, strict=True):
            exponents = tile.log_components(z)
            if without is not None:
                rows = ((without >= start) & (without < start + tile.components)).nonzero()[:, 0]
                exponents[rows, without[rows] - start] = -torch.inf
            share = math.log(tile.components)
            total = torch.logaddexp(total, log_sum_exp_(exponents) + share)
        return total

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Exact draws, ``(*sample, D)``."""
        return DiagonalGaussianMixture(self.loc, self.scale).sample(sample_shape)
