"""Models whose likelihood is known for two groups, for a tilted prior, and for weights of one's
choice.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from priorwise import HVAE, NCP
from priorwise.models import AbstractModel, Draw, Group
from priorwise.priors import StandardNormal
from priorwise.testing import LinearGaussianVAE

SLOPE, NOISE = 0.8, 0.6
W1, W2 = torch.tensor([1.0, -0.5, 0.3]), torch.tensor([0.4, 0.9, -0.7])


def gaussian(loc: Tensor, scale: Tensor | float) -> Distribution:
    scale = torch.as_tensor(scale, dtype=loc.dtype).expand_as(loc)
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


class Affine(nn.Module):
    """A Gaussian around an affine function of the inputs, which broadcast."""

    def __init__(self, weight: Tensor, scale: Tensor | float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float())
        self.scale = scale

    def forward(self, *inputs: Tensor) -> Distribution:
        size = torch.broadcast_shapes(*[part.shape[:-1] for part in inputs])
        joined = torch.cat([part.expand(*size, part.shape[-1]) for part in inputs], -1)
        return gaussian(joined @ self.weight.T, self.scale)


def _joint() -> Tensor:
    """The covariance of (top, bottom, x): bottom = SLOPE top + e,
    x = bottom W1 + top W2 + NOISE e.
    """
    step = torch.eye(5, dtype=torch.float64)
    step[1, 0] = SLOPE
    step[2:, 0] = W2 + SLOPE * W1
    step[2:, 1] = W1
    step[2:, 2:] *= NOISE
    return step @ step.T


def _given(covariance: Tensor, wanted: int, known: list[int]) -> tuple[Tensor, Tensor]:
    """Weights and standard deviation of one variable given others, all centred."""
    weight = torch.linalg.solve(covariance[known][:, known], covariance[known, wanted])
    return weight.unsqueeze(0), (
        covariance[wanted, wanted] - weight @ covariance[known, wanted]
    ).sqrt().float()


def chain_hvae() -> HVAE:
    """An HVAE of one dimension a group with its exact posterior, so that every importance weight is
    p(x).
    """
    covariance = _joint()
    return HVAE(
        encoder_top=Affine(*_given(covariance, 0, [2, 3, 4])),
        encoder_bottom=Affine(*_given(covariance, 1, [2, 3, 4, 0])),
        prior_bottom=Affine(torch.tensor([[SLOPE]]), 1.0),
        decoder=Affine(torch.stack([W1, W2], 1), NOISE),
        prior=StandardNormal(1),
    )


def chain_marginal(top: float = 0.0, bottom: float = 0.0) -> MultivariateNormal:
    """p(x) of the chain, with the means of the two priors' noises moved."""
    loc = (W2 + SLOPE * W1) * top + W1 * bottom
    return MultivariateNormal(loc.double(), _joint()[2:, 2:])


class LinearLogit(nn.Module):
    """The logit ``slope * z``: tilts N(m, s^2) to N(m + slope s, s^2), with log Z = slope^2 / 2 a
    dimension.
    """

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.slope * z.sum(-1)


def tilted_linear(slope: float, **options: float) -> NCP:
    """An NCP over a linear-Gaussian VAE whose prior is N(slope, 1) in every dimension."""
    return NCP(LinearGaussianVAE(2, 3, **options), [LinearLogit(slope)])


def tilted_marginal(ncp: NCP) -> MultivariateNormal:
    """p(x) of ``tilted_linear``."""
    plain, slope = ncp.base.marginal(), ncp.classifiers[0].slope.detach().double()
    loc = plain.loc + ncp.base.decoder.weight.detach().double().sum(1) * slope
    return MultivariateNormal(loc, plain.covariance_matrix)


class Prescribed(Distribution):
    """A likelihood whose density is a table of log weights, ``(S, B)``."""

    arg_constraints: dict = {}

    def __init__(self, log_w: Tensor) -> None:
        self.log_w = log_w
        super().__init__(log_w.shape, torch.Size((1,)), validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_w


class WeightModel(AbstractModel):
    """A model with q = p = N(0, 1), whose importance weights are given: one chunk of at most 100 x
    10.
    """

    def __init__(self, log_w: Tensor) -> None:
        super().__init__()
        self.prior = StandardNormal(1)
        self.log_w = nn.Parameter(log_w)

    def top_down(
        self, draw: Draw, batch_shape: tuple[int, ...], x: Tensor | None = None
    ) -> list[Group]:
        size = torch.Size(batch_shape)
        group = Group(1, self.prior().expand(size), self.prior().expand(size))
        group.z = draw(group)
        return [group]

    def likelihood(self, groups: list[Group]) -> Distribution:
        return Prescribed(self.log_w)
