"""The leakage score against quadrature and closed forms. False alarms: ``ALPHA`` a test."""

import math

import members
import pytest
import torch
from chains import LinearLogit, chain_hvae, chain_marginal
from modes import mixture, modes_vae, two_modes
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from priorwise import NCP, wrap
from priorwise.distributions import AbstractBijection
from priorwise.estimators import PAPER_THRESHOLDS, Estimate, Leakage, leakage
from priorwise.estimators.top_latents import posterior_draws
from priorwise.priors import FlowPrior, GaussianMixture
from priorwise.testing import Z_LIMIT, LinearGaussianVAE, z_limit

THRESHOLDS = (-30.0, -6.0, -3.0, -2.0, -1.2, -0.95, math.inf)
CASES = {
    "pockets only": (0.5, 0.3),
    "leaks and pockets": (2.0, 0.7),
    "all leaks": (4.0, 0.5),
    "no modes": (0.0, 1.0),
}


def quadrature(mode: float, scale: float, tau: float, log_p=None, log_measure=None) -> float:
    """E_q[1{log_measure < tau} (log q - log_measure)] for modes at +-``mode``, by the trapezoidal
    rule.
    """
    z = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    halves = [Normal(centre, scale).log_prob(z) for centre in (mode, -mode)]
    log_q = torch.logaddexp(*halves) - math.log(2)
    log_p = Normal(0.0, 1.0).log_prob(z) if log_measure is None else log_measure(z)
    return float(torch.trapezoid(torch.where(log_p < tau, log_q.exp() * (log_q - log_p), 0.0), z))


def bracketed(found: Leakage, tau: float, truth: float, limit: float) -> bool:
    """Whether the truth lies between the two scores, chance allowed for."""
    estimate = found.at(tau)
    slack = limit * estimate.stderr + 1e-5  # of rounding
    return estimate.value - slack < truth < estimate.diagnostics["upper"] + slack


@pytest.mark.parametrize("name", CASES)
def test_score_of_two_modes_by_quadrature(name):
    """Fault: a threshold on another density, a constant dropped, a sign. 4000 encodings leave a
    bracket under 1e-3.
    """
    mode, scale = CASES[name]
    leak = leakage(modes_vae(scale), two_modes(4000, [mode]), thresholds=THRESHOLDS, draws=4000)
    for tau, score, upper in zip(THRESHOLDS, leak.score, leak.upper, strict=True):
        assert bracketed(leak, tau, quadrature(mode, scale, tau), z_limit(len(THRESHOLDS)))
        assert 0 <= float(upper - score) < 1e-3
    assert leak.warnings == ()


def leaky() -> Leakage:
    return leakage(modes_vae(0.7), two_modes(4000, [2.0]), thresholds=THRESHOLDS, draws=4000)


PLANTED = {
    "divided by the count below": lambda found, i: float(found.mean_below[i]),
    "a factor sqrt(2 pi)": lambda found, i: float(found.score[i] + 0.919 * found.below[i]),
    "half the mixture": lambda found, i: float(found.score[i] + math.log(2) * found.below[i]),
    "the share only": lambda found, i: float(found.below[i]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_faults_are_caught(name):
    """The comparison above fails for each of these at log p < -3."""
    leak, index = leaky(), THRESHOLDS.index(-3.0)
    truth = quadrature(2.0, 0.7, -3.0)
    wrong = PLANTED[name](leak, index)
    assert abs(wrong - truth) > z_limit(len(THRESHOLDS)) * float(leak.stderr[index]) + 1e-3


def test_curves_and_estimates_agree():
    """Fault: a curve in another order than its thresholds."""
    leak = leaky()
    for index, tau in enumerate(THRESHOLDS):
        estimate = leak.at(tau)
        assert estimate.value == pytest.approx(float(leak.score[index]), abs=1e-12)
        assert estimate.stderr == pytest.approx(float(leak.stderr[index]), abs=1e-12)
        assert estimate.diagnostics["upper"] == pytest.approx(float(leak.upper[index]), abs=1e-12)
        assert estimate.diagnostics["below"] == float(leak.below[index])
        assert estimate.diagnostics["prior_below"] == float(leak.prior_below[index])
    assert isinstance(leak.at(-2.5), Estimate)
    assert leak.at(-2.5).unit == "nats"
    assert leak.at(math.inf).protocol["threshold"] == "inf"
    assert math.isnan(float(leak.mean_below[0]))  # nothing is below -30
    below = leak.log_p < -3
    mean = float((leak.log_q - leak.log_p)[below].mean())
    assert float(leak.mean_below[2]) == pytest.approx(mean)


def test_default_thresholds_hold_shares_of_the_prior():
    """Fault: quantiles of the encodings. Under N(0, 1) the share a lies beyond |z| = -Phi^-1(a /
    2).
    """
    leak = leakage(modes_vae(0.7), two_modes(500, [2.0]), draws=20_000)
    levels = torch.tensor([0.001, 0.01, 0.1, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(leak.prior_below, levels, atol=2e-4, rtol=0)
    edge = -Normal(0.0, 1.0).icdf(levels / 2)
    at_edge = torch.tensor(
        [tau + 0.5 * math.log(2 * math.pi) for tau in leak.thresholds[:-1]], dtype=torch.float64
    )
    torch.testing.assert_close((-2 * at_edge).sqrt(), edge[:-1], atol=0.2, rtol=0)
    assert leak.thresholds[-1] == math.inf
    assert bool((leak.below[:3] > leak.prior_below[:3]).all())


def test_whole_score_is_the_kl():
    """q = N(d, I) against N(0, I): |d|^2 / 2."""
    model = LinearGaussianVAE(2, 3, shift=1.0)
    std = model.exact_posterior(torch.zeros(1, 3)).base_dist.scale[0]
    leak = leakage(model, model.marginal().sample((3000,)).float(), draws=3000)
    assert bracketed(leak, math.inf, float(std.square().sum().detach()) / 2, Z_LIMIT)
    assert float(leak.upper[-1] - leak.score[-1]) < 0.1


def test_the_two_scores_bracket_the_truth():
    """A perfect prior and few, narrow encodings: the one with the own encoding finds a leak that is
    not there.
    """
    model = LinearGaussianVAE(2, 3, scale=0.2)
    scores = [
        (float(found.score[0]), float(found.upper[0]))
        for found in (
            leakage(
                model,
                model.marginal().sample((60,)).float(),
                thresholds=(math.inf,),
                draws=60,
                seed=seed,
            )
            for seed in range(40)
        )
    ]
    lower, upper = torch.tensor(scores, dtype=torch.float64).unbind(1)
    error = math.sqrt(len(scores))
    assert float(lower.mean()) < -Z_LIMIT * float(lower.std()) / error
    assert float(upper.mean()) > Z_LIMIT * float(upper.std()) / error


def test_narrow_encodings_are_warned_of():
    """Fault: a number about N and the width of the posteriors, in silence."""
    model = LinearGaussianVAE(2, 3, scale=0.01)
    leak = leakage(model, model.marginal().sample((50,)).float())
    (warning,) = leak.warnings
    assert "shared by only 1.0 of 50 encodings" in warning
    assert "classifier_two_sample" in warning
    impossible, same = leak.at(-3.0).warnings
    assert same == warning
    assert impossible.startswith(f"the score is {leak.at(-3.0).value:.3g} nats, but it cannot be")
    *numbers, doubt = str(leak).splitlines()
    assert doubt == f"warning: {warning}"
    assert all("nats (!), at most" in line for line in numbers)
    assert 0 <= leak.entropy < 0.1


def test_entropy_of_equal_encodings_is_that_of_a_uniform_choice():
    """Fault: a leaky prior that is taken for narrow encodings: here KL(q(z|x) || p) is 50 nats, and
    q(z) perfectly known.
    """
    leak = leakage(modes_vae(1.0), torch.full((100, 1), 10.0))
    assert leak.entropy == pytest.approx(math.log(100), abs=1e-4)
    assert leak.warnings == ()
    assert leak.at(math.inf).value == pytest.approx(50, abs=Z_LIMIT * leak.at(math.inf).stderr)


# -- whose encodings make q ------------------------------------------------------------------------


def brute_force(x: Tensor, reference: Tensor, scales: list[float], draws: int) -> Tensor:
    """Log q at the same draws, image by image: without the first reference image that equals the
    draw's own.
    """
    log_q = []
    for block in posterior_draws(modes_vae(*scales), x, draws, seed=0, purpose="leakage"):
        for z, image in zip(block.z, block.images, strict=True):
            same = (reference == x[image]).all(1).nonzero()[:1, 0]
            keep = torch.ones(len(reference), dtype=torch.bool)
            keep[same] = False
            log_q.append(mixture(reference[keep], scales).log_prob(z.double()))
    return torch.stack(log_q).detach()


@pytest.mark.parametrize("width", [1e-4, 1e-3, 1e-2])
def test_densities_of_narrow_encodings(width):
    """Fault: float32 exponents that cancel: log q by the other encodings off by 12 nats at D = 40
    and a scale of 0.001.
    """
    centres = torch.randn(20, 40)
    x = (centres[:, None] + width * torch.randn(20, 4, 40)).flatten(
        0, 1
    )  # each has three others close by
    leak = leakage(modes_vae(*[width] * 40), x, draws=80)
    truth = brute_force(x, x, [width] * 40, 80)
    assert float((leak.log_q - truth).abs().max()) < 0.005


SETS = {
    "the same": lambda x: None,
    "a larger one": lambda x: torch.cat([torch.randn(7, 2), x.flip(0)]),
    "others": lambda x: torch.randn(9, 2),
    "copies": lambda x: torch.cat([x, x]),
    "more than a tile": lambda x: torch.cat([torch.randn(4200, 2), x]),
}


@pytest.mark.parametrize("name", SETS)
def test_own_encoding_is_left_out(name):
    """Fault: the own encoding in q, another one left out, all its copies left out, 1/N for 1/(N -
    1), places within a tile.
    """
    x, scales = 3 + torch.randn(12, 2), [0.3, 0.6]
    model, reference = modes_vae(*scales), SETS[name](x)
    leak = leakage(model, x, reference=reference, draws=30)
    expected = brute_force(x, x if reference is None else reference, scales, 30)
    torch.testing.assert_close(leak.log_q, expected, rtol=1e-4, atol=1e-4)
    assert float((leak.log_q_with_own - expected).max()) > 0.05  # the planted fault


# -- priors ----------------------------------------------------------------------------------------


class Affine(AbstractBijection):
    """g(z) = a z + b, as a flow whose density is N(-b/a, 1/a^2)."""

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.features = 1
        self.slope = nn.Parameter(torch.tensor(slope))
        self.offset = nn.Parameter(torch.tensor(offset))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.slope * z + self.offset, self.slope.abs().log().expand(z.shape[:-1])

    def inverse(self, z0: Tensor) -> Tensor:
        return (z0 - self.offset) / self.slope


SLOPE, OFFSET = 2.0, 0.5


@pytest.mark.parametrize("space", ["representation", "generation"])
@pytest.mark.parametrize("tau", [-4.0, -2.0, math.inf])
def test_flow_prior_in_both_spaces(space, tau):
    """Fault: the log-determinant dropped, added twice,
    or kept in one of threshold and difference.
    """
    model = modes_vae(0.6, prior=FlowPrior(Affine(SLOPE, OFFSET)))
    leak = leakage(model, two_modes(4000, [1.0]), thresholds=(tau,), draws=4000, space=space)
    log_det = {"representation": math.log(SLOPE), "generation": 0.0}

    def measure(of: str):
        return lambda z: Normal(0.0, 1.0).log_prob(SLOPE * z + OFFSET) + log_det[of]

    truth = {of: quadrature(1.0, 0.6, tau, log_measure=measure(of)) for of in log_det}
    assert bracketed(leak, tau, truth[space], z_limit(6))
    other = "generation" if space == "representation" else "representation"
    assert not bracketed(leak, tau, truth[other], z_limit(6))  # the planted fault


def test_standard_normal_is_its_own_generation_space():
    model, x = modes_vae(0.5, 0.5), torch.randn(100, 2)
    here, there = (
        leakage(model, x, draws=200, space=space) for space in ("representation", "generation")
    )
    torch.testing.assert_close(here.log_p, there.log_p, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(here.score, there.score, rtol=1e-4, atol=1e-5)
    assert here.thresholds == pytest.approx(there.thresholds, rel=1e-5)


@pytest.mark.parametrize("space", ["representation", "generation"])
def test_flow_of_any_shape_has_both(space):
    leak = leakage(
        modes_vae(0.5, 0.5, prior=FlowPrior(2)), torch.randn(60, 2), draws=100, space=space
    )
    assert bool(leak.score.isfinite().all())


def test_other_priors_have_no_generation_space():
    with pytest.raises(ValueError, match=r"FlowPrior or a standard normal.*space='representation'"):
        leakage(
            modes_vae(0.5, 0.5, prior=GaussianMixture(2, 3)), torch.randn(9, 2), space="generation"
        )


def tilted(slope: float = 1.5) -> tuple[NCP, Tensor]:
    model = NCP(LinearGaussianVAE(1, 3), [LinearLogit(slope)])
    return model, model.base.marginal().sample((2000,)).float()


def test_unnormalised_prior_is_refused():
    """Fault: a score that is off by log Z. The words must name the call that estimates it."""
    model, x = tilted()
    with pytest.raises(
        ValueError, match=r"log normaliser is unknown.*estimators.log_norm\(model\)"
    ):
        leakage(model, x[:50])
    with pytest.raises(
        ValueError, match="standard normal prior for space='generation'; got Tilted"
    ):
        leakage(model, x[:50], space="generation")


def test_tilted_prior_with_its_normaliser():
    """N(0, 1) tilted to N(a, 1), log Z = a^2/2, against q = N(0, 1): KL = a^2/2. Fault: log Z
    dropped, its error too.
    """
    model, x = tilted()
    model.set_log_norm(1.5**2 / 2, 0.25)
    leak = leakage(model, x, draws=2000)
    truth = 1.5**2 / 2
    plain = float((leak.log_q - leak.log_p).std()) / math.sqrt(2000)
    assert leak.at(math.inf).value == pytest.approx(truth, abs=Z_LIMIT * plain + 0.05)
    assert float(leak.prior_below[2]) == pytest.approx(0.1, abs=1e-3)
    assert leak.at(math.inf).stderr == pytest.approx(math.hypot(plain, 0.25), rel=1e-6)
    half = leak.at(leak.thresholds[2])
    assert half.stderr > 0.25 * half.diagnostics["below"]


def test_tilted_hierarchy_is_refused():
    """Fault: the global log Z taken for the top group's."""
    model = NCP(chain_hvae(), [LinearLogit(0.5), LinearLogit(0.5)])
    model.set_log_norm(0.25, 0.0)
    with pytest.raises(ValueError, match="not the top group's"):
        leakage(model, torch.randn(20, 3))


def test_hierarchy_is_judged_by_its_top():
    """The chain's aggregate posterior is its prior: no leak."""
    leak = leakage(chain_hvae(), chain_marginal().sample((2000,)).float(), draws=2000)
    assert bracketed(leak, math.inf, 0.0, Z_LIMIT)
    assert float(leak.upper[-1] - leak.score[-1]) < 0.05


@pytest.mark.parametrize("name", members.PRIORS)
@pytest.mark.parametrize("make", [members.vae, members.hvae])
def test_every_prior(name, make):
    leak = leakage(make(members.PRIORS[name]()), members.images(12), draws=40)
    assert bool(leak.score.isfinite().all())


# -- draws -----------------------------------------------------------------------------------------


def test_first_draws_are_a_prefix_and_blocks_do_not_matter():
    model, x = modes_vae(0.5), two_modes(30, [1.0])
    some, more = leakage(model, x, draws=600), leakage(model, x, draws=1100)
    for name in ("log_q", "log_p", "log_p_prior", "images"):
        assert torch.equal(getattr(more, name)[:600], getattr(some, name))


def test_errors_count_images_and_not_draws():
    """Fault: the error over the data from 3000 draws of 30 images as if they were 3000 images."""
    x = 3 * torch.randn(30, 1)
    estimate = leakage(modes_vae(0.2), x, reference=3 * torch.randn(500, 1), draws=3000).at(
        math.inf
    )
    leak = leakage(modes_vae(0.2), x, reference=3 * torch.randn(500, 1), draws=3000)
    terms = leak.log_q - leak.log_p
    means = torch.stack([terms[leak.images == image].mean() for image in range(30)])
    assert leak.at(math.inf).stderr_data == pytest.approx(float(means.std()) / math.sqrt(30))
    assert estimate.stderr_data > 5 * estimate.stderr
    assert estimate.count == 3000


def test_models_are_compared_draw_by_draw():
    """The same seed gives two models the same images: the difference has a smaller error than
    either.
    """
    x = two_modes(1000, [2.0])
    narrow, wide = (leakage(modes_vae(scale), x, draws=1000).at(-2.0) for scale in (0.7, 0.75))
    difference = wide.minus(narrow)
    assert difference.value == pytest.approx(wide.value - narrow.value)
    assert difference.stderr_data < 0.7 * narrow.stderr
    assert difference.warnings == narrow.warnings + wide.warnings


@pytest.mark.parametrize("other", ["images", "order", "reference", "seed", "draws"])
def test_other_draws_are_not_compared(other):
    """Fault: draw n of one number paired with draw n of another image, other encodings or another
    seed.
    """
    x = two_modes(40, [2.0])
    options = {"x": x, "reference": x, "draws": 50, "seed": 0}
    first = leakage(modes_vae(0.7), **options).at(0.0)
    options |= {
        "images": {"x": x + 1},
        "order": {"x": x.flip(0)},
        "reference": {"reference": x[:30]},
        "seed": {"seed": 1},
        "draws": {"draws": 49},
    }[other]
    second = leakage(modes_vae(0.7), **options).at(0.0)
    words = "same examples" if other == "draws" else "same data"
    with pytest.raises(ValueError, match=words):
        first.minus(second)
    assert first.data != second.data
    assert first.to_json()["data"].endswith("50 draws, seed 0")


def test_what_leaks_of_one_set_are_computed_on():
    """Fault: the reference left out, or another hash where it is ``x`` itself."""
    x = two_modes(40, [2.0])
    assert (
        leakage(modes_vae(0.7), x, draws=50).data
        == leakage(modes_vae(0.6), x, reference=x.clone(), draws=50).data
    )


def test_same_seed_same_number_and_no_trace():
    """Fault: draws outside the seed, or a moved random stream."""
    model, x = members.hvae(), members.images(10)
    state = torch.get_rng_state()
    first, second, other = (leakage(model, x, draws=20, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.score, second.score)
    assert not torch.equal(first.log_p, other.log_p)
    assert model.training


def test_paper_thresholds():
    leak = leakage(modes_vae(0.5), two_modes(10, [1.0]), thresholds=PAPER_THRESHOLDS, draws=20)
    assert leak.thresholds == (-90, -70, -50, -30, -10, -1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"draws": 0}, "`draws` of at least 1; got 0"),
        ({"reference": torch.zeros(1, 1)}, "at least 2 observations for the encodings; got 1"),
    ],
)
def test_bad_requests_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        leakage(modes_vae(0.5), torch.zeros(5, 1), **options)


def test_unknown_space_is_refused():
    with pytest.raises((ValueError, TypeError)):
        leakage(modes_vae(0.5), torch.zeros(5, 1), space="guess")


def test_deterministic_encoder_is_refused():
    model = wrap(
        encode=lambda x: x, decode=lambda z: Independent(Normal(z, 1.0), 1), latent=2, modules=()
    )
    with pytest.raises(TypeError, match=r"got Delta.*need only draws"):
        leakage(model, torch.randn(9, 2))
