"""Models with closed-form answers, against which every estimator and sampler is tested.

Letters: ``S`` samples, ``B`` batch, ``D`` latent dimensions.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, kl_divergence

from priorwise.conditionals import Conditional, GaussianHead
from priorwise.distributions import Tilted, diagonal_gaussian
from priorwise.likelihoods import Gaussian
from priorwise.models import AbstractModel, Draw, Group
from priorwise.nn import MLP
from priorwise.priors import StandardNormal
from priorwise.randomness import seeded
from priorwise.typing import Shape

__all__ = ["GaussianTilt", "LadderVAE", "LinearGaussianVAE"]


class _LinearDecoder(nn.Module):
    """z -> N(Wz + b, s^2 I)."""

    def __init__(self, weight: Tensor, bias: Tensor, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, z: Tensor) -> Independent:
        return diagonal_gaussian(z @ self.weight.T + self.bias, self.log_scale.exp())


class _LinearEncoder(nn.Module):
    """x -> N(Wx + b, diag(s^2))."""

    def __init__(self, weight: Tensor, bias: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.log_scale = nn.Parameter(scale.log())

    def forward(self, x: Tensor) -> Independent:
        return diagonal_gaussian(x @ self.weight.T + self.bias, self.log_scale.exp())


class LinearGaussianVAE(AbstractModel):
    r"""A VAE with a linear decoder, whose likelihood, posterior and bound have closed forms.

    .. math:: p(z) = \mathcal{N}(0, I), \quad p(x|z) = \mathcal{N}(Wz + b, s^2 I), \quad
              p(x) = \mathcal{N}(b, W W^\top + s^2 I)

    The columns of W are orthogonal, so that the exact posterior is a diagonal Gaussian,

    .. math:: p(z_j|x) = \mathcal{N}\!\left(\frac{v_j\, w_j^\top (x - b)}{s^2}, v_j\right), \quad
              v_j = \frac{1}{1 + \lVert w_j \rVert^2 / s^2}

    At construction the encoder is that posterior, or a deliberately wrong one. The bound then lies
    below the likelihood by a known amount. Encoder and decoder have separate parameters, so the
    model can be trained. The closed forms use the current parameters, but those of the posterior
    and of the bound hold only while the columns stay orthogonal.

    References:
        Probabilistic Principal Component Analysis (Tipping & Bishop, 1999), equations 6-8.
        https://doi.org/10.1111/1467-9868.00196

    Arguments:
        latent: Number of latent dimensions D.
        observed: Number of observed dimensions, at least ``latent``.
        scale: The standard deviation s.
        shift: Added to every mean of the encoder, in units of the exact standard deviation; the
            encoder is exact with 0.
        stretch: Factor of every standard deviation of the encoder; the encoder is exact with 1.
        seed: Seed of W and b.
    """

    def __init__(
        self,
        latent: int = 2,
        observed: int = 3,
        *,
        scale: float = 0.5,
        shift: float = 0.0,
        stretch: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= latent <= observed:
            raise ValueError(
                f"expected `latent` between 1 and `observed` = {observed}; got {latent}."
            )
        if not (scale > 0 and stretch > 0):
            raise ValueError(f"expected positive `scale` and `stretch`; got {scale} and {stretch}.")
        with seeded(seed, "linear gaussian"):
            columns = torch.linalg.qr(torch.randn(observed, latent)).Q
            bias = 0.5 * torch.randn(observed)
        lengths = torch.linspace(1.5, 0.5, latent)
        self.decoder = _LinearDecoder(columns * lengths, bias, scale)
        self.prior = StandardNormal(latent)
        loc_weight, loc_bias, std = self._posterior_map()
        self.encoder = _LinearEncoder(loc_weight, loc_bias + shift * std, stretch * std)

    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """The single group."""
        size = torch.Size(batch_shape)
        posterior = None if x is None else self.encoder(x).expand(size)
        group = Group(1, self.prior().expand(size), posterior)
        group.z = draw(group)
        return [group]

    def likelihood(self, groups: list[Group]) -> Distribution:
        """p(x | z)."""
        return self.decoder(groups[0].z)

    def _posterior_map(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weight ``(D, observed)``, bias ``(D,)`` and stddev ``(D,)`` of the exact posterior."""
        weight, noise = self.decoder.weight.detach(), self.decoder.log_scale.detach().exp().square()
        variance = 1.0 / (1.0 + weight.square().sum(0) / noise)
        loc_weight = (variance / noise).unsqueeze(1) * weight.T
        return loc_weight, -loc_weight @ self.decoder.bias.detach(), variance.sqrt()

    def exact_posterior(self, x: Tensor) -> Distribution:
        """p(z|x): ``(B, observed)`` to batch shape ``(B,)``."""
        weight, bias, std = self._posterior_map()
        return diagonal_gaussian(x @ weight.T + bias, std)

    def marginal(self) -> Distribution:
        """p(x), in float64."""
        weight, bias = self.decoder.weight.detach().double(), self.decoder.bias.detach().double()
        noise = self.decoder.log_scale.detach().double().exp().square()
        covariance = weight @ weight.T + noise * torch.eye(
            len(bias), dtype=torch.float64, device=bias.device
        )
        return MultivariateNormal(bias, covariance)

    def log_px(self, x: Tensor) -> Tensor:
        """The exact log-likelihood: ``(B, observed) -> (B,)``, in nats, float64."""
        return self.marginal().log_prob(x.double())

    def exact_elbo(self, x: Tensor) -> Tensor:
        """The exact ELBO, log p(x) - KL(q || p(z|x)): ``(B, observed) -> (B,)``, in nats."""
        with torch.no_grad():
            gap = kl_divergence(self.encoder(x), self.exact_posterior(x))
        return self.log_px(x) - gap


@dataclass(frozen=True)
class GaussianTilt:
    r"""A standard normal with a quadratic tilt, whose log normaliser and law are known.

    .. math:: \mathcal{N}(z; 0, 1)\, e^{a z - c z^2 / 2} =
              Z\, \mathcal{N}\!\left(z; \frac{a}{1+c}, \frac{1}{1+c}\right),
              \qquad \log Z = \frac{a^2}{2(1+c)} - \frac{1}{2} \log(1 + c)

    With the default curvature of 0 the target is N(a, 1), log Z = a^2 / 2, and the tilt is
    unbounded. All dimensions are independent and have the same law.

    Attributes:
        slope: The a above.
        curvature: The c above, larger than -1; the tilt is bounded if it is positive.
        features: Number of dimensions D.
    """

    slope: float = 1.0
    curvature: float = 0.0
    features: int = 1

    def __post_init__(self) -> None:
        if not self.curvature > -1:
            raise ValueError(
                "expected `curvature` above -1, so that the tilt can be normalised; got "
                f"{self.curvature}."
            )

    @property
    def mean(self) -> float:
        """The target's mean, the same in every dimension."""
        return self.slope / (1 + self.curvature)

    @property
    def variance(self) -> float:
        """The target's variance, the same in every dimension."""
        return 1 / (1 + self.curvature)

    @property
    def log_norm(self) -> float:
        """The log normaliser log Z in nats, over all dimensions."""
        return self.features * (0.5 * self.slope * self.mean - 0.5 * math.log(1 + self.curvature))

    @property
    def log_bound(self) -> float | None:
        """The largest value of the tilt in nats; None if it is unbounded."""
        if self.curvature > 0:
            return self.features * 0.5 * self.slope**2 / self.curvature
        return None if self.slope or self.curvature else 0.0

    @property
    def target(self) -> Distribution:
        """The tilted law as a Gaussian, of batch shape ``()``."""
        return diagonal_gaussian(
            torch.full((self.features,), self.mean), torch.tensor(self.variance).sqrt()
        )

    def log_tilt(self, z: Tensor) -> Tensor:
        """The log tilt: ``(*, D) -> (*)``, in nats."""
        return (self.slope * z - 0.5 * self.curvature * z.square()).sum(-1)

    def tilted(self, batch_shape: Shape = (), *, normalised: bool = False) -> Tilted:
        """The same law as a ``Tilted``, with or without its ``log_norm``."""
        zero = torch.zeros(*batch_shape, self.features)
        log_norm = self.log_norm if normalised else None
        return Tilted(
            diagonal_gaussian(zero, torch.ones(())),
            self.log_tilt,
            log_norm,
            log_bound=self.log_bound,
        )


class LadderVAE(AbstractModel):
    r"""A small hierarchy of Gaussian groups, each conditioned on all groups above it.

    .. math:: p(x, z) = p(x | z_{\le K}) \prod_k p(z_k | z_{<k}), \qquad
              q(z | x) = \prod_k q(z_k | z_{<k}, x)

    It is for tests of code that handles many groups. The context of a group is the concatenation of
    its ancestors, and the top prior is standard normal. The likelihood has no closed form.

    Arguments:
        observed: Number of observed dimensions.
        latent: Number of latent dimensions per group.
        groups: Number of groups K.
        hidden: Size of the hidden layers.
        seed: Seed of the weights.
    """

    def __init__(
        self,
        observed: int = 5,
        *,
        latent: int = 2,
        groups: int = 3,
        hidden: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if groups < 1:
            raise ValueError(f"expected at least 1 of `groups`; got {groups}.")

        def conditional(in_features: int) -> Conditional:
            return Conditional(MLP(in_features, hidden, (hidden,)), GaussianHead(hidden, latent))

        with seeded(seed, "ladder"):
            self.features = MLP(observed, hidden, (hidden,))
            self.prior = StandardNormal(latent)
            self.priors = nn.ModuleList(conditional(latent * above) for above in range(1, groups))
            self.posteriors = nn.ModuleList(
                conditional(hidden + latent * above) for above in range(groups)
            )
            body = MLP(latent * groups, hidden, (hidden,))
            self.decoder = Conditional(body, Gaussian(hidden, (observed,), scale="learned"))

    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """The groups in order; all of them use the same features of ``x``."""
        size = torch.Size(batch_shape)
        features = None if x is None else self.features(x).expand(*size, -1)
        groups: list[Group] = []
        for index, posterior in enumerate(self.posteriors, 1):
            context = torch.cat([group.z for group in groups], -1) if groups else None
            prior = (
                self.prior().expand(size) if context is None else self.priors[index - 2](context)
            )
            inputs = [part for part in (features, context) if part is not None]
            group = Group(
                index, prior, None if x is None else posterior(torch.cat(inputs, -1)), context
            )
            group.z = draw(group)
            groups.append(group)
        return groups

    def likelihood(self, groups: list[Group]) -> Distribution:
        """p(x | z_1..z_K)."""
        return self.decoder(torch.cat([group.z for group in groups], -1))
