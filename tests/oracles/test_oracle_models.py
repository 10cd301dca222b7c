"""The models with closed answers are themselves tested: by quadrature, by their own draws, by the
known slope.
"""

import math

import pytest
import torch
from scipy import stats
from torch.distributions import Independent, Normal

from priorwise.models import frozen
from priorwise.objectives import ELBO, IWAE
from priorwise.randomness import seeded
from priorwise.testing import ALPHA, LadderVAE, LinearGaussianVAE, check_mean


def log_weights(model, x, samples):
    with frozen(model):
        groups = model.infer(x, (samples,))
        return model.log_joint(groups, x) - groups[0].posterior.log_prob(groups[0].z)


def test_likelihood_by_quadrature():
    """Fault: a covariance without its noise, a constant. One latent, so that the integral over z is
    a sum.
    """
    model = LinearGaussianVAE(1, 3, scale=0.7)
    x = model.sample(5, mean=False, seed=0)
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    with torch.no_grad():
        loc = grid[:, None] * model.decoder.weight[:, 0].double() + model.decoder.bias.double()
        log_px_z = Independent(
            Normal(loc[:, None], model.decoder.log_scale.double().exp()), 1
        ).log_prob(x.double())
    log_pz = Normal(0.0, 1.0).log_prob(grid)[:, None]
    integral = (log_px_z + log_pz).logsumexp(0) + math.log(float(grid[1] - grid[0]))
    torch.testing.assert_close(model.log_px(x), integral, rtol=1e-5, atol=1e-5)


def test_marginal_is_the_law_of_the_draws():
    """Fault: a likelihood of another model than the one that draws. The Mahalanobis distance is
    chi-square.
    """
    model = LinearGaussianVAE(2, 4)
    x = model.sample(8000, mean=False, seed=1).double()
    law = model.marginal()
    distance = (x - law.loc).unsqueeze(1) @ law.precision_matrix @ (x - law.loc).unsqueeze(2)
    assert stats.kstest(distance.flatten().numpy(), stats.chi2(4).cdf).pvalue > ALPHA


def test_exact_posterior_makes_the_bound_tight():
    """Fault: a posterior that is not the exact one. Then log p(x, z) - log q(z|x) is log p(x) at
    every z.
    """
    model = LinearGaussianVAE(3, 5, scale=0.3)
    x = model.sample(6, mean=False, seed=0)
    weights = log_weights(model, x, 50).double()
    torch.testing.assert_close(weights, model.log_px(x).expand(50, 6), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.exact_elbo(x), model.log_px(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"shift": 0.7}, {"stretch": 1.6}, {"shift": -0.4, "stretch": 0.7}]
)
def test_a_wrong_encoder_costs_what_it_should(wrong):
    """Fault: a bound whose gap is not KL(q || p(z|x)). Here the gap does not depend on x, and is
    known by hand.
    """
    model = LinearGaussianVAE(2, 4, **wrong)
    x = model.sample(3, mean=False, seed=0)
    shift, stretch = wrong.get("shift", 0.0), wrong.get("stretch", 1.0)
    gap = 2 * 0.5 * (stretch**2 + shift**2 - 1 - 2 * math.log(stretch))
    measured = model.log_px(x) - model.exact_elbo(x)
    torch.testing.assert_close(
        measured, torch.full((3,), gap, dtype=torch.float64), rtol=1e-5, atol=1e-5
    )
    bound = log_weights(model, x, 20_000)
    for example in range(3):
        check_mean(
            bound[:, example], float(model.exact_elbo(x)[example]), "the bound", comparisons=3
        )


def test_importance_bound_tightens_by_one_over_k():
    """Fault: a bound that does not tighten as 1 / K (a wrong count, a sum of logarithms). House
    oracle: slope -0.98.
    """
    model = LinearGaussianVAE(1, 2, shift=0.6, stretch=1.2)
    x = model.sample(1, mean=False, seed=0)
    truth, gaps = float(model.log_px(x)), []
    for samples in (4, 16, 64):
        weights = log_weights(model, x.expand(20_000, -1), samples)
        gaps.append(truth - float((weights.logsumexp(0) - math.log(samples)).double().mean()))
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert math.log(gaps[2] / gaps[0]) / math.log(16) == pytest.approx(-1.0, abs=0.15)


def test_closed_forms_follow_training():
    """Fault: closed forms of the weights at construction. A step on the exact bound raises the
    exact likelihood.
    """
    model = LinearGaussianVAE(2, 4, seed=1)
    with seeded(0, "data"):
        x = torch.randn(500, 4) * torch.tensor([2.0, 1.0, 0.5, 0.5])
    before = float(model.log_px(x).mean())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    objective = ELBO(model)
    for _ in range(100):
        optimizer.zero_grad()
        objective(x).loss().backward()
        optimizer.step()
    after = float(model.log_px(x).mean())
    assert after > before + 0.3
    assert float(-IWAE(model, 50)(x).loss().detach()) < after + 0.05


def test_oracles_refuse_what_has_no_closed_form():
    with pytest.raises(ValueError, match="expected `latent` between 1 and `observed` = 3; got 4"):
        LinearGaussianVAE(4, 3)
    with pytest.raises(
        ValueError, match=r"expected positive `scale` and `stretch`; got -1\.0 and 1\.0"
    ):
        LinearGaussianVAE(scale=-1.0)
    with pytest.raises(ValueError, match="expected at least 1 of `groups`; got 0"):
        LadderVAE(groups=0)


def test_oracles_are_the_same_at_every_construction():
    """Fault: weights that depend on the caller's stream."""
    for build in (LinearGaussianVAE, LadderVAE):
        first, second = build().state_dict(), build().state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)
