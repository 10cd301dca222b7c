"""InfoVAE and the maximum mean discrepancy against double loops and closed forms.

False-alarm rate of each statistical test: 1e-6 (``priorwise.testing.ALPHA``).
"""

import math

import pytest
import torch
from blurred import evaluated
from members import LATENT, SHAPE, flow, images, vae
from torch import Tensor

from priorwise.objectives import ELBO, IMQ, RBF, InfoVAE, mmd
from priorwise.priors import FlowPrior, GaussianMixture, VampPrior
from priorwise.testing import LinearGaussianVAE, check_mean


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
    """Fault: the biased estimate, which counts each point's pair with itself: it is of the order of
    1/N.
    """
    discrepancies = torch.stack(
        [mmd(torch.randn(8, 2), torch.randn(12, 2), kernel) for _ in range(2000)]
    )
    check_mean(discrepancies, 0.0, "the discrepancy of equal laws")
    with pytest.raises(AssertionError, match="standard errors away"):
        check_mean(
            discrepancies + 0.5 * (1 / 8 + 1 / 12), 0.0, "a discrepancy with half of the bias"
        )


@pytest.mark.parametrize("count", [5, 60])
def test_discrepancy_of_two_gaussians(count):
    """Fault: a bias that depends on the batch size, another sign of a term. Closed form with the
    Gaussian kernel.

    a - b is Gaussian, and E exp(-|d|^2 / s) = prod_l (1 + 2 v / s)^(-1/2) exp(-m_l^2 / (s + 2 v))
    for d ~ N(m, v I).
    """
    shift, s = torch.tensor([1.0, -0.5]), 4.0  # s is RBF's default for two dimensions

    def mean(square: float, v: float) -> float:
        return (1 + 2 * v / s) ** -1 * math.exp(-square / (s + 2 * v))

    truth = mean(0, 2.0) + mean(0, 0.5) - 2 * mean(1.25, 1.25)
    draws = [
        mmd(torch.randn(count, 2), shift + 0.5 * torch.randn(count, 2), RBF())
        for _ in range(8000 // count)
    ]
    check_mean(torch.stack(draws), truth, "the discrepancy")


def test_info_vae_compares_the_aggregate_with_the_prior():
    """Fault: the posterior of one example in place of q(z); another prior than the model's. Exact
    posteriors: q(z) = p(z).
    """
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
    expected = (
        plain["distortion"].mean() + 0.75 * plain["rate_1"].mean() + 9.25 * terms.batch["mmd"]
    )
    torch.testing.assert_close(terms.loss(), expected)
    assert evaluated(InfoVAE(model), x[:1]).batch == {}


def test_info_vae_refuses_in_words():
    """Fault: a prior that silently learns nothing from the discrepancy; a rate that is rewarded."""
    with pytest.raises(
        TypeError, match=r"a prior that can be sampled with gradients.*`learn_weights=False`"
    ):
        InfoVAE(vae(GaussianMixture(LATENT, 3, learn_weights=True)))(images())
    with pytest.raises(ValueError, match=r"expected `alpha` of at most 1; got 1\.5"):
        InfoVAE(vae(), alpha=1.5)
    with pytest.raises(
        ValueError,
        match=r"2 points in each set, all of the same dimension; got \(1, 2\) and \(3, 2\)",
    ):
        mmd(torch.zeros(1, 2), torch.zeros(3, 2), RBF())
