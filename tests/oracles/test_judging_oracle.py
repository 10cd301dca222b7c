"""The numbers by which objectives are judged: closed forms, sums by hand, and the estimators."""

import math

import pytest
import torch
from autoencoder import PointEncoder, autoencoder
from members import hvae, images, vae

from priorwise.estimators import held_out_bce
from priorwise.models import NCP
from priorwise.objectives import ELBO, IWAE, NCE, AnnealedVAE, BetaVAE, InfoVAE
from priorwise.objectives.judging import ROWS, mean_over_blocks, mean_over_whole_batches
from priorwise.randomness import seeded
from priorwise.testing import LinearGaussianVAE
from priorwise.testing.significance import z_limit
from priorwise.training.stage import judged


def wrong() -> LinearGaussianVAE:
    return LinearGaussianVAE(2, 4, shift=0.5, stretch=1.3)


def test_blocks_weigh_by_their_examples():
    """Fault: a mean of block means, a torn block that is left out, one stream for all blocks."""
    x = torch.arange(10.0)
    assert mean_over_blocks(lambda part: part, x, block=4, seed=0, address="a") == 4.5
    drawn = []
    mean_over_blocks(
        lambda part: drawn.append(torch.rand(())) or part, x, block=4, seed=3, address="a"
    )
    for index, draw in enumerate(drawn):
        with seeded(3, "a", index):
            assert torch.equal(draw, torch.rand(()))


def test_whole_batches_weigh_the_same():
    """Fault: a torn batch that counts, or none at all where there is less than one."""
    x = torch.arange(10.0)
    sizes = []
    mean_over_whole_batches(
        lambda part: sizes.append(len(part)) or part.mean(), x, batch_size=4, seed=0
    )
    assert sizes == [4, 4]
    assert mean_over_whole_batches(lambda part: part.mean(), x, batch_size=4, seed=0) == 3.5
    assert mean_over_whole_batches(lambda part: part.mean(), x, batch_size=40, seed=0) == 4.5


def test_elbo_is_judged_by_the_bound():
    """Fault: a dropped constant, a warm-up's weight in the verdict, another number of examples. The
    bound is known.
    """
    model = wrong()
    x = model.sample(1, mean=False, seed=0)
    wide = x.expand(20_000, -1)
    with torch.no_grad():
        terms = ELBO(model)(wide)
        spread = float(sum(terms.per_example.values()).std()) / math.sqrt(20_000)
        for objective in (
            ELBO(model),
            ELBO(model, beta=0.1),
            ELBO(model, beta=lambda step: 0.0),
            ELBO(model, kl="analytic"),
        ):
            assert objective.metric == "negative_elbo"
            value = objective.judge(wide, batch_size=7, seed=1)
            assert abs(value + float(model.exact_elbo(x))) < z_limit(4) * spread
            assert value == ELBO(model).judge(wide, batch_size=100, seed=1)
        assert value != ELBO(model).judge(wide, batch_size=100, seed=2)


def test_iwae_is_judged_by_its_own_bound():
    """Fault: the ELBO in its place. With this wrong encoder the two are far apart; with the exact
    one both are -log p(x).
    """
    model = wrong()
    x = model.sample(1, mean=False, seed=0).expand(400, -1)
    with torch.no_grad():
        bound = IWAE(model, 30).judge(x, batch_size=3, seed=1)
        assert IWAE(model, 30).metric == "negative_iwae_bound"
        assert bound == IWAE(model, 30).judge(x, batch_size=50, seed=1)
        drawn = IWAE(model, 30)(x.repeat(5, 1)).per_example["bound"]
        stderr = float(drawn.std()) * math.sqrt(1 / 400 + 1 / len(drawn))
        assert abs(float(drawn.mean()) - bound) < z_limit(1) * stderr
        assert bound < ELBO(model).judge(x, batch_size=3, seed=1) - 0.2
        exact = LinearGaussianVAE(2, 4)
        truth = -float(exact.marginal().log_prob(x[0]))
        assert IWAE(exact, 5).judge(x, batch_size=3, seed=1) == pytest.approx(truth, abs=1e-4)


def test_iwae_draws_no_more_rows_at_once_than_the_elbo():
    """Fault: K times the memory of a training batch."""
    model = wrong()
    seen = []
    infer = model.infer
    model.infer = lambda x, shape=(): seen.append(len(x) * math.prod(shape)) or infer(x, shape)
    with torch.no_grad():
        IWAE(model, 50).judge(torch.zeros(45, 4), batch_size=100, seed=0)
        IWAE(model, 3000).judge(torch.zeros(2, 4), batch_size=100, seed=0)
    assert seen == [ROWS, ROWS, ROWS // 4, 3000, 3000]


@pytest.mark.parametrize("groups", [1, 2])
def test_nce_is_judged_as_the_estimator_does(groups):
    """Fault: other blocks, other draws, single precision, a torn block left out. Equal to the last
    bit.
    """
    torch.manual_seed(0)
    ncp = NCP(vae() if groups == 1 else hvae(), hidden_features=(8,))
    x = images(1203)
    assert judged(NCE(ncp), x, 100) == held_out_bce(ncp, x, seed=777).value
    assert judged(NCE(ncp), x, 7) == held_out_bce(ncp, x, seed=777).value
    assert NCE(ncp).metric == "held_out_bce"


# -- no rate without a weight ----------------------------------------------------------------------


WITHOUT_RATES = {
    "ELBO": lambda model: ELBO(model, beta=0.0),
    "BetaVAE": lambda model: BetaVAE(model, beta=0.0),
    "AnnealedVAE": lambda model: AnnealedVAE(model, gamma=0.0),
    "InfoVAE": lambda model: InfoVAE(model, alpha=1.0, lambda_=3.0),
}


@pytest.mark.parametrize("name", WITHOUT_RATES)
def test_a_rate_without_weight_is_not_computed(name):
    """Fault: 0 times a density that a deterministic encoder refuses to give, or times infinity."""
    torch.manual_seed(0)
    objective = WITHOUT_RATES[name](autoencoder())
    terms = objective(torch.randn(5, 3))
    rest = {"mmd"} if name == "InfoVAE" else set()
    assert (terms.per_example.keys(), terms.batch.keys()) == ({"distortion"}, rest)
    terms.loss().backward()
    assert all(
        bool(p.grad.isfinite().all()) and p.grad.abs().sum() > 0
        for p in objective.model.encoder.parameters()
    )
    assert objective.may_skip_parameters
    value = judged(objective, torch.randn(20, 3), 5)
    assert value is not None
    assert math.isfinite(value)
    assert objective.metric == ("distortion" if name == "ELBO" else "loss")


WITH_RATES = {
    "ELBO": lambda model: ELBO(model),
    "ELBO, warm-up": lambda model: ELBO(model, beta=lambda step: 0.0),
    "BetaVAE": lambda model: BetaVAE(model, beta=1e-9),
    "AnnealedVAE": lambda model: AnnealedVAE(model, gamma=1e-9),
    "InfoVAE": lambda model: InfoVAE(model, alpha=0.99),
}


@pytest.mark.parametrize("name", WITH_RATES)
def test_a_rate_with_a_weight_is(name):
    """Fault: a rate that is dropped where a small weight or a warm-up asks for it, or a density
    made up for a point.
    """
    with pytest.raises(
        ValueError, match=r"a Delta \(deterministic encoder or decoder\) has no density"
    ):
        WITH_RATES[name](autoencoder())(torch.randn(5, 3))
    assert not WITH_RATES[name](wrong()).may_skip_parameters


def test_without_a_rate_the_gradient_is_the_distortions():
    """Fault: a draw or a term that goes missing with the rates."""
    model, x = wrong(), torch.randn(6, 4)
    gradients = []
    for objective in (ELBO(model, beta=0.0), ELBO(model)):
        model.zero_grad()
        with seeded(0, "same"):
            objective(x).per_example["distortion"].mean().backward()
        gradients.append(
            {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_codes_are_points():
    """Without this the tests above might prove nothing."""
    (group,) = autoencoder().infer(torch.randn(2, 3))
    assert type(group.posterior).__name__ == "Delta"
    assert isinstance(autoencoder().encoder, PointEncoder)
