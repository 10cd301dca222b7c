"""A decoder whose distribution has no mean is shown by draws, everywhere."""

import members
import pytest
import torch
from matplotlib.text import Text
from torch import distributions as td
from torch import nn

from priorwise import distributions as ours
from priorwise import priors
from priorwise.data import DataSpec, Splits
from priorwise.distributions import picture
from priorwise.estimators import high_posterior_samples, low_posterior_samples
from priorwise.evaluation.sample_quality import quality_measures
from priorwise.features import Raw
from priorwise.models import NCP, VAE, AbstractModel, along, between
from priorwise.reporting import report, save_comparison, save_traversal
from priorwise.reporting.latents import latent_map

SHAPE = (1, 3, 2)


class Pixels(td.Distribution):
    """Zeros and ones of which nobody knows the mean, as of an autoregressive decoder."""

    arg_constraints = {}

    def __init__(self, logits: torch.Tensor) -> None:
        self.bits = ours.IndependentBernoulli(logits, 3)
        super().__init__(self.bits.batch_shape, self.bits.event_shape, validate_args=False)

    support = td.constraints.independent(td.constraints.boolean, 3)

    def sample(self, sample_shape=torch.Size()):
        return self.bits.sample(sample_shape)

    def log_prob(self, value):
        return self.bits.log_prob(value)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(members.LATENT, 6)

    def forward(self, z):
        return Pixels(self.linear(z).unflatten(-1, SHAPE))


def vae(prior: nn.Module | None = None) -> AbstractModel:
    return VAE(
        members.encoder(),
        Decoder(),
        priors.StandardNormal(members.LATENT) if prior is None else prior,
    )


def is_drawn(x: torch.Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all()) and bool((x == 1).any()) and bool((x == 0).any())


def test_a_mean_where_there_is_one():
    """Fault: draws of every decoder, which makes pictures of a Gaussian noisy."""
    normal = td.Independent(td.Normal(torch.randn(5, 3), 1.0), 1)
    assert torch.equal(picture(normal), normal.mean)
    rows = ours.UnflattenedRows(normal, (5, 1))
    assert torch.equal(picture(rows), rows.mean)
    point = ours.Delta(torch.randn(5, 3))
    assert torch.equal(picture(point), point.value)
    diverged = td.Normal(torch.tensor([torch.nan, 1.0]), 1.0, validate_args=False)
    assert picture(diverged)[0].isnan()
    assert picture(diverged)[1] == 1


WITHOUT = {
    "no mean": lambda: Pixels(torch.zeros(20, *SHAPE)),
    "rows": lambda: ours.UnflattenedRows(Pixels(torch.zeros(20, *SHAPE)), (10, 2)),
    "classes": lambda: td.Independent(td.Categorical(logits=torch.zeros(20, *SHAPE, 2)), 3),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_draw_where_there_is_none(name):
    """Fault: NotImplementedError, or a picture of NaN, which torch's Categorical has for a mean."""
    distribution = WITHOUT[name]()
    assert is_drawn(picture(distribution))
    assert picture(distribution).shape == distribution.batch_shape + distribution.event_shape


MODELS = {
    "VAE": vae,
    "flow": lambda: vae(members.flow()),
    "NCP": lambda: NCP(vae(), hidden_features=(8,)),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_show_draws(name):
    """Fault: NotImplementedError from ``sample``, ``reconstruct`` or a walk; draws that change the
    caller's stream.
    """
    model, x = MODELS[name](), members.images(40)
    state = torch.get_rng_state()
    shown = {
        "sample": model.sample(40, seed=0),
        "reconstruct": model.reconstruct(x, seed=0),
        "low": low_posterior_samples(model, x, count=40).x,
        "high": high_posterior_samples(model, x, count=40).x,
        "between": between(model, x[:20], x[20:], steps=3).x,
        "along": along(model, torch.zeros(members.LATENT), [0, 1], torch.linspace(-1, 1, 20)).x,
        "pockets": latent_map(model, x, x, draws=40).pocket_images,
    }
    assert torch.equal(torch.get_rng_state(), state)
    assert [what for what, images in shown.items() if not is_drawn(images)] == []
    assert torch.equal(model.sample(40, seed=0), shown["sample"])
    assert not torch.equal(model.sample(40, seed=1), shown["sample"])


def bits(count: int) -> torch.Tensor:
    return members.images(count).to(torch.uint8)


def test_pages_and_pictures_show_draws(tmp_path, monkeypatch):
    """Fault: a report that stops at the first picture, or that calls draws means."""
    splits = Splits(
        bits(80), bits(40), bits(40), DataSpec("bits", SHAPE, 2, "bernoulli", "none", "unit")
    )
    model = vae()
    report(
        model,
        splits,
        tmp_path / "report.html",
        samples=5,
        images=20,
        hole_classifier=False,
        quality="none",
        progress=False,
    )
    page = (tmp_path / "report.html").read_text()
    assert page.count("draws from the decoder, which has no mean in closed form") == 2
    words: list[str] = []
    written = Text.set_text
    monkeypatch.setattr(
        Text, "set_text", lambda self, s: (words.append(str(s)), written(self, s))[1]
    )
    save_comparison({"model": model}, splits, tmp_path / "comparison.png", draws=40)
    save_traversal(model, splits, tmp_path / "traversal.png", pairs=2, dimensions=2, steps=3)
    qualities = quality_measures(model, splits, splits.evaluation("test"), Raw(), images=20)
    assert qualities["random"]["protocol"]["generated_as"] == "draws"
    grey = Splits(
        bits(80), bits(40), bits(40), DataSpec("grey", SHAPE, 256, "gaussian", "none", "unit")
    )
    qualities = quality_measures(model, grey, grey.evaluation("test"), Raw(), images=20)
    assert qualities["low_posterior"]["protocol"]["generated_as"] == "draws"
    assert "samples of the prior, decoded by draws" in words
    assert sum(word.endswith("; decoded by draws") for word in words) == 2
