"""Doubts in words: numbers that are not finite, how many samples would do, short forms."""

import math

import pytest
import torch
from members import images, vae

from priorwise.distributions import Tilted
from priorwise.estimators import (
    Estimate,
    active_units,
    elbo,
    leakage,
    log_norm,
    low_posterior_samples,
    nll,
    symmetric_kl,
)
from priorwise.estimators.doubts import below_log_sum, enough_samples, negative_doubts
from priorwise.models import AbstractModel
from priorwise.refusals import UnavailableError
from priorwise.samplers import SIR, Langevin, Rejection
from priorwise.testing.oracles import LinearGaussianVAE


def normal() -> torch.distributions.Distribution:
    return torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1
    )


def test_print_shows_the_doubts():
    """Fault: a log Z that rests on nine draws, printed like any other number."""
    words = "the effective sample size is 9.0 of 1000000 draws: log Z is too low. Use others."
    log_z = Estimate(-0.94, 0.332, 10**6, warnings=(words, "nothing is shared. Take more."))
    assert str(log_z) == (
        "-0.940 ± 0.332 nats (! the effective sample size is 9.0 of 1000000 draws; nothing is "
        "shared)"
    )


@pytest.mark.parametrize(
    ("estimate", "words", "text"),
    [
        (
            Estimate(math.nan, math.nan, 3, per_example=torch.tensor([1.0, math.nan, math.inf])),
            "the number is not finite: 2 of 3 examples have no finite value, the first is example "
            "1.",
            "unknown ± unknown nats (! the number is not finite)",
        ),
        (
            Estimate(math.inf, 0.1, 3),
            "the number is not finite: a NaN or an infinite number came out of the model or its "
            "data.",
            "inf ± 0.100 nats (! the number is not finite)",
        ),
        (
            Estimate(1.0, math.nan, 1, stderr_data=math.nan),
            "the error is not known: there are too few points, examples or samples to estimate it.",
            "1.000 ± unknown (data ± unknown) nats (! the error is not known)",
        ),
    ],
)
def test_what_is_not_finite_is_doubtful(estimate, words, text):
    """Fault: NaN without a word; the same doubt again after a way through JSON."""
    assert estimate.warnings == (words,)
    assert str(estimate) == text
    assert Estimate.from_json(estimate.to_json()).warnings == (words,)
    assert estimate.with_warnings("a").warnings == (words, "a")


def test_the_samples_that_would_do():
    """ESS grows with the draws: 9 of a million, 200 wanted. Fault: the ratio upside down."""
    assert enough_samples(10**6, 9.0, 200.0) == (
        "To bring it to 200 would take at least 23,000,000 `samples`."
    )
    assert enough_samples(100, 50.0, 20.0, "draws") == (
        "To bring it to 20 would take at least 40 `draws`."
    )
    assert enough_samples(10**6, 1.5, 200.0) == (
        "No number of `samples` in reach would bring it to 200, more than 140,000,000."
    )
    for unknown in (math.nan, 0.0):
        assert enough_samples(10, unknown, 20.0) == (
            "No number of `samples` in reach would bring it to 20."
        )
    assert "at least 1 `samples`" in enough_samples(10, math.inf, 20.0)


def test_advice_of_log_norm_holds():
    """A tilt whose ESS is too small: with the advised number of draws it is about 200."""
    tilted = Tilted(normal(), lambda z: 1.2 * z.sum(-1))  # ESS / S = exp(-2 * 1.2**2) = 0.056
    few = log_norm(tilted, samples=2000)
    share = math.exp(-2 * 1.2**2)
    assert few.diagnostics["ess"] == pytest.approx(2000 * share, rel=0.5)
    (doubt,) = few.warnings
    advised = int(doubt.split("at least ")[1].split(" ")[0].replace(",", ""))
    assert log_norm(tilted, samples=advised).diagnostics["ess"] == pytest.approx(200, rel=0.5)


def test_few_samples_cannot_tell():
    """Fault: "ESS under 20" of 20 samples, where no image can have more."""
    model = LinearGaussianVAE(latent=2, observed=3, stretch=1.5)
    x = model.marginal().sample((20,)).float()
    (doubt,) = nll(model, x, samples=20).warnings
    assert doubt.startswith("20 samples are too few for an effective sample size of 20:")
    assert "To bring it to 20 would take at least " in doubt
    assert nll(model, x, samples=500).warnings == ()


def test_negative_numbers_are_doubted():
    assert negative_doubts("KL", 0.0, 1.0) == ()
    assert negative_doubts("KL", math.nan, 1.0) == ()
    (within,) = negative_doubts("KL", -0.1, 0.1)
    (beyond,) = negative_doubts("KL", -0.3, 0.1)
    assert within.endswith(
        "with an error of 0.1, but it cannot be negative: it cannot be distinguished from 0."
    )
    assert beyond.endswith("its bias is larger than its value.")
    (unknown,) = negative_doubts("KL", -0.3, math.nan)
    assert unknown.endswith("whether its bias or its noise is larger is not known.")


def test_log_sum_inequality():
    """Equality for two uniform laws, whose score is exactly Q log(Q / P)."""
    lowest = 0.2 * math.log(0.2 / 0.5)
    assert below_log_sum(lowest, 0.2, 0.5) == ()
    assert "cannot be below -0.183 nats" in below_log_sum(lowest - 0.01, 0.2, 0.5)[0]
    assert below_log_sum(-9.0, 0.0, 0.5) == ()


def broken() -> AbstractModel:
    """A model whose encoder has one weight that is not a number."""
    model = vae()
    with torch.no_grad():
        next(model.encoder.parameters()).flatten()[0] = math.nan
    return model


def test_weights_that_are_not_finite_are_named():
    """Fault: NaN weights give NaN estimates without a warning."""
    model, x = broken(), images(60)
    for estimate in (nll(model, x, samples=30), elbo(model, x), symmetric_kl(model, x)):
        doubts = [doubt for doubt in estimate.warnings if "tensors of the model" in doubt]
        assert len(doubts) == 1
        assert "the first is encoder." in doubts[0]
    for call in (active_units, leakage, lambda m, x: low_posterior_samples(m, x, count=3)):
        with pytest.raises(UnavailableError, match="60 of 60 images are not, the first is image 0"):
            call(model, x)


@pytest.mark.parametrize(
    "sampler", [SIR(10), Rejection(1.0, max_proposals=20), Langevin(2), Langevin(2, adjusted=True)]
)
def test_samplers_refuse_a_tilt_without_a_value(sampler):
    """Fault: finite draws of no law at all, or NaN draws."""
    tilted = Tilted(normal(), lambda z: z.sum(-1) * math.nan)
    with pytest.raises(UnavailableError, match=r"a tilt with a value at every draw; got nan at"):
        sampler(tilted, (5,))
    with pytest.raises(UnavailableError, match="weights of its network"):
        log_norm(tilted, samples=200)


def test_chains_that_leave_all_numbers_are_refused():
    """An unadjusted chain with a step far too long, on a tilt that grows fast."""
    tilted = Tilted(normal(), lambda z: -(z**4).sum(-1))
    with pytest.raises(UnavailableError, match="Lower `step_size`, or use `adjusted=True`"):
        Langevin(60, step_size=5.0)(tilted, (5,))
    assert bool(Langevin(20, step_size=5.0, adjusted=True)(tilted, (5,)).isfinite().all())


def test_hard_constraints_stay_possible():
    """A tilt of minus infinity outside a region is a value. Fault: refused with NaN."""
    tilted = Tilted(normal(), lambda z: torch.where(z[..., 0] > 0, 0.0, -math.inf))
    assert bool((SIR(200)(tilted, (20,))[:, 0] > 0).all())
    assert log_norm(tilted, samples=4000).value == pytest.approx(math.log(0.5), abs=0.08)
