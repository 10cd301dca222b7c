"""The regularised objectives against closed forms, enumerations and sums by hand.

False-alarm rate of each statistical test: 1e-6 (``priorwise.testing.ALPHA``).
"""

import copy
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from members import LATENT, SHAPE, flow, hvae, identity_flow, images, small_discriminator, vae
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from priorwise.conditionals import Conditional
from priorwise.likelihoods import Gaussian
from priorwise.models import NCP, VAE, AbstractModel
from priorwise.objectives import (
    ELBO,
    IMQ,
    RBF,
    AbstractObjective,
    AnnealedVAE,
    BetaTCVAE,
    BetaVAE,
    Discriminator,
    FactorVAE,
    InfoVAE,
    Terms,
    mmd,
)
from priorwise.objectives.minibatch import log_weights, marginal_log_densities
from priorwise.priors import FlowPrior, GaussianMixture, StandardNormal, VampPrior
from priorwise.testing import LinearGaussianVAE, check_mean

Build = Callable[[AbstractModel], AbstractObjective]
WEIGHTINGS = ["stratified", "balanced", "weighted"]

BUILDS: dict[str, Build] = {
    "BetaVAE": lambda model: BetaVAE(model, beta=3.0),
    "BetaVAE, entropy": lambda model: BetaVAE(model, beta=3.0, kl="entropy"),
    "AnnealedVAE": lambda model: AnnealedVAE(model, gamma=5.0, capacity=1.0, capacity_steps=10),
    "BetaTCVAE": lambda model: BetaTCVAE(model, 50, alpha=0.5, beta=4.0, gamma=2.0),
    "FactorVAE": lambda model: FactorVAE(model, LATENT, gamma=3.0, discriminator=small_discriminator()),
    "InfoVAE": lambda model: InfoVAE(model, alpha=0.3, lambda_=20.0),
    "InfoVAE, RBF": lambda model: InfoVAE(model, alpha=0.3, lambda_=20.0, kernel=RBF()),
}


class Blurred(nn.Module):
    """q(z|x) = N(x, scale^2 I)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Distribution:
        return Independent(Normal(x, x.new_tensor(self.scale), validate_args=False), 1, validate_args=False)


def blurred(scale: float, features: int = 2, prior: nn.Module | None = None) -> VAE:
    decoder = Conditional(nn.Identity(), Gaussian(features, (features,)))
    return VAE(Blurred(scale), decoder, StandardNormal(features) if prior is None else prior)


def evaluated(objective: AbstractObjective, x: Tensor, step: int = 3, **options: str) -> Terms:
    """The terms without gradients, always with the same draws for the same batch."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return objective(x, step, **options)


# -- the prior is the model's -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("build", [vae, hvae], ids=["VAE", "HVAE"])
def test_identity_flow_gives_the_plain_loss(name, build):
    """Fault: a term with its own standard normal, a log-determinant left out or counted twice. In float64, to rounding."""
    plain = build().double()
    decoupled = copy.deepcopy(plain)
    decoupled.prior = identity_flow().double()
    x, losses = images(12).double(), []
    for model in (plain, decoupled):
        torch.manual_seed(1)  # of the discriminator
        objective = BUILDS[name](model).double()
        losses += [[evaluated(objective, x).loss()]]
        if len(objective.players) > 1:
            losses[-1].append(evaluated(objective, x, player="discriminator").loss())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BUILDS)
def test_another_flow_gives_another_loss(name):
    """Fault: objectives that never look at the prior, which would pass the test above."""
    torch.manual_seed(1)
    objective = BUILDS[name](vae())
    x = images(12)
    plain = evaluated(objective, x).loss()
    objective.model.prior = flow()
    assert abs(float(evaluated(objective, x).loss() - plain)) > 1e-3


def sharp(name: str) -> AbstractObjective:
    """An objective whose terms are functions of x alone: posteriors so narrow that draws are means, the entropy closed."""
    model = LinearGaussianVAE(2, 4).double()
    nn.init.constant_(model.encoder.log_scale, -20.0)
    objective = BUILDS[name](model).double()
    objective.kl = "entropy"
    return objective


@pytest.mark.parametrize("name", ["BetaVAE", "AnnealedVAE", "FactorVAE"])
def test_terms_do_not_depend_on_the_batch_size(name):
    """Fault: a batch sum beside a batch mean, so that a weight means something else for every batch size."""
    objective, x = sharp(name), torch.randn(6, 4, dtype=torch.float64)
    terms, wide = evaluated(objective, x), evaluated(objective, x.repeat(5, 1))
    assert terms.weights == wide.weights
    for key, term in terms.per_example.items():
        torch.testing.assert_close(wide.per_example[key], term.repeat(5), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(wide.loss(), terms.loss(), rtol=1e-6, atol=1e-6)


def test_objectives_refuse_an_ncp():
    """Fault: an NCP trained by its unnormalised density, which grows without limit."""
    ncp = NCP(vae(), hidden_features=(8,))
    for build, name in [
        (BetaVAE, "beta-VAE objective"),
        (AnnealedVAE, "beta-VAE objective"),
        (lambda model: BetaTCVAE(model, 50), "beta-TCVAE objective"),
        (lambda model: FactorVAE(model, 2), "FactorVAE objective"),
        (InfoVAE, "InfoVAE objective"),
    ]:
        with pytest.raises(TypeError, match=f"expected a model that is trained by its {name}; got an NCP"):
            build(ncp)


# -- beta-VAE ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kl", ["sample", "entropy"])
def test_beta_vae_at_one_is_the_elbo(kl):
    """Fault: a weight on the distortion."""
    model, x = hvae(flow()), images(7)
    torch.testing.assert_close(
        evaluated(BetaVAE(model, beta=1.0, kl=kl), x).loss(), evaluated(ELBO(model, kl=kl), x).loss()
    )
    terms = evaluated(BetaVAE(model, beta=3.0, kl=kl), x)
    rates = terms.per_example["rate_1"] + terms.per_example["rate_2"]
    torch.testing.assert_close(terms.loss(), (terms.per_example["distortion"] + 3 * rates).mean())


def test_beta_and_the_scale_of_the_likelihood_are_one_knob():
    """Fault: what ``explain`` says of it. Beta at scale s is beta times the ELBO at scale s sqrt(beta), up to a constant."""
    x, found = torch.randn(6, 2), []
    for beta, scale in [(4.0, 0.5), (1.0, 1.0)]:
        torch.manual_seed(1)
        model = blurred(0.3)
        model.decoder.head = Gaussian(2, (2,), scale=scale)
        nn.init.eye_(model.decoder.head.loc.weight)
        objective = BetaVAE(model, beta=beta)
        losses = torch.stack([evaluated(objective, x * stretch).loss() for stretch in (1.0, 2.0, 3.0)])
        found.append((losses[1:] - losses[0]) / beta)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


def test_capacity_grows_and_stays():
    """Fault: a step that is off by one, a capacity that grows on."""
    objective = AnnealedVAE(vae(), capacity=8.0, capacity_steps=4)
    assert [objective.capacity_at(step) for step in (0, 1, 2, 4, 5, 2**62)] == [0, 2, 4, 8, 8, 8]


@pytest.mark.parametrize("step", [0, 5, 10, 100])
def test_capacity_holds_the_batch_mean(step):
    """Fault: the gap of each example, whose mean is larger; a rate below the capacity that is not pushed up."""
    model, x = hvae(flow()), images(9)
    terms = evaluated(AnnealedVAE(model, gamma=5.0, capacity=4.0, capacity_steps=10), x, step)
    plain = evaluated(ELBO(model), x).per_example
    rate = plain["rate_1"] + plain["rate_2"]
    capacity = 4.0 * min(1, step / 10)
    gap = abs(float(rate.mean()) - capacity)
    assert list(terms.batch) == ["capacity_gap"]
    assert float(terms.batch["capacity_gap"]) == pytest.approx(gap, abs=1e-5)
    assert float((rate - capacity).abs().mean()) > gap + 1e-3
    torch.testing.assert_close(terms.loss(), plain["distortion"].mean() + 5 * gap, rtol=1e-5, atol=1e-5)


# -- beta-TCVAE -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 7, 50])
@pytest.mark.parametrize("weights", WEIGHTINGS)
@pytest.mark.parametrize("build", [vae, hvae], ids=["VAE", "HVAE"])
def test_three_terms_add_up_to_the_rate(build, weights, count):
    """Fault: terms at different draws, or with different estimates of q(z). Example by example, for any prior and batch."""
    model, x = build(flow()), images(count)
    plain = evaluated(ELBO(model), x)
    terms = evaluated(BetaTCVAE(model, 50, alpha=1.0, beta=1.0, gamma=1.0, weights=weights), x).per_example
    total = terms["mutual_information"] + terms["total_correlation"] + terms["dimension_wise_kl"]
    torch.testing.assert_close(total, plain.per_example["rate_1"], rtol=1e-4, atol=1e-4)
    others = sum(term.mean() for term in terms.values()) - total.mean()
    torch.testing.assert_close(total.mean() + others, plain.loss(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 20])
def test_rows_of_weights(batch):
    """Fault: a normalisation over columns, an odd weight too many. The second is biased by design: see its docstring."""
    for weights in ("stratified", "balanced"):
        rows = log_weights(batch, 20, weights).exp().sum(1)
        torch.testing.assert_close(rows, torch.ones(batch))
    torch.testing.assert_close(log_weights(batch, 20, "weighted").exp().sum(1), torch.full((batch,), 1 / 20))


def points(count: int, features: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """A point and its component for each member of a data set."""
    return torch.randn(count, features), torch.randn(count, features), 0.3 + torch.rand(count, features)


def aggregate(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """q(z) of each point, over all components."""
    return Independent(Normal(loc, scale), 1).log_prob(z[:, None]).exp().mean(1)


def over_all_batches(weights: Callable[[int], Tensor], batch: int, data: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The mean of the estimated density of each member, over all ordered batches that hold it and all places in them."""
    z, loc, scale = data
    total, times = torch.zeros(len(z)), torch.zeros(len(z))
    for order in itertools.permutations(range(len(z)), batch):
        rows = list(order)
        log_q, _ = marginal_log_densities(z[rows], loc[rows], scale[rows], weights(batch))
        total[rows] += log_q.exp()
        times[rows] += 1
    return total / times


@pytest.mark.parametrize("batch", [2, 3, 4, 5])
@pytest.mark.parametrize("weights", ["stratified", "balanced"])
def test_density_is_unbiased(weights, batch):
    """Fault: any wrong weight. Over all batches of a data set of five; the logarithm is taken back, for it is biased.

    One stratified estimate depends on which member stands next in the batch: only the mean over orders is q(z).
    """
    data = points(5, 2)
    found = over_all_batches(lambda size: log_weights(size, 5, weights), batch, data)
    torch.testing.assert_close(found, aggregate(*data), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", [2, 4])
def test_weighted_density_is_too_low(batch):
    """Fault: what its docstring says. Its mean is (own + (B - 1) mean of the others) / (N B)."""
    z, loc, scale = points(5)
    found = over_all_batches(lambda size: log_weights(size, 5, "weighted"), batch, (z, loc, scale))
    own = Independent(Normal(loc, scale), 1).log_prob(z).exp()
    others = (5 * aggregate(z, loc, scale) - own) / 4
    torch.testing.assert_close(found, (own + (batch - 1) * others) / (5 * batch), rtol=1e-4, atol=1e-6)
    assert bool((found < aggregate(z, loc, scale)).all())


def in_columns(batch: int, data_size: int) -> Tensor:
    """The fault of the published code: the two odd weights in the first two columns of all rows, not on a diagonal."""
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others)
    weights[:, 0], weights[:, 1] = 1 / data_size, (data_size - others) / (data_size * others)
    return weights.log()


def test_weights_in_columns_are_too_high():
    """The planted fault: narrow posteriors weigh N/M times too much in all rows but the first."""
    z, loc, scale = points(5)
    exact = aggregate(z, loc, scale)
    found = over_all_batches(lambda size: in_columns(size, 5), 3, (z, loc, scale))
    assert not torch.allclose(found, exact, rtol=0.02)
    narrow = torch.arange(40.0)[:, None], torch.arange(40.0)[:, None], torch.full((40, 1), 0.01)
    batch = tuple(part[:5] for part in narrow)
    high, _ = marginal_log_densities(*batch, in_columns(5, 40))
    right, _ = marginal_log_densities(*batch, log_weights(5, 40, "stratified"))
    torch.testing.assert_close(right.exp(), aggregate(*narrow)[:5], rtol=1e-4, atol=0)
    torch.testing.assert_close((high - right).exp()[2:], torch.full((3,), 40 / 4), rtol=1e-4, atol=0)


def test_marginals_are_those_of_each_dimension():
    """Fault: dimensions summed before the logsumexp."""
    z, loc, scale = points(6, 3)
    weights = log_weights(6, 30, "stratified")
    _, marginals = marginal_log_densities(z, loc, scale, weights)
    each = [marginal_log_densities(*(part[:, [dim]] for part in (z, loc, scale)), weights)[0] for dim in range(3)]
    torch.testing.assert_close(marginals, sum(each))


def whole(model: VAE, gamma: float, x: Tensor) -> Terms:
    """The terms with the whole data set as the batch, where balanced weights give q(z) exactly."""
    return evaluated(BetaTCVAE(model, len(x), beta=1.0, gamma=gamma, weights="balanced"), x)


def test_balanced_density_of_the_whole_set_is_exact():
    z, loc, scale = points(6, 2)
    log_q, _ = marginal_log_densities(z, loc, scale, log_weights(6, 6, "balanced"))
    torch.testing.assert_close(log_q.exp(), aggregate(z, loc, scale), rtol=1e-4, atol=1e-6)


def test_gamma_above_beta_rewards_total_correlation():
    """Fault: what docstring and ``explain`` say of equation 31. With p(z) = q(z) the last term is -TC, so beta - gamma weighs it.

    A standard normal prior cannot follow q(z), and pays for the same weight.
    """
    x = torch.linspace(-2, 2, 40)[:, None] * torch.ones(2)  # posteriors along a diagonal: correlated
    mixture = GaussianMixture(2, len(x))
    with torch.no_grad():
        mixture.loc.copy_(x)
        mixture.log_var.fill_(2 * math.log(0.3))
    model = blurred(0.3, prior=mixture)
    terms = whole(model, 4.0, x)
    tc = terms.per_example["total_correlation"]
    assert float(tc.mean()) > 0.5
    torch.testing.assert_close(terms.per_example["dimension_wise_kl"], -tc, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms.loss() - whole(model, 1.0, x).loss(), -3 * tc.mean(), rtol=1e-3, atol=1e-3)
    model.prior = StandardNormal(2)
    assert float(whole(model, 4.0, x).loss() - whole(model, 1.0, x).loss()) > 0.5


def test_total_correlation_of_a_batch_may_fall_below_zero():
    """Fault: an ``explain`` that calls beta > 1 a bound: here the negative loss is above log p(x), with exact posteriors."""
    model = LinearGaussianVAE(6, 6)
    above = []
    for _ in range(30):
        x = model.marginal().sample((50,)).float()
        terms = evaluated(BetaTCVAE(model, 10_000, beta=6.0), x)
        above.append(float(-terms.loss() - model.log_px(x).mean()))
    with pytest.raises(AssertionError, match=r"got [1-9].*standard errors away"):
        check_mean(torch.tensor(above), 0.0, "the distance from the likelihood")


def test_beta_tcvae_refusals():
    """Fault: densities of a posterior that is no Gaussian; a batch that is not part of the data."""
    model = blurred(0.3)
    model.encoder.forward = lambda x: Independent(torch.distributions.Laplace(x, 1.0), 1)
    with pytest.raises(TypeError, match="expected an Independent Normal posterior of the top group for BetaTCVAE"):
        BetaTCVAE(model, 50)(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="expected a batch of at most `data_size` = 2 examples; got 3"):
        BetaTCVAE(vae(), 2)(images(3))


# -- FactorVAE --------------------------------------------------------------------------------------------------------

COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
BLUR = 0.5
AGGREGATE = COVARIANCE + BLUR**2 * torch.eye(2)  # of q(z), where x ~ N(0, COVARIANCE)


class Exact(nn.Module):
    """The best discriminator of the model below: log densities of q(z) and of the product of its marginals."""

    def __init__(self, *, turned: bool = False) -> None:
        super().__init__()
        zero = torch.zeros(2)
        self.laws = [MultivariateNormal(zero, cov) for cov in (AGGREGATE, AGGREGATE.diag().diag())]
        self.laws = self.laws[::-1] if turned else self.laws

    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([law.log_prob(z) for law in self.laws], -1)


def correlated(**options: bool) -> tuple[FactorVAE, Tensor]:
    x = MultivariateNormal(torch.zeros(2), COVARIANCE).sample((20_000,))
    return FactorVAE(blurred(BLUR), 2, gamma=7.0, discriminator=Exact(**options)), x


def test_factor_vae_finds_a_known_total_correlation():
    """Fault: the log-ratio upside down, the other class's logit. -1/2 log(1 - rho^2) for a correlated Gaussian."""
    objective, x = correlated()
    rho = float(AGGREGATE[0, 1] / AGGREGATE[0, 0])
    terms = evaluated(objective, x)
    check_mean(terms.per_example["total_correlation"], -0.5 * math.log(1 - rho**2), "the total correlation")
    plain = evaluated(ELBO(objective.model), x).loss()
    torch.testing.assert_close(terms.loss(), plain + 7 * terms.per_example["total_correlation"].mean())


def best_cross_entropy() -> float:
    """Mean of log(1 + exp(-t)) under q(z) and of log(1 + exp(t)) under the product, halved, by quadrature."""
    ticks = (torch.arange(400.0, dtype=torch.float64) + 0.5) / 400 * 16 - 8
    log_q, log_r = Exact()(torch.cartesian_prod(ticks, ticks).float()).double().unbind(-1)
    each = log_q.exp() * nn.functional.softplus(log_r - log_q) + log_r.exp() * nn.functional.softplus(log_q - log_r)
    return 0.5 * float(each.sum()) * (16 / 400) ** 2


def test_discriminator_is_rewarded_for_the_same_log_ratio():
    """Fault: classes that are swapped between the players: then the model would follow the opposite of what was learned."""
    objective, x = correlated()
    best = best_cross_entropy()
    assert best < math.log(2) - 0.02
    found = evaluated(objective, x, player="discriminator").per_example
    assert list(found) == ["discriminator_bce"]
    check_mean(found["discriminator_bce"], best, "the cross-entropy")
    turned = evaluated(correlated(turned=True)[0], x, player="discriminator")
    assert float(turned.loss()) > math.log(2)


def test_discriminator_learns_the_total_correlation():
    """Fault: a second class that is not the product of the marginals. 300 steps find -1/2 log(1 - rho^2) = 0.26 to a tenth."""
    objective, x = correlated()
    objective.discriminator = Discriminator(2, (32, 32))
    optimizer = torch.optim.Adam(objective.discriminator.parameters(), 5e-3)
    for batch in x[:15_000].split(50):
        optimizer.zero_grad()
        objective(batch, player="discriminator").loss().backward()
        optimizer.step()
    rho = float(AGGREGATE[0, 1] / AGGREGATE[0, 0])
    found = float(evaluated(objective, x[15_000:]).per_example["total_correlation"].mean())
    assert found == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.1)


class Spy(nn.Module):
    """Remembers what it is shown."""

    def forward(self, z: Tensor) -> Tensor:
        self.seen = z
        return torch.stack([z.sum(-1), z.sum(-1)], -1)


def test_permutation_keeps_marginals():
    """Fault: rows that are permuted whole, which stay correlated; values drawn twice."""
    spy = Spy()
    x = MultivariateNormal(torch.zeros(2), COVARIANCE).sample((2000,))
    FactorVAE(blurred(1e-6), 2, discriminator=spy)(x, player="discriminator")
    joint, product = spy.seen.chunk(2)
    torch.testing.assert_close(joint, x, rtol=0, atol=1e-4)
    torch.testing.assert_close(product.sort(0).values, x.sort(0).values, rtol=0, atol=1e-4)
    assert float(torch.corrcoef(joint.T)[0, 1]) > 0.7
    assert abs(float(torch.corrcoef(product.T)[0, 1])) < 5.03 / math.sqrt(2000)


@pytest.mark.parametrize("build", [vae, hvae], ids=["VAE", "HVAE"])
def test_players_leave_each_other_alone(build):
    """Fault: a regulariser that teaches the discriminator to be fooled, or a discriminator that moves the encoder."""
    objective, x = FactorVAE(build(flow()), LATENT, discriminator=small_discriminator()), images(8)
    model, other = (list(player.module.parameters()) for player in objective.players)
    assert not {id(parameter) for parameter in model} & {id(parameter) for parameter in other}
    terms = objective(x)
    assert all(part is None for part in torch.autograd.grad(terms.loss(), other, allow_unused=True, retain_graph=True))
    correlation = terms.per_example["total_correlation"].sum()
    reached = torch.autograd.grad(correlation, list(model_top(objective).parameters()))
    assert all(bool(part.any()) for part in reached)
    loss = objective(x, player="discriminator").loss()
    assert all(part is None for part in torch.autograd.grad(loss, model, allow_unused=True, retain_graph=True))
    assert all(bool(part.isfinite().all() and part.any()) for part in torch.autograd.grad(loss, other[:-1]))


def model_top(objective: FactorVAE) -> nn.Module:
    model = objective.model
    return model.encoder if isinstance(model, VAE) else model.encoder_top


def test_discriminator_is_the_papers():
    """Fault: a layer too few; a slope of torch's default."""
    network = Discriminator(2)
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_009_002
    assert {layer.negative_slope for layer in network if isinstance(layer, nn.LeakyReLU)} == {0.2}


# -- InfoVAE ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [RBF(), RBF(0.7), IMQ(), IMQ(3.0)])
def test_discrepancy_by_a_double_loop(kernel):
    """Fault: pairs of a point with itself, a factor of two, another scale."""
    a, b = torch.randn(5, 3), 1 + torch.randn(4, 3)
    default = 9.0 if isinstance(kernel, RBF) else 6.0
    scale = default if kernel.scale is None else kernel.scale

    def k(one: Tensor, two: Tensor) -> float:
        square = float(((one - two) ** 2).sum())
        return math.exp(-square / scale) if isinstance(kernel, RBF) else scale / (scale + square)

    within_a = sum(k(a[i], a[j]) for i in range(5) for j in range(5) if i != j) / 20
    within_b = sum(k(b[i], b[j]) for i in range(4) for j in range(4) if i != j) / 12
    across = sum(k(one, two) for one in a for two in b) / 20
    assert float(mmd(a, b, kernel)) == pytest.approx(within_a + within_b - 2 * across, abs=1e-5)


@pytest.mark.parametrize("kernel", [RBF(), IMQ()])
def test_discrepancy_of_equal_laws_is_zero_in_the_mean(kernel):
    """Fault: the biased estimate, which counts each point's pair with itself: it is of the order of 1/N."""
    found = torch.stack([mmd(torch.randn(8, 2), torch.randn(12, 2), kernel) for _ in range(2000)])
    check_mean(found, 0.0, "the discrepancy of equal laws")
    with pytest.raises(AssertionError, match="standard errors away"):
        check_mean(found + 0.5 * (1 / 8 + 1 / 12), 0.0, "a discrepancy with half of the bias")


@pytest.mark.parametrize("count", [5, 60])
def test_discrepancy_of_two_gaussians(count):
    """Fault: a bias that depends on the batch size, another sign of a term. Closed form with the Gaussian kernel.

    a - b is Gaussian, and E exp(-|d|^2 / s) = prod_l (1 + 2 v / s)^(-1/2) exp(-m_l^2 / (s + 2 v)) for d ~ N(m, v I).
    """
    shift, s = torch.tensor([1.0, -0.5]), 4.0  # s is RBF's default for two dimensions

    def mean(square: float, v: float) -> float:
        return (1 + 2 * v / s) ** -1 * math.exp(-square / (s + 2 * v))

    truth = mean(0, 2.0) + mean(0, 0.5) - 2 * mean(1.25, 1.25)
    draws = [mmd(torch.randn(count, 2), shift + 0.5 * torch.randn(count, 2), RBF()) for _ in range(8000 // count)]
    check_mean(torch.stack(draws), truth, "the discrepancy")


def test_info_vae_compares_the_aggregate_with_the_prior():
    """Fault: the posterior of one example in place of q(z); another prior than the model's. Exact posteriors: q(z) = p(z)."""
    model = LinearGaussianVAE(2, 4)
    objective = InfoVAE(model, kernel=RBF())
    x = model.marginal().sample((500, 20)).float()

    def discrepancies() -> Tensor:
        with torch.no_grad():
            return torch.stack([objective(batch).batch["mmd"] for batch in x])

    check_mean(discrepancies(), 0.0, "the discrepancy")
    with torch.no_grad():
        model.encoder.bias.add_(1.0)
    assert float(discrepancies().mean()) > 0.05
    model.prior = FlowPrior(2)  # about N(0, I) still
    assert float(discrepancies().mean()) > 0.05


@pytest.mark.parametrize(
    "prior",
    [
        lambda: flow(),
        lambda: GaussianMixture(LATENT, 3),
        lambda: VampPrior.random(3, SHAPE, mean=0.5, std=0.2),
    ],
    ids=["flow", "mixture", "pseudo-inputs"],
)
def test_discrepancy_teaches_the_prior(prior):
    """Fault: draws of the prior without gradients: then a flow would only learn from the rate."""
    objective = InfoVAE(vae(prior()))
    gap = objective(images(60)).batch["mmd"]
    for gradient in torch.autograd.grad(gap, list(objective.model.prior.parameters())):
        assert bool(gradient.isfinite().all())
        assert bool(gradient.any())


def test_info_vae_by_hand():
    """Fault: a weight of the wrong term."""
    model, x = vae(flow()), images(9)
    terms = evaluated(InfoVAE(model, alpha=0.25, lambda_=10.0), x)
    plain = evaluated(ELBO(model), x).per_example
    expected = plain["distortion"].mean() + 0.75 * plain["rate_1"].mean() + 9.25 * terms.batch["mmd"]
    torch.testing.assert_close(terms.loss(), expected)
    assert evaluated(InfoVAE(model), x[:1]).batch == {}


def test_info_vae_refuses_in_words():
    """Fault: a prior that silently learns nothing from the discrepancy; a rate that is rewarded."""
    with pytest.raises(TypeError, match=r"a prior that draws with gradients for InfoVAE.*`learn_weights=False`"):
        InfoVAE(vae(GaussianMixture(LATENT, 3, learn_weights=True)))(images())
    with pytest.raises(ValueError, match=r"expected `alpha` of at most 1: .*; got 1\.5"):
        InfoVAE(vae(), alpha=1.5)
    with pytest.raises(
        ValueError, match=r"expected at least 2 points each of one dimension; got \(1, 2\) and \(3, 2\)"
    ):
        mmd(torch.zeros(1, 2), torch.zeros(3, 2), RBF())


# -- what the number is -----------------------------------------------------------------------------------------------

REWARDS = "rewards total correlation"
EXPLAINED: dict[str, tuple[Callable[[], AbstractObjective], bool, tuple[str, ...], tuple[str, ...]]] = {
    # name: objective, whether it is a bound, what is said, what is not said
    "ELBO": (lambda: ELBO(vae()), True, ("weight beta = 1",), ()),
    "ELBO, half": (lambda: ELBO(vae(), beta=0.5), False, ("weight beta = 0.5",), ()),
    "ELBO, warm-up": (lambda: ELBO(vae(), beta=lambda step: 1.0), False, ("a function of the step",), ()),
    "BetaVAE": (lambda: BetaVAE(vae(), beta=5.0), True, ("weight 5",), ()),
    "BetaVAE, half": (lambda: BetaVAE(vae(), beta=0.5), False, ("weight 0.5", "breaks it"), ()),
    "AnnealedVAE": (
        lambda: AnnealedVAE(vae(), gamma=15.0, capacity=3.0, capacity_steps=7),
        False,
        ("weight 15", "0 to 3 over 7 steps", "the batch's mean"),
        (),
    ),
    "BetaTCVAE, plain": (lambda: BetaTCVAE(vae(), 50, beta=1.0), True, ("stratified",), (REWARDS, "short of up to")),
    "BetaTCVAE": (
        lambda: BetaTCVAE(vae(), 50, alpha=1.5, beta=6.0, gamma=2.0),
        False,
        ("weight 1.5", "weight 6", "weight 2"),
        (REWARDS, "may be negative"),
    ),
    "BetaTCVAE, looser": (lambda: BetaTCVAE(vae(flow()), 50, alpha=3.0, beta=2.0, gamma=2.0), True, (), (REWARDS,)),
    "BetaTCVAE, less information": (lambda: BetaTCVAE(vae(), 50, alpha=1.0, beta=2.0, gamma=2.0), False, (), ()),
    "BetaTCVAE, gamma > beta, normal": (
        lambda: BetaTCVAE(vae(), 50, alpha=1.0, beta=4.0, gamma=15.0),
        False,
        ("weight 15",),
        (REWARDS,),
    ),
    "BetaTCVAE, gamma > beta, flow": (
        lambda: BetaTCVAE(vae(flow()), 50, alpha=1.0, beta=4.0, gamma=15.0),
        False,
        (REWARDS, "may be negative"),
        (),
    ),
    "BetaTCVAE, weighted": (lambda: BetaTCVAE(vae(), 50, weights="weighted"), False, ("short of up to log N",), ()),
    "FactorVAE": (
        lambda: FactorVAE(vae(), LATENT, gamma=7.0, discriminator=small_discriminator()),
        False,
        ("weight 7", "discriminator"),
        (),
    ),
    "InfoVAE": (lambda: InfoVAE(vae(), alpha=0.0, lambda_=10.0), True, ("weight 1;", "weight 9;", "IMQ"), ()),
    "InfoVAE, alpha": (lambda: InfoVAE(vae(), alpha=0.5, lambda_=10.0), False, ("weight 0.5;", "weight 9.5;"), ()),
    "InfoVAE, no weight": (lambda: InfoVAE(vae(), alpha=0.0, lambda_=0.5, kernel=RBF()), False, ("-0.5;", "RBF"), ()),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_the_number_is(name):
    """Fault: a bound that is none, weights that are not those of the loss."""
    build, is_bound, said, unsaid = EXPLAINED[name]
    explanation = build().explain()
    assert explanation.is_bound is is_bound
    text = str(explanation)
    assert f"A bound on the log-likelihood: {'yes' if is_bound else 'no'}" in text
    for words in said:
        assert words in text
    for words in unsaid:
        assert words not in text


@pytest.mark.parametrize("name", BUILDS)
def test_every_term_is_explained(name):
    """Fault: a term that stands in the logs and in no explanation."""
    objective = BUILDS[name](hvae())
    terms = objective(images(5))
    told = objective.explain().terms.keys()
    for term in terms.per_example | terms.batch:
        assert ("rate_k" if term.startswith("rate_") else term) in told
