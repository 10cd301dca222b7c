"""Latents with channels and pixels: every number is that of the same model with its latents written
as one vector.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from priorwise import estimators, objectives, samplers
from priorwise.data import DataSpec, Splits
from priorwise.distributions import IndependentBernoulli
from priorwise.evaluation.sample_quality import quality_measures
from priorwise.features import Raw
from priorwise.models import NCP, VAE, AbstractModel, along, between, encodings, latent_range
from priorwise.nn import event_rows
from priorwise.priors import StandardNormal
from priorwise.reporting import report, save_comparison, save_traversal
from priorwise.reporting.latents import latent_map
from priorwise.reporting.portraits import portrait

SHAPE = (1, 6, 6)
LATENT = (2, 3, 3)
SIZE = math.prod(LATENT)


class Encoder(nn.Module):
    """A convolution whose output is the posterior, as it is or written as a vector."""

    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event = event
        self.conv = nn.Conv2d(1, 4, 2, stride=2)

    def forward(self, x: Tensor) -> Distribution:
        rows, batch = event_rows(x, 3)
        loc, log_scale = (part.reshape(*batch, *self.event) for part in self.conv(rows).chunk(2, 1))
        return Independent(
            Normal(0.5 * loc, (0.5 * log_scale).exp(), validate_args=False), len(self.event)
        )


class Decoder(nn.Module):
    def __init__(self, event: tuple[int, ...]) -> None:
        super().__init__()
        self.event = event
        self.conv = nn.ConvTranspose2d(2, 1, 2, stride=2)

    def forward(self, z: Tensor) -> Distribution:
        rows, batch = event_rows(z, len(self.event))
        return IndependentBernoulli(self.conv(rows.reshape(-1, *LATENT)).reshape(*batch, *SHAPE), 3)


def vae(event: tuple[int, ...]) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VAE(Encoder(event), Decoder(event), StandardNormal(event))


def ncp(event: tuple[int, ...]) -> NCP:
    base = vae(event)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = NCP(base, hidden_features=(8,), max_logit=2.0)
    model.set_log_norm(0.1, 0.01)
    return model


X = torch.arange(200 * 36).reshape(200, *SHAPE).mul(7919).remainder(10007).remainder(2).float()
FACTORS = torch.arange(200).unsqueeze(1).div(torch.tensor([1, 5]), rounding_mode="floor") % 5


def flat(value: object) -> object:
    """What an estimator returned, latents as vectors, for a comparison of two models."""
    if isinstance(value, Tensor):
        return value.detach().flatten()
    if isinstance(value, (tuple, list)):
        return [flat(part) for part in value]
    if isinstance(value, dict):
        return {key: flat(part) for key, part in value.items()}
    return flat(vars(value)) if hasattr(value, "__dict__") else value


def check_same(first: object, second: object) -> None:
    one, other = flat(first), flat(second)
    torch.testing.assert_close(_numbers(one), _numbers(other), rtol=1e-4, atol=1e-5, equal_nan=True)


def _numbers(value: object) -> list[object]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in _numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [] if value is None or isinstance(value, str) else [value]


ESTIMATORS = {
    "elbo": lambda model: estimators.elbo(model, X, samples=3),
    "nll": lambda model: estimators.nll(model, X, samples=20),
    "symmetric_kl": lambda model: estimators.symmetric_kl(model, X),
    "leakage": lambda model: estimators.leakage(model, X, draws=700),
    "low_posterior_samples": lambda model: estimators.low_posterior_samples(model, X, count=20),
    "low_posterior_samples, draws": lambda model: estimators.low_posterior_samples(
        model, X, count=20, mean=False
    ),
    "high_posterior_samples": lambda model: estimators.high_posterior_samples(model, X, count=20),
    "active_units": lambda model: estimators.active_units(model, X, samples=2),
    "classifier_two_sample": lambda model: estimators.classifier_two_sample(model, X),
    "disentanglement_scores": lambda model: estimators.disentanglement_scores(model, X, FACTORS),
    "encodings": lambda model: encodings(model, X),
    "latent_range": lambda model: latent_range(model, X),
    "between": lambda model: between(model, X[:3], X[3:6]),
    "latent_map": lambda model: latent_map(model, X, X, draws=100),
    "portrait": lambda model: portrait(model, X, X, shown=9, draws=200),
    "sample": lambda model: model.sample(5, seed=0),
    "reconstruct": lambda model: model.reconstruct(X, seed=0),
}
OF_A_VAE = {
    "symmetric_kl, density": lambda model: estimators.symmetric_kl(model, X, method="density"),
    "leakage, generation": lambda model: estimators.leakage(
        model, X, draws=700, space="generation"
    ),
    "quality": lambda model: quality_measures(model, splits(), X[:100], Raw(), images=50),
}
OF_AN_NCP = {
    "nll, groups": lambda model: estimators.nll(
        model, X, samples=20, density="groups", normalizer_samples=10
    ),
    "log_norm": lambda model: estimators.log_norm(model, samples=2000),
    "contrast": lambda model: estimators.contrast(model, X, proposals=(20,)),
    "held_out_bce": lambda model: estimators.held_out_bce(model, X),
    "SIR": lambda model: model.sample(5, samplers.SIR(30), seed=0),
    "Rejection": lambda model: model.sample(5, samplers.Rejection(), seed=0),
    "Langevin": lambda model: model.sample(5, samplers.Langevin(10, step_size=0.1), seed=0),
    "MALA": lambda model: model.sample(
        5, samplers.Langevin(10, step_size=0.1, adjusted=True), seed=0
    ),
}


def splits() -> Splits:
    bits = X.to(torch.uint8)
    return Splits(
        bits, bits[:100], bits[:100], DataSpec("bits", SHAPE, 2, "bernoulli", "none", "unit")
    )


@pytest.mark.parametrize("make", [vae, ncp])
@pytest.mark.parametrize("name", [*ESTIMATORS, *OF_A_VAE, *OF_AN_NCP])
def test_every_estimator(make, name):
    """Fault: a density, a distance or a map over the last axis of the latents only, or an error
    about their shape.
    """
    if (make is vae and name in OF_AN_NCP) or (make is ncp and name in OF_A_VAE):
        return
    estimate = {**ESTIMATORS, **OF_A_VAE, **OF_AN_NCP}[name]
    check_same(estimate(make(LATENT)), estimate(make((SIZE,))))


def test_no_note_of_something_missing():
    """Fault: a latent map that says that it cannot mark pockets, of latents of which it can."""
    assert latent_map(vae(LATENT), X, X).notes == ()


OBJECTIVES = {
    "ELBO": lambda model: objectives.ELBO(model),
    "ELBO, entropy": lambda model: objectives.ELBO(model, kl="entropy"),
    "ELBO, analytic": lambda model: objectives.ELBO(model, kl="analytic"),
    "IWAE": lambda model: objectives.IWAE(model, samples=3),
    "BetaVAE": lambda model: objectives.BetaVAE(model, beta=2.0),
    "AnnealedVAE": lambda model: objectives.AnnealedVAE(
        model, gamma=3.0, capacity=1.0, capacity_steps=5
    ),
    "BetaTCVAE": lambda model: objectives.BetaTCVAE(model, 200),
    "FactorVAE": lambda model: objectives.FactorVAE(model, SIZE, discriminator=_discriminator()),
    "InfoVAE": lambda model: objectives.InfoVAE(model),
    "NCE": lambda model: objectives.NCE(_tilted(model)),
}


def _discriminator() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return objectives.Discriminator(SIZE, (8, 8))


def _tilted(model: AbstractModel) -> NCP:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return NCP(model, hidden_features=(8,))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective(name):
    """Fault: as above, in training; the discriminator's own turn included."""

    def terms(event: tuple[int, ...]) -> list[object]:
        objective = OBJECTIVES[name](vae(event))
        losses = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            for place, player in enumerate(objective.players):
                extra = {} if place == 0 else {"player": player.name}
                losses.append(objective(X[:50], 3, **extra))
        return [(term.per_example, term.batch) for term in losses]

    check_same(terms(LATENT), terms((SIZE,)))


def test_one_dimension_along():
    """Fault: dimensions counted by channels."""
    z, values = torch.randn(SIZE), torch.linspace(-2, 2, 4)
    image = along(vae(LATENT), z.reshape(LATENT), [0, 7, 17], values)
    vector = along(vae((SIZE,)), z, [0, 7, 17], values)
    check_same((image.z, image.x), (vector.z, vector.x))


def test_pages_and_pictures(tmp_path):
    """Fault: a page that stops at latents of another shape than a vector."""
    model = vae(LATENT)
    report(
        model,
        splits(),
        tmp_path / "report.html",
        samples=5,
        images=50,
        progress=False,
        models={"NCP": _tilted(model)},
    )
    save_comparison(
        {"VAE": model, "NCP": ncp(LATENT)}, splits(), tmp_path / "comparison.png", draws=100
    )
    save_traversal(model, splits(), tmp_path / "traversal.png", pairs=2, dimensions=3, steps=4)
