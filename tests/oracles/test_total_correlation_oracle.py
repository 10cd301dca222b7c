"""BetaTCVAE and its minibatch densities against enumerations of all batches.

False-alarm rate of each statistical test: 1e-6 (``priorwise.testing.ALPHA``).
"""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from blurred import blurred, evaluated
from members import flow, hvae, images, vae
from torch import Tensor
from torch.distributions import Independent, Normal

from priorwise.models import VAE
from priorwise.objectives import ELBO, BetaTCVAE, Terms
from priorwise.objectives.minibatch import log_weights, marginal_log_densities
from priorwise.priors import GaussianMixture, StandardNormal
from priorwise.testing import LinearGaussianVAE, check_mean

WEIGHTINGS = ["stratified", "balanced", "weighted"]


@pytest.mark.parametrize("count", [1, 2, 7, 50])
@pytest.mark.parametrize("weights", WEIGHTINGS)
@pytest.mark.parametrize("build", [vae, hvae], ids=["VAE", "HVAE"])
def test_three_terms_add_up_to_the_rate(build, weights, count):
    """Fault: terms at different draws, or with different estimates of q(z). Example by example, for
    any prior and batch.
    """
    model, x = build(flow()), images(count)
    plain = evaluated(ELBO(model), x)
    terms = evaluated(
        BetaTCVAE(model, 50, alpha=1.0, beta=1.0, gamma=1.0, weights=weights), x
    ).per_example
    total = terms["mutual_information"] + terms["total_correlation"] + terms["dimension_wise_kl"]
    torch.testing.assert_close(total, plain.per_example["rate_1"], rtol=1e-4, atol=1e-4)
    others = sum(term.mean() for term in terms.values()) - total.mean()
    torch.testing.assert_close(total.mean() + others, plain.loss(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 20])
def test_rows_of_weights(batch):
    """Fault: a normalisation over columns, an odd weight too many. The second is biased by design:
    see its docstring.
    """
    for weights in ("stratified", "balanced"):
        rows = log_weights(batch, 20, weights).exp().sum(1)
        torch.testing.assert_close(rows, torch.ones(batch))
    torch.testing.assert_close(
        log_weights(batch, 20, "weighted").exp().sum(1), torch.full((batch,), 1 / 20)
    )


def points(count: int, features: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """A point and its component for each member of a data set."""
    return (
        torch.randn(count, features),
        torch.randn(count, features),
        0.3 + torch.rand(count, features),
    )


def aggregate(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """q(z) of each point, over all components."""
    return Independent(Normal(loc, scale), 1).log_prob(z[:, None]).exp().mean(1)


def over_all_batches(
    weights: Callable[[int], Tensor], batch: int, data: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """The mean of the estimated density of each member, over all ordered batches that hold it and
    all places in them.
    """
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
    """Fault: any wrong weight. Over all batches of a data set of five; the logarithm is taken back,
    for it is biased.

    One stratified estimate depends on which member stands next in the batch: only the mean over
    orders is q(z).
    """
    data = points(5, 2)
    densities = over_all_batches(lambda size: log_weights(size, 5, weights), batch, data)
    torch.testing.assert_close(densities, aggregate(*data), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", [2, 4])
def test_weighted_density_is_too_low(batch):
    """Fault: what its docstring says. Its mean is (own + (B - 1) mean of the others) / (N B)."""
    z, loc, scale = points(5)
    densities = over_all_batches(
        lambda size: log_weights(size, 5, "weighted"), batch, (z, loc, scale)
    )
    own = Independent(Normal(loc, scale), 1).log_prob(z).exp()
    others = (5 * aggregate(z, loc, scale) - own) / 4
    torch.testing.assert_close(
        densities, (own + (batch - 1) * others) / (5 * batch), rtol=1e-4, atol=1e-6
    )
    assert bool((densities < aggregate(z, loc, scale)).all())


def in_columns(batch: int, data_size: int) -> Tensor:
    """The fault of the published code: the two odd weights in the first two columns of all rows,
    not on a diagonal.
    """
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others)
    weights[:, 0], weights[:, 1] = 1 / data_size, (data_size - others) / (data_size * others)
    return weights.log()


def test_weights_in_columns_are_too_high():
    """The planted fault: narrow posteriors weigh N/M times too much in all rows but the first."""
    z, loc, scale = points(5)
    exact = aggregate(z, loc, scale)
    densities = over_all_batches(lambda size: in_columns(size, 5), 3, (z, loc, scale))
    assert not torch.allclose(densities, exact, rtol=0.02)
    narrow = torch.arange(40.0)[:, None], torch.arange(40.0)[:, None], torch.full((40, 1), 0.01)
    batch = tuple(part[:5] for part in narrow)
    high, _ = marginal_log_densities(*batch, in_columns(5, 40))
    right, _ = marginal_log_densities(*batch, log_weights(5, 40, "stratified"))
    torch.testing.assert_close(right.exp(), aggregate(*narrow)[:5], rtol=1e-4, atol=0)
    torch.testing.assert_close(
        (high - right).exp()[2:], torch.full((3,), 40 / 4), rtol=1e-4, atol=0
    )


def test_marginals_are_those_of_each_dimension():
    """Fault: dimensions summed before the logsumexp."""
    z, loc, scale = points(6, 3)
    weights = log_weights(6, 30, "stratified")
    _, marginals = marginal_log_densities(z, loc, scale, weights)
    each = [
        marginal_log_densities(*(part[:, [dim]] for part in (z, loc, scale)), weights)[0]
        for dim in range(3)
    ]
    torch.testing.assert_close(marginals, sum(each))


def whole(model: VAE, gamma: float, x: Tensor) -> Terms:
    """The terms with the whole data set as the batch, where balanced weights give q(z) exactly."""
    return evaluated(BetaTCVAE(model, len(x), beta=1.0, gamma=gamma, weights="balanced"), x)


def test_balanced_density_of_the_whole_set_is_exact():
    z, loc, scale = points(6, 2)
    log_q, _ = marginal_log_densities(z, loc, scale, log_weights(6, 6, "balanced"))
    torch.testing.assert_close(log_q.exp(), aggregate(z, loc, scale), rtol=1e-4, atol=1e-6)


def test_gamma_above_beta_rewards_total_correlation():
    """Fault: what docstring and ``explain`` say of equation 31. With p(z) = q(z) the last term is
    -TC, so beta - gamma weighs it.

    A standard normal prior cannot follow q(z), and pays for the same weight.
    """
    x = torch.linspace(-2, 2, 40)[:, None] * torch.ones(
        2
    )  # posteriors along a diagonal: correlated
    mixture = GaussianMixture(2, len(x))
    with torch.no_grad():
        mixture.loc.copy_(x)
        mixture.log_var.fill_(2 * math.log(0.3))
    model = blurred(0.3, prior=mixture)
    terms = whole(model, 4.0, x)
    tc = terms.per_example["total_correlation"]
    assert float(tc.mean()) > 0.5
    torch.testing.assert_close(terms.per_example["dimension_wise_kl"], -tc, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        terms.loss() - whole(model, 1.0, x).loss(), -3 * tc.mean(), rtol=1e-3, atol=1e-3
    )
    model.prior = StandardNormal(2)
    assert float(whole(model, 4.0, x).loss() - whole(model, 1.0, x).loss()) > 0.5


def test_total_correlation_of_a_batch_may_fall_below_zero():
    """Fault: an ``explain`` that calls beta > 1 a bound: here the negative loss is above log p(x),
    with exact posteriors.
    """
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
    with pytest.raises(
        TypeError, match="expected an Independent Normal posterior of the top group for BetaTCVAE"
    ):
        BetaTCVAE(model, 50)(torch.zeros(3, 2))
    with pytest.raises(
        ValueError, match="expected a batch of at most `data_size` = 2 examples; got 3"
    ):
        BetaTCVAE(vae(), 2)(images(3))
