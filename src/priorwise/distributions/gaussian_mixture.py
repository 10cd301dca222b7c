"""Mixtures of diagonal Gaussians.

Letters: ``M`` components, ``D`` dimensions, ``*`` any leading shape of points.
"""

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

from priorwise.distributions.exponents import GaussianExponents, log_sum_exp_
from priorwise.nn import at_least_float32, no_autocast
from priorwise.typing import Shape, SizeLike

__all__ = ["DiagonalGaussianMixture"]


class DiagonalGaussianMixture(Distribution):
    r"""A mixture of Gaussians with diagonal covariance over vectors.

    .. math:: p(z) = \sum_{m=1}^{M} w_m \, \mathcal{N}(z; \mu_m, \mathrm{diag}\,\sigma_m^2)

    Normalised; exact sampling; reparameterised while the weights are fixed (a component is drawn,
    the draw is pathwise in its mean and scale). One density costs 4 M D multiply-adds and no array
    of size points x M x D: the exponents of all components are one matrix product, in float32 where
    a bound says that this is exact enough, else in float64, and never in half precision or TF32
    (``exponents.py``). Errors of a log density that were found, against float64, in 2 to 128
    dimensions at scales from 1e-4 to 1, stay under 0.003 nats at draws of the mixture.

    Arguments:
        loc: Means, ``(M, D)``.
        scale: Standard deviations, ``(M, D)``, positive.
        log_weights: Log mixture weights ``(M,)``, normalised; equal weights if None.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.real, 1)

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        log_weights: Tensor | None = None,
        *,
        batch_shape: Shape = (),
    ) -> None:
        if loc.dim() != 2 or loc.shape != scale.shape:
            raise ValueError(
                f"expected `loc` and `scale` of one shape (M, D); got {tuple(loc.shape)} and "
                f"{tuple(scale.shape)}."
            )
        if log_weights is not None and log_weights.shape != loc.shape[:1]:
            raise ValueError(
                f"expected `log_weights` of shape ({len(loc)},); got {tuple(log_weights.shape)}."
            )
        self.loc = at_least_float32(loc)
        self.scale = at_least_float32(scale)
        self.log_weights = log_weights
        self._exponents = GaussianExponents(self.loc, self.scale, log_weights)
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
        with no_autocast(self.loc):
            return (self.weights @ self.loc).expand(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        """The variance of each dimension, ``(*batch, D)``."""
        with no_autocast(self.loc):
            centre = self.weights @ self.loc
            second = self.weights @ (self.scale.square() + (self.loc - centre).square())
            return second.expand(*self.batch_shape, -1)

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "DiagonalGaussianMixture":
        """The same mixture for every member of a larger batch; the components are not copied."""
        new = DiagonalGaussianMixture(
            self.loc, self.scale, self.log_weights, batch_shape=tuple(batch_shape)
        )
        new._exponents = self._exponents
        return new

    def log_components(self, z: Tensor) -> Tensor:
        """``log w_m + log N(z; mu_m, sigma_m)`` per component, ``(*, D) -> (*, M)``, in nats."""
        with no_autocast(z):
            return self._exponents(at_least_float32(z))

    def log_prob(self, z: Tensor) -> Tensor:
        """The log density: ``(*, D) -> (*)``, in nats."""
        log_components = self.log_components(z)
        if log_components.requires_grad:
            return log_components.logsumexp(-1)
        return log_sum_exp_(log_components)

    def rsample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Draws with gradients to the chosen component's mean and scale, ``(*sample, *batch, D)``.

        Raises:
            ValueError: if the weights are being learned; draws could not carry their gradient.
        """
        if not self.has_rsample:
            raise ValueError(
                "reparameterised draws need fixed mixture weights; these require gradients. Use "
                "`sample`, or a mixture with `log_weights=None`."
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
            component = Categorical(logits=self.log_weights.detach(), validate_args=False).sample(
                shape
            )
        loc, scale = self.loc[component], self.scale[component]
        return loc + scale * torch.randn_like(loc)
