"""The contract checks fail on what is broken, and say what:
each part below has one planted fault.
"""

import math
import re
from contextlib import contextmanager
from typing import ClassVar

import pytest
import torch
from members import LATENT, gaussian, images, vae
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from priorwise.distributions import DiagonalGaussianMixture, Tilted, UnflattenedRows
from priorwise.models import AbstractModel
from priorwise.priors import AbstractPrior, StandardNormal
from priorwise.samplers import AbstractSampler, SampleInfo
from priorwise.testing import (
    Z_LIMIT,
    LinearGaussianVAE,
    check_distribution,
    check_likelihood,
    check_mean,
    check_model,
    check_prior,
    check_sampler,
    standard_errors,
    z_limit,
)


class Normals(AbstractPrior):
    """A sound prior; the faults below are planted in copies of it."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(LATENT))
        self.log_scale = nn.Parameter(torch.zeros(LATENT))

    def _distribution(self, encode_top):
        return self.wrapped(
            Independent(Normal(self.loc, self.log_scale.exp(), validate_args=False), 1)
        )

    def wrapped(self, distribution: Distribution) -> Distribution:
        return distribution


class Faulty(Distribution):
    """A Gaussian with a density or draws that are off."""

    arg_constraints: ClassVar = {}
    has_rsample = True

    def __init__(
        self,
        inner: Distribution,
        *,
        constant: float = 0.0,
        stretch: float = 1.0,
        shift: float = 0.0,
    ):
        self.inner, self.constant, self.stretch, self.shift = inner, constant, stretch, shift
        super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        inner = self.inner.expand(batch_shape)
        return Faulty(inner, constant=self.constant, stretch=self.stretch, shift=self.shift)

    @property
    def mean(self):
        return self.inner.mean

    def log_prob(self, z):
        return self.inner.log_prob(z) + self.constant

    def rsample(self, sample_shape=()):
        return self.inner.rsample(torch.Size(sample_shape)) * self.stretch + self.shift


class DroppedConstant(Normals):
    def wrapped(self, distribution):
        return Faulty(distribution, constant=0.05)


class WideDraws(Normals):
    def wrapped(self, distribution):
        return Faulty(distribution, stretch=1.1)


class ShiftedDraws(Normals):
    def wrapped(self, distribution):
        return Faulty(distribution, shift=0.1)


class DeadParameter(Normals):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(3))


class NotANumber(Normals):
    def wrapped(self, distribution):
        return Faulty(distribution, constant=math.nan)


class Batched(Normals):
    def wrapped(self, distribution):
        return distribution.base_dist


class Detached(Normals):
    def wrapped(self, distribution):
        class Quiet(Faulty):
            def rsample(self, sample_shape=()):
                return super().rsample(sample_shape).detach()

            def expand(self, batch_shape, _instance=None):
                return Quiet(self.inner.expand(batch_shape))

        return Quiet(distribution)


class ModeDependent(Normals):
    def _distribution(self, encode_top):
        scale = self.log_scale.exp() * (1.0 if self.training else 1.5)
        return Independent(Normal(self.loc, scale, validate_args=False), 1)


class NarrowExpansion(Normals):
    def wrapped(self, distribution):
        class Narrow(Faulty):
            def expand(self, batch_shape, _instance=None):
                return Independent(Normal(torch.zeros(*batch_shape, LATENT), 1.0), 1)

        return Narrow(distribution)


class Stale(Normals):
    """Never forgets the distribution of a block of ``kept``."""

    @contextmanager
    def kept(self):
        self._keeping = True
        yield


class Counting(Normals):
    """Counts its calls in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def _distribution(self, encode_top):
        self.calls += 1
        return super()._distribution(encode_top)


class Drawing(Normals):
    """Estimates something with draws whenever it is called."""

    def _distribution(self, encode_top):
        torch.randn(3)
        return super()._distribution(encode_top)


PRIOR_FAULTS = {
    DroppedConstant: "mass under the draws",
    WideDraws: "mass under the draws",
    ShiftedDraws: "mass under the draws",
    DeadParameter: "`unused` got no gradient",
    NotANumber: "expected log densities of () draws to be finite; got nan",
    Batched: "expected a prior of batch shape ()",
    Detached: "expected reparameterised draws to carry gradients",
    ModeDependent: "training and evaluation mode to agree",
    NarrowExpansion: "after `expand((4,))` to agree",
    Stale: "values after `frozen` and a step of the parameters to agree",
    Counting: "it changed `calls`",
    Drawing: "it changed the random state",
}


def test_the_sound_prior_passes():
    check_prior(Normals())


@pytest.mark.parametrize("fault", PRIOR_FAULTS, ids=lambda fault: fault.__name__)
def test_check_prior_catches(fault):
    with pytest.raises(AssertionError, match=re.escape(PRIOR_FAULTS[fault])):
        check_prior(fault())


def test_check_distribution_catches_draws_of_the_first_components():
    """Fault: draws from the first components of a mixture only."""

    class FirstComponents(DiagonalGaussianMixture):
        def sample(self, sample_shape=()):
            return DiagonalGaussianMixture(self.loc[:3], self.scale[:3]).sample(sample_shape)

    with pytest.raises(AssertionError, match="mass under the draws"):
        check_distribution(FirstComponents(torch.randn(5, 2), torch.ones(5, 2)))


class MixedRows(AbstractModel):
    """A VAE with one planted fault in its likelihood, its groups or its context."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.inner = fault, LinearGaussianVAE(LATENT, 6)

    def top_down(self, draw, batch_shape, x=None):
        seen = x - x.mean(0) if self.fault == "batch mean" and x is not None else x
        (group,) = self.inner.top_down(draw, batch_shape, seen)
        if self.fault == "index":
            group.index = 0
        if self.fault == "prior shape":
            group.prior = StandardNormal(LATENT)()
        if self.fault == "posterior":
            group.posterior = group.posterior or group.prior
        if self.fault == "context":
            group.context = group.z.sum(0)
        return [group]

    def likelihood(self, groups):
        observed = self.inner.likelihood(groups)
        if self.fault == "swapped samples" and len(observed.batch_shape) == 2:
            loc, scale = observed.base_dist.loc, observed.base_dist.scale
            return Independent(Normal(loc.flip(0), scale), 1)
        if self.fault == "flat rows" and len(observed.batch_shape) == 2:
            loc, scale = observed.base_dist.loc, observed.base_dist.scale
            return Independent(Normal(loc.flatten(0, 1), scale.flatten(0, 1)), 1)
        return observed


MODEL_FAULTS = {
    "batch mean": "log weights of the first example, alone and in its batch",
    "index": "expected groups 1, 2, ... in order; got [0]",
    "prior shape": "expected the prior of group 1 with batch shape (4,)",
    "posterior": "expected group 1 without a posterior",
    "context": "expected the context of group 1 to start with (4,)",
    "swapped samples": "log weights of sample 0, alone and among 3",
    "flat rows": "expected p(x|z) with batch shape (3, 4)",
}


@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_check_model_catches(fault):
    with pytest.raises(AssertionError, match=re.escape(MODEL_FAULTS[fault])):
        check_model(MixedRows(fault), torch.randn(4, 6))


def test_check_model_catches_an_encoder_without_gradient():
    """Fault: a posterior that is detached from its network."""

    class DetachedEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = vae().encoder

        def forward(self, x):
            normal = self.inner(x).base_dist
            return Independent(Normal(normal.loc.detach(), normal.scale.detach()), 1)

    model = vae()
    model.encoder = DetachedEncoder()
    with pytest.raises(
        AssertionError, match=r"`encoder\.inner\.body\.1\.linear\.weight` got no gradient"
    ):
        check_model(model, images())


class FaultySampler(AbstractSampler):
    """Rejection-like draws from exp(a z - c z^2 / 2) N(0, 1) with a fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __repr__(self) -> str:
        return "a sampler" if self.fault == "repr" else "FaultySampler()"

    def _run(self, tilted: Tilted, sample_shape: torch.Size):
        z = tilted.base.sample(sample_shape)
        if self.fault == "gradients":
            z = z + 0 * tilted.log_tilt(z).unsqueeze(-1)
        if self.fault == "parameters":
            tilted.log_tilt(z).sum().backward()
        if self.fault == "seeding":
            torch.manual_seed(0)
            z = torch.randn_like(z)
        if self.fault == "shape":
            z = z.squeeze(0) if sample_shape else z.unsqueeze(0)
        if self.fault == "sign":
            z = z - 1
        exact = self.fault not in ("sign", "no tilt")
        if self.fault == "narrow":
            z = 0.5 * z + 2 / 3
        ess = torch.full(z.shape[:-1], 0.5) if self.fault == "ess" else None
        return z.detach() if self.fault != "gradients" else z, SampleInfo(
            "faulty", exact=exact, ess=ess
        )


SAMPLER_FAULTS = {
    "repr": "expected the printed form to name FaultySampler",
    "gradients": "expected draws without gradients",
    "parameters": "expected sampling to leave the tilt's parameters alone",
    "seeding": "expected new draws at every call",
    "shape": "draws for a sample shape of ()",
    "sign": "expected the draws to move from the base's mean 0 towards the target's 0.667",
    "no tilt": "expected the draws to move from the base's mean 0 towards the target's 0.667",
    "tilt ignored, called exact": "expected the mean of the draws to be 0.66667",
    "narrow": "expected the variance of the draws to be 0.66667",
    "ess": "expected effective sample sizes of at least 1; got 0.5",
}


@pytest.mark.parametrize("fault", SAMPLER_FAULTS)
def test_check_sampler_catches(fault):
    with pytest.raises(AssertionError, match=re.escape(SAMPLER_FAULTS[fault])):
        check_sampler(FaultySampler(fault))


class FaultyLikelihood(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.linear = fault, nn.Linear(8, 6)

    def forward(self, features: Tensor) -> Distribution:
        loc = self.linear(features)
        if self.fault == "batch statistics" and loc.dim() > 1:
            loc = loc - loc.mean(-2, keepdim=True)
        normal = Independent(Normal(loc, 0.5, validate_args=False), 1)
        if self.fault == "draws":
            return Faulty(normal, shift=0.1)
        if self.fault == "rows" and features.dim() == 3:
            return UnflattenedRows(
                Independent(Normal(loc.mT.reshape(-1, 6), 0.5), 1), loc.shape[:-1]
            )
        return normal


LIKELIHOOD_FAULTS = {
    "batch statistics": "log likelihoods alone and in a batch to agree",
    "draws": "mass under the draws",
    "rows": "log likelihoods alone and among samples to agree",
}


@pytest.mark.parametrize("fault", LIKELIHOOD_FAULTS)
def test_check_likelihood_catches(fault):
    with pytest.raises(AssertionError, match=re.escape(LIKELIHOOD_FAULTS[fault])):
        check_likelihood(FaultyLikelihood(fault), torch.randn(4, 8))


def test_the_sound_likelihood_passes():
    check_likelihood(FaultyLikelihood("none"), torch.randn(4, 8))


def test_checks_leave_the_random_state():
    """Fault: a check that moves the caller's stream."""
    distribution, prior = gaussian(2, event=(3,)), Normals()
    before = torch.get_rng_state()
    check_prior(prior)
    check_distribution(distribution)
    assert torch.equal(before, torch.get_rng_state())


def test_standard_errors():
    """Fault: a sign, or a zero error that hides a difference."""
    assert standard_errors(1.5, 1.0, 0.25) == 2.0
    assert standard_errors(0.5, 1.0, 0.25) == -2.0
    assert standard_errors(1.0, 1.0, 0.0) == 0.0
    assert standard_errors(0.9, 1.0, 0.0) == -math.inf
    with pytest.raises(ValueError, match="expected a standard error of at least 0; got nan"):
        standard_errors(1.0, 1.0, math.nan)


def test_check_mean_alarms_beyond_the_limit_only():
    """Fault: a limit that is forgotten, a variance in place of the error of a mean."""
    values = torch.tensor([-1.0, 1.0]).repeat(500).double()
    values = values / values.std()
    stderr = 1 / math.sqrt(1000)
    check_mean(values, 0.99 * Z_LIMIT * stderr, "it")
    with pytest.raises(AssertionError, match="expected it to be"):
        check_mean(values, 1.01 * Z_LIMIT * stderr, "it")
    check_mean(values, 1.01 * Z_LIMIT * stderr, "it", comparisons=10)
    with pytest.raises(AssertionError, match="standard errors away"):
        check_mean(torch.tensor([math.nan, 1.0]), 1.0, "it")


def test_limits_keep_the_false_alarm_rate():
    """Fault: a limit of single comparisons for many. Rates from the normal law."""
    for comparisons in (1, 10, 1000):
        rate = comparisons * math.erfc(z_limit(comparisons) / math.sqrt(2))
        assert 4e-7 < rate < 1e-6
