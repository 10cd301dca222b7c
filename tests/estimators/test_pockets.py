"""Samples of lowest density are those that they must be: ranks of a two-mode Gaussian worked out by
hand.
"""

import math

import members
import pytest
import torch
from chains import LinearLogit, chain_hvae, chain_marginal
from modes import mixture, modes_vae, two_modes
from torch.distributions import Independent, Normal

from priorwise import NCP, wrap
from priorwise.estimators import RankedSamples, high_posterior_samples, low_posterior_samples
from priorwise.estimators.top_latents import aggregate_posterior
from priorwise.priors import GaussianMixture
from priorwise.samplers import Rejection
from priorwise.testing import LinearGaussianVAE

MODE, SCALES = [0.0, 0.5, 1.5], [1.0, 0.8, 0.2]  # only the third dimension tells much


def everything(draws: int = 600, **options: float) -> RankedSamples:
    """All draws, ranked: what the kept ones were chosen from."""
    model = modes_vae(*SCALES)
    return low_posterior_samples(model, two_modes(40, MODE), count=draws, draws=draws, **options)


def true_log_q(z: torch.Tensor) -> torch.Tensor:
    return mixture(two_modes(2, MODE), SCALES).log_prob(z.double())


def lowest(score: torch.Tensor, count: int) -> set[int]:
    return set(score.argsort()[:count].tolist())


def test_pockets_are_ranked_by_the_true_aggregate_posterior():
    """Fault: any other score than the log of the mean density over all encodings and dimensions."""
    pockets = everything()
    log_q = true_log_q(pockets.z)
    torch.testing.assert_close(pockets.log_q.double(), log_q, rtol=1e-5, atol=1e-4)
    assert bool((log_q.diff() > -1e-4).all())
    assert sorted(pockets.indices.tolist()) == list(range(600))
    torch.testing.assert_close(pockets.log_p, Normal(0.0, 1.0).log_prob(pockets.z).sum(1))
    torch.testing.assert_close(pockets.x, pockets.z)  # the decoder's mean


def reversed_score(z):
    """The dpVAE code's: distances over log-variances, which are negative."""
    log_var = 2 * torch.tensor(SCALES).log()
    exponents = -((z.unsqueeze(1) - two_modes(2, MODE)).square()[..., 1:] / log_var[1:]).sum(-1)
    return exponents.exp().mean(1)


def two_dimensions_score(z):
    return mixture(two_modes(2, MODE)[:, :2], SCALES[:2]).log_prob(z[:, :2].double())


@pytest.mark.parametrize("fault", [reversed_score, two_dimensions_score])
def test_planted_rankings_keep_others(fault):
    """The reference code's two faults would keep other samples: the test above can tell."""
    z = everything().z
    shared = len(lowest(true_log_q(z), 60) & lowest(fault(z), 60))
    assert shared < 30


def test_pockets_of_two_modes_by_hand():
    """Narrow modes at +-2: a draw of N(0, 1) has its lowest q at 0, where log q = log N(2; 0, s),
    or far outside (|z| > 4).
    """
    pockets = low_posterior_samples(modes_vae(0.3), two_modes(10, [2.0]), count=20, draws=1000)
    nearest = (pockets.z.abs() - 2).abs().squeeze(1)
    by_hand = Normal(0.0, 0.3).log_prob(nearest) - math.log(2)  # the far mode adds nothing but at 0
    assert float((pockets.log_q - by_hand).max()) < math.log(2) + 1e-4
    assert float((pockets.log_q - by_hand).min()) > -1e-4
    assert float(nearest.min()) > 1.8


def test_more_draws_dig_deeper():
    assert everything(2000).log_q[:20].mean() < everything(200).log_q[:20].mean() - 1


def test_kept_samples_are_the_first_of_all():
    """Fault: blocks that are merged in another way than ranking them together; 1400 draws are three
    blocks.
    """
    model, x = modes_vae(*SCALES), two_modes(40, MODE)
    for call in (low_posterior_samples, high_posterior_samples):
        every, few = call(model, x, count=1400, draws=1400), call(model, x, count=30, draws=1400)
        assert few.draws == 1400
        for name in ("z", "log_q", "log_p", "indices"):
            assert torch.equal(getattr(few, name), getattr(every, name)[:30])


@pytest.mark.parametrize("call", [low_posterior_samples, high_posterior_samples])
def test_first_draws_are_a_prefix(call):
    """Fault: random numbers that depend on how many draws there are."""
    model, x = modes_vae(*SCALES), two_modes(40, MODE)
    some, more = call(model, x, count=700, draws=700), call(model, x, count=1300, draws=1300)
    early = more.indices < 700
    assert torch.equal(more.indices[early], some.indices)
    assert torch.equal(more.z[early], some.z)


def test_leaks_are_ranked_by_the_true_prior():
    """Under N(0, I) the longest ones. Fault: the order, or two dimensions."""
    scales = [0.3, 0.3, 1.5]
    model, x = modes_vae(*scales), two_modes(40, MODE)
    pockets = high_posterior_samples(model, x, count=300, draws=300)
    length = pockets.z.square().sum(1)
    assert bool((length.diff() < 1e-5).all())
    torch.testing.assert_close(pockets.log_p, -0.5 * length - 1.5 * math.log(2 * math.pi))
    truth = mixture(x, scales).log_prob(pockets.z.double())
    torch.testing.assert_close(pockets.log_q_with_own.double(), truth, rtol=1e-5, atol=1e-4)
    others = torch.tensor([place != int(image) for image in pockets.images for place in range(40)])
    for leak, rows in enumerate(others.reshape(-1, 40)):  # fault: a draw that its own code explains
        left_out = mixture(x[rows], scales).log_prob(pockets.z[leak].double())
        assert float(pockets.log_q[leak]) == pytest.approx(float(left_out), rel=1e-5, abs=1e-4)
    assert (
        len(lowest(-length, 30) & lowest(-pockets.z[:, :2].square().sum(1), 30)) < 15
    )  # the planted fault


def test_leaks_know_their_image():
    """Fault: indices of draws in place of images. Images take turns: 300 draws of 40 images are 7
    or 8 of each.
    """
    x = two_modes(40, [5.0])
    pockets = high_posterior_samples(modes_vae(0.2), x, count=300, draws=300)
    assert bool((pockets.z.sign() == x[pockets.images].sign()).all())
    assert set(pockets.images.bincount().tolist()) == {7, 8}


def test_prior_that_is_no_gaussian_ranks_by_its_density():
    """Fault: length in place of density."""
    prior = GaussianMixture(2, 3)
    model, x = modes_vae(0.5, 0.5, prior=prior), torch.randn(50, 2)
    pockets = high_posterior_samples(model, x, count=100)
    truth = prior().log_prob(pockets.z)
    torch.testing.assert_close(pockets.log_p, truth.detach())
    assert bool((truth.diff() > -1e-5).all())
    assert pockets.draws == 1000


def test_hierarchy_is_judged_by_its_top():
    """The chain's aggregate posterior is N(0, 1) at the top, so pockets and leaks are both the
    longest draws.
    """
    model, x = chain_hvae(), chain_marginal().sample((3000,)).float()
    pockets = low_posterior_samples(model, x, count=20, draws=1000)
    leaks = high_posterior_samples(model, x, count=20, draws=1000)
    for found in (pockets, leaks):
        assert float(found.z.abs().min()) > 1.8
        assert found.x.shape == (20, 3)
    expected = Normal(0.0, 1.0).log_prob(pockets.z).squeeze(1)
    torch.testing.assert_close(pockets.log_q, expected, atol=1.0, rtol=0)
    torch.testing.assert_close(
        aggregate_posterior(model, x).variance, torch.ones(1), atol=0.15, rtol=0
    )


def test_groups_below_are_drawn_by_the_model():
    """Fault: encodings of the group below decoded with pockets of the top, which no model draws. x
    = (z1, z2) W + noise.
    """
    model = chain_hvae()
    x = chain_marginal().sample((50,)).float()
    first = low_posterior_samples(model, x, count=50)
    residual = (
        first.x - first.z * (model.decoder.weight[:, 1] + 0.8 * model.decoder.weight[:, 0]).detach()
    )
    direction = model.decoder.weight[:, 0].detach()
    noise = residual @ direction / direction.square().sum()  # bottom - 0.8 top, which is N(0, 1)
    torch.testing.assert_close(residual, noise.unsqueeze(1) * direction, atol=1e-5, rtol=0)
    assert 0.5 < float(noise.std()) < 1.7


def ncp(slope: float) -> NCP:
    return NCP(LinearGaussianVAE(1, 3), [LinearLogit(slope)])


def test_tilted_prior_is_ranked_before_its_normaliser():
    """The tilt makes N(0, 1) N(2, 1): leaks are draws far from 2. Fault: the base's density, whose
    leaks are far from 0.
    """
    model = ncp(2.0)
    x = model.base.marginal().sample((400,)).float()
    pockets = high_posterior_samples(model, x, count=40, draws=400)
    distance = (pockets.z - 2).abs().squeeze(1)
    assert bool((distance.diff() < 1e-5).all())
    assert pockets.log_p is None
    assert "up to a constant" in pockets.protocol["ranked_by"]
    model.set_log_norm(2.0, 0.0)  # slope^2 / 2
    known = high_posterior_samples(model, x, count=40, draws=400)
    assert torch.equal(known.z, pockets.z)
    torch.testing.assert_close(
        known.log_p, Normal(2.0, 1.0).log_prob(known.z).squeeze(1), atol=1e-5, rtol=1e-5
    )


def test_pockets_of_a_tilted_prior_are_drawn_by_a_sampler():
    """Fault: draws from the base, whose mean is 0 and not 2; another sampler than the one that was
    asked for.
    """
    model = ncp(2.0)
    x = model.base.marginal().sample((50,)).float()
    pockets = low_posterior_samples(model, x, count=500, draws=500)
    assert float(pockets.z.mean()) > 1.5
    assert pockets.log_p is None
    with pytest.raises(ValueError, match="bounded tilt"):
        low_posterior_samples(model, x, count=5, sampler=Rejection())


def test_tilted_hierarchy_has_no_density_of_its_top():
    """Fault: the global log Z taken for the top group's."""
    model = NCP(chain_hvae(), [LinearLogit(0.5), LinearLogit(0.5)])
    model.set_log_norm(0.25, 0.0)
    assert high_posterior_samples(model, torch.randn(20, 3), count=5).log_p is None


@pytest.mark.parametrize("name", members.PRIORS)
@pytest.mark.parametrize("make", [members.vae, members.hvae])
def test_every_prior(name, make):
    """Fault: a shape that only the standard normal has."""
    model, x = make(members.PRIORS[name]()), members.images(12)
    for found in (
        low_posterior_samples(model, x, count=4),
        high_posterior_samples(model, x, count=4),
    ):
        assert found.x.shape == (4, *members.SHAPE)
        assert found.z.shape == (4, members.LATENT)
        for tensor in (found.log_q, found.log_p):
            assert tensor.shape == (4,)
            assert bool(tensor.isfinite().all())
        assert len(found) == 4


@pytest.mark.parametrize("name", members.MODELS)
def test_every_model(name):
    model, x = members.MODELS[name](), members.observations(name, 12)
    for found in (
        low_posterior_samples(model, x, count=3),
        high_posterior_samples(model, x, count=3),
    ):
        assert found.x.shape == (3, *x.shape[1:])


def test_latents_of_any_shape():
    """Fault: a density over the last axis only."""
    model = wrap(
        encode=lambda x: Independent(Normal(x, 0.5, validate_args=False), 2, validate_args=False),
        decode=lambda z: z,
        latent=(2, 3),
        modules=(),
    )
    x = torch.randn(5, 2, 3)
    pockets = low_posterior_samples(model, x, count=30)
    truth = mixture(x.flatten(1), [0.5] * 6).log_prob(pockets.z.flatten(1).double())
    torch.testing.assert_close(pockets.log_q.double(), truth, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("call", [low_posterior_samples, high_posterior_samples])
def test_means_or_draws(call):
    """Fault: the other of the two, or other latents for each; ``protocol`` says which."""
    model, x = members.vae(), members.images(30)
    means, draws = (call(model, x, count=20, mean=mean) for mean in (True, False))
    assert torch.equal(means.z, draws.z)
    assert torch.equal(means.x, model.decode(means.z).mean.detach())
    assert bool(((draws.x == 0) | (draws.x == 1)).all())
    assert (means.protocol["decoded"], draws.protocol["decoded"]) == ("means", "draws")
    assert torch.equal(call(model, x, count=20, mean=False).x, draws.x)


def test_deterministic_encoder_has_leaks_and_no_pockets():
    model = wrap(encode=lambda x: x, decode=lambda z: z, latent=2, modules=())
    x = torch.randn(30, 2)
    pockets = high_posterior_samples(model, x, count=5, draws=30)
    assert pockets.log_q is None
    assert set(pockets.images.tolist()) == lowest(-x.square().sum(1), 5)
    with pytest.raises(
        TypeError, match=r"returns an Independent Normal; got Delta.*need only draws"
    ):
        low_posterior_samples(model, x, count=5)


@pytest.mark.parametrize("call", [low_posterior_samples, high_posterior_samples])
def test_same_seed_same_samples_and_no_trace(call):
    """Fault: draws outside the seed, or a moved random stream."""
    model, x = members.hvae(), members.images(10)
    state = torch.get_rng_state()
    first, second, other = (call(model, x, count=4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.x, second.x)
    assert not torch.equal(first.z, other.z)
    assert model.training
    assert not first.x.requires_grad


@pytest.mark.parametrize("call", [low_posterior_samples, high_posterior_samples])
@pytest.mark.parametrize(
    ("count", "draws", "size", "words"),
    [
        (0, None, 5, "`count` of at least 1; got 0"),
        (5, 4, 5, "as many `draws` as `count` = 5; got 4"),
        (5, None, 0, "at least one observation"),
    ],
)
def test_bad_requests_are_refused(call, count, draws, size, words):
    with pytest.raises(ValueError, match=words):
        call(modes_vae(0.5), torch.zeros(size, 1), count=count, draws=draws)
