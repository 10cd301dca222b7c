"""Both ends of a log normaliser against closed forms. False alarms: ``ALPHA`` a test, |z| <
``Z_LIMIT``.
"""

import math

import pytest
import torch
from scipy.stats import binom, chi2
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
)
from torch.distributions.transforms import AffineTransform

from priorwise.backbones import CouplingFlow
from priorwise.distributions import (
    DiagonalGaussianMixture,
    NormalizingFlow,
    Tilted,
    from_noise,
    to_noise,
)
from priorwise.estimators import annealed, log_norm
from priorwise.estimators.annealed import annealed_log_norm
from priorwise.estimators.bracket import Paths, bracket_of, clustered_error
from priorwise.randomness import seeded
from priorwise.samplers.path import AnnealingPath
from priorwise.samplers.pilot import pilot_run
from priorwise.testing import ALPHA, Z_LIMIT, GaussianTilt, standard_errors
from priorwise.testing.laws import jittered


def standard(features):
    return Independent(Normal(torch.zeros(features), torch.ones(features)), 1)


def bent_flow():
    with seeded(0, "bent"):
        return NormalizingFlow(
            jittered(CouplingFlow(3, hidden_features=(16,)), 0.1).requires_grad_(False)
        )


def over_flow():
    """A flow tilted into a Gaussian, times e^3: log Z = 3."""
    flow, target = bent_flow(), Independent(Normal(torch.full((3,), 0.4), torch.full((3,), 0.7)), 1)
    return Tilted(flow, lambda z: target.log_prob(z) - flow.log_prob(z) + 3.0), target, 3.0


def over_mixture():
    """Two Gaussians times e^(a z): log Z = log sum_m exp(a mu_m + a^2 s_m^2 / 2) / 2 in one
    dimension, twice.
    """
    loc, scale, slope = (
        torch.tensor([[-1.0, -1.0], [1.5, 0.5]]),
        torch.tensor([[0.6, 1.0], [1.0, 0.4]]),
        0.8,
    )
    log_parts = (slope * loc + 0.5 * slope**2 * scale.square()).sum(1)
    target = MixtureSameFamily(
        Categorical(logits=log_parts), Independent(Normal(loc + slope * scale.square(), scale), 1)
    )
    base = DiagonalGaussianMixture(loc, scale)
    return (
        Tilted(base, lambda z: slope * z.sum(-1)),
        target,
        float(log_parts.logsumexp(0)) - math.log(2),
    )


def over_array():
    """An event of two dimensions."""
    base = Independent(Normal(torch.zeros(2, 3), torch.ones(2, 3)), 2)
    target = Independent(Normal(torch.full((2, 3), 0.6), torch.ones(2, 3)), 2)
    return Tilted(base, lambda z: 0.6 * z.sum((-1, -2))), target, 6 * 0.18


def gaussian(**options):
    tilt = GaussianTilt(**options)
    return tilt.tilted(), tilt.target, tilt.log_norm


ORACLES = {
    "slope": lambda: gaussian(slope=1.5),
    "bounded": lambda: gaussian(slope=0.8, curvature=0.7),
    "wide": lambda: gaussian(slope=0.3, curvature=-0.5, features=2),
    "10 dimensions": lambda: gaussian(slope=0.6, curvature=0.5, features=10),
    "40 dimensions": lambda: gaussian(slope=0.25, features=40),
    "flow": over_flow,
    "mixture": over_mixture,
    "array": over_array,
}


@pytest.mark.parametrize("name", ORACLES)
def test_both_ends_are_unbiased(name):
    """Fault: moves at the temperature before, a weight taken after the move, a base density left
    out, a
    tilt gradient that forgets the temperature: E[exp w] = Z forward, E[exp -w] = 1/Z from exact
    draws.
    """
    tilted, target, truth = ORACLES[name]()
    exact = Tilted(tilted.base, tilted.log_tilt)
    estimate = annealed_log_norm(
        exact, temperatures=5, chains=1500, burn_in=0, starts=target.sample((1500,))
    )
    for end, sign in ((estimate.forward, 1), (estimate.backward, -1)):
        ratio = math.exp(sign * (end.value - truth))
        assert end.diagnostics["ess"] > 100
        assert abs(standard_errors(ratio, 1.0, ratio * end.stderr)) < Z_LIMIT
    assert abs(standard_errors(estimate.value, truth, estimate.stderr)) < Z_LIMIT
    assert (
        estimate.lower < truth < estimate.upper
        or abs(estimate.value - truth) < Z_LIMIT * estimate.stderr
    )


@pytest.mark.parametrize("name", ["slope", "flow", "mixture"])
def test_one_temperature_is_plain_importance_sampling(name):
    """Fault: another weight than the tilt at the draw, or a mean over another number of draws."""
    tilted, _, _ = ORACLES[name]()
    estimate = annealed_log_norm(
        tilted, temperatures=1, chains=250, transitions=0, burn_in=0, seed=3
    )
    path, log_w = AnnealingPath(tilted), []
    for tile in range(3):
        with seeded(3, "annealed", "forward", tile), torch.no_grad():
            log_w.append(tilted.log_tilt(path.to_z(path.base_draws(100))).double())
    log_w = torch.cat(log_w)[:250]
    ess = float((2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp())
    assert estimate.forward.value == pytest.approx(
        float(log_w.logsumexp(0)) - math.log(250), abs=1e-6
    )
    assert estimate.forward.stderr == pytest.approx(
        math.sqrt((1 / ess - 1 / 250) * 250 / 249), rel=1e-4
    )
    assert estimate.forward.diagnostics["ess"] == pytest.approx(ess, rel=1e-4)
    assert "acceptance" not in estimate.diagnostics


def test_without_moves_the_weights_are_plain():
    """Fault: temperature steps that do not add up to one."""
    tilted = GaussianTilt(slope=0.7, features=3).tilted()
    one, many = (
        annealed_log_norm(tilted, temperatures=n, chains=50, transitions=0, burn_in=4)
        for n in (1, 37)
    )
    assert many.forward.value == pytest.approx(one.forward.value, abs=1e-6)


@pytest.mark.parametrize(
    ("slope", "curvature", "features"), [(7.0, 0.0, 1), (2.2, 0.0, 10), (1.0, 3.0, 40)]
)
def test_sharp_tilts(slope, curvature, features):
    """Fault: temperatures or steps that do not follow the tilt. Plain importance sampling errs by
    nats here.
    """
    tilt = GaussianTilt(slope, curvature, features)
    plain = log_norm(tilt.tilted(), samples=20_000)
    estimate = annealed_log_norm(tilt.tilted(), temperatures=250, chains=100, burn_in=100)
    assert plain.value < tilt.log_norm - 1
    assert abs(standard_errors(estimate.value, tilt.log_norm, estimate.stderr)) < Z_LIMIT
    assert estimate.lower < tilt.log_norm < estimate.upper
    assert estimate.upper - estimate.lower < 1.5
    assert estimate.diagnostics["acceptance"] == pytest.approx(0.57, abs=0.07)


def test_divergence_of_perfect_moves_is_known():
    """Fault: a schedule off by one. After perfect moves z_i ~ N(a b_i, 1), so that J = a^2 sum
    (b_i+1 - b_i)^2.
    """
    tilt = GaussianTilt(slope=1.5)
    estimate = annealed_log_norm(
        tilt.tilted(),
        temperatures=5,
        transitions=12,
        chains=2000,
        burn_in=0,
        starts=tilt.target.sample((2000,)),
    )
    with seeded(0, "annealed", "pilot"):
        betas = torch.tensor(pilot_run(AnnealingPath(tilt.tilted())).schedule(5))
    truth = 2.25 * float(betas.diff().square().sum())
    assert abs(estimate.divergence - truth) < Z_LIMIT * math.sqrt(
        2 * truth / 2000
    )  # var w = J for a Gaussian w


def test_gap_closes_like_one_over_temperatures():
    """Fault: moves that do not move, or that forget the temperature. The slope of log J on log n is
    -1.
    """
    tilt = GaussianTilt(slope=0.8, features=10)
    counts, starts = (20, 40, 80, 160), tilt.target.sample((300,))
    estimates = [
        annealed_log_norm(tilt.tilted(), temperatures=n, chains=300, burn_in=0, starts=starts)
        for n in counts
    ]
    logs = torch.tensor(
        [
            [math.log(n), math.log(item.divergence)]
            for n, item in zip(counts, estimates, strict=True)
        ]
    )
    centred = logs - logs.mean(0)
    slope = float((centred[:, 0] * centred[:, 1]).sum() / centred[:, 0].square().sum())
    # the error of one J is about sqrt(2 J / 300), so that of the slope at most 0.06
    assert abs(slope + 1) < 0.3
    assert estimates[-1].gap < estimates[0].gap


def test_interval_covers():
    """Fault: an interval from too small errors, or with its ends exchanged. 200 seeds, nominal 95
    %.
    """
    tilt = GaussianTilt(slope=0.8, curvature=0.7)
    estimates = [
        annealed_log_norm(tilt.tilted(), temperatures=4, chains=100, seed=seed)
        for seed in range(200)
    ]
    missed = sum(not item.lower <= tilt.log_norm <= item.upper for item in estimates)
    assert all(item.exact_starts for item in estimates)
    assert missed <= binom.ppf(1 - ALPHA, 200, 0.05)
    total = sum(((item.value - tilt.log_norm) / item.stderr) ** 2 for item in estimates)
    assert chi2.ppf(ALPHA / 2, 200) < total < chi2.ppf(1 - ALPHA / 2, 200)


def crooks(spread, count, truth=1.7):
    """Normal log weights that belong to each other: the backward density is e^(w - log Z) times the
    forward one.
    """
    noise = torch.randn(2, count, dtype=torch.float64) * spread
    return noise[0] + truth - 0.5 * spread**2, noise[1] + truth + 0.5 * spread**2


def bracket(forward, backward, origin=None, **options):
    origin = 10**6 + torch.arange(len(backward)) if origin is None else origin
    paths = Paths(forward, backward, origin, options.pop("starts", "exact"), **options)
    return bracket_of(paths, gradients=0, proposals=0, protocol={})


@pytest.mark.parametrize("spread", [0.5, 1.5, 3.0])
def test_value_and_ends_of_known_weights(spread):
    """Fault: ends exchanged, a sign, an error of Bennett's ratio that is off by a factor; 300
    repetitions.
    """
    estimates = [bracket(*crooks(spread, 200)) for _ in range(300)]
    missed = sum(not item.lower <= 1.7 <= item.upper for item in estimates)
    assert missed <= binom.ppf(1 - ALPHA, 300, 0.05)
    if spread < 2:  # else the widened error is too wide by intention
        total = sum(((item.value - 1.7) / item.stderr) ** 2 for item in estimates)
        assert chi2.ppf(ALPHA / 2, 300) < total < 1.2 * chi2.ppf(1 - ALPHA / 2, 300)
    values = torch.tensor(
        [[item.forward.value, item.value, item.backward.value] for item in estimates]
    )
    assert bool((values[:, 1].mean() - 1.7).abs() < 0.2 * spread**2)
    if spread > 1:  # the bias of a small one is below the noise
        assert float(values[:, 0].mean()) < 1.7 < float(values[:, 2].mean())


def test_descendants_of_one_path_count_once():
    """Fault: an error that takes the copies of a resampled chain for independent ones."""
    values = torch.randn(50, dtype=torch.float64)
    values -= values.mean()
    alone = clustered_error(values, torch.arange(50))
    assert alone == pytest.approx(float(values.std()) / math.sqrt(50))
    assert clustered_error(values.repeat(4), torch.arange(50).repeat(4)) == pytest.approx(alone)
    assert math.isnan(clustered_error(values, torch.zeros(50, dtype=torch.int64)))
    forward, backward = crooks(1.0, 60)
    once = bracket(forward, backward)
    copied = bracket(
        forward.repeat_interleave(3), backward.repeat(3), torch.arange(60).repeat(3) + 10**6
    )
    assert copied.backward.stderr == pytest.approx(once.backward.stderr)


def test_no_overlap_is_no_certainty():
    """Fault: a small error of the value where no forward path is like a backward one."""
    estimate = bracket(*crooks(8.0, 200))
    assert estimate.gap > 10
    assert estimate.stderr >= estimate.gap / 2
    assert any("nats apart, more than their errors" in warning for warning in estimate.warnings)


# -- starts of the backward paths ------------------------------------------------------------------


def two_modes(features, means, scales, shares, *, bounded=False):
    """A standard normal tilted into a mixture about the means on the first axis: log Z = 0."""
    base, loc = standard(features), torch.zeros(2, features)
    loc[:, 0] = torch.tensor(means)
    parts = Independent(Normal(loc, torch.tensor(scales).unsqueeze(1).expand(2, features)), 1)
    target = MixtureSameFamily(Categorical(torch.tensor(shares)), parts)

    def log_tilt(z):
        return target.log_prob(z) - base.log_prob(z)

    grid = torch.linspace(-8, 8, 4001).unsqueeze(1)
    bound = float(log_tilt(grid).max()) + 0.02 if bounded else None
    return Tilted(base, log_tilt, log_bound=bound), target


def test_modes_that_do_not_mix_are_told():
    """Fault: certainty from chains that cannot leave their modes."""
    tilted, _ = two_modes(2, [-4.0, 4.0], [0.3, 0.3], [0.5, 0.5])
    estimate = annealed_log_norm(tilted, temperatures=100, chains=100, burn_in=100)
    assert estimate.diagnostics["r_hat"] > 3
    assert any(
        "R-hat" in warning and "stays near where it began" in warning
        for warning in estimate.warnings
    )
    assert any("only as good as their mixing" in warning for warning in estimate.warnings)
    assert not estimate.exact_starts
    assert "if the starts of the backward paths are right" in str(estimate)
    assert estimate.lower < 0 < estimate.upper
    assert estimate.stderr >= estimate.forward.stderr


def test_a_missed_mode_comes_to_light():
    """Fault: an upper end that follows the forward paths where the caller knows better. Half of the
    mass is narrow.
    """
    tilted, target = two_modes(10, [-3.0, 3.0], [0.5, 0.1], [0.5, 0.5])
    alone = annealed_log_norm(tilted, temperatures=200, chains=100, burn_in=60)
    assert alone.forward.value == pytest.approx(-math.log(2), abs=0.4)
    assert "if the starts of the backward paths are right" in str(alone)
    told = annealed_log_norm(
        tilted, temperatures=200, chains=100, burn_in=60, starts=target.sample((100,))
    )
    assert told.lower < 0 < told.upper
    assert told.forward.value == alone.forward.value
    assert any("nats apart, more than their errors" in warning for warning in told.warnings)
    assert told.stderr > 0.2


def test_exact_draws_where_the_tilt_is_bounded():
    """Fault: draws that are not from the tilted law. No chain finds the narrow mode, rejection
    does.
    """
    tilted, _ = two_modes(1, [-2.0, 2.8], [0.5, 0.04], [0.7, 0.3], bounded=True)
    path = AnnealingPath(tilted)
    run = annealed._Run(path, pilot_run(path), [0.0, 1.0], 1, 0, None, 0)
    with seeded(0, "draws"):
        z = torch.cat([path.to_z(run._rejection()[0].u) for _ in range(5)])
    share = float((z > 2.5).double().mean())
    assert abs(share - 0.3) < Z_LIMIT * math.sqrt(0.21 / 500)
    estimate = annealed_log_norm(tilted, temperatures=20, chains=100)
    assert estimate.exact_starts
    assert estimate.proposals >= 100 * math.exp(tilted.log_bound) / 2
    assert estimate.lower < 0 < estimate.upper
    assert "95 % in" in str(estimate)


@pytest.mark.parametrize("name", ["wrong law", "too short"])
def test_starts_that_are_not_from_the_tilted_law(name):
    """Fault: silence where the backward paths begin at draws of the base, or the burn-in is too
    short.
    """
    tilt = GaussianTilt(slope=2.0, features=5)
    steps = {"wrong law": 0, "too short": 40}[name]
    estimate = annealed_log_norm(
        tilt.tilted(),
        temperatures=40,
        chains=200,
        burn_in=steps,
        starts=torch.randn(200, 5),
        step_size=0.02,
    )
    assert not any(
        "after the ends of the forward paths" in warning for warning in estimate.warnings
    )
    words = {
        "wrong law": "above the upper one, more than",
        "too short": "have not reached the tilted law",
    }[name]
    assert any(words in warning for warning in estimate.warnings)


def test_a_bound_that_is_none_is_refused():
    """Fault: draws by rejection under a bound that the tilt exceeds."""
    tilt = GaussianTilt(slope=1.0)
    with pytest.raises(ValueError, match=r"a tilt of at most 1\.0000 nats, its `log_bound`; got"):
        annealed_log_norm(
            Tilted(tilt.tilted().base, tilt.log_tilt, log_bound=1.0), temperatures=2, chains=10
        )


# -- repeatability, cost, words --------------------------------------------------------------------


@pytest.mark.parametrize("slope", ["bounded", "free", "given"])
def test_first_chains_are_a_prefix(slope, monkeypatch):
    """Fault: draws that depend on how many chains are asked for, or that move the caller's random
    stream.
    """
    tilt = GaussianTilt(slope=1.0, curvature=0.5 if slope == "bounded" else 0.0, features=2)
    starts = tilt.target.sample((130,)) if slope == "given" else None
    kept = []

    def keep(paths, **options):
        kept.append(paths)
        return bracket_of(paths, **options)

    monkeypatch.setattr(annealed, "bracket_of", keep)
    state = torch.get_rng_state()
    for chains in (30, 100, 230):
        annealed_log_norm(tilt.tilted(), temperatures=5, chains=chains, burn_in=8, starts=starts)
    assert torch.equal(torch.get_rng_state(), state)
    for few in kept[:2]:
        for name in ("forward", "backward", "origin"):
            assert torch.equal(getattr(few, name), getattr(kept[2], name)[: len(few.forward)])
    assert len(kept[2].forward.unique()) == len(kept[2].backward.unique()) == 230
    annealed_log_norm(tilt.tilted(), temperatures=5, chains=30, burn_in=8, starts=starts, seed=1)
    assert not torch.equal(kept[3].forward, kept[0].forward)


@pytest.mark.parametrize("curvature", [0.0, 0.5])
@pytest.mark.parametrize("transitions", [1, 3])
def test_cost_is_counted(curvature, transitions):
    """Fault: an evaluation more than one a move, such as one at every new temperature, or one left
    out of the count.
    """
    tilt, rows = GaussianTilt(slope=1.0, curvature=curvature, features=2), {True: 0, False: 0}

    def counted(z):
        rows[z.requires_grad] += z.shape[:-1].numel()
        return tilt.log_tilt(z)

    tilted = Tilted(tilt.tilted().base, counted, log_bound=tilt.log_bound)
    shares = []
    estimate = annealed_log_norm(
        tilted,
        temperatures=7,
        chains=130,
        burn_in=12,
        transitions=transitions,
        report=shares.append,
    )
    assert rows[True] == estimate.gradients
    assert rows[False] == estimate.proposals
    assert sum(shares) == 260
    assert estimate.exact_starts == (curvature > 0)


@pytest.mark.parametrize("features", [1, 10, 40])
def test_pilot_follows_the_path(features):
    """Fault: one step for all temperatures, or as many temperatures where nothing changes as where
    all does.
    """
    path = AnnealingPath(GaussianTilt(slope=0.5, curvature=30.0, features=features).tilted())
    with seeded(0, "pilot"):
        pilot = pilot_run(path)
    betas = torch.tensor(pilot.schedule(200))
    assert betas[0] == 0
    assert betas[-1] == 1
    assert bool((betas.diff() > 0).all())
    assert float(betas[100]) < 0.35
    # the target's variance falls from 1 to 1/31 in every dimension, and the step with it
    assert 10 < pilot.step_size(0.0) / pilot.step_size(1.0) < 90
    assert all(pilot_run(path, 0.3).step_size(b) == pytest.approx(0.3) for b in (0.0, 0.4, 1.0))


def test_constant_tilt_is_exact():
    """Fault: a constant that is dropped, or a tilt without a gradient that breaks."""
    estimate = annealed_log_norm(
        Tilted(standard(2), lambda z: torch.full(z.shape[:-1], 2.5)),
        temperatures=3,
        chains=20,
        burn_in=8,
    )
    assert estimate.value == pytest.approx(2.5, abs=1e-9)
    assert estimate.lower == pytest.approx(2.5, abs=1e-6)
    assert estimate.upper == pytest.approx(2.5, abs=1e-6)


def test_doubts_are_told():
    """Fault: silence over a handful of effective paths, or over chains that do not move."""
    tilt = GaussianTilt(slope=1.5, features=10)
    few = annealed_log_norm(tilt.tilted(), temperatures=4, chains=100, burn_in=8)
    assert any("effective sample size of the forward paths" in warning for warning in few.warnings)
    stuck = annealed_log_norm(tilt.tilted(), temperatures=4, chains=100, burn_in=8, step_size=40.0)
    assert any("the chains accept 0 % of their steps" in warning for warning in stuck.warnings)
    fine = annealed_log_norm(GaussianTilt(0.5, 0.5).tilted(), temperatures=20, chains=100)
    assert fine.warnings == ()


def test_an_estimate_carries_the_ends():
    """Fault: warnings or ends that get lost on the way into other records."""
    result = annealed_log_norm(
        GaussianTilt(slope=0.5).tilted(), temperatures=4, chains=50, burn_in=8
    )
    estimate = result.estimate()
    assert (estimate.value, estimate.stderr, estimate.count) == (result.value, result.stderr, 50)
    assert estimate.warnings == result.warnings != ()
    assert estimate.diagnostics["lower"] == result.lower
    assert estimate.diagnostics["upper"] == result.upper
    assert estimate.protocol["temperatures"] == 4
    assert result.gap == result.backward.value - result.forward.value


def test_bad_input_is_refused():
    tilted = GaussianTilt(features=2).tilted()
    for options, words in (
        ({"temperatures": 0}, "`temperatures` of at least 1; got 0"),
        ({"chains": 1}, "`chains` of at least 2; got 1"),
        ({"transitions": -1}, "`transitions` of at least 0; got -1"),
        ({"burn_in": -1}, "`burn_in` of at least 0; got -1"),
        ({"step_size": 0.0}, "a positive, finite `step_size`; got 0.0"),
        ({"starts": torch.zeros(4, 3)}, r"`starts` of shape \(M, 2\); got \(4, 3\)"),
    ):
        with pytest.raises(ValueError, match=words):
            annealed_log_norm(tilted, **options)
    with pytest.raises(ValueError, match=r"batch shape \(\); got \(3,\)"):
        annealed_log_norm(GaussianTilt().tilted((3,)))
    with pytest.raises(ValueError, match="finite at draws from the base; got -inf"):
        annealed_log_norm(
            Tilted(standard(1), lambda z: torch.where(z[..., 0] > 0, 0.0, -math.inf)), chains=10
        )


def test_noise_of_a_draw(zuko):
    """Fault: an inverse of another map than ``from_noise``."""
    eps = torch.randn(50, 3)
    normal = Independent(Normal(torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.5, 2.0, 1.0])), 1)
    moved = TransformedDistribution(normal, [AffineTransform(0.3, 2.0), AffineTransform(-1.0, 0.5)])
    for law in (normal, moved, bent_flow(), zuko.flows.NICE(3, hidden_features=(8,))()):
        with torch.no_grad():
            assert torch.allclose(to_noise(law, from_noise(law, eps)), eps, atol=1e-4)
    with pytest.raises(
        TypeError, match="a Gaussian or a flow over a Gaussian; got DiagonalGaussianMixture"
    ):
        to_noise(DiagonalGaussianMixture(torch.zeros(2, 3), torch.ones(2, 3)), eps)


def test_modes_that_share_a_centre_are_told():
    """Fault: R-hat of coordinates alone, whose means agree: N(0, I) beside N(0, 0.1^2 I), log Z =
    0, was read 0.4 too low.
    """
    base, narrow = (
        Independent(Normal(torch.zeros(3), scale * torch.ones(3)), 1) for scale in (1.0, 0.1)
    )

    def log_tilt(z):
        return torch.logaddexp(
            torch.zeros(z.shape[:-1]), narrow.log_prob(z) - base.log_prob(z)
        ) - math.log(2)

    estimate = annealed_log_norm(Tilted(base, log_tilt), temperatures=60, chains=100)
    assert estimate.diagnostics["r_hat"] > 1.2
    assert any("R-hat" in warning for warning in estimate.warnings)
    assert estimate.lower < 0 < estimate.upper
