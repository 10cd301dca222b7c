"""The regularised objectives together: the prior is the model's, a weight means the same for every
batch, ``explain``.

False-alarm rate of each statistical test: 1e-6 (``priorwise.testing.ALPHA``).
"""

import copy
from collections.abc import Callable

import pytest
import torch
from blurred import evaluated
from members import LATENT, flow, hvae, identity_flow, images, small_discriminator, vae
from torch import nn

from priorwise.models import NCP, AbstractModel
from priorwise.objectives import (
    ELBO,
    RBF,
    AbstractObjective,
    AnnealedVAE,
    BetaTCVAE,
    BetaVAE,
    FactorVAE,
    InfoVAE,
)
from priorwise.testing import LinearGaussianVAE

Build = Callable[[AbstractModel], AbstractObjective]

BUILDS: dict[str, Build] = {
    "BetaVAE": lambda model: BetaVAE(model, beta=3.0),
    "BetaVAE, entropy": lambda model: BetaVAE(model, beta=3.0, kl="entropy"),
    "AnnealedVAE": lambda model: AnnealedVAE(model, gamma=5.0, capacity=1.0, capacity_steps=10),
    "BetaTCVAE": lambda model: BetaTCVAE(model, 50, alpha=0.5, beta=4.0, gamma=2.0),
    "FactorVAE": lambda model: FactorVAE(
        model, LATENT, gamma=3.0, discriminator=small_discriminator()
    ),
    "InfoVAE": lambda model: InfoVAE(model, alpha=0.3, lambda_=20.0),
    "InfoVAE, RBF": lambda model: InfoVAE(model, alpha=0.3, lambda_=20.0, kernel=RBF()),
}


# -- the prior is the model's ----------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("build", [vae, hvae], ids=["VAE", "HVAE"])
def test_identity_flow_gives_the_plain_loss(name, build):
    """Fault: a term with its own standard normal, a log-determinant left out or counted twice. In
    float64, to rounding.
    """
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
    """An objective whose terms are functions of x alone: posteriors so narrow that draws are means,
    the entropy closed.
    """
    model = LinearGaussianVAE(2, 4).double()
    nn.init.constant_(model.encoder.log_scale, -20.0)
    objective = BUILDS[name](model).double()
    objective.kl = "entropy"
    return objective


@pytest.mark.parametrize("name", ["BetaVAE", "AnnealedVAE", "FactorVAE"])
def test_terms_do_not_depend_on_the_batch_size(name):
    """Fault: a batch sum beside a batch mean, so that a weight means something else for every batch
    size.
    """
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
        with pytest.raises(
            TypeError,
            match=f"expected a model that can be trained by its {name}; got one tilted by NCP",
        ):
            build(ncp)


# -- what the number is ----------------------------------------------------------------------------


REWARDS = "rewards total correlation"
EXPLAINED: dict[
    str, tuple[Callable[[], AbstractObjective], bool, tuple[str, ...], tuple[str, ...]]
] = {
    # name: objective, whether it is a bound, what is said, what is not said
    "ELBO": (lambda: ELBO(vae()), True, ("weight beta = 1",), ()),
    "ELBO, half": (lambda: ELBO(vae(), beta=0.5), False, ("weight beta = 0.5",), ()),
    "ELBO, warm-up": (
        lambda: ELBO(vae(), beta=lambda step: 1.0),
        False,
        ("a function of the step",),
        (),
    ),
    "BetaVAE": (lambda: BetaVAE(vae(), beta=5.0), True, ("weight 5",), ()),
    "BetaVAE, half": (
        lambda: BetaVAE(vae(), beta=0.5),
        False,
        ("weight 0.5", "gives no bound"),
        (),
    ),
    "AnnealedVAE": (
        lambda: AnnealedVAE(vae(), gamma=15.0, capacity=3.0, capacity_steps=7),
        False,
        ("weight 15", "0 to 3 over 7 steps", "the batch's mean"),
        (),
    ),
    "BetaTCVAE, plain": (
        lambda: BetaTCVAE(vae(), 50, beta=1.0),
        True,
        ("stratified",),
        (REWARDS, "too low by up to"),
    ),
    "BetaTCVAE": (
        lambda: BetaTCVAE(vae(), 50, alpha=1.5, beta=6.0, gamma=2.0),
        False,
        ("weight 1.5", "weight 6", "weight 2"),
        (REWARDS, "may be negative"),
    ),
    "BetaTCVAE, looser": (
        lambda: BetaTCVAE(vae(flow()), 50, alpha=3.0, beta=2.0, gamma=2.0),
        True,
        (),
        (REWARDS,),
    ),
    "BetaTCVAE, less information": (
        lambda: BetaTCVAE(vae(), 50, alpha=1.0, beta=2.0, gamma=2.0),
        False,
        (),
        (),
    ),
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
    "BetaTCVAE, weighted": (
        lambda: BetaTCVAE(vae(), 50, weights="weighted"),
        False,
        ("too low by up to log N",),
        (),
    ),
    "FactorVAE": (
        lambda: FactorVAE(vae(), LATENT, gamma=7.0, discriminator=small_discriminator()),
        False,
        ("weight 7", "discriminator"),
        (),
    ),
    "InfoVAE": (
        lambda: InfoVAE(vae(), alpha=0.0, lambda_=10.0),
        True,
        ("weight 1;", "weight 9;", "IMQ"),
        (),
    ),
    "InfoVAE, alpha": (
        lambda: InfoVAE(vae(), alpha=0.5, lambda_=10.0),
        False,
        ("weight 0.5;", "weight 9.5;"),
        (),
    ),
    "InfoVAE, no weight": (
        lambda: InfoVAE(vae(), alpha=0.0, lambda_=0.5, kernel=RBF()),
        False,
        ("-0.5;", "RBF"),
        (),
    ),
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
