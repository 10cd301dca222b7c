"""Mixtures against torch's own in float64: density, draws, gradients; and the priors that are
mixtures.
"""

import math

import pytest
import torch
from members import LATENT, SHAPE, encoder, gaussian
from scipy import stats
from torch.distributions import Bernoulli, Categorical, Independent, MixtureSameFamily, Normal
from torch.nn import functional as F

from priorwise.distributions import AggregatePosterior, DiagonalGaussianMixture, exponents
from priorwise.distributions.exponents import TOLERANCE, GaussianExponents
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
    """The paper's size: 500 components in 40 dimensions at the encoder's smallest variance,
    log-variance -6.
    """
    return torch.randn(500, 40), torch.full((500, 40), math.exp(-3.0))


@pytest.fixture
def points(wide):
    """Draws from the mixture, and from the standard normal, where every component is far away."""
    return torch.cat([DiagonalGaussianMixture(*wide).sample((300,)), torch.randn(300, 40)])


def test_density_in_double_precision(wide, points):
    """Fault: a dropped constant (2 pi, the log scales, the log weights), a sign in the product
    form.
    """
    log_weights = torch.randn(500, dtype=torch.float64).log_softmax(0)
    ours = DiagonalGaussianMixture(wide[0].double(), wide[1].double(), log_weights)
    expected = reference(*wide, log_weights).log_prob(points.double())
    torch.testing.assert_close(ours.log_prob(points.double()), expected, rtol=1e-10, atol=1e-8)


def test_density_in_single_precision(wide, points):
    """Fault: cancellation in the product form. The promise is 0.01 nats, where densities are worth
    quoting.
    """
    ours, truth = (
        DiagonalGaussianMixture(*wide).log_prob(points),
        reference(*wide).log_prob(points.double()),
    )
    assert float((ours - truth)[:300].abs().max()) < 0.01
    torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=0.01)


def test_density_far_from_the_origin():
    """Fault: a product form that is not centred, and loses the means' spread to a common shift of
    100.
    """
    loc, scale = 100 + torch.randn(20, 40), torch.full((20, 40), 0.1)
    ours = DiagonalGaussianMixture(loc, scale)
    z = ours.sample((200,))
    torch.testing.assert_close(
        ours.log_prob(z).double(), reference(loc, scale).log_prob(z.double()), rtol=0, atol=0.02
    )


def test_density_of_half_precision_parameters():
    """Fault: a matrix product in bfloat16, which autocast would choose, and which is wrong by tens
    of nats.
    """
    loc, scale = torch.randn(50, 40).bfloat16(), torch.full((50, 40), 0.25).bfloat16()
    z = reference(loc, scale).sample((50,)).float()
    with torch.autocast("cpu", torch.bfloat16):
        ours = DiagonalGaussianMixture(loc, scale).log_prob(z)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(
        ours.double(), reference(loc, scale).log_prob(z.double()), rtol=0, atol=0.01
    )


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
    """Fault: a variance without the spread of the means; draws with a variance where a scale
    belongs.
    """
    loc, scale = torch.tensor([[-2.0], [0.5], [3.0]]), torch.tensor([[0.5], [1.5], [0.2]])
    log_weights = torch.tensor([0.2, 0.5, 0.3]).log()
    mixture = DiagonalGaussianMixture(loc, scale, log_weights)
    z = mixture.sample((40_000,))[:, 0]
    check_mean(z, float(mixture.mean), "the mean of the draws", comparisons=2)
    check_mean(
        (z - mixture.mean).square(),
        float(mixture.variance),
        "the variance of the draws",
        comparisons=2,
    )
    parts = Normal(loc[:, 0], scale[:, 0])

    def cdf(values):
        return (parts.cdf(torch.as_tensor(values)[:, None]) * log_weights.exp()).sum(1).numpy()

    assert stats.kstest(z.numpy(), cdf).pvalue > ALPHA


@pytest.mark.parametrize("shape", [(20_000,), (100, 200)])
def test_components_are_drawn_by_their_weights(shape):
    """Fault: the first N components for N draws, equal counts of each,
    or weights that are ignored.
    """
    loc = 10 * torch.arange(8.0)[:, None]
    weights = torch.arange(1.0, 9.0, dtype=torch.float64) / 36
    equal = torch.full((8,), 1 / 8, dtype=torch.float64)
    for log_weights, expected in ((None, equal), (weights.log().float(), weights)):
        z = DiagonalGaussianMixture(loc, torch.full_like(loc, 0.1), log_weights).sample(shape)
        counts = (z / 10).round().long().flatten().bincount(minlength=8)
        chance = stats.chisquare(counts.numpy(), (expected * 20_000).numpy())
        assert ALPHA < chance.pvalue < 1 - ALPHA  # equal counts are suspicious too


def test_few_draws_come_from_all_components():
    """Fault: N draws from the first N of K components, as the reference code has it: all below
    index 10.
    """
    loc = 10 * torch.arange(1000.0)[:, None]
    index = (DiagonalGaussianMixture(loc, torch.ones_like(loc)).sample((10,)) / 10).round()
    assert len(index.unique()) > 3
    assert float(index.max()) > 50  # chance of a false alarm: 0.05^10


def test_reparameterised_draws_carry_gradients():
    """Fault: another component's gradient, or none: dz / d mu_m = 1 and dz / d sigma_m = eps for
    the drawn m only.
    """
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
        ValueError,
        match=r"expected `loc` and `scale` of one shape \(M, D\); got \(3, 2\) and \(3, 1\)",
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
    """Fault: a start at 0 or 1, where the clamp's gradient may vanish; values outside [0, 1] that
    reach the encoder.
    """
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
    with pytest.raises(
        ValueError, match=r"expected `pseudo_inputs` in \[0, 1\]; got values from 0 to 255"
    ):
        VampPrior(torch.tensor([[0.0], [255.0]]))
    with pytest.raises(
        ValueError, match=r"expected `pseudo_inputs` in \[0, 1\]; got values from nan to nan"
    ):
        VampPrior(torch.tensor([[math.nan], [0.5]]))
    with pytest.raises(
        ValueError, match="expected `components` between 1 and the 3 observations; got 4"
    ):
        VampPrior.from_data(torch.zeros(3, 2), 4)
    prior = VampPrior.random(3, SHAPE)
    with pytest.raises(
        ValueError, match=r"expected `prior\(encode_top\)` with the encoder of the top latents"
    ):
        prior()
    with pytest.raises(
        TypeError, match="expected the encoder to return an Independent Normal; got Bernoulli"
    ):
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


@pytest.mark.parametrize("tile", [1, 4, 100])
def test_sum_without_an_encoding(tile):
    """Fault: an encoding of another tile left out, or the one whose tile holds no other kept; the
    points are more than one block.
    """
    posterior = gaussian(9, event=(3,))
    z, without = torch.randn(600, 3), torch.randint(-1, 9, (600,))
    z[:9], without[:9] = posterior.mean, torch.arange(9)
    each = posterior.expand((600, 9)).log_prob(z[:, None].expand(600, 9, 3)).double()
    left_out = torch.arange(9) == without[:, None]
    ours = AggregatePosterior(posterior, tile=tile)
    torch.testing.assert_close(
        ours.log_sum(z, without).double(),
        each.masked_fill(left_out, -torch.inf).logsumexp(1),
        rtol=1e-5,
        atol=1e-4,
    )
    torch.testing.assert_close(ours.log_sum(z).double(), each.logsumexp(1), rtol=1e-5, atol=1e-4)


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
    with pytest.raises(
        TypeError, match="expected the posterior as an Independent Normal; got Normal"
    ):
        AggregatePosterior(Normal(torch.zeros(3), 1.0))
    with pytest.raises(
        ValueError, match=r"expected a posterior of batch shape \(N,\) and event shape \(D,\)"
    ):
        AggregatePosterior(gaussian(4, 3))
    with pytest.raises(ValueError, match="expected `tile` of at least 1; got 0"):
        AggregatePosterior(gaussian(4), tile=0)


# --- precision: see docs/derivations/mixture_precision.md


def half_square_distances(loc, scale, z):
    """Exact to the last digits: differences in float64, ``(B, M)``."""
    loc, scale = loc.double(), scale.double()
    parts = [((rows[:, None] - loc) / scale).square().sum(-1) for rows in z.double().split(16)]
    return 0.5 * torch.cat(parts)


def exact_components(loc, scale, z):
    """The exponents of equal components, and how many nats each lies below its component's peak."""
    below = half_square_distances(loc, scale, z)
    features = loc.shape[1]
    log_norm = (
        scale.double().log().sum(1) + 0.5 * features * math.log(2 * math.pi) + math.log(len(loc))
    )
    return -below - log_norm, below


def slope(features, dtype):
    """By how much more an exponent may be off with every nat below the peak beyond the number of
    dimensions.
    """
    return 5.5 * (3 * features + 8) * 0.5 * torch.finfo(dtype).eps


def promised(exact, below, features):
    """The bound of a log density: the tolerance, what grows with the distance, and the rounding of
    the result itself.
    """
    beyond = ((exact.softmax(-1) * below).sum(-1) - features).clamp(min=0.0)
    rounding = 8 * 2.0**-24 * exact.logsumexp(-1).abs()
    return TOLERANCE + slope(features, torch.float32) * beyond + rounding


def near_and_far(mixture, features):
    """Draws, where a density is worth quoting; points between them; points outside."""
    return torch.cat(
        [mixture.sample((64,)), torch.randn(16, features), 10 * torch.randn(16, features)]
    )


@pytest.mark.parametrize("features", [2, 10, 40, 128])
@pytest.mark.parametrize("width", [1e-4, 1e-3, 3e-3, 1e-2, 0.05, 0.2, 1.0, "mixed"])
def test_error_of_an_aggregate_posterior_is_bounded(features, width):
    """Fault: the float32 product at narrow posteriors, off by 12 nats at D = 40 and a scale of
    0.001.
    """
    loc = torch.randn(2500, features)
    scale = (
        torch.rand(2500, features).mul(-9).exp()
        if width == "mixed"
        else torch.full_like(loc, width)
    )
    ours = AggregatePosterior(Independent(Normal(loc, scale), 1), tile=1000)
    z = near_and_far(ours, features)
    exact, below = exact_components(loc, scale, z)
    error = (ours.log_prob(z).double() - exact.logsumexp(1)).abs()
    assert (error <= promised(exact, below, features)).all()
    assert float(error[:64].max()) < 0.003  # less than is proved


@pytest.mark.parametrize("features", [1, 3, 40, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bound_of_the_product(features, dtype):
    """Fault: a bound without the number of additions, without the square, or of another precision.

    Where all dimensions are alike their roundings add up, which is the worst that there is.
    """
    for spread in (1.0, 30.0, 1000.0):
        some = torch.randn(100, features, dtype=dtype)
        for offset in (some, some[:, :1].expand_as(some), torch.ones_like(some) / 3 + some[:1, :1]):
            loc, scale = spread * offset.clone(), torch.full_like(offset, 0.7)
            product = GaussianExponents(loc, scale, None)._product(dtype)
            z = torch.cat(
                [loc + scale * torch.randn_like(loc), loc.mean(0) + 3 * torch.randn_like(loc)]
            )
            exact, below = exact_components(loc, scale, z)
            allowed = product.bound + slope(features, dtype) * (below - features).clamp(min=0.0)
            error = (product(z).double() - exact).abs()
            judge = 1e-13 if dtype == torch.float64 else 0.0  # the differences are rounded too
            assert (error <= allowed + judge * exact.abs()).all()
            if dtype == torch.float32:
                assert (
                    float(error[:100].diagonal().max()) > 1e-4 * product.bound
                )  # no empty promise


def test_trained_mixtures_stay_in_single_precision():
    """Fault: a bound so careful that the usual case pays for float64."""
    usual = GaussianExponents(torch.randn(500, 40), torch.full((500, 40), 0.2), None)
    narrow = GaussianExponents(torch.randn(500, 40), torch.full((500, 40), 0.002), None)
    absurd = GaussianExponents(torch.randn(500, 40), torch.full((500, 40), 1e-7), None)
    assert usual._exact_product(torch.float32).matrix.dtype == torch.float32
    assert narrow._exact_product(torch.float32).matrix.dtype == torch.float64
    assert absurd._exact_product(torch.float32) is None


@pytest.mark.parametrize("width", [1e-6, 1e-12, 1e-21])
def test_density_where_float64_is_too_coarse(width):
    """Fault: a float64 product for any scale; a variance that underflows to zero in float32 and
    gives NaN.
    """
    loc = torch.randn(50, 40)
    scale = torch.full_like(loc, width)
    z = loc + scale * torch.randn_like(loc)
    exact, below = exact_components(loc, scale, z)
    ours = DiagonalGaussianMixture(loc, scale).log_prob(z)
    assert ((ours.double() - exact.logsumexp(1)).abs() <= promised(exact, below, 40)).all()


def test_density_without_double_precision(monkeypatch):
    """Fault: float64 on a device that has none (Apple's), where it is an error; points that are
    lost between blocks.
    """
    inner = GaussianExponents._form

    def form(self, dtype):
        if dtype == torch.float64:
            raise TypeError("the device has no float64")
        return inner(self, dtype)

    monkeypatch.setattr(GaussianExponents, "_form", form)
    monkeypatch.setattr(exponents, "_has_float64", lambda device: False)
    monkeypatch.setattr(exponents, "_ELEMENTS", 50 * 40 * 7)
    loc, scale = torch.randn(50, 40), torch.full((50, 40), 0.001)
    mixture = DiagonalGaussianMixture(loc, scale)
    z = mixture.sample((4, 5))
    assert mixture.log_components(z).shape == (4, 5, 50)
    exact, _ = exact_components(loc, scale, z.flatten(0, 1))
    torch.testing.assert_close(
        mixture.log_prob(z).double().flatten(), exact.logsumexp(1), rtol=1e-6, atol=1e-4
    )
    assert mixture.log_prob(z[:0]).shape == (0, 5)


@pytest.mark.parametrize("way", ["product", "differences"])
@pytest.mark.parametrize("width", [0.5, 1e-3])
def test_gradients_by_finite_differences(width, way, monkeypatch):
    """Fault: a centre, a constant or a bound that carries a gradient or loses one."""
    if way == "differences":
        monkeypatch.setattr(exponents, "TOLERANCE", 0.0)
    loc = torch.randn(3, 2, dtype=torch.float64)
    scale = width * (1 + torch.rand(3, 2, dtype=torch.float64))
    z = loc + scale * torch.randn_like(loc)
    logits = torch.randn(3, dtype=torch.float64)

    def density(loc, scale, logits, z):
        return DiagonalGaussianMixture(loc, scale, logits.log_softmax(0)).log_prob(z)

    inputs = [tensor.requires_grad_() for tensor in (loc, scale, logits, z)]
    assert torch.autograd.gradcheck(density, inputs, eps=1e-4 * width, atol=1e-4 / width, rtol=1e-4)


@pytest.mark.parametrize("width", [1e-4, 1e-2, 0.3])
def test_gradients_in_single_precision(width):
    """Fault: gradients from exponents that cancelled, wrong in every digit at narrow scales."""
    loc, scale = torch.randn(30, 40), width * (1 + torch.rand(30, 40))
    z = loc + scale * torch.randn_like(loc)
    gradients = []
    for build, dtype in ((DiagonalGaussianMixture, torch.float32), (reference, torch.float64)):
        inputs = [tensor.to(dtype).requires_grad_() for tensor in (loc, scale, z)]
        density = build(*inputs[:2]).log_prob(inputs[2])
        gradients.append(
            [width * gradient for gradient in torch.autograd.grad(density.sum(), inputs)]
        )
    for ours, truth in zip(
        *gradients, strict=True
    ):  # of order 1, as they were multiplied by the width
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), truth, rtol=1e-3, atol=1e-3)


def test_gradients_after_an_evaluation_without_them():
    """Fault: coefficients that were formed under `no_grad` and are used again, so that the
    parameters get no gradient.
    """
    loc, scale = torch.randn(5, 3).requires_grad_(), torch.rand(5, 3).add(0.5).requires_grad_()
    mixture, z = DiagonalGaussianMixture(loc, scale), torch.randn(7, 3)
    with torch.no_grad():
        before = mixture.log_prob(z)
    after = mixture.log_prob(z)
    torch.testing.assert_close(before, after.detach())
    for ours, truth in zip(
        torch.autograd.grad(after.sum(), [loc, scale]),
        torch.autograd.grad(reference(loc, scale).log_prob(z.double()).sum(), [loc, scale]),
        strict=True,
    ):
        torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-4)


def test_coefficients_are_formed_once(monkeypatch):
    """Fault: an expanded copy that forms, and on a GPU waits for, its coefficients anew at every
    call of a kept prior.
    """
    forms = []
    inner = GaussianExponents._form
    monkeypatch.setattr(
        GaussianExponents, "_form", lambda self, dtype: forms.append(dtype) or inner(self, dtype)
    )
    prior, z = GaussianMixture(3, 5), torch.randn(7, 3)
    with torch.no_grad(), prior.kept():
        for _ in range(3):
            prior().expand(torch.Size([7])).log_prob(z)
    assert forms == [torch.float32]


def test_component_without_weight(monkeypatch):
    """Fault: an infinite bound, and with it the slowest way, because one log weight is minus
    infinity.
    """
    monkeypatch.setattr(GaussianExponents, "_differences", None)
    loc, scale, z = torch.randn(3, 2), torch.rand(3, 2) + 0.5, torch.randn(9, 2)
    ours = DiagonalGaussianMixture(loc, scale, torch.tensor([0.5, 0.5, 0.0]).log())
    torch.testing.assert_close(
        ours.log_prob(z), DiagonalGaussianMixture(loc[:2], scale[:2]).log_prob(z)
    )


def test_points_in_double_precision_keep_it():
    """Fault: points that are rounded to the components' float32, or an error about two dtypes."""
    loc, scale = torch.randn(5, 3), torch.rand(5, 3) + 0.5
    z = torch.randn(7, 3, dtype=torch.float64)
    ours = DiagonalGaussianMixture(loc, scale).log_prob(z)
    torch.testing.assert_close(ours, reference(loc, scale).log_prob(z), rtol=1e-12, atol=1e-12)


# --- settings of the user that cut float32 products


@pytest.fixture
def precision_restored():
    """Torch's precision of matrix products, back to what it is by default."""
    yield
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")


def cut(tensor, bits):
    """A float32 tensor with so many explicit bits, rounded; other dtypes as they are."""
    if tensor is None or tensor.dtype != torch.float32:
        return tensor
    low = 23 - bits
    return ((tensor.view(torch.int32) + (1 << (low - 1))) & -(1 << low)).view(torch.float32)


@pytest.mark.parametrize(("setting", "bits"), [("high", 10), ("medium", 7)])
def test_products_are_not_cut(setting, bits, monkeypatch, precision_restored):
    """Fault: a float32 product that torch takes in TF32 (10 bits) or bfloat16 (7), off by whole
    nats.
    """
    inner = F.linear

    def linear(x, weight, bias=None):
        if torch.get_float32_matmul_precision() == "highest":
            return inner(x, weight, bias)
        return inner(cut(x, bits), cut(weight, bits), bias)

    monkeypatch.setattr(F, "linear", linear)
    loc, scale = torch.randn(200, 40), torch.full((200, 40), 0.25)
    mixture, z = DiagonalGaussianMixture(loc, scale), torch.randn(100, 40)
    plain, truth = mixture.log_prob(z), reference(loc, scale).log_prob(z.double())
    torch.set_float32_matmul_precision(setting)
    assert float((linear(z, loc) - inner(z, loc)).abs().max()) > 1e-3  # the emulation bites
    for density in (
        mixture,
        DiagonalGaussianMixture(loc, scale),
        AggregatePosterior(Independent(Normal(loc, scale), 1)),
    ):
        torch.testing.assert_close(density.log_prob(z).double(), truth, rtol=1e-5, atol=1e-3)
    assert torch.get_float32_matmul_precision() == setting
    torch.testing.assert_close(plain.double(), truth, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("setting", ["high", "medium"])
def test_density_and_gradients_under_a_cut_setting(setting, precision_restored):
    """Fault: the same, on processors that have such products; a gradient whose product is cut."""
    loc, scale = torch.randn(200, 40).requires_grad_(), torch.full((200, 40), 0.25).requires_grad_()
    z = torch.randn(100, 40).requires_grad_()
    truth = reference(loc, scale).log_prob(z.double())
    expected = torch.autograd.grad(truth.sum(), [loc, scale, z])
    torch.set_float32_matmul_precision(setting)
    ours = DiagonalGaussianMixture(loc, scale).log_prob(z)
    torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=1e-3)
    for gradient, exact in zip(
        torch.autograd.grad(ours.sum(), [loc, scale, z]), expected, strict=True
    ):
        torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-2)
    assert ours.dtype == torch.float32


def test_every_setting_that_cuts_is_seen(precision_restored):
    """Fault: one way to allow TF32 that is looked for, and another that is not; an error where the
    old and new ways are mixed.
    """
    cpu, cuda, mps = map(torch.device, ("cpu", "cuda", "mps"))
    seen = exponents._float32_is_cut
    assert not any(map(seen, (cpu, cuda, mps)))
    torch.set_float32_matmul_precision("high")
    assert seen(cuda)
    assert not seen(mps)
    torch.set_float32_matmul_precision("medium")
    assert seen(cpu)
    assert seen(cuda)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = True
    assert seen(cuda)
    torch.backends.cuda.matmul.allow_tf32 = False
    assert not any(map(seen, (cpu, cuda, mps)))
    if not hasattr(torch.backends, "fp32_precision"):
        return
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    assert seen(cuda)
    assert not seen(cpu)
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    assert seen(cpu)
    assert not seen(cuda)


def test_setting_of_an_older_torch(monkeypatch, precision_restored):
    """Fault: a setting that only newer versions of torch have."""
    monkeypatch.setattr(torch.backends.mkldnn, "matmul", None)
    assert not exponents._float32_is_cut(torch.device("cpu"))
    torch.set_float32_matmul_precision("medium")
    assert exponents._float32_is_cut(torch.device("cpu"))


def test_a_mixture_that_is_kept_sees_its_parameters_move():
    """Fault: densities of the values that a kept mixture was first evaluated with."""
    loc = torch.zeros(1, 2, requires_grad=True)
    mixture = DiagonalGaussianMixture(loc, torch.ones(1, 2))
    z = torch.zeros(1, 2)
    with torch.no_grad():
        before = float(mixture.log_prob(z))
        loc.add_(5.0)
        after = float(mixture.log_prob(z))
    assert before == pytest.approx(-math.log(2 * math.pi), abs=1e-5)
    assert after == pytest.approx(-math.log(2 * math.pi) - 25.0, abs=1e-4)
    with torch.inference_mode():
        mixture.log_prob(z)
    mixture.log_prob(z.clone().requires_grad_()).backward()
