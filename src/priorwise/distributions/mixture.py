"""Mixtures of diagonal Gaussians, evaluated as one matrix product.

Letters: ``M`` components, ``D`` dimensions, ``*`` any leading shape of points.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints
from torch.nn import functional as F

from priorwise.nn import at_least_float32, no_autocast
from priorwise.typing import Shape, SizeLike

__all__ = ["DiagonalGaussianMixture"]


class DiagonalGaussianMixture(Distribution):
    r"""A mixture of Gaussians with diagonal covariance over vectors.

    .. math:: p(z) = \sum_{m=1}^{M} w_m \, \mathcal{N}(z; \mu_m, \mathrm{diag}\,\sigma_m^2)

    Normalised; exact sampling; reparameterised while the weights are fixed (a component is drawn, the draw is pathwise
    in its mean and scale). One density costs 4 M D multiply-adds and no array of size points x M x D: the exponents of
    all components are one product of ``(z^2, z)`` with ``(-1/2 sigma^-2, mu sigma^-2)``, centred on the mean of the
    component means and never in half precision. Against float64, with D = 40, unit spread of the means and log-variance
    -6, the error of a log density stays under 0.01 nats.

    Arguments:
        loc: Means, ``(M, D)``.
        scale: Standard deviations, ``(M, D)``, positive.
        log_weights: Log mixture weights ``(M,)``, normalised; equal weights if None.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.real, 1)

    def __init__(
        self, loc: Tensor, scale: Tensor, log_weights: Tensor | None = None, *, batch_shape: Shape = ()
    ) -> None:
        if loc.dim() != 2 or loc.shape != scale.shape:
            raise ValueError(
                f"expected `loc` and `scale` of one shape (M, D); got {tuple(loc.shape)} and {tuple(scale.shape)}."
            )
        if log_weights is not None and log_weights.shape != loc.shape[:1]:
            raise ValueError(f"expected `log_weights` of shape ({len(loc)},); got {tuple(log_weights.shape)}.")
        self.loc = at_least_float32(loc)
        self.scale = at_least_float32(scale)
        self.log_weights = log_weights
        self._coefficients: tuple[Tensor, Tensor, Tensor] | None = None
        super().__init__(torch.Size(batch_shape), loc.shape[1:], validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether draws carry gradients: only while the weights are fixed."""
        return self.log_weights is None or not self.log_weights.requires_grad

    @property
    def components(self) -> int:
        """The number of components M."""
        return len(self.loc)

    @property
    def weights(self) -> Tensor:
        """The mixture weights, ``(M,)``."""
        if self.log_weights is None:
            return self.loc.new_full((self.components,), 1.0 / self.components)
        return self.log_weights.exp()

    @property
    def mean(self) -> Tensor:
        """The mean, ``(*batch, D)``."""
        return (self.weights @ self.loc).expand(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        """The variance of each dimension, ``(*batch, D)``."""
        centre = self.weights @ self.loc
        second = self.weights @ (self.scale.square() + (self.loc - centre).square())
        return second.expand(*self.batch_shape, -1)

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "DiagonalGaussianMixture":
        """The same mixture for every member of a larger batch; the components are shared, not copied."""
        new = DiagonalGaussianMixture(self.loc, self.scale, self.log_weights, batch_shape=tuple(batch_shape))
        new._coefficients = self._coefficients
        return new

    def _product_form(self) -> tuple[Tensor, Tensor, Tensor]:
        """The centre ``(D,)``, the matrix ``(M, 2D)`` and the constant ``(M,)`` of the exponents."""
        if self._coefficients is None:
            centre = self.loc.detach().mean(0)
            offset = self.loc - centre
            precision = self.scale.square().reciprocal()
            weighted = offset * precision
            constant = (
                -0.5 * (offset * weighted).sum(1)
                - self.scale.log().sum(1)
                - 0.5 * self.loc.shape[1] * math.log(2 * math.pi)
            )
            constant = constant + (-math.log(self.components) if self.log_weights is None else self.log_weights)
            self._coefficients = centre, torch.cat([-0.5 * precision, weighted], 1), constant
        return self._coefficients

    def log_components(self, z: Tensor) -> Tensor:
        """``log w_m + log N(z; mu_m, sigma_m)`` for every component: ``(*, D) -> (*, M)``, in nats."""
        with no_autocast(z):
            centre, matrix, constant = self._product_form()
            centred = at_least_float32(z) - centre
            return F.linear(torch.cat([centred.square(), centred], -1), matrix, constant)

    def log_prob(self, z: Tensor) -> Tensor:
        """The log density: ``(*, D) -> (*)``, in nats."""
        return self.log_components(z).logsumexp(-1)

    def rsample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Draws with gradients to the chosen component's mean and scale, ``(*sample, *batch, D)``.

        Raises:
            ValueError: if the weights are being learned; draws could not carry their gradient.
        """
        if not self.has_rsample:
            raise ValueError(
                "reparameterised draws need fixed mixture weights; these require gradients. Use `sample`, or a mixture "
                "with `log_weights=None`."
            )
        return self._draw(torch.Size(sample_shape))

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Exact draws, ``(*sample, *batch, D)``."""
        with torch.no_grad():
            return self._draw(torch.Size(sample_shape))

    def _draw(self, sample_shape: torch.Size) -> Tensor:
        shape = sample_shape + self.batch_shape
        if self.log_weights is None:
            component = torch.randint(self.components, shape, device=self.loc.device)
        else:
            component = Categorical(logits=self.log_weights.detach(), validate_args=False).sample(shape)
        loc, scale = self.loc[component], self.scale[component]
        return loc + scale * torch.randn_like(loc)
