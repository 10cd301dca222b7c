"""Tilts that the library has never seen: a prior, a whole model drawn jointly, and the prior of a
lower group.
"""

import torch
from chains import SLOPE, W1, W2, chain_hvae, gaussian
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from priorwise import HVAE, VAE, AbstractTilt
from priorwise.distributions import Tilted
from priorwise.models import AbstractJointModel, AbstractModel, Group
from priorwise.priors import AbstractPrior
from priorwise.testing import LinearGaussianVAE


class Known(nn.Module):
    """N(0, I) tilted by a constant, whose normaliser stands in the distribution or nowhere."""

    def __init__(self, features: int, constant: float, log_norm: float | None) -> None:
        super().__init__()
        self.features, self.constant, self.log_norm = features, constant, log_norm

    def forward(self) -> Distribution:
        base = gaussian(torch.zeros(self.features), 1.0)
        return Tilted(base, lambda z: z[..., 0] * 0 + self.constant, self.log_norm)


class LinearEnergy(AbstractTilt, AbstractPrior):
    """N(0, I) tilted by a.z, which is N(a, I) with log Z = |a|^2 / 2; the module owns that it does
    not know it.
    """

    def __init__(self, slope: tuple[float, ...]) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def _distribution(self, encode_top: object) -> Tilted:
        return Tilted(
            gaussian(torch.zeros_like(self.slope), 1.0), lambda z: z @ self.slope, owner=self
        )

    def law(self) -> Tilted:
        return self._distribution(None)


class TiltedImages(AbstractJointModel):
    """A linear-Gaussian model whose observations are tilted by a.x: N(b, C) becomes N(b + C a, C),
    log Z = a.b + a'Ca / 2.

    Drawn as a whole, in the noise of latents and observations.
    """

    def __init__(self, base: LinearGaussianVAE, slope: Tensor) -> None:
        super().__init__()
        self.base, self.slope = base, nn.Parameter(slope)

    @property
    def untilted(self) -> AbstractModel:
        return self.base

    def top_down(self, draw, batch_shape, x=None):
        return self.base.top_down(draw, batch_shape, x)

    def likelihood(self, groups: list[Group]) -> Tilted:
        return Tilted(self.base.likelihood(groups), lambda x: x @ self.slope, owner=self)

    def _observation(self, u: Tensor) -> tuple[list[Group], Tensor]:
        latent = self.base.decoder.weight.shape[1]
        groups = self.base.top_down(lambda group: u[:, :latent], (len(u),))
        law = self.base.likelihood(groups).base_dist
        return groups, law.loc + law.scale * u[:, latent:]

    def law(self) -> Tilted:
        features = sum(self.base.decoder.weight.shape)

        def log_tilt(u: Tensor) -> Tensor:
            rows = u.reshape(-1, features)
            return (self._observation(rows)[1] @ self.slope).reshape(u.shape[:-1])

        return Tilted(gaussian(torch.zeros(features), 1.0), log_tilt)

    def from_law(self, u: Tensor) -> tuple[list[Group], Tensor]:
        return self._observation(u)

    def tilted_marginal(self) -> MultivariateNormal:
        plain, slope = self.base.marginal(), self.slope.detach().double()
        covariance = plain.covariance_matrix.double()
        return MultivariateNormal(plain.loc.double() + covariance @ slope, covariance)

    def exact_log_norm(self) -> float:
        plain, slope = self.base.marginal(), self.slope.detach().double()
        return float(
            slope @ plain.loc.double() + 0.5 * slope @ plain.covariance_matrix.double() @ slope
        )


class LowerTilt(nn.Module):
    """p(z1 | z2) = N(SLOPE z2, 1) tilted by pull * z2 * (z1 - SLOPE z2): N((SLOPE + pull) z2, 1),
    log Z = (pull z2)^2 / 2.
    """

    def __init__(self, pull: float, *, known: bool) -> None:
        super().__init__()
        self.pull, self.known = nn.Parameter(torch.tensor(pull)), known

    def forward(self, top: Tensor) -> Tilted:
        loc = SLOPE * top
        log_norm = (0.5 * (self.pull * top).square()).sum(-1) if self.known else None
        return Tilted(
            Independent(
                Normal(loc, torch.ones_like(loc), validate_args=False), 1, validate_args=False
            ),
            lambda z: (self.pull * top * (z - loc)).sum(-1),
            log_norm,
        )


def lower_tilted(pull: float, *, known: bool) -> HVAE:
    """The chain of ``chains``, with the lower prior tilted."""
    hvae = chain_hvae()
    hvae.prior_bottom = LowerTilt(pull, known=known)
    return hvae


def lower_marginal(pull: float) -> MultivariateNormal:
    """p(x) of it."""
    step = torch.eye(5, dtype=torch.float64)
    step[1, 0] = SLOPE + pull
    step[2:, 0] = W2 + (SLOPE + pull) * W1
    step[2:, 1] = W1
    step[2:, 2:] *= 0.6
    return MultivariateNormal(torch.zeros(3, dtype=torch.float64), (step @ step.T)[2:, 2:])


def with_prior(prior: nn.Module, **options: float) -> VAE:
    """A linear-Gaussian VAE of two latents under another prior."""
    base = LinearGaussianVAE(2, 3, **options)
    return VAE(base.encoder, base.decoder, prior)


def marginal_under(model: VAE, slope: Tensor) -> MultivariateNormal:
    """p(x) where the prior is N(slope, I)."""
    plain = LinearGaussianVAE(2, 3).marginal()
    return MultivariateNormal(
        plain.loc.double() + model.decoder.weight.detach().double() @ slope.double(),
        plain.covariance_matrix.double(),
    )
