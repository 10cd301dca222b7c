"""ELBO and NLL against models whose likelihood is known.

False alarms: ``ALPHA`` a test, |z| < ``Z_LIMIT``; where a test says "exact", float32 rounding is
all that is allowed.
"""

import copy
import math

import pytest
import torch
from chains import (
    LinearLogit,
    WeightModel,
    chain_hvae,
    chain_marginal,
    tilted_linear,
    tilted_marginal,
)
from members import SHAPE, images, vae
from scipy.stats import chi2
from torch import Tensor, nn
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform

from priorwise import models, priors
from priorwise.estimators import Estimate, blocks, elbo, likelihood, log_norm, nll
from priorwise.models import Group
from priorwise.testing import ALPHA, Z_LIMIT, LadderVAE, LinearGaussianVAE, standard_errors

WRONG = {"shift": 0.5, "stretch": 1.5}  # wider than the truth: the weights are bounded


def observed(model: LinearGaussianVAE, count: int) -> Tensor:
    return model.marginal().sample((count,)).float()


def check_exact(estimate: Estimate, truth: Tensor) -> None:
    """Every image's value is the truth, and the estimate knows that it has no error."""
    assert estimate.per_example is not None
    torch.testing.assert_close(estimate.per_example, truth, rtol=1e-5, atol=1e-5)
    assert estimate.value == pytest.approx(float(truth.mean()), rel=1e-6)
    assert estimate.stderr < 1e-5 or math.isnan(estimate.stderr)


def check_close(estimate: Estimate, truth: float) -> None:
    assert abs(standard_errors(estimate.value, truth, estimate.stderr)) < Z_LIMIT


class Counter:
    """Counts the rows of passes (S, B) through a decoder, and keeps its inputs; looks of one row at
    the shapes do not count.
    """

    def __init__(self, decoder: nn.Module) -> None:
        self.inputs: list[Tensor] = []
        decoder.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, given: tuple[Tensor]) -> None:
        if given[0].dim() == 3:
            self.inputs.append(given[0])

    @property
    def rows(self) -> list[int]:
        return [z.shape[:-1].numel() for z in self.inputs]


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 7, 250])
def test_exact_posterior_gives_the_exact_likelihood(samples):
    """Fault: a dropped constant, a wrong sign, log S of another S; see the planted ones below."""
    model = LinearGaussianVAE(2, 3)
    x = observed(model, 23)
    check_exact(nll(model, x, samples=samples), -model.log_px(x))


class ConstantDropped(LinearGaussianVAE):
    def log_joint(self, groups: list[Group], x: Tensor) -> Tensor:
        return super().log_joint(groups, x) + 0.5 * math.log(2 * math.pi)


class SignWrong(LinearGaussianVAE):
    def log_joint(self, groups: list[Group], x: Tensor) -> Tensor:
        return super().log_joint(groups, x) - 2 * groups[0].prior.log_prob(groups[0].z)


@pytest.mark.parametrize("fault", [ConstantDropped, SignWrong])
def test_planted_faults_are_caught(fault):
    """The check above and the one below fail on a fault; without this they might be blind."""
    exact, wrong = fault(2, 3), fault(2, 3, **WRONG)
    x = observed(exact, 23)
    with pytest.raises(AssertionError):
        check_exact(nll(exact, x, samples=50), -exact.log_px(x))
    with pytest.raises(AssertionError):
        check_close(nll(wrong, x, samples=2000), float(-wrong.log_px(x).mean()))


def test_planted_count_is_caught(monkeypatch):
    """Fault: dividing by S - 1; too small an error for an eye, but not for the checks."""
    right = likelihood._nll_estimate
    monkeypatch.setattr(
        likelihood, "_nll_estimate", lambda table, samples, *rest: right(table, samples - 1, *rest)
    )
    model = LinearGaussianVAE(2, 3)
    x = observed(model, 23)
    with pytest.raises(AssertionError):
        check_exact(nll(model, x, samples=250), -model.log_px(x))


def test_wrong_posterior_gives_the_likelihood_within_errors():
    """Fault: q left out of the weights, or its error claimed too small."""
    model = LinearGaussianVAE(2, 3, **WRONG)
    x = observed(model, 60)
    estimate = nll(model, x, samples=4000)
    check_close(estimate, float(-model.log_px(x).mean()))
    assert 0 < estimate.stderr < 0.01
    assert not estimate.warnings


def test_gap_falls_like_one_over_samples():
    """Fault: averaging log weights (no fall), or log S of another S (a gap that does not fall).

    The gap is V / 2K to first order, V the variance of a weight. Over 20,000 images the slope has a
    standard error of 0.03 and a curvature of 0.03: 0.2 is five of the first and all of the second.
    """
    model = LinearGaussianVAE(3, 3, shift=0.5, stretch=2.0)
    x = observed(model, 20_000)
    truth = -model.log_px(x)
    counts = [4, 8, 16, 32, 64]
    gaps = torch.tensor(
        [float((nll(model, x, samples=k, rows=20_000).per_example - truth).mean()) for k in counts]
    )
    assert bool((gaps > 0).all())
    log_k = torch.tensor(counts).float().log()
    slope = float(
        ((log_k - log_k.mean()) * gaps.log()).sum() / (log_k - log_k.mean()).square().sum()
    )
    assert slope == pytest.approx(-1, abs=0.2)
    r, d = 2.0, 0.5
    variance = (r**2 / math.sqrt(2 * r**2 - 1) * math.exp(d**2 / (2 * r**2 - 1))) ** 3 - 1
    assert float(gaps[-1]) == pytest.approx(variance / 128, rel=0.35)


@pytest.mark.parametrize("options", [{}, WRONG], ids=["exact", "wrong"])
def test_elbo_lies_below_by_the_kl_to_the_posterior(options):
    """Fault: a KL of the wrong sign or without its constant."""
    model = LinearGaussianVAE(2, 3, **options)
    x = observed(model, 60)
    estimate = elbo(model, x, samples=500)
    if options:
        check_close(estimate, float(model.exact_elbo(x).mean()))
        assert estimate.value < float(model.log_px(x).mean()) - 0.1
    else:
        check_exact(estimate, model.log_px(x))
    assert sum(estimate.diagnostics.values()) == pytest.approx(-estimate.value, rel=1e-6)


def test_elbo_comes_with_the_likelihood():
    """Fault: an ELBO from other draws, or averaged on the wrong side of the logarithm."""
    model = LinearGaussianVAE(2, 3, **WRONG)
    x = observed(model, 23)
    beside = nll(model, x, samples=150, seed=3).diagnostics["elbo"]
    assert beside == pytest.approx(elbo(model, x, samples=150, seed=3).value, rel=1e-5)


@pytest.mark.parametrize("estimator", ["nll", "elbo"])
def test_errors_cover(estimator):
    """Fault: an error that forgets the number of images or of draws, or halves it.

    The sum of squared z over 150 seeds is chi-squared; each tail may hold ``ALPHA`` / 2.
    """
    model = LinearGaussianVAE(2, 3, shift=0.3, stretch=1.2)
    x = observed(model, 10)
    if estimator == "nll":
        truth = float(-model.log_px(x).mean())
        estimates = [nll(model, x, samples=400, seed=seed) for seed in range(150)]
    else:
        truth = float(model.exact_elbo(x).mean())
        estimates = [elbo(model, x, samples=100, seed=seed) for seed in range(150)]
    total = sum(((item.value - truth) / item.stderr) ** 2 for item in estimates)
    assert chi2.ppf(ALPHA / 2, 150) < total < chi2.ppf(1 - ALPHA / 2, 150)


def test_error_over_the_data_is_the_spread_of_the_images():
    """Fault: the population variance, or the Monte-Carlo error in its place."""
    model = LinearGaussianVAE(2, 3)
    x = observed(model, 40)
    estimate = nll(model, x, samples=20)
    assert estimate.stderr_data == pytest.approx(
        float(model.log_px(x).std() / math.sqrt(40)), rel=1e-4
    )


@pytest.mark.parametrize("estimator", [nll, elbo])
def test_one_draw_has_no_known_error(estimator):
    """Fault: claiming an error of zero because one weight has no spread."""
    model = LinearGaussianVAE(2, 3, **WRONG)
    estimate = estimator(model, observed(model, 12), samples=1)
    assert math.isnan(estimate.stderr)
    assert estimate.to_json()["stderr"] is None  # NaN is not JSON


# -- which draws -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 9, 23])
@pytest.mark.parametrize("samples", [1, 99, 100, 101, 250])
def test_draws_exactly_as_many_as_asked(samples, count):
    """Fault: rounding the number of draws, or of images, up to whole blocks."""
    model = LinearGaussianVAE(2, 3)
    counter = Counter(model.decoder)
    nll(model, observed(model, count), samples=samples)
    assert sum(counter.rows) == samples * count


@pytest.mark.parametrize("rows", [1000, 4000])
@pytest.mark.parametrize("samples", [1, 50, 1300, 9000])
def test_memory_is_flat(samples, rows):
    """Fault: a forward that grows with the number of samples."""
    model = LinearGaussianVAE(1, 2)
    counter = Counter(model.decoder)
    nll(model, observed(model, 37), samples=samples, rows=rows)
    assert max(counter.rows) <= rows


def test_first_draws_are_a_prefix():
    """Fault: draws that depend on how many are asked for."""
    model = LinearGaussianVAE(2, 3)
    x = observed(model, 7)
    draws = {}
    for samples in (130, 270):
        counted = copy.deepcopy(model)
        counter = Counter(counted.decoder)
        nll(counted, x, samples=samples)
        draws[samples] = torch.cat(counter.inputs)
    assert torch.equal(draws[130], draws[270][:130])


def test_draws_differ_between_images_draws_groups_and_seeds():
    """Fault: one block of noise used again: then errors are far larger than the claimed ones."""
    model = LinearGaussianVAE(2, 3)
    counter = Counter(model.decoder)
    x = observed(model, 1).expand(30, 3)
    nll(model, x, samples=300, seed=0)
    nll(model, x, samples=300, seed=1)
    z = torch.cat([part.reshape(-1, 2) for part in counter.inputs])[:, 0]
    assert len(z.unique()) > 0.999 * len(z)


@pytest.mark.parametrize("estimator", [nll, elbo])
@pytest.mark.parametrize("build", [lambda: LinearGaussianVAE(2, 5, **WRONG), lambda: LadderVAE(5)])
def test_same_numbers_for_any_tiling(build, estimator):
    """Fault: noise addressed by chunk instead of block."""
    model = build()
    x = torch.randn(43, 5)
    base = estimator(model, x, samples=230)
    for rows in (1, 2000, 4000, 20_000):
        other = estimator(model, x, samples=230, rows=rows)
        torch.testing.assert_close(other.per_example, base.per_example, rtol=1e-5, atol=1e-6)
        assert other.stderr == pytest.approx(base.stderr, rel=1e-3)


@pytest.mark.parametrize("cut", [5, 10, 20, 31])
def test_first_images_are_a_prefix(cut):
    """Fault: an image's draws that depend on how many images come after it."""
    model = LinearGaussianVAE(2, 3, **WRONG)
    x = observed(model, 43)
    whole, first = nll(model, x, samples=120), nll(model, x[:cut], samples=120)
    torch.testing.assert_close(first.per_example, whole.per_example[:cut], rtol=1e-5, atol=1e-6)


class Moved(nn.Module):
    """A posterior that is a flow over a Gaussian: it has no mean of its own."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> TransformedDistribution:
        normal = self.encoder(x)
        loc, scale = normal.base_dist.loc, normal.base_dist.scale
        unit = Independent(
            Normal(torch.zeros_like(loc), torch.ones_like(scale), validate_args=False), 1
        )
        return TransformedDistribution(
            unit, [AffineTransform(loc, scale, event_dim=1)], validate_args=False
        )


def test_flow_posteriors_are_drawn_in_blocks_too():
    """Fault: asking the posterior for a mean that a flow does not have."""
    plain = LinearGaussianVAE(2, 3, **WRONG)
    flow = copy.deepcopy(plain)
    flow.encoder = Moved(flow.encoder)
    x = observed(plain, 23)
    expected = nll(plain, x, samples=130)
    torch.testing.assert_close(
        nll(flow, x, samples=130, rows=4000).per_example, expected.per_example
    )


def test_double_precision_is_kept():
    """Fault: float32 noise or accumulation in a float64 model."""
    model = LinearGaussianVAE(2, 3).double()
    x = model.marginal().sample((11,))
    estimate = nll(model, x, samples=30)
    torch.testing.assert_close(estimate.per_example, -model.log_px(x), rtol=1e-6, atol=1e-6)


def test_evaluation_leaves_no_trace():
    """Fault: a changed mode, a lost ``requires_grad``, or a moved random stream."""
    model = LinearGaussianVAE(2, 3)
    x = observed(model, 5)
    state = torch.get_rng_state()
    nll(model, x, samples=10)
    elbo(model, x)
    assert model.training
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in model.parameters()
    )
    assert torch.equal(torch.get_rng_state(), state)


# -- warnings --------------------------------------------------------------------------------------


def weights(*parts: tuple[int, float]) -> Tensor:
    """100 log weights: so many of each size; what is left is negligible."""
    values = torch.cat([torch.full((count,), size) for count, size in parts])
    return torch.cat([values, torch.full((100 - len(values),), 1e-12)]).log()


CALM = weights((100, 0.01))
TABLES = {
    "even": (CALM, 0),
    "ess 21": (weights((21, 1 / 21)), 0),
    "ess 19": (weights((19, 1 / 19)), 1),
    "one of 0.195": (weights((1, 0.195), (99, 0.805 / 99)), 0),
    "one of 0.205": (weights((1, 0.205), (99, 0.795 / 99)), 1),
}


@pytest.mark.parametrize("name", TABLES)
def test_warns_exactly_when_weights_are_bad(name):
    """Fault: a threshold on the wrong side, one of the two forgotten,
    or the wrong images counted.
    """
    log_w, doubtful = TABLES[name]
    estimate = nll(WeightModel(torch.stack([CALM, log_w, CALM], 1)), torch.zeros(3, 1), samples=100)
    assert estimate.diagnostics["doubtful_images"] == doubtful
    assert len(estimate.warnings) == doubtful
    assert all("1 of 3 images" in warning for warning in estimate.warnings)


def test_weights_are_summed_up_as_they_should():
    """Fault: ESS, largest weight, value or error from another formula than the delta method's."""
    log_w = torch.randn(100, 4).double()
    estimate = nll(WeightModel(log_w), torch.zeros(4, 1), samples=100)
    w = log_w.exp()
    mean = w.mean(0)
    share = w / w.sum(0)
    torch.testing.assert_close(estimate.per_example, -mean.log(), rtol=1e-6, atol=1e-6)
    assert estimate.stderr == pytest.approx(
        float((w.var(0) / 100 / mean**2).sum().sqrt()) / 4, rel=1e-6
    )
    assert estimate.diagnostics["ess_min"] == pytest.approx(
        float((1 / share.square().sum(0)).min()), rel=1e-6
    )
    assert estimate.diagnostics["largest_weight"] == pytest.approx(float(share.max()), rel=1e-6)
    assert estimate.diagnostics["elbo"] == pytest.approx(float(log_w.mean()), rel=1e-6)


# -- several groups and tilted priors --------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 150])
def test_two_groups_are_exact_too(samples):
    """Fault: a group's prior or posterior left out, or conditioned on the wrong draw."""
    x = chain_marginal().sample((13,)).float()
    check_exact(nll(chain_hvae(), x, samples=samples), -chain_marginal().log_prob(x.double()))


def test_tilted_prior_gives_the_closed_form():
    """Fault: the tilt or log Z left out, or of the wrong sign."""
    ncp = tilted_linear(0.7)
    x = tilted_marginal(ncp).sample((40,)).float()
    truth = float(-tilted_marginal(ncp).log_prob(x.double()).mean())
    log_z = log_norm(ncp, samples=50_000)
    estimate = nll(ncp, x, samples=3000)
    assert estimate.stderr > log_z.stderr > 0
    check_close(estimate, truth)
    ncp.set_log_norm(-log_z.value, log_z.stderr)
    with pytest.raises(AssertionError):
        check_close(nll(ncp, x, samples=3000), truth)
    with torch.no_grad():
        ncp.classifiers[0].slope.neg_()
    ncp.set_log_norm(log_z.value, log_z.stderr)
    with pytest.raises(AssertionError):
        check_close(nll(ncp, x, samples=3000), truth)


def test_tilted_elbo_counts_the_normaliser():
    """Fault: an ELBO of an unnormalised prior."""
    ncp = tilted_linear(0.5)
    x = torch.randn(9, 3)
    ncp.set_log_norm(0.0, 0.0)
    without = elbo(ncp, x, samples=20)
    ncp.set_log_norm(0.25, 0.01)
    estimate = elbo(ncp, x, samples=20)
    assert estimate.value == pytest.approx(without.value - 0.25, abs=1e-5)
    assert estimate.stderr == pytest.approx(math.hypot(without.stderr, 0.01), rel=1e-5)


def test_densities_agree_where_normalisers_are_constant():
    """Fault: log Z counted twice, or a group's normaliser forgotten.

    One Z a group has an error of its own, common to all images: sqrt((e^(a^2) - 1) / draws) a
    group.
    """
    slopes = (0.4, -0.6)
    ncp = models.NCP(chain_hvae(), [LinearLogit(slope) for slope in slopes])
    truth_law = chain_marginal(*slopes)
    x = truth_law.sample((15,)).float()
    truth = float(-truth_law.log_prob(x.double()).mean())
    ncp.set_log_norm(sum(slope**2 / 2 for slope in slopes), 0.0)
    check_close(nll(ncp, x, samples=1000), truth)
    grouped = nll(ncp, x, samples=1000, density="groups", normalizer_samples=500)
    own = math.hypot(*(math.sqrt((math.exp(slope**2) - 1) / 500) for slope in slopes))
    assert abs(grouped.value - truth) < Z_LIMIT * math.hypot(grouped.stderr, own)
    assert grouped.protocol["density"] == "Z per group, 500 draws each"


@pytest.mark.parametrize("estimator", [nll, elbo])
def test_unknown_normaliser_is_refused(estimator):
    """Fault: a number that is no likelihood; the message must name the call that helps."""
    with pytest.raises(ValueError, match=r"log normaliser.*priorwise\.estimators\.log_norm"):
        estimator(tilted_linear(0.5), torch.randn(3, 3), samples=5)


@pytest.mark.parametrize("estimator", [nll, elbo])
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"samples": 0}, ValueError, "at least 1 of `samples`; got 0"),
        ({"samples": -3}, ValueError, "at least 1 of `samples`; got -3"),
        ({"x": torch.zeros(0, 3)}, ValueError, "at least one example"),
        ({"rows": 0}, ValueError, "`rows` of at least 1; got 0"),
    ],
)
def test_bad_input_is_refused(estimator, change, error, words):
    given = {"x": torch.zeros(2, 3), "samples": 5} | change
    x = given.pop("x")
    with pytest.raises(error, match=words):
        estimator(LinearGaussianVAE(2, 3), x, **given)


def test_unknown_density_is_refused():
    with pytest.raises((ValueError, TypeError)):
        nll(LinearGaussianVAE(2, 3), torch.zeros(2, 3), samples=5, density="local")


# -- one Z a group, errors of normalisers ----------------------------------------------------------


def test_one_group_has_one_normaliser():
    """Fault: the Z of a single group drawn anew, with another value at every seed, while the model
    keeps one.
    """
    ncp = tilted_linear(0.7)
    x = torch.randn(9, 3)
    with pytest.raises(ValueError, match=r"priorwise\.estimators\.log_norm"):
        nll(ncp, x, samples=20, density="groups")
    ncp.set_log_norm(0.49, 0.03)
    one, other = (nll(ncp, x, samples=20, density=density) for density in ("global", "groups"))
    assert torch.equal(one.per_example, other.per_example)
    assert one.stderr == other.stderr > 0.03


def test_errors_of_group_normalisers_are_counted():
    """Fault: a stderr without the error that all images share. Chi-squared over 30 seeds, ``ALPHA``
    / 2 a tail.
    """
    slopes = (0.9, -0.8)
    ncp = models.NCP(chain_hvae(), [LinearLogit(slope) for slope in slopes])
    law = chain_marginal(*slopes)
    x = law.sample((6,)).float()
    truth = float(-law.log_prob(x.double()).mean())
    total = 0.0
    for seed in range(30):
        estimate = nll(ncp, x, samples=300, seed=seed, density="groups", normalizer_samples=200)
        assert estimate.diagnostics["log_norm_stderr"] > 0
        total += ((estimate.value - truth) / estimate.stderr) ** 2
    assert (
        chi2.ppf(ALPHA / 2, 30) < total < 1.6 * chi2.ppf(1 - ALPHA / 2, 30)
    )  # a jackknife of 10 has tails of its own


# -- tiles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 3, 10, 47, 230, 1000])
def test_any_tile_gives_the_same_numbers(rows):
    """Fault: parts of a block with noise of their own, or of their neighbour's."""
    model = LinearGaussianVAE(2, 3, **WRONG)
    x = observed(model, 13)
    whole = nll(model, x, samples=130)
    counter = Counter(model.decoder)
    estimate = nll(model, x, samples=130, rows=rows)
    torch.testing.assert_close(estimate.per_example, whole.per_example, rtol=1e-5, atol=1e-6)
    assert max(counter.rows) <= max(rows, 1)


def test_a_tile_follows_the_size_of_a_row(monkeypatch):
    """Fault: a thousand rows of images whatever they weigh; pseudo-inputs that count as rows."""
    model = vae()
    assert blocks.tile_rows(model, 1000) == 1000
    weight = blocks.TILE_BYTES // blocks.tile_rows(model, 10**9)
    monkeypatch.setattr(blocks, "TILE_BYTES", 20 * weight)
    assert 15 <= blocks.tile_rows(model, 1000) <= 25
    many = vae(priors.VampPrior.random(50, SHAPE, mean=0.5))
    assert blocks.tile_rows(many, 1000) == blocks.tile_rows(model, 1000)


# -- shapes ----------------------------------------------------------------------------------------


def test_a_distribution_without_events_is_refused():
    """Fault: a posterior over (S, B, D) whose density broadcasts with the others'."""

    model = LinearGaussianVAE(2, 3)
    model.top_down = lambda draw, shape, x=None: bare_pass(model, draw, shape, x)
    with pytest.raises(ValueError, match=r"posterior of group 1 to have batch shape .*Independent"):
        nll(model, torch.randn(4, 3), samples=4)


def bare_pass(model, draw, shape, x):
    posterior = None if x is None else Normal(x[:, :2].expand(*shape, 2), 1.0)
    group = models.Group(1, model.prior().expand(torch.Size(shape)), posterior)
    group.z = draw(group)
    return [group]


@pytest.mark.parametrize("estimator", [nll, elbo])
@pytest.mark.parametrize(("scale", "shift"), [(255.0, 0.0), (2.0, -1.0)])
def test_observations_outside_the_support_are_refused(estimator, scale, shift):
    """Fault: 248,133 nats for bytes, and a plausible 42.5 for pixels in [-1, 1]."""
    pixels = images(5) * scale + shift
    with pytest.raises(ValueError, match=r"expected `x` in \[0, 1\] for Bernoulli"):
        estimator(vae(), pixels, samples=5)


@pytest.mark.parametrize("estimator", [nll, elbo])
def test_grey_values_under_bernoulli_are_a_doubt(estimator):
    """Fault: a cross-entropy that passes for a likelihood without a word."""
    estimate = estimator(vae(), 0.5 * images(5), samples=5)
    assert any("cross-entropy" in doubt for doubt in estimate.warnings)


def test_what_a_module_returns_is_found():
    """Fault: tiles that see tensors alone, or passes from the prior alone: a decoder's pair, a wide
    lower posterior.
    """

    class Pair(nn.Module):
        def forward(self, z):
            return z, z.new_zeros(*z.shape[:-1], 100_000)

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = Pair()

        def forward(self, z):
            return Independent(Normal(self.body(z)[0], 1.0), 1)

    base = LinearGaussianVAE(3, 3)
    assert blocks.tile_rows(models.VAE(base.encoder, Decoder(), base.prior), 1000) < 300
    hvae = chain_hvae()
    hvae.encoder_bottom = Wide(hvae.encoder_bottom, Pair())
    assert blocks.tile_rows(hvae, 1000) == 1000
    assert blocks.tile_rows(hvae, 1000, torch.randn(2, 3)) < 300


class Wide(nn.Module):
    """A posterior whose network has a wide layer."""

    def __init__(self, inner: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.inner, self.layer = inner, layer

    def forward(self, x, top):
        self.layer(top)
        return self.inner(x, top)


def test_images_without_a_likelihood_are_named():
    """Fault: NaN, which is not under any bound of an effective sample size."""
    log_w = torch.zeros(100, 4)
    log_w[:, 2] = math.nan
    estimate = nll(WeightModel(log_w), torch.zeros(4, 1), samples=100)
    assert any(
        "1 of 4 images have no finite likelihood, the first is image 2" in warning
        for warning in estimate.warnings
    )


def test_doubts_of_group_normalisers_reach_the_number():
    """Fault: a top group's log Z from a handful of draws, and normalisers whose logs are far too
    low, without a word.
    """
    ncp = models.NCP(chain_hvae(), [LinearLogit(4.0), LinearLogit(2.0)])
    estimate = nll(ncp, torch.randn(4, 3), samples=100, density="groups", normalizer_samples=20)
    assert any("was doubtful when it was estimated" in warning for warning in estimate.warnings)
    assert estimate.diagnostics["normalizer_bias"] < 0
    mild = models.NCP(chain_hvae(), [LinearLogit(0.1), LinearLogit(0.1)])
    quiet = nll(mild, torch.randn(4, 3), samples=100, density="groups", normalizer_samples=200)
    assert not any("normalis" in warning or "log Z" in warning for warning in quiet.warnings)
