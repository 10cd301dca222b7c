"""The log normaliser of tilted priors against closed forms. False alarms: ``ALPHA`` a test, |z| <
``Z_LIMIT``.
"""

import copy
import math

import pytest
import torch
from chains import Affine, LinearLogit, chain_hvae, tilted_linear
from scipy.stats import chi2
from torch import Tensor, nn

from priorwise import HVAE, NCP, fit
from priorwise.distributions import Tilted
from priorwise.estimators import log_norm
from priorwise.estimators.normalizer import GroupNorms
from priorwise.priors import StandardNormal
from priorwise.testing import (
    ALPHA,
    Z_LIMIT,
    GaussianTilt,
    LadderVAE,
    LinearGaussianVAE,
    standard_errors,
)

TILTS = {
    "slope": GaussianTilt(slope=1.0),
    "curvature": GaussianTilt(slope=0.8, curvature=0.7),
    "two dimensions": GaussianTilt(slope=-0.6, features=2),
}


@pytest.mark.parametrize("name", TILTS)
def test_gaussian_tilt(name):
    """Fault: a wrong sign of the tilt, log S of another S, or a mean of logs; the planted ones
    below are caught.
    """
    tilt = TILTS[name]
    estimate = log_norm(tilt.tilted(), samples=50_000)
    assert abs(standard_errors(estimate.value, tilt.log_norm, estimate.stderr)) < Z_LIMIT
    assert 0 < estimate.stderr < 0.01
    assert not estimate.warnings
    assert estimate.protocol["samples"] == 50_000


def test_planted_faults_are_caught():
    """The comparison above fails for a wrong sign, a dropped half and a tilt that is off by 0.05
    nats.
    """
    tilt = TILTS["curvature"]
    base = tilt.tilted().base
    for fault in (
        lambda z: -tilt.log_tilt(z),
        lambda z: 2 * tilt.log_tilt(z),
        lambda z: tilt.log_tilt(z) + 0.05,
    ):
        estimate = log_norm(Tilted(base, fault), samples=400_000)
        assert abs(standard_errors(estimate.value, tilt.log_norm, estimate.stderr)) > Z_LIMIT


def test_errors_cover():
    """Fault: an error that forgets the number of draws; chi-squared over 150 seeds, ``ALPHA`` / 2 a
    tail.
    """
    tilt = GaussianTilt(slope=0.5)
    estimates = [log_norm(tilt.tilted(), samples=4000, seed=seed) for seed in range(150)]
    total = sum(((item.value - tilt.log_norm) / item.stderr) ** 2 for item in estimates)
    assert chi2.ppf(ALPHA / 2, 150) < total < chi2.ppf(1 - ALPHA / 2, 150)


def test_estimate_stays_with_the_model():
    """Fault: a normaliser that gets lost with copies or checkpoints, or without its error."""
    ncp = tilted_linear(0.7)
    assert ncp.known_log_norm() is None
    estimate = log_norm(ncp, samples=5000)
    assert ncp.known_log_norm().value == pytest.approx(estimate.value, abs=1e-6)
    assert ncp.known_log_norm().stderr == pytest.approx(estimate.stderr, rel=1e-5)
    other = tilted_linear(0.1)
    other.load_state_dict(ncp.state_dict())
    for kept in (other, copy.deepcopy(ncp)):
        assert kept.known_log_norm() == ncp.known_log_norm()


def test_refit_forgets_it():
    """Fault: the normaliser of the old classifiers under the new ones: a likelihood that is wrong
    without a word.
    """
    ncp = NCP(LinearGaussianVAE(2, 3), hidden_features=(4,))
    log_norm(ncp, samples=100)
    assert ncp.known_log_norm() is not None
    fit(ncp, torch.randn(60, 3), epochs=1, progress=False)
    assert ncp.known_log_norm() is None


class Recorder(nn.Module):
    """Keeps the logits that it gives."""

    def __init__(self, logit: nn.Module) -> None:
        super().__init__()
        self.logit = logit
        self.kept: list[Tensor] = []

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        self.kept.append(self.logit(z, context))
        return self.kept[-1]


@pytest.mark.parametrize("samples", [1, 999, 1000, 2500])
def test_first_draws_are_a_prefix(samples):
    """Fault: draws that depend on how many are asked for, or a count rounded up to whole blocks."""
    recorder = Recorder(LinearLogit(0.7))
    log_norm(NCP(LinearGaussianVAE(2, 3), [recorder]), samples=3000)
    drawn = [part for part in recorder.kept if len(part) > 1]  # without the looks at one row
    first = torch.cat(drawn).double()[:samples]
    estimate = log_norm(tilted_linear(0.7), samples=samples)
    assert estimate.count == samples
    assert estimate.value == pytest.approx(float(first.logsumexp(0)) - math.log(samples), abs=1e-6)


def test_groups_multiply():
    """Fault: a group left out of the product, or drawn given a tilted ancestor. log Z is the sum of
    a^2 / 2 a dimension.
    """
    slopes = (0.5, -0.4, 0.3)
    ncp = NCP(LadderVAE(4, latent=2), [LinearLogit(slope) for slope in slopes])
    estimate = log_norm(ncp, samples=50_000)
    truth = sum(slope**2 for slope in slopes)
    assert abs(standard_errors(estimate.value, truth, estimate.stderr)) < Z_LIMIT


@pytest.mark.parametrize(
    ("slope", "samples", "warned"), [(0.1, 300, False), (0.1, 199, True), (3.0, 20_000, True)]
)
def test_warns_when_the_sample_is_too_small(slope, samples, warned):
    """Fault: silence where a few draws decide."""
    estimate = log_norm(tilted_linear(slope), samples=samples)
    assert bool(estimate.warnings) == warned == (estimate.diagnostics["ess"] < 200)
    assert all("log Z is likely too low" in warning for warning in estimate.warnings)


def test_untilted_model_has_none():
    assert log_norm(LinearGaussianVAE(2, 3)).value == 0


def test_one_draw_has_no_known_error():
    """Fault: an error of zero from one weight."""
    assert math.isnan(log_norm(GaussianTilt().tilted(), samples=1).stderr)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"`samples` of at least 1; got 0"):
        log_norm(GaussianTilt().tilted(), samples=0)
    with pytest.raises(ValueError, match=r"batch shape \(\); got \(3,\)"):
        log_norm(GaussianTilt().tilted((3,)))
    with pytest.raises(ValueError, match=r"`normalizer_samples` of at least 1; got 0"):
        GroupNorms(tilted_linear(0.1), 0, 0)


class ContextLogit(nn.Module):
    """The logit ``context * z``, whose normaliser depends on the context: log Z = context^2 / 2."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None
        return self.scale * (z * context).sum(-1)


def test_normalisers_follow_their_contexts():
    """Fault: one normaliser for all contexts, or that of a neighbour.

    The error of log Z with S draws is about sqrt((e^(c^2) - 1) / S); the noise is common to all
    contexts.
    """
    hvae = chain_hvae()
    ncp = NCP(hvae, [LinearLogit(0.5), ContextLogit()])
    draws = 4000
    with torch.no_grad():
        groups = ncp.infer(torch.randn(6, 3) * 0.7, (2,))
        log_norms = GroupNorms(ncp, draws, seed=0)(groups)[0]
    context = groups[1].context.squeeze(-1)
    assert log_norms.shape == (2, 6)
    error = torch.sqrt((context.square().exp() - 1 + math.exp(0.25) - 1) / draws)
    assert bool(((log_norms - 0.125 - context.square() / 2).abs() < 1.5 * Z_LIMIT * error).all())
    assert float((context.square() / 2).std()) > 10 * float(error.mean())


def test_normalisers_in_double_precision():
    """Fault: float32 noise in a float64 model."""
    hvae = HVAE(
        encoder_top=Affine(torch.zeros(1, 3), 1.0),
        encoder_bottom=Affine(torch.zeros(1, 4), 1.0),
        prior_bottom=Affine(torch.ones(1, 1), 1.0),
        decoder=Affine(torch.ones(3, 2), 1.0),
        prior=StandardNormal(1),
    )
    ncp = NCP(hvae, [LinearLogit(0.5), LinearLogit(0.3)]).double()
    groups = ncp.infer(torch.randn(4, 3).double())
    assert GroupNorms(ncp, 5, seed=0)(groups).dtype == torch.float64
