"""BetaVAE and AnnealedVAE against the ELBO and sums by hand."""

import pytest
import torch
from blurred import blurred, evaluated
from members import flow, hvae, images, vae
from torch import nn

from priorwise.likelihoods import Gaussian
from priorwise.objectives import ELBO, AnnealedVAE, BetaVAE


@pytest.mark.parametrize("kl", ["sample", "entropy"])
def test_beta_vae_at_one_is_the_elbo(kl):
    """Fault: a weight on the distortion."""
    model, x = hvae(flow()), images(7)
    torch.testing.assert_close(
        evaluated(BetaVAE(model, beta=1.0, kl=kl), x).loss(),
        evaluated(ELBO(model, kl=kl), x).loss(),
    )
    terms = evaluated(BetaVAE(model, beta=3.0, kl=kl), x)
    rates = terms.per_example["rate_1"] + terms.per_example["rate_2"]
    torch.testing.assert_close(terms.loss(), (terms.per_example["distortion"] + 3 * rates).mean())


def test_beta_and_the_scale_of_the_likelihood_are_one_knob():
    """Fault: what ``explain`` says of it. Beta at scale s is beta times the ELBO at scale s
    sqrt(beta), up to a constant.
    """
    x, differences = torch.randn(6, 2), []
    for beta, scale in [(4.0, 0.5), (1.0, 1.0)]:
        torch.manual_seed(1)
        model = blurred(0.3)
        model.decoder.head = Gaussian(2, (2,), scale=scale)
        nn.init.eye_(model.decoder.head.loc.weight)
        objective = BetaVAE(model, beta=beta)
        losses = torch.stack(
            [evaluated(objective, x * stretch).loss() for stretch in (1.0, 2.0, 3.0)]
        )
        differences.append((losses[1:] - losses[0]) / beta)
    torch.testing.assert_close(differences[0], differences[1], rtol=1e-4, atol=1e-4)


def test_capacity_grows_and_stays():
    """Fault: a step that is off by one, a capacity that grows on."""
    objective = AnnealedVAE(vae(), capacity=8.0, capacity_steps=4)
    assert [objective.capacity_at(step) for step in (0, 1, 2, 4, 5, 2**62)] == [0, 2, 4, 8, 8, 8]


@pytest.mark.parametrize("step", [0, 5, 10, 100])
def test_capacity_holds_the_batch_mean(step):
    """Fault: the gap of each example, whose mean is larger; a rate below the capacity that is not
    pushed up.
    """
    model, x = hvae(flow()), images(9)
    plain = evaluated(ELBO(model), x).per_example
    rate = plain["rate_1"] + plain["rate_2"]
    middle = float(rate.median())  # the capacity at step 5: some rates lie above it, some below
    terms = evaluated(
        AnnealedVAE(model, gamma=5.0, capacity=2 * middle, capacity_steps=10), x, step
    )
    gap = abs(float(rate.mean()) - 2 * middle * min(1, step / 10))
    assert list(terms.batch) == ["capacity_gap"]
    assert float(terms.batch["capacity_gap"]) == pytest.approx(gap, abs=1e-4)
    torch.testing.assert_close(
        terms.loss(), plain["distortion"].mean() + 5 * gap, rtol=1e-4, atol=1e-4
    )
    if step == 5:
        assert float((rate - middle).abs().mean()) > gap + 1e-3
