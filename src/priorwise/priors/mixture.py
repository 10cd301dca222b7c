"""The mixture of Gaussians with trainable parameters."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from priorwise.backbones import location_and_scale
from priorwise.distributions import DiagonalGaussianMixture, shaped, vector_size
from priorwise.priors.base import AbstractPrior
from priorwise.typing import Encode, Shape

__all__ = ["GaussianMixture"]


class GaussianMixture(AbstractPrior):
    r"""A mixture of diagonal Gaussians, trained with the model.

    .. math:: p(z) = \sum_{m=1}^{M} w_m\, \mathcal{N}(z; \mu_m, \mathrm{diag}\,\sigma_m^2)

    Normalised; exact sampling; reparameterised while the weights are fixed. Log-variances are
    clamped to the range of the encoder's: without a bound, components collapse onto single points.

    Where the prior is fitted to codes, ``loc`` and ``log_var`` are those of standardised codes, so
    the range is relative to the codes; ``priorwise.fit_prior`` keeps the codes' mean and scale in
    buffers.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 2 ("MoG"). The paper gives no
        initial spread, so ours is our choice. https://arxiv.org/abs/1705.07120

    Arguments:
        features: Number of latent dimensions, or the shape of the latents.
        components: Number of components M.
        learn_weights: Whether the weights are learned. In the paper they are equal.
        spread: Standard deviation of the initial means.
        log_var_range: The log-variances are clamped to this range.
    """

    code_loc: Tensor | None
    code_scale: Tensor | None

    def __init__(
        self,
        features: int | Shape,
        components: int = 500,
        *,
        learn_weights: bool = False,
        spread: float = 0.5,
        log_var_range: tuple[float, float] = (-6.0, 2.0),
    ) -> None:
        super().__init__()
        self.shape, size = vector_size(features)
        if size < 1 or components < 1:
            raise ValueError(
                f"expected `features` and `components` of at least 1; got {features} and "
                f"{components}."
            )
        self.log_var_range = log_var_range
        self.loc = nn.Parameter(spread * torch.randn(components, size))
        self.log_var = nn.Parameter(torch.zeros(components, size))
        self.logits = nn.Parameter(torch.zeros(components)) if learn_weights else None
        self.register_buffer("code_loc", None)
        self.register_buffer("code_scale", None)

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        scale = torch.exp(0.5 * F.hardtanh(self.log_var, *self.log_var_range))
        loc: Tensor = self.loc
        if self.code_loc is not None and self.code_scale is not None:
            loc, scale = self.code_loc + self.code_scale * loc, self.code_scale * scale
        log_weights = None if self.logits is None else self.logits.log_softmax(0)
        return shaped(DiagonalGaussianMixture(loc, scale, log_weights), self.shape)

    def expect_codes(self) -> None:
        """Take mean and scale of the codes, 0 and 1 until ``start_from`` sets them."""
        if self.code_loc is None:
            self.code_loc = torch.zeros_like(self.loc[0].detach())
            self.code_scale = torch.ones_like(self.code_loc)

    def start_from(self, codes: Tensor, x: Tensor, *, show: bool = False) -> None:
        """Means at random codes, and variances that let the components fill the codes' volume."""
        self.expect_codes()
        assert self.code_loc is not None
        assert self.code_scale is not None
        points = codes.flatten(1).double()
        components, size = self.loc.shape
        rows = torch.randperm(len(points))[torch.arange(components) % len(points)]
        loc, scale = location_and_scale(points)
        standardised = (points - loc) / scale
        variance = standardised.var(0, correction=0) * components ** (-2 / size)
        with torch.no_grad():
            self.code_loc.copy_(loc)
            self.code_scale.copy_(scale)
            self.loc.copy_(standardised[rows.to(points.device)])
            self.log_var.copy_(variance.clamp_min(1e-12).log().clamp(*self.log_var_range))

    def extra_repr(self) -> str:
        """The sizes that repr shows."""
        return f"components={len(self.loc)}, features={self.loc.shape[1]}"
