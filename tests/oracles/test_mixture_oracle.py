"""Mixtures against torch's own in float64: density, draws, gradients; and the priors that are mixtures."""

import math

import pytest
import torch
from members import LATENT, SHAPE, encoder, gaussian
from scipy import stats
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, Normal

from priorwise.distributions import AggregatePosterior, DiagonalGaussianMixture
from priorwise.models import frozen
from priorwise.priors import GaussianMixture, StandardNormal, VampPrior
from priorwise.testing import ALPHA, check_mean


def reference(loc, scale, log_weights=None):
    """torch's mixture in float64."""
    logits = torch.zeros(len(loc)) if log_weights is None else log_weights
    parts = Independent(Normal(loc.double(), scale.double()), 1)
    return MixtureSameFamily(Categorical(logits=logits.double()), parts)


@pytest.fixture
def wide():
    """The paper's size: 500 components in 40 dimensions at the encoder's smallest variance, log-variance -6."""
    return torch.randn(500, 40), torch.full((500, 40), math.exp(-3.0))


@pytest.fixture
def points(wide):
    """Draws from the mixture, and from the standard normal, where every component is far away."""
    return torch.cat([DiagonalGaussianMixture(*wide).sample((300,)), torch.randn(300, 40)])


def test_density_in_double_precision(wide, points):
    """Fault: a dropped constant (2 pi, the log scales, the log weights), a sign in the product form."""
    log_weights = torch.randn(500, dtype=torch.float64).log_softmax(0)
    ours = DiagonalGaussianMixture(wide[0].double(), wide[1].double(), log_weights)
    expected = reference(*wide, log_weights).log_prob(points.double())
    torch.testing.assert_close(ours.log_prob(points.double()), expected, rtol=1e-10, atol=1e-8)


def test_density_in_single_precision(wide, points):
    """Fault: cancellation in the product form. The promise is 0.01 nats, where densities are worth quoting."""
    ours, truth = DiagonalGaussianMixture(*wide).log_prob(points), reference(*wide).log_prob(points.double())
    assert float((ours - truth)[:300].abs().max()) < 0.01
    torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=0.01)


def test_density_far_from_the_origin():
    """Fault: a product form that is not centred, and loses the means' spread to a common shift of 100."""
    loc, scale = 100 + torch.randn(20, 40), torch.full((20, 40), 0.1)
    ours = DiagonalGaussianMixture(loc, scale)
    z = ours.sample((200,))
    torch.testing.assert_close(ours.log_prob(z).double(), reference(loc, scale).log_prob(z.double()), rtol=0, atol=0.02)


def test_density_of_half_precision_parameters():
    """Fault: a matrix product in bfloat16, which autocast would choose, and which is wrong by tens of nats."""
    loc, scale = torch.randn(50, 40).bfloat16(), torch.full((50, 40), 0.25).bfloat16()
    z = reference(loc, scale).sample((50,)).float()
    with torch.autocast("cpu", torch.bfloat16):
        ours = DiagonalGaussianMixture(loc, scale).log_prob(z)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), reference(loc, scale).log_prob(z.double()), rtol=0, atol=0.01)


def test_gradients(wide):
    """Fault: a centre or a constant that is detached where it must not be."""
    parameters = [tensor[:20].double().requires_grad_() for tensor in wide]
    parameters.append(torch.randn(20, dtype=torch.float64).requires_grad_())
    z = torch.randn(30, 40, dtype=torch.float64).requires_grad_()
    gradients = []
    for build in (DiagonalGaussianMixture, reference):
        density = build(*parameters[:2], parameters[2].log_softmax(0)).log_prob(z)
        gradients.append(torch.autograd.grad(density.sum(), [*parameters, z]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_one_component_is_a_gaussian():
    """Fault: a weight of one component that is not 1."""
    z = torch.randn(50, 3)
    normal = gaussian(event=(3,))
    mixture = DiagonalGaussianMixture(normal.base_dist.loc[None], normal.base_dist.scale[None])
    torch.testing.assert_close(mixture.log_prob(z), normal.log_prob(z))
    standard = DiagonalGaussianMixture(torch.zeros(1, 3), torch.ones(1, 3))
    torch.testing.assert_close(standard.log_prob(z), StandardNormal(3)().log_prob(z))


def test_standard_normal_density_by_hand():
    """Fault: a missing half, a constant for one dimension only."""
    z = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    expected = torch.tensor([-math.log(2 * math.pi), -math.log(2 * math.pi) - 2.5])
    torch.testing.assert_close(StandardNormal(2)().log_prob(z), expected)


def test_moments_and_law_of_draws():
    """Fault: a variance without the spread of the means; draws with a variance where a scale belongs."""
    loc, scale = torch.tensor([[-2.0], [0.5], [3.0]]), torch.tensor([[0.5], [1.5], [0.2]])
    log_weights = torch.tensor([0.2, 0.5, 0.3]).log()
    mixture = DiagonalGaussianMixture(loc, scale, log_weights)
    z = mixture.sample((40_000,))[:, 0]
    check_mean(z, float(mixture.mean), "the mean of the draws", comparisons=2)
    check_mean((z - mixture.mean).square(), float(mixture.variance), "the variance of the draws", comparisons=2)
    parts = Normal(loc[:, 0], scale[:, 0])

    def cdf(values):
        return (parts.cdf(torch.as_tensor(values)[:, None]) * log_weights.exp()).sum(1).numpy()

    assert stats.kstest(z.numpy(), cdf).pvalue > ALPHA


@pytest.mark.parametrize("shape", [(20_000,), (100, 200)])
def test_components_are_drawn_by_their_weights(shape):
    """Fault: the first N components for N draws, equal counts of each, or weights that are ignored."""
    loc = 10 * torch.arange(8.0)[:, None]
    weights = torch.arange(1.0, 9.0, dtype=torch.float64) / 36
    equal = torch.full((8,), 1 / 8, dtype=torch.float64)
    for log_weights, expected in ((None, equal), (weights.log().float(), weights)):
        z = DiagonalGaussianMixture(loc, torch.full_like(loc, 0.1), log_weights).sample(shape)
        counts = (z / 10).round().long().flatten().bincount(minlength=8)
        chance = stats.chisquare(counts.numpy(), (expected * 20_000).numpy())
        assert ALPHA < chance.pvalue < 1 - ALPHA  # equal counts are suspicious too


def test_few_draws_come_from_all_components():
    """Fault: N draws from the first N of K components, as the reference code has it: all below index 10."""
    loc = 10 * torch.arange(1000.0)[:, None]
    index = (DiagonalGaussianMixture(loc, torch.ones_like(loc)).sample((10,)) / 10).round()
    assert len(index.unique()) > 3
    assert float(index.max()) > 50  # chance of a false alarm: 0.05^10


def test_reparameterised_draws_carry_gradients():
    """Fault: another component's gradient, or none: dz / d mu_m = 1 and dz / d sigma_m = eps for the drawn m only."""
    loc = (40 * torch.arange(4.0)[:, None]).requires_grad_()
    scale = torch.tensor([[0.5], [1.0], [1.5], [0.2]]).requires_grad_()
    mixture = DiagonalGaussianMixture(loc, scale)
    assert mixture.has_rsample
    z = mixture.rsample((20_000,))[:, 0]
    component = (z.detach() / 40).round().long()
    (to_loc,) = torch.autograd.grad(z.sum(), loc, retain_graph=True)
    assert to_loc.flatten().tolist() == component.bincount(minlength=4).tolist()
    eps = (z.detach() - 40 * component) / scale.detach()[component, 0]
    (to_scale,) = torch.autograd.grad(z.sum(), scale)
    expected = torch.zeros(4).index_add(0, component, eps)
    torch.testing.assert_close(to_scale[:, 0], expected, rtol=1e-3, atol=1e-2)


def test_learned_weights_refuse_reparameterised_draws():
    """Fault: pathwise draws whose gradient misses the weights."""
    prior = GaussianMixture(2, 3, learn_weights=True)
    assert not prior().has_rsample
    with pytest.raises(ValueError, match="reparameterised draws need fixed mixture weights"):
        prior().rsample()
    with frozen(prior):
        assert prior().has_rsample


def test_mixture_prior_keeps_its_log_variances_in_range():
    """Fault: components that collapse on points."""
    prior = GaussianMixture(2, 3)
    with torch.no_grad():
        prior.log_var.fill_(-50.0)
    torch.testing.assert_close(prior().scale, torch.full((3, 2), math.exp(-3.0)))


def test_shapes_are_checked():
    """Fault: parameters that broadcast by accident."""
    with pytest.raises(
        ValueError, match=r"expected `loc` and `scale` of one shape \(M, D\); got \(3, 2\) and \(3, 1\)"
    ):
        DiagonalGaussianMixture(torch.zeros(3, 2), torch.ones(3, 1))
    with pytest.raises(ValueError, match=r"expected `log_weights` of shape \(3,\); got \(2,\)"):
        DiagonalGaussianMixture(torch.zeros(3, 2), torch.ones(3, 2), torch.zeros(2))


# --- the VampPrior


def test_vamp_prior_is_the_mixture_of_encodings():
    """Fault: a mean over log densities, or a sum without 1/K."""
    prior, encode = VampPrior.random(7, SHAPE, mean=0.5, std=0.2), encoder()
    encoded = encode(prior.pseudo_inputs).base_dist
    z = torch.randn(50, LATENT)
    expected = reference(encoded.loc, encoded.scale).log_prob(z.double())
    torch.testing.assert_close(prior(encode).log_prob(z).double(), expected, rtol=1e-5, atol=1e-5)


def test_pseudo_inputs_start_strictly_inside_and_are_clamped():
    """Fault: a start at 0 or 1, where the clamp's gradient may vanish; values outside [0, 1] that reach the encoder."""
    prior = VampPrior.random(200, SHAPE, mean=0.0, std=0.01)
    start = prior.pseudo_inputs.detach()
    assert ((start > 0) & (start < 1)).all()
    with torch.no_grad():
        prior.pseudo_inputs.add_(5.0)
    seen = []
    inner = encoder()
    prior(lambda u: seen.append(u) or inner(u))
    assert (seen[0] == 1).all()


def test_pseudo_inputs_from_data_are_a_random_subset():
    """Fault: the first K data, a datum twice, noise on the paper's fixed data."""
    data = torch.linspace(0.1, 0.9, 100).reshape(100, 1)
    prior = VampPrior.from_data(data, 60)
    assert len(prior.pseudo_inputs.unique()) == 60
    assert set(prior.pseudo_inputs.flatten().tolist()) <= set(data.flatten().tolist())
    assert float(prior.pseudo_inputs.max()) > float(data[60])
    assert not list(prior.parameters())
    noisy = VampPrior.from_data(data, 60, trainable=True)
    assert [name for name, _ in noisy.named_parameters()] == ["pseudo_inputs"]
    assert not set(noisy.pseudo_inputs.flatten().tolist()) & set(data.flatten().tolist())


def test_vamp_prior_refuses_in_words():
    """Fault: an error from deep inside torch."""
    with pytest.raises(ValueError, match=r"expected `pseudo_inputs` in \[0, 1\]; got values from 0 to 255"):
        VampPrior(torch.tensor([[0.0], [255.0]]))
    with pytest.raises(ValueError, match=r"expected `pseudo_inputs` in \[0, 1\]; got values from nan to nan"):
        VampPrior(torch.tensor([[math.nan], [0.5]]))
    with pytest.raises(ValueError, match="expected `components` between 1 and the 3 data; got 4"):
        VampPrior.from_data(torch.zeros(3, 2), 4)
    prior = VampPrior.random(3, SHAPE)
    with pytest.raises(ValueError, match=r"expected `prior\(encode_top\)` with the encoder of the top latents"):
        prior()
    with pytest.raises(TypeError, match="expected the encoder to return an Independent Normal; got Bernoulli"):
        prior(lambda u: Bernoulli(logits=torch.zeros(3, 2)))


# --- the aggregate posterior


@pytest.mark.parametrize("tile", [1, 3, 7, 100])
def test_aggregate_posterior_is_the_dense_mixture(tile):
    """Fault: equal weight for tiles of unequal size, a tile dropped at the end."""
    posterior = gaussian(10, event=(3,))
    z = torch.randn(20, 2, 3)
    expected = reference(posterior.base_dist.loc, posterior.base_dist.scale).log_prob(z.double())
    ours = AggregatePosterior(posterior, tile=tile)
    torch.testing.assert_close(ours.log_prob(z).double(), expected, rtol=1e-5, atol=1e-5)


def test_aggregate_posterior_moments():
    """Fault: a variance that forgets the spread of the means, or divides by N - 1."""
    posterior = gaussian(5, event=(2,))
    ours = AggregatePosterior(posterior)
    z = ours.sample((40_000,))
    for dim in range(2):
        check_mean(z[:, dim], float(ours.mean[dim]), "the mean", comparisons=4)
        squares = (z[:, dim] - ours.mean[dim]).square()
        check_mean(squares, float(ours.variance[dim]), "the variance", comparisons=4)
    assert ours.count == 5


def test_aggregate_posterior_refuses_in_words():
    """Fault: an aggregate of something else than diagonal Gaussians."""
    with pytest.raises(TypeError, match="expected the posterior as an Independent Normal; got Normal"):
        AggregatePosterior(Normal(torch.zeros(3), 1.0))
    with pytest.raises(ValueError, match=r"expected a posterior of batch shape \(N,\) and event shape \(D,\)"):
        AggregatePosterior(gaussian(4, 3))
    with pytest.raises(ValueError, match="expected `tile` of at least 1; got 0"):
        AggregatePosterior(gaussian(4), tile=0)
