"""Distances between distributions whose KL is known. False alarms: ``ALPHA`` a test; the bias allowed is stated."""

import math

import pytest
import torch
from chains import LinearLogit, gaussian
from torch import Tensor
from torch.distributions import kl_divergence

from priorwise import NCP
from priorwise.estimators import knn_kl, symmetric_kl
from priorwise.samplers import SIR, Rejection
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
    assert estimate.stderr < 0.05


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


@pytest.mark.parametrize(
    ("points", "others", "options", "words"),
    [
        (torch.zeros(5, 2), torch.zeros(5, 3), {}, r"one dimension; got \(5, 2\) and \(5, 3\)"),
        (torch.zeros(5), torch.zeros(5), {}, "one dimension"),
        (torch.randn(5, 2), torch.randn(5, 2), {"neighbours": 0}, "`neighbours` from 1"),
        (torch.randn(5, 2), torch.randn(9, 2), {"neighbours": 5}, "`neighbours` from 1"),
        (torch.randn(9, 2), torch.randn(5, 2), {"neighbours": 6}, "`neighbours` from 1"),
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
    """Fault: a number where each encoding explains only itself; the words must name the other method."""
    model = LinearGaussianVAE(2, 3, scale=0.01)
    x = model.marginal().sample((50,)).float()
    limit = f"{math.log(50) - 2:.2f}"
    with pytest.raises(ValueError, match=rf"at most log N - 2 = {limit} nats for N = 50; got .*method='knn'"):
        symmetric_kl(model, x, method="density")
    assert symmetric_kl(model, x, method="knn").count == 50


def tilted(slope: float, **options: float) -> NCP:
    return NCP(LinearGaussianVAE(1, 3, **options), [LinearLogit(slope)])


def test_unnormalised_density_is_refused():
    with pytest.raises(ValueError, match=r"normalised density.*method='knn'"):
        symmetric_kl(tilted(0.3), torch.randn(20, 3), method="density")


def test_tilted_prior_is_judged_by_its_samples():
    """Fault: the base in place of the tilted prior. The tilt moves N(0, 1) onto the aggregate posterior N(d, 1)."""
    shift = 2.0
    model = LinearGaussianVAE(1, 3, shift=shift)
    distance = shift * float(model.exact_posterior(torch.zeros(1, 3)).base_dist.scale)
    x = model.marginal().sample((2000,)).float()
    before = symmetric_kl(model, x).value
    after = symmetric_kl(tilted(distance, shift=shift), x, sampler=SIR(300))
    assert before > distance**2 - 0.2
    assert abs(after.value) < Z_LIMIT * after.stderr + 0.1


def test_sampler_of_choice_is_used():
    """Fault: the model's own sampler whatever one asks for; this one must refuse an unbounded tilt."""
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
    """The tilt of an NCP on N(0, 1) is that of ``GaussianTilt``; if not, the test above proves nothing."""
    z: Tensor = torch.randn(5, 1)
    torch.testing.assert_close(LinearLogit(0.7)(z).detach(), GaussianTilt(slope=0.7).log_tilt(z))
