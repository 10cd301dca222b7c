"""Mixtures of Gaussians with full covariances.

Letters: ``M`` components, ``D`` dimensions, ``*`` any leading shape of points.
"""

import math
from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

from priorwise.nn import at_least_float32, no_autocast
from priorwise.typing import Shape, SizeLike

__all__ = ["FullCovarianceMixture"]


class FullCovarianceMixture(Distribution):
    r"""A mixture of Gaussians with full covariances over vectors.

    .. math:: p(z) = \sum_{m=1}^{M} w_m \, \mathcal{N}(z; \mu_m, L_m L_m^\top)

    Normalised; exact sampling; not reparameterised, since the weights are learned. One density
    costs M D^2 multiply-adds; the components are visited one by one, so no array is larger than the
    points and their M exponents.

    Arguments:
        loc: Means, ``(M, D)``.
        scale_tril: Lower triangular factors L of the covariances, ``(M, D, D)``.
        log_weights: Log mixture weights ``(M,)``, normalised.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.real, 1)

    def __init__(
        self, loc: Tensor, scale_tril: Tensor, log_weights: Tensor, *, batch_shape: Shape = ()
    ) -> None:
        if loc.dim() != 2 or scale_tril.shape != (*loc.shape, loc.shape[-1]):
            raise ValueError(
                "expected `loc` of shape (M, D) and `scale_tril` of shape (M, D, D); got "
                f"{tuple(loc.shape)} and {tuple(scale_tril.shape)}."
            )
        if log_weights.shape != loc.shape[:1]:
            raise ValueError(
                f"expected `log_weights` of shape ({len(loc)},); got {tuple(log_weights.shape)}."
            )
        self.loc = at_least_float32(loc)
        self.scale_tril = at_least_float32(scale_tril)
        self.log_weights = log_weights
        super().__init__(torch.Size(batch_shape), loc.shape[1:], validate_args=False)

    @property
    def components(self) -> int:
        """The number of components M."""
        return len(self.loc)

    @property
    def mean(self) -> Tensor:
        """The mean, ``(*batch, D)``."""
        with no_autocast(self.loc):
            return (self.log_weights.exp() @ self.loc).expand(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        """The variance of each dimension, ``(*batch, D)``."""
        with no_autocast(self.loc):
            weights = self.log_weights.exp()
            within = self.scale_tril.square().sum(-1)
            between = (self.loc - weights @ self.loc).square()
            return (weights @ (within + between)).expand(*self.batch_shape, -1)

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "FullCovarianceMixture":
        """The same mixture for every member of a larger batch; the components are not copied."""
        new = FullCovarianceMixture(
            self.loc, self.scale_tril, self.log_weights, batch_shape=tuple(batch_shape)
        )
        new._whitening = self._whitening
        return new

    @cached_property
    def _whitening(self) -> tuple[Tensor, Tensor]:
        """The transposed inverses of L, ``(M, D, D)``, and the log constants, ``(M,)``."""
        eye = torch.eye(self.loc.shape[-1], dtype=self.loc.dtype, device=self.loc.device)
        inverse = torch.linalg.solve_triangular(
            self.scale_tril, eye.expand_as(self.scale_tril), upper=False
        )
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = -log_det - 0.5 * self.loc.shape[-1] * math.log(2 * math.pi)
        return inverse.mT, self.log_weights + constant

    def log_components(self, z: Tensor) -> Tensor:
        """``log w_m + log N(z; mu_m, L_m L_m^T)`` per component, ``(*, D) -> (*, M)``, in nats."""
        with no_autocast(z):
            z = at_least_float32(z)
            whiten, log_constants = self._whitening
            squares = [
                ((z - loc) @ matrix).square().sum(-1)
                for loc, matrix in zip(self.loc, whiten, strict=True)
            ]
            return log_constants - 0.5 * torch.stack(squares, -1)

    def log_prob(self, z: Tensor) -> Tensor:
        """The log density: ``(*, D) -> (*)``, in nats."""
        return self.log_components(z).logsumexp(-1)

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Exact draws, ``(*sample, *batch, D)``: a component, then a point from it."""
        with torch.no_grad(), no_autocast(self.loc):
            shape = torch.Size(sample_shape) + self.batch_shape
            rows = Categorical(logits=self.log_weights, validate_args=False).sample(shape)
            flat = rows.flatten()
            eps = torch.randn(len(flat), *self.event_shape, device=self.loc.device)
            z = torch.empty_like(eps, dtype=self.loc.dtype)
            for m in range(self.components):  # no array of draws x D x D
                mine = flat == m
                z[mine] = self.loc[m] + eps[mine].to(z.dtype) @ self.scale_tril[m].mT
            return z.view(*shape, *self.event_shape)
