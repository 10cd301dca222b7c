"""Objectives against closed forms: the bound of a linear-Gaussian model, torch's KL,
sums by hand.
"""

import math

import pytest
import torch
from members import LATENT, hvae, images, vae
from torch.distributions import kl_divergence

from priorwise.models import NCP, frozen
from priorwise.objectives import ELBO, IWAE, Terms
from priorwise.priors import GaussianMixture
from priorwise.testing import LinearGaussianVAE, check_mean


@pytest.fixture
def wrong():
    """A model whose encoder is off, and one observation repeated, so that batch members are
    independent draws.
    """
    model = LinearGaussianVAE(2, 4, shift=0.5, stretch=1.3)
    return model, model.sample(1, mean=False, seed=0)


def test_loss_by_hand():
    """Fault: a mean of a batch term, a weight of zero taken for none, terms that are averaged."""
    terms = Terms(
        {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([10.0, 20.0])},
        {"c": torch.tensor(7.0)},
        {"b": 0.5, "c": 0.0},
    )
    assert float(terms.loss()) == 2.0 + 0.5 * 15.0
    assert float(Terms({"a": torch.tensor([1.0, 3.0])}).loss()) == 2.0


@pytest.mark.parametrize("kl", ["sample", "analytic"])
def test_elbo_has_the_mean_that_it_should(wrong, kl):
    """Fault: a dropped constant, a sign of the rate, a distortion averaged over pixels. The bound
    is known.
    """
    model, x = wrong
    with torch.no_grad():
        terms = ELBO(model, kl=kl)(x.expand(20_000, -1))
    assert list(terms.per_example) == ["distortion", "rate_1"]
    loss = terms.per_example["distortion"] + terms.per_example["rate_1"]
    check_mean(-loss, float(model.exact_elbo(x)), "the bound")


def test_sampled_and_analytic_rate_agree_in_the_mean(wrong):
    """Fault: a KL the other way round, or of another draw than the distortion's."""
    model, x = wrong
    wide = x.expand(20_000, -1)
    with torch.no_grad():
        sampled = ELBO(model)(wide).per_example["rate_1"]
        analytic = ELBO(model, kl="analytic")(wide).per_example["rate_1"]
        (group,) = model.infer(x)
        exact = kl_divergence(group.posterior, group.prior)
    torch.testing.assert_close(analytic, exact.expand(20_000))
    check_mean(sampled, float(exact), "the sampled rate")


def test_distortion_and_rate_share_their_draw():
    """Fault: two draws, which are unbiased too but noisier. With the exact encoder the sum is log
    p(x) at every draw.
    """
    model = LinearGaussianVAE(2, 4)
    x = model.sample(50, mean=False, seed=0)
    per_example = ELBO(model)(x).per_example
    total = per_example["distortion"] + per_example["rate_1"]
    torch.testing.assert_close(-total.double(), model.log_px(x), rtol=1e-4, atol=1e-4)


def test_rates_of_a_hierarchy():
    """Fault: a group left out, or groups that are added up under one name."""
    model, x = hvae(GaussianMixture(LATENT, 3)), images(5)
    torch.manual_seed(0)
    terms = ELBO(model)(x)
    torch.manual_seed(0)
    groups = model.infer(x)
    for group in groups:
        expected = group.posterior.log_prob(group.z) - group.prior.log_prob(group.z)
        torch.testing.assert_close(terms.per_example[f"rate_{group.index}"], expected)
    log_q = sum(group.posterior.log_prob(group.z) for group in groups)
    expected = (log_q - model.log_joint(groups, x)).mean()
    torch.testing.assert_close(terms.loss(), expected, rtol=1e-4, atol=1e-4)


def test_analytic_rate_refuses_in_words():
    """Fault: a silent fall back to another estimate."""
    objective = ELBO(vae(GaussianMixture(LATENT, 3)), kl="analytic")
    with pytest.raises(
        ValueError, match=r"closed-form KL .*; got Independent against DiagonalGaussianMixture"
    ):
        objective(images())


def test_beta_is_a_number_or_a_function_of_the_step():
    """Fault: a weight on the distortion, or a step that is not handed over."""
    model, x = LinearGaussianVAE(2, 4), torch.randn(6, 4)
    for beta, step, expected in [
        (0.5, 3, 0.5),
        (lambda step: 0.1 * step, 3, 0.3),
        (lambda step: step / 4, 0, 0.0),
    ]:
        terms = ELBO(model, beta=beta)(x, step)
        assert terms.weights == {"rate_1": pytest.approx(expected)}
        by_hand = (
            terms.per_example["distortion"].mean() + expected * terms.per_example["rate_1"].mean()
        )
        torch.testing.assert_close(terms.loss(), by_hand)


def test_iwae_of_one_sample_is_the_elbo(wrong):
    """Fault: a missing log K, a mean of logarithms."""
    model, x = wrong
    with torch.no_grad():
        bound = -IWAE(model, 1)(x.expand(20_000, -1)).per_example["bound"]
    check_mean(bound, float(model.exact_elbo(x)), "the bound")


def test_iwae_is_tighter_with_every_sample(wrong):
    """Fault: a K that is off by one: exp(bound) has mean p(x) for every K, and the bound stays
    below log p(x).
    """
    model, x = wrong
    truth, bounds = float(model.log_px(x)), []
    for samples in (1, 5, 50):
        with torch.no_grad():
            bound = -IWAE(model, samples)(x.expand(5000, -1)).per_example["bound"].double()
        check_mean(
            (bound - truth).exp(), 1.0, f"the ratio to p(x) with {samples} samples", comparisons=3
        )
        bounds.append(float(bound.mean()))
    assert bounds[0] < bounds[1] < bounds[2] < truth + 0.02


def test_iwae_by_hand():
    """Fault: a group left out of the weights."""
    model, x = hvae(), images(4)
    torch.manual_seed(0)
    (bound,) = IWAE(model, 7)(x).per_example.values()
    torch.manual_seed(0)
    groups = model.infer(x, (7,))
    log_w = model.log_joint(groups, x) - sum(group.posterior.log_prob(group.z) for group in groups)
    torch.testing.assert_close(bound, math.log(7) - log_w.logsumexp(0))


@pytest.mark.parametrize(
    "build", [lambda m: ELBO(m), lambda m: ELBO(m, kl="analytic"), lambda m: IWAE(m, 5)]
)
def test_gradient_is_that_of_the_exact_bound(build):
    """Fault: a detached draw or term. At the exact encoder the gradient by the decoder's bias is
    that of log p(x).
    """
    model = LinearGaussianVAE(2, 4)
    x = model.sample(1, mean=False, seed=0)
    objective = build(model)
    gradients = []
    for _ in range(400):
        (gradient,) = torch.autograd.grad(objective(x.expand(50, -1)).loss(), model.decoder.bias)
        gradients.append(-gradient)
    law = model.marginal()
    expected = law.precision_matrix @ (x[0].double() - law.loc)
    for dim in range(4):
        what = f"the gradient by bias {dim}"
        check_mean(torch.stack(gradients)[:, dim], float(expected[dim]), what, comparisons=4)


def test_gradients_are_finite_far_from_the_data():
    """Fault: infinite weights that meet each other as NaN."""
    model = LinearGaussianVAE(2, 4)
    x = 1000 * torch.ones(3, 4)
    for objective in (ELBO(model), IWAE(model, 5)):
        for gradient in torch.autograd.grad(objective(x).loss(), list(model.parameters())):
            assert gradient.isfinite().all()


def test_objectives_refuse_what_they_are_not_for():
    """Fault: an NCP trained by its unnormalised bound, which grows without limit."""
    ncp = NCP(vae(), hidden_features=(8,))
    for build, name in ((ELBO, "ELBO"), (IWAE, "IWAE bound")):
        with pytest.raises(
            TypeError,
            match=f"expected a model that can be trained by its {name}; got one tilted by NCP",
        ):
            build(ncp)
    with pytest.raises(ValueError, match="expected `samples` of at least 1; got 0"):
        IWAE(vae(), 0)


def test_objectives_work_inside_frozen():
    """Fault: an objective that needs gradients to evaluate."""
    model = vae()
    with frozen(model), torch.no_grad():
        assert ELBO(model)(images()).loss().isfinite()
