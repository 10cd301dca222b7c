"""FactorVAE against Gaussians whose total correlation is known.

False-alarm rate of each statistical test: 1e-6 (``priorwise.testing.ALPHA``).
"""

import math

import pytest
import torch
from blurred import blurred, evaluated
from members import LATENT, flow, hvae, images, small_discriminator, vae
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from priorwise.models import VAE
from priorwise.objectives import ELBO, Discriminator, FactorVAE
from priorwise.testing import check_mean
from priorwise.training.optimizer import set_lrs

COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
BLUR = 0.5
AGGREGATE = COVARIANCE + BLUR**2 * torch.eye(2)  # of q(z), where x ~ N(0, COVARIANCE)


class Exact(nn.Module):
    """The best discriminator of the model below: log densities of q(z) and of the product of its
    marginals.
    """

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
    """Fault: the log-ratio upside down, the other class's logit. -1/2 log(1 - rho^2) for a
    correlated Gaussian.
    """
    objective, x = correlated()
    rho = float(AGGREGATE[0, 1] / AGGREGATE[0, 0])
    terms = evaluated(objective, x)
    check_mean(
        terms.per_example["total_correlation"], -0.5 * math.log(1 - rho**2), "the total correlation"
    )
    plain = evaluated(ELBO(objective.model), x).loss()
    torch.testing.assert_close(
        terms.loss(), plain + 7 * terms.per_example["total_correlation"].mean()
    )


def best_cross_entropy() -> float:
    """Mean of log(1 + exp(-t)) under q(z) and of log(1 + exp(t)) under the product, halved, by
    quadrature.
    """
    ticks = (torch.arange(400.0, dtype=torch.float64) + 0.5) / 400 * 16 - 8
    log_q, log_r = Exact()(torch.cartesian_prod(ticks, ticks).float()).double().unbind(-1)
    each = log_q.exp() * nn.functional.softplus(
        log_r - log_q
    ) + log_r.exp() * nn.functional.softplus(log_q - log_r)
    return 0.5 * float(each.sum()) * (16 / 400) ** 2


def test_discriminator_is_rewarded_for_the_same_log_ratio():
    """Fault: classes that are swapped between the players: then the model would follow the opposite
    of what was learned.
    """
    objective, x = correlated()
    best = best_cross_entropy()
    assert best < math.log(2) - 0.02
    terms = evaluated(objective, x, player="discriminator").per_example
    assert list(terms) == ["discriminator_bce"]
    check_mean(terms["discriminator_bce"], best, "the cross-entropy")
    turned = evaluated(correlated(turned=True)[0], x, player="discriminator")
    assert float(turned.loss()) > math.log(2)


def test_discriminator_learns_the_total_correlation():
    """Fault: a second class that is not the product of the marginals: then it learns 0, or more
    than the truth.

    -1/2 log(1 - rho^2) = 0.263. Over 12 seeds it came to 0.256, with a standard deviation of 0.015.
    """
    objective, _ = correlated()
    objective.discriminator = Discriminator(2, (32, 32))
    law = MultivariateNormal(torch.zeros(2), COVARIANCE)
    optimizer = torch.optim.Adam(objective.discriminator.parameters(), 1e-2)
    for step in range(300):
        set_lrs(optimizer, [1e-2], 1 - step / 300)
        optimizer.zero_grad()
        objective(law.sample((200,)), player="discriminator").loss().backward()
        optimizer.step()
    rho = float(AGGREGATE[0, 1] / AGGREGATE[0, 0])
    total_correlation = float(
        evaluated(objective, law.sample((5000,))).per_example["total_correlation"].mean()
    )
    assert total_correlation == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.1)


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
    """Fault: a regulariser that teaches the discriminator to be fooled, or a discriminator that
    moves the encoder.
    """
    objective, x = FactorVAE(build(flow()), LATENT, discriminator=small_discriminator()), images(8)
    model, other = (list(player.module.parameters()) for player in objective.players)
    assert not {id(parameter) for parameter in model} & {id(parameter) for parameter in other}
    terms = objective(x)
    assert all(
        part is None
        for part in torch.autograd.grad(terms.loss(), other, allow_unused=True, retain_graph=True)
    )
    correlation = terms.per_example["total_correlation"].sum()
    reached = torch.autograd.grad(correlation, list(model_top(objective).parameters()))
    assert all(bool(part.any()) for part in reached)
    loss = objective(x, player="discriminator").loss()
    assert all(
        part is None
        for part in torch.autograd.grad(loss, model, allow_unused=True, retain_graph=True)
    )
    assert all(
        bool(part.isfinite().all() and part.any()) for part in torch.autograd.grad(loss, other[:-1])
    )


def model_top(objective: FactorVAE) -> nn.Module:
    model = objective.model
    return model.encoder if isinstance(model, VAE) else model.encoder_top


def test_discriminator_is_the_papers():
    """Fault: a layer too few; a slope of torch's default."""
    network = Discriminator(2)
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_009_002
    assert {layer.negative_slope for layer in network if isinstance(layer, nn.LeakyReLU)} == {0.2}
