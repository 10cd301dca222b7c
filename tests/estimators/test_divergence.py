"""Distances between distributions whose KL is known. False alarms: ``ALPHA`` a test; the bias
allowed is stated.
"""

import math

import pytest
import torch
from chains import LinearLogit, gaussian
from torch import Tensor
from torch.distributions import kl_divergence

from priorwise import NCP
from priorwise.estimators import knn_kl, nearest_neighbours, symmetric_kl
from priorwise.samplers import SIR, AbstractSampler, Rejection, SampleInfo
from priorwise.testing import Z_LIMIT, GaussianTilt, LinearGaussianVAE

BIAS = 0.05  # of a nearest-neighbour KL in two dimensions with 3000 points


def law(loc: float, scale: float) -> torch.distributions.Distribution:
    return gaussian(torch.full((2,), loc, dtype=torch.float64), scale)


@pytest.mark.parametrize("neighbours", [1, 5])
@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (0.7, 1.0), (0.0, 1.6), (-0.5, 1.3)])
def test_knn_gives_the_kl_of_gaussians(loc, scale, neighbours):
    """Fault: log M/(N-1) dropped or inverted, the dimension forgotten, P and Q exchanged."""
    p, q = law(0.0, 1.0), law(loc, scale)
    estimate = knn_kl(p.sample((3000,)), q.sample((2000,)), neighbours=neighbours)
    truth = float(kl_divergence(p, q))
    assert abs(estimate.value - truth) < Z_LIMIT * estimate.stderr + BIAS
    assert estimate.stderr < 0.1


def test_knn_corrects_for_unequal_counts():
    """Fault: log M/(N-1) dropped: with a fifth of the points it is 1.6 nats."""
    p = law(0.0, 1.0)
    estimate = knn_kl(p.sample((3000,)), p.sample((600,)))
    assert abs(estimate.value) < Z_LIMIT * estimate.stderr + 2 * BIAS


def test_knn_ignores_order_place_and_scale():
    """Fault: distances by matrix products, which lose their digits far from the origin."""
    p, q = law(0.0, 1.0).sample((300,)), law(0.4, 1.1).sample((200,))
    base = knn_kl(p, q).value
    assert knn_kl(p.flip(0), q.flip(0)).value == pytest.approx(base, rel=1e-9)
    assert knn_kl(p + 1e4, q + 1e4).value == pytest.approx(base, rel=1e-5)
    assert knn_kl(300 * p, 300 * q).value == pytest.approx(base, rel=1e-9)
    turn = torch.linalg.qr(torch.randn(2, 2).double()).Q
    assert knn_kl(p @ turn, q @ turn).value == pytest.approx(base, rel=1e-6)


@pytest.mark.parametrize("count", [10, 400])
def test_knn_refuses_points_that_coincide(count):
    """Fault: a distance that is zero but for rounding, and a KL of hundreds of nats."""
    p, q = law(5.0, 1.0).sample((count,)), law(5.0, 1.0).sample((count,))
    for points, others in ((torch.cat([p, p[:1]]), q), (p, torch.cat([q, p[:1]]))):
        with pytest.raises(ValueError, match="expected distinct points"):
            knn_kl(points, others)


def test_words_on_points_that_coincide_tell_what_to_do():
    """Fault: "draw one z per x" to someone whose sampler repeats draws, or whose float32 numbers
    ran out.
    """
    p, q = law(5.0, 1.0).sample((20,)), law(5.0, 1.0).sample((20,))
    twice = torch.cat([p, p[:3]])
    with pytest.raises(
        ValueError,
        match=r"6 of 23 points that coincide with others of them, and 0 that .*Leave out copies",
    ):
        knn_kl(twice, q)
    with pytest.raises(
        ValueError,
        match=r"0 of 20 points that coincide with others of them, and 3 that .*`neighbours` of 2",
    ):
        knn_kl(p, torch.cat([q, p[:3]]))
    assert math.isfinite(knn_kl(twice, q, neighbours=2).value)


class Repeating(AbstractSampler):
    """Draws of the base, each given twice."""

    def _run(self, tilted, sample_shape):
        z = tilted.base.sample(sample_shape)
        return z[: len(z) // 2].repeat(2, 1), SampleInfo("repeating")


def test_a_sampler_that_repeats_draws_is_named():
    """Fault: "draw one z per x" where the draws of the prior coincide, not the encodings."""
    with pytest.raises(
        ValueError,
        match=r"20 of 20 prior draws that coincide with others.*draws that a sampler repeats",
    ):
        symmetric_kl(tilted(0.3), torch.randn(20, 3), sampler=Repeating())


@pytest.mark.parametrize("neighbours", [1, 3])
def test_without_a_group_the_neighbours_are_found_anew(neighbours):
    """Fault: a group left out of the sum but not of the neighbours; its own count in place of the
    rest's; one set dealt only.

    The first points lie close together and in one group, so that many neighbours are left out at
    once.
    """
    p, q = law(0.0, 1.0).sample((60,)), law(0.5, 1.2).sample((45,))
    p[:20] = 5 + 0.01 * p[:20]
    sources = torch.arange(60).clamp(min=19)
    kept, others_kept = nearest_neighbours.dealt(sources, torch.arange(45), neighbours)
    assert kept.shape == (41, 60)
    assert kept[0].all()
    assert ((~kept).sum(0) == 1).all()
    assert kept[:, :20].unique(dim=1).shape == (41, 1)
    values = nearest_neighbours.knn_values(p, q, kept, others_kept, neighbours, ("", ""))
    for value, rows, others in zip(values, kept, others_kept, strict=True):
        assert float(value) == pytest.approx(
            knn_kl(p[rows], q[others], neighbours=neighbours).value, rel=1e-9
        )


@pytest.mark.parametrize(("count", "others", "neighbours"), [(5, 5, 4), (9, 5, 5)])
def test_too_few_points_have_a_value_and_no_error(count, others, neighbours):
    """Fault: a search without end, or an error of 0, where no group can be spared."""
    estimate = knn_kl(torch.randn(count, 2), torch.randn(others, 2), neighbours=neighbours)
    assert math.isfinite(estimate.value)
    assert math.isnan(estimate.stderr)
    assert "too few points, examples or samples" in estimate.warnings[-1]
    assert estimate.protocol["error"] == "unknown, too few points"


def test_the_reader_is_told_that_many_dimensions_make_it_too_low():
    """Fault: 6.6 ± 0.1 for a true 22.8 in 40 dimensions, without a word."""
    estimate = knn_kl(torch.randn(200, 40), 0.6 * torch.randn(200, 40))
    assert "nearest neighbours in 40 dimensions: the KL is far off" in estimate.warnings[0]
    model = LinearGaussianVAE(6, 6)
    warnings = symmetric_kl(model, model.marginal().sample((60,)).float()).warnings
    assert "nearest neighbours in 6 dimensions" in warnings[0]


def test_a_large_divergence_is_doubted_in_any_dimension_and_a_small_one_is_not():
    """Fault: the threshold on the wrong side, or on the dimension alone."""
    p = law(0.0, 1.0).sample((400,))
    (words,) = knn_kl(p, law(4.0, 1.0).sample((400,))).warnings
    assert "far apart" in words
    assert not knn_kl(p, law(1.0, 1.0).sample((400,))).warnings


def test_a_negative_direction_is_said():
    """Fault: KL(p || q) = -3.4 inside a sum, unnoticed."""
    q, p = 0.6 * torch.randn(400, 40), torch.randn(400, 40)
    assert "cannot be negative" in knn_kl(p, q).warnings[-1]
    model = LinearGaussianVAE(20, 20, scale=2.0)
    estimate = symmetric_kl(model, model.decoder.bias.detach() + 0.5 * torch.randn(400, 20))
    assert estimate.diagnostics["kl_p_q"] < 0 < estimate.diagnostics["kl_q_p"]
    (words,) = [words for words in estimate.warnings if "cannot be negative" in words]
    assert words.startswith("the estimate of KL(p || q) is -")


def test_copies_of_an_observation_stay_in_one_group():
    """Fault: copies dealt as if they were independent observations; then the error shrinks with
    every copy.
    """
    model, _ = shifted(1.0)
    x = model.marginal().sample((200,)).float()
    once, often = (symmetric_kl(model, data, method="density") for data in (x, x.repeat(8, 1)))
    assert often.diagnostics["kl_q_p_stderr"] > 0.7 * once.diagnostics["kl_q_p_stderr"]


def test_copies_of_an_observation_are_doubted():
    """Fault: encodings of one observation, which are each other's neighbours, without a word; a
    loop without end.
    """
    model, _ = shifted(1.0)
    x = torch.randn(50, 3)
    estimate = symmetric_kl(model, torch.cat([x, x[:1].repeat(200, 1)]))
    assert any(
        "200 of 250 observations are copies of others" in words for words in estimate.warnings
    )
    assert not any("copies" in words for words in symmetric_kl(model, x).warnings)
    assert math.isnan(
        symmetric_kl(model, torch.cat([x[:1].repeat(200, 1), x[:2]]), neighbours=3).stderr
    )


@pytest.mark.parametrize(
    ("points", "others", "options", "words"),
    [
        (
            torch.zeros(5, 2),
            torch.zeros(5, 3),
            {},
            r"the same dimension; got \(5, 2\) and \(5, 3\)",
        ),
        (torch.zeros(5), torch.zeros(5), {}, "the same dimension"),
        (torch.randn(5, 2), torch.randn(5, 2), {"neighbours": 0}, "`neighbours` of at least 1"),
        (torch.randn(5, 2), torch.randn(9, 2), {"neighbours": 5}, "`neighbours` of at least 1"),
        (torch.randn(9, 2), torch.randn(5, 2), {"neighbours": 6}, "`neighbours` of at least 1"),
    ],
)
def test_bad_points_are_refused(points, others, options, words):
    with pytest.raises(ValueError, match=words):
        knn_kl(points, others, **options)


def shifted(shift: float) -> tuple[LinearGaussianVAE, float]:
    """A model whose aggregate posterior is N(d, I), and the symmetric KL to N(0, I), |d|^2."""
    model = LinearGaussianVAE(2, 3, shift=shift)
    std = model.exact_posterior(torch.zeros(1, 3)).base_dist.scale[0]
    return model, float((shift * std).square().sum().detach())


@pytest.mark.parametrize("method", ["knn", "density"])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_symmetric_kl_of_a_known_aggregate_posterior(shift, method):
    """Fault: one direction counted twice, or a wrong sign in one of them."""
    model, truth = shifted(shift)
    x = model.marginal().sample((3000,)).float()
    estimate = symmetric_kl(model, x, method=method)
    assert abs(estimate.value - truth) < Z_LIMIT * estimate.stderr + 2 * BIAS
    for direction in ("kl_q_p", "kl_p_q"):
        assert abs(estimate.diagnostics[direction] - truth / 2) < Z_LIMIT * estimate.stderr + BIAS
    assert estimate.count == 3000


def test_density_method_is_refused_where_it_misleads():
    """Fault: a number where each encoding explains only itself; the words must name the other
    method.
    """
    model = LinearGaussianVAE(2, 3, scale=0.01)
    x = model.marginal().sample((50,)).float()
    limit = f"{math.log(50) - 2:.2f}"
    with pytest.raises(
        ValueError, match=rf"at most log N - 2 = {limit} nats for N = 50; got .*method='knn'"
    ):
        symmetric_kl(model, x, method="density")
    assert symmetric_kl(model, x, method="knn").count == 50


def tilted(slope: float, **options: float) -> NCP:
    return NCP(LinearGaussianVAE(1, 3, **options), [LinearLogit(slope)])


def test_unnormalised_density_is_refused():
    with pytest.raises(ValueError, match=r"normalised density.*method='knn'"):
        symmetric_kl(tilted(0.3), torch.randn(20, 3), method="density")


def test_tilted_prior_is_judged_by_its_samples():
    """Fault: the base in place of the tilted prior. The tilt moves N(0, 1) onto the aggregate
    posterior N(d, 1).
    """
    shift = 2.0
    model = LinearGaussianVAE(1, 3, shift=shift)
    distance = shift * float(model.exact_posterior(torch.zeros(1, 3)).base_dist.scale)
    x = model.marginal().sample((2000,)).float()
    before = symmetric_kl(model, x).value
    after = symmetric_kl(tilted(distance, shift=shift), x, sampler=SIR(300))
    assert before > distance**2 - 0.2
    assert abs(after.value) < Z_LIMIT * after.stderr + 0.1


def test_sampler_of_choice_is_used():
    """Fault: the model's own sampler whatever one asks for;
    this one must refuse an unbounded tilt.
    """
    with pytest.raises(ValueError, match="bounded tilt"):
        symmetric_kl(tilted(0.3), torch.randn(20, 3), sampler=Rejection())


def test_same_seed_same_number_and_no_trace():
    """Fault: draws outside the seed, or a moved random stream."""
    model, _ = shifted(0.5)
    x = torch.randn(60, 3)
    state = torch.get_rng_state()
    first, second = symmetric_kl(model, x, seed=3), symmetric_kl(model, x, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.value == second.value != symmetric_kl(model, x, seed=4).value
    assert model.training
    assert symmetric_kl(model, x, draws=40).count == 40


def test_unknown_method_is_refused():
    with pytest.raises((ValueError, TypeError)):
        symmetric_kl(shifted(0.0)[0], torch.randn(20, 3), method="guess")


def test_oracle_of_the_tilt():
    """The tilt of an NCP on N(0, 1) is that of ``GaussianTilt``; if not, the test above proves
    nothing.
    """
    z: Tensor = torch.randn(5, 1)
    torch.testing.assert_close(LinearLogit(0.7)(z).detach(), GaussianTilt(slope=0.7).log_tilt(z))
