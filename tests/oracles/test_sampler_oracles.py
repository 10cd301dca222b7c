"""Samplers on a Gaussian with a quadratic tilt, whose law, moments and normaliser are known."""

import math

import pytest
import torch
from members import gaussian
from scipy import stats
from torch.distributions import Exponential, Independent, Laplace, Normal

from priorwise.distributions import DiagonalGaussianMixture, Tilted
from priorwise.randomness import seeded
from priorwise.samplers import SIR, Ancestral, Langevin, Rejection
from priorwise.testing import ALPHA, GaussianTilt, check_mean, standard_errors

# E[z] - 1 of one SIR draw from N(0, 1) tilted by exp(z), and the reference's own standard error:
# the mean of sum(w z) / sum(w) over 4e6, 1e6 and 3e5 sets of M proposals, computed with numpy,
# apart from the sampler.
SIR_BIAS = {5: (-0.3326, 0.0003), 20: (-0.1090, 0.0004), 100: (-0.0255, 0.0004)}


# --- sampling importance resampling


@pytest.mark.parametrize("rows", [8192, 1 << 22])
@pytest.mark.parametrize("proposals", SIR_BIAS)
def test_sir_has_the_bias_that_it_should(proposals, rows):
    """Fault: one proposal more or fewer, a sign of the tilt, no Gumbel noise, a chunk that is
    weighted twice.

    Chunks of one proposal (8192 rows for more draws than that) and of all of them have the same
    law.
    """
    draws = 20_000
    z = SIR(proposals, rows=rows)(GaussianTilt().tilted(), (draws,))[:, 0]
    bias, error = SIR_BIAS[proposals]
    stderr = math.hypot(error, float(z.std()) / math.sqrt(draws))
    assert abs(standard_errors(float(z.mean()) - 1.0, bias, stderr)) < 5.03


def test_sir_with_many_proposals_follows_the_target():
    """Fault: a bias that does not vanish. Moments first, Kolmogorov-Smirnov beside; the bias left
    is 0.0014.
    """
    z = SIR(2000)(GaussianTilt(slope=1.0).tilted(), (1500,))[:, 0]
    check_mean(z, 1.0, "the mean", comparisons=2)
    check_mean((z - 1).square(), 1.0, "the variance", comparisons=2)
    assert stats.kstest(z.numpy(), stats.norm(1).cdf).pvalue > ALPHA


def test_sir_law_does_not_depend_on_the_chunks():
    """Fault: a running maximum that forgets an earlier chunk. Two samples, one law."""
    tilted = GaussianTilt(slope=1.5).tilted()
    one, many = SIR(40, rows=1)(tilted, (5000,)), SIR(40, rows=1 << 22)(tilted, (5000,))
    assert stats.ks_2samp(one[:, 0].numpy(), many[:, 0].numpy()).pvalue > ALPHA
    check_mean(one[:, 0] - many[:, 0], 0.0, "the difference of the means")


def test_sir_takes_one_of_its_proposals_by_weight():
    """Fault: an average of proposals; a choice that is not proportional to the weights.

    Three values that the base can take, with weights 1, 2 and 5: chi-square over the chosen ones at
    many proposals.
    """
    values = torch.tensor([-1.0, 0.0, 1.0])
    base = DiagonalGaussianMixture(values[:, None], torch.full((3, 1), 1e-4))
    weight = torch.tensor([1.0, 2.0, 5.0])
    tilted = Tilted(base, lambda z: weight[(z[..., 0] + 1).round().long()].log())
    z = SIR(400)(tilted, (4000,))[:, 0]
    assert float((z - z.round()).abs().max()) < 1e-3
    counts = (z + 1).round().long().bincount(minlength=3)
    assert stats.chisquare(counts.numpy(), (weight / 8 * 4000).double().numpy()).pvalue > ALPHA


def test_sir_draws_have_proposals_of_their_own():
    """Fault: one set of proposals for all draws: then some draws coincide, and means no longer
    average out.
    """
    z = SIR(3)(GaussianTilt().tilted((4,)), (500,))
    assert len(z.flatten().unique()) == 2000
    means = torch.stack([SIR(5)(GaussianTilt().tilted(), (50,)).mean() for _ in range(400)])
    single = SIR(5)(GaussianTilt().tilted(), (20_000,)).var()
    ratio = float(means.var() / (single / 50))
    assert abs(standard_errors(ratio, 1.0, math.sqrt(2 / 399))) < 5.03


@pytest.mark.parametrize("rows", [1, 8192])
def test_sir_effective_sample_size(rows):
    """Fault: a sum of squares in place of the square of a sum. By hand, from the weights that the
    tilt was asked for.
    """
    weights = []

    def log_tilt(z):
        weights.append(z.sum(-1))
        return weights[-1]

    _, info = SIR(20, rows=rows).run(Tilted(gaussian(3), log_tilt), (2,))
    w = torch.cat(weights).double().exp()
    assert w.shape == (20, 2, 3)
    torch.testing.assert_close(
        info.ess.double(), w.sum(0).square() / w.square().sum(0), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(info.log_norm.double(), w.mean(0).log(), rtol=1e-4, atol=1e-4)
    assert ((info.ess >= 1) & (info.ess <= 20)).all()


def test_sir_without_a_tilt():
    """Fault: weights that vary by themselves. All proposals count,
    and a draw is one of the base.
    """
    z, info = SIR(50).run(GaussianTilt(slope=0.0).tilted(), (4000,))
    torch.testing.assert_close(info.ess, torch.full((4000,), 50.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(info.log_norm, torch.zeros(4000), rtol=0, atol=1e-5)
    assert stats.kstest(z[:, 0].numpy(), stats.norm.cdf).pvalue > ALPHA
    assert not info.exact


@pytest.mark.parametrize("rows", [1, 1 << 22])
def test_sir_normaliser_is_unbiased(rows):
    """Fault: a count that is off by one, or a chunk that is lost. E[Z] = exp(1/2)."""
    _, info = SIR(10, rows=rows).run(GaussianTilt().tilted(), (10_000,))
    check_mean(info.log_norm.double().exp(), math.exp(0.5), "the mean of the estimates of Z")


def test_sir_memory_does_not_grow_with_the_proposals():
    """Fault: all proposals at once. The tilt counts the rows that it is asked for."""
    rows = []

    def log_tilt(z):
        rows.append(z[..., 0].numel())
        return z.sum(-1)

    tilted = Tilted(gaussian(3), log_tilt)
    _, info = SIR(1000, rows=100).run(tilted, (4,))
    assert max(rows) <= 100
    assert sum(rows) == 1000 * 12
    assert info.evaluations == 1000


def test_sir_with_impossible_proposals():
    """Fault: NaN from a weight of zero, which a tilt of -inf is."""
    tilted = Tilted(gaussian(event=(1,)), lambda z: torch.where(z[..., 0] > 0, 0.0, -torch.inf))
    z, info = SIR(200).run(tilted, (300,))
    assert (z > 0).all()
    assert info.ess.isfinite().all()


# --- rejection


def test_rejection_is_exact():
    """Fault: a bound that is added, the logarithm of the uniform left out,
    refused draws that stay.
    """
    truth = GaussianTilt(slope=0.8, curvature=0.6)
    z, info = Rejection().run(truth.tilted(), (8000,))
    z = z[:, 0]
    check_mean(z, truth.mean, "the mean", comparisons=2)
    check_mean((z - truth.mean).square(), truth.variance, "the variance", comparisons=2)
    assert stats.kstest(z.numpy(), stats.norm(truth.mean, truth.variance**0.5).cdf).pvalue > ALPHA
    assert info.exact


@pytest.mark.parametrize("slack", [0.0, 1.0])
def test_rejection_tells_its_acceptance_rate(slack):
    """Fault: a mean of reciprocals, which overstates the rate (0.69 for 0.5).
    The rate is Z e^-b.
    """
    truth, draws = GaussianTilt(slope=0.8, curvature=0.6), 20_000
    bound = truth.log_bound + slack
    _, info = Rejection(log_bound=bound).run(truth.tilted(), (draws,))
    rate = math.exp(truth.log_norm - bound)
    stderr = rate * math.sqrt(
        (1 - rate) / draws
    )  # of draws over a sum of geometric numbers of tries
    assert abs(standard_errors(float(info.acceptance), rate, stderr)) < 5.03
    assert abs(standard_errors(1 / info.evaluations, rate, stderr)) < 5.03


def test_rejection_refuses_a_false_bound():
    """Fault: draws of a clipped tilt, passed off as exact."""
    truth = GaussianTilt(slope=0.8, curvature=0.6)
    with pytest.raises(
        ValueError,
        match=r"expected a tilt of at most 0\.1000 nats; got .* give a larger `log_bound`",
    ):
        Rejection(log_bound=0.1)(truth.tilted(), (1000,))


def test_rejection_asks_for_a_bound_and_gives_up_in_words():
    """Fault: an endless loop."""
    with pytest.raises(ValueError, match="expected a bounded tilt; got one without `log_bound`"):
        Rejection()(GaussianTilt().tilted())
    hopeless = GaussianTilt(slope=0.0, curvature=1.0)
    with pytest.raises(
        ValueError, match=r"draws were not accepted in 20 proposals: the bound of 30\.00 nats"
    ):
        Rejection(log_bound=30.0, max_proposals=20)(hopeless.tilted(), (100,))


def test_rejection_takes_bounds_that_are_reached():
    """Fault: a bound that is taken for violated where the tilt touches it. No tilt: every proposal
    is accepted.
    """
    _, info = Rejection().run(GaussianTilt(slope=0.0).tilted(), (100,))
    assert float(info.acceptance) == 1.0


# --- Langevin


@pytest.mark.parametrize("base", [Normal(0.0, 1.0), Laplace(0.0, 1.0)], ids=["noise", "scaled"])
def test_langevin_over_single_numbers(base):
    """Fault: a sum over no dimensions taken for one over all chains: the tilt had no effect, or a
    chain left all numbers. The mean of N(0, 1) tilted by z/2 is 1/2, of Laplace 4/3.
    """
    tilted = Tilted(base, lambda z: 0.5 * z)
    z, info = Langevin(300, step_size=0.5, adjusted=True).run(tilted, (4000,))
    assert z.shape == info.acceptance.shape == (4000,)
    check_mean(z, 0.5 if isinstance(base, Normal) else 4 / 3, "the mean")


def one_component(loc=0.0, scale=1.0):
    """A Gaussian that does not say so: it has no noise form, so that a chain moves in the scaled
    space.
    """
    return DiagonalGaussianMixture(torch.tensor([[loc]]), torch.tensor([[scale]]))


SPACES = {
    "noise": lambda: gaussian(event=(1,)),
    "z / stddev": lambda: one_component(0.7, 2.5),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("step_size", [0.1, 0.5, 1.0])
def test_unadjusted_langevin_has_the_variance_that_it_should(step_size, space):
    """Fault: a drift without its half, noise of another size, a Jacobian too many.

    On N(0, 1) in its own units the stationary variance is 1 / (1 - step / 4); one draw from each
    chain. The start, a draw from the base, is forgotten to (1 - step / 2)^2n < 1e-2 of the
    difference.
    """
    base, chains = SPACES[space](), 300_000  # at step 0.1, ten standard errors between 1.026 and 1
    sampler = Langevin(math.ceil(5 / step_size), step_size=step_size)
    z, info = sampler.run(Tilted(base, lambda z: 0.0 * z.sum(-1)), (chains,))
    u = (z - base.mean) / base.stddev
    check_mean(u, 0.0, "the mean", comparisons=2)
    check_mean(u.square(), 1 / (1 - step_size / 4), "the variance", comparisons=2)
    assert info.details["space"] == space


@pytest.mark.parametrize("space", SPACES)
def test_langevin_finds_the_mean_of_a_tilt(space):
    """Fault: a drift that forgets the tilt or its scale. Base N(m, s^2) and slope a: the mean is m
    + a s^2.
    """
    base = SPACES[space]()
    z = Langevin(60, step_size=0.2)(Tilted(base, lambda z: 0.6 * z.sum(-1)), (20_000,))
    truth = float(base.mean + 0.6 * base.variance)
    check_mean(
        (z[:, 0] - truth) / float(base.stddev), 0.0, "the error of the mean in standard deviations"
    )


@pytest.mark.parametrize("space", SPACES)
def test_adjusted_langevin_is_exact_when_it_has_forgotten_its_start(space):
    """Fault: a forward proposal density without its way back, a ratio of the wrong sign. Variance 1
    at step 1.
    """
    base = SPACES[space]()
    tilted = Tilted(
        base, lambda z: 0.3 * ((z - base.mean) / base.stddev).sum(-1)
    )  # the target is N(0.3, 1) in u
    z, info = Langevin(40, step_size=1.0, adjusted=True).run(tilted, (20_000,))
    u = ((z - base.mean) / base.stddev)[:, 0]
    check_mean(u, 0.3, "the mean", comparisons=2)
    check_mean((u - 0.3).square(), 1.0, "the variance", comparisons=2)
    assert stats.kstest(u.numpy(), stats.norm(0.3).cdf).pvalue > ALPHA
    assert 0.5 < float(info.acceptance.mean()) < 0.99


def test_adjusted_langevin_acceptance():
    """Fault: a rate that counts proposals, not acceptances. In the limit of small steps all are
    accepted.
    """
    _, small = Langevin(20, step_size=1e-4, adjusted=True).run(GaussianTilt().tilted(), (200,))
    _, large = Langevin(20, step_size=30.0, adjusted=True).run(GaussianTilt().tilted(), (200,))
    assert float(small.acceptance.mean()) > 0.999
    assert float(large.acceptance.mean()) < 0.2
    _, unadjusted = Langevin(5).run(GaussianTilt().tilted(), (10,))
    assert (unadjusted.acceptance == 1).all()


@pytest.mark.parametrize("adjusted", [False, True])
def test_langevin_by_single_steps_is_the_same_chain(adjusted):
    """Fault: a `run` with dynamics of its own."""
    tilted = GaussianTilt(slope=1.0).tilted((3,))
    sampler = Langevin(6, step_size=0.7, adjusted=adjusted)
    with seeded(0):
        whole = sampler(tilted, (4,))
    with seeded(0):
        state = sampler.init(tilted, (4,))
        for _ in range(6):
            state, info = sampler.step(tilted, state)
    torch.testing.assert_close(sampler.position(tilted, state), whole)
    assert info.acceptance.shape == (4, 3)
    with pytest.raises(
        TypeError, match="expected the Tilted distribution of the chain; got Independent"
    ):
        sampler.position(tilted.base, state)


def test_langevin_starts_at_draws_from_the_base():
    """Fault: chains that start at zero, or at one common point."""
    tilted = Tilted(one_component(2.0, 3.0), lambda z: z.sum(-1))
    sampler = Langevin(1)
    z = sampler.position(tilted, sampler.init(tilted, (8000,)))[:, 0]
    assert stats.kstest(z.numpy(), stats.norm(2, 3).cdf).pvalue > ALPHA


def test_langevin_works_where_gradients_are_off():
    """Fault: a sampler that needs the caller to switch gradients on."""
    with torch.no_grad():
        z = Langevin(3)(GaussianTilt().tilted(), (5,))
    assert z.shape == (5, 1)


# --- everything else


@pytest.mark.parametrize("sampler", [SIR(5), Rejection(), Langevin(5), Ancestral()], ids=repr)
def test_what_is_not_tilted_is_drawn_as_it_is(sampler):
    """Fault: a sampler that spends proposals or steps, and gains a bias, where there is nothing to
    correct.
    """
    law = gaussian(3)
    with seeded(0):
        z, info = sampler.run(law, (4,))
    with seeded(0):
        expected = law.sample((4,))
    assert torch.equal(z, expected)
    assert (info.method, info.evaluations, info.exact) == ("ancestral", 0.0, True)


def test_temperature_multiplies_standard_deviations():
    """Fault: a factor on the variance, or on the mean."""
    law = gaussian(event=(1,))
    z, info = Ancestral(0.5).run(law, (20_000,))
    u = (z - law.mean) / law.stddev
    check_mean(u, 0.0, "the mean", comparisons=2)
    check_mean(u.square(), 0.25, "the variance", comparisons=2)
    assert not info.exact
    assert info.details == {"temperature": 0.5}


def test_temperature_of_a_mixture_keeps_its_weights():
    """Fault: a temperature that moves the means or forgets the weights."""
    weights = torch.tensor([0.2, 0.8])
    mixture = DiagonalGaussianMixture(
        torch.tensor([[-50.0], [50.0]]), torch.ones(2, 1), weights.log()
    )
    z = Ancestral(0.3)(mixture.expand((2,)), (10_000,))
    assert z.shape == (10_000, 2, 1)
    z = z.flatten()
    check_mean((z > 0).float(), 0.8, "the weight", comparisons=2)
    check_mean((z - 50 * z.sign()).square(), 0.09, "the variance", comparisons=2)


def test_refusals_of_ancestral_sampling():
    """Fault: a temperature that is silently dropped, a tilt that is ignored."""
    law = torch.distributions.Gamma(torch.ones(2), torch.ones(2))
    with pytest.raises(
        ValueError, match=r"expected a Gaussian or a mixture of Gaussians for a temperature of 0\.7"
    ):
        Ancestral(0.7)(law)
    for temperature in (1.0, 0.7):
        with pytest.raises(
            ValueError,
            match="expected a distribution that can be sampled directly; got a Tilted one",
        ):
            Ancestral(temperature)(GaussianTilt().tilted())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SIR(0), "expected at least 1 of `proposals`; got 0"),
        (lambda: SIR(5, rows=0), "expected `rows` of at least 1; got 0"),
        (lambda: Rejection(max_proposals=0), "expected at least 1 of `max_proposals`; got 0"),
        (lambda: Langevin(0), "expected at least 1 of `steps`; got 0"),
        (lambda: Langevin(1, step_size=0.0), "expected a positive, finite `step_size`; got 0.0"),
        (
            lambda: Langevin(1, step_size=math.nan),
            "expected a positive, finite `step_size`; got nan",
        ),
        (lambda: Ancestral(0.0), "expected a positive, finite `temperature`; got 0.0"),
        (lambda: SIR(temperature=1e40), "`temperature` of at most 10,000; got 1e\\+40"),
        (lambda: SIR(temperature=float("inf")), "positive, finite `temperature`; got inf"),
    ],
)
def test_settings_are_checked_at_construction(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_tilt_oracle_itself():
    """Fault: a reference that is wrong. log Z by quadrature on a grid, moments of the product on
    the same grid.
    """
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    width = float(grid[1] - grid[0])
    for truth in (
        GaussianTilt(),
        GaussianTilt(slope=-0.7, curvature=0.9),
        GaussianTilt(slope=0.4, curvature=-0.5),
    ):
        density = (Normal(0.0, 1.0).log_prob(grid) + truth.log_tilt(grid[:, None])).exp() * width
        mean = float((density * grid).sum() / density.sum())
        assert float(density.sum().log()) == pytest.approx(truth.log_norm, abs=1e-6)
        assert mean == pytest.approx(truth.mean, abs=1e-6)
        variance = float((density * (grid - mean).square()).sum() / density.sum())
        assert variance == pytest.approx(truth.variance, abs=1e-6)
        if truth.log_bound is not None:
            assert float(truth.log_tilt(grid[:, None]).max()) == pytest.approx(
                truth.log_bound, abs=1e-6
            )
    assert GaussianTilt(features=3).log_norm == 1.5
    assert GaussianTilt().log_bound is None


def test_chains_stay_on_their_support():
    """Fault: a chain that leaves the support of its base: log Z of an exponential base came out as
    59 for -2.
    """
    base = Independent(Exponential(torch.ones(2), validate_args=False), 1, validate_args=False)
    tilted = Tilted(base, lambda z: -z.sum(-1))
    with pytest.raises(ValueError, match="expected a base over all real numbers for a chain"):
        Langevin(3)(tilted)
    assert SIR(20)(tilted, (5,)).shape == (5, 2)
