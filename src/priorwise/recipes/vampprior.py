"""Recipes for the rows of VAE with a VampPrior (Tomczak & Welling, 2018), tables 1-4.

``conv_hvae`` is in the paper's code and not in its tables. Their convHVAE is ``pixel_hvae``, here
in the form of the code.

The paper's training: Adam on normalised gradients at 5e-4, batch 100, up to 2000 epochs, KL warm-up
over 100 epochs, stop after 50 epochs without a better validation ELBO. ``docs/papers/vampprior.md``
lists our departures from it.

References:
    VAE with a VampPrior (Tomczak & Welling, 2018), tables 1-4. https://arxiv.org/abs/1705.07120
"""

from collections.abc import Callable
from functools import partial

from priorwise.config.models import (
    AbstractVAEConfig,
    ConvHVAEConfig,
    HVAEConfig,
    PixelHVAEConfig,
    VAEConfig,
)
from priorwise.config.priors import (
    GaussianMixtureConfig,
    StandardNormalConfig,
    VampDataConfig,
    VampPriorConfig,
)
from priorwise.config.run import CandidatesConfig, DataConfig, EvaluationConfig, Run
from priorwise.config.training import TrainingConfig
from priorwise.recipes.family import Family

__all__ = ["FAMILIES"]

_DATA = {
    "static_mnist": DataConfig(name="mnist_static"),
    "dynamic_mnist": DataConfig(name="mnist", binarize="dynamic"),
    "omniglot": DataConfig(name="omniglot", binarize="dynamic"),
    "omniglot_part": DataConfig(name="omniglot_part", binarize="dynamic"),
    "frey": DataConfig(name="freyfaces"),
    "caltech": DataConfig(name="caltech_silhouettes"),
    "histopathology": DataConfig(name="histopathology"),
}
_GREY = ("frey", "histopathology")
_PSEUDO_INPUTS = {"frey": (0.5, 0.02), "caltech": (0.5, 0.02), "histopathology": (0.4, 0.05)}
_MODELS: dict[str, Callable[..., AbstractVAEConfig]] = {
    "vae": VAEConfig,
    "hvae": HVAEConfig,
    "conv_hvae": ConvHVAEConfig,
    "pixel_hvae": partial(PixelHVAEConfig, published=True),
}
_CANDIDATES = CandidatesConfig(values=(50, 100, 250, 500, 1000))
_PRIORS = ("standard", "mixture", "vamp", "vamp_data")
_PAPER = TrainingConfig(
    epochs=2000,
    batch_size=100,
    lr=5e-4,
    schedule="constant",
    optimizer="adam_normalized",
    warmup_epochs=100,
    patience=50,
    seed=14,
)


def _prior(
    kind: str, data: str
) -> StandardNormalConfig | GaussianMixtureConfig | VampPriorConfig | VampDataConfig:
    components = 1000 if data.startswith("omniglot") else 500
    mean, std = _PSEUDO_INPUTS.get(data, (0.05, 0.01))
    match kind:
        case "standard":
            return StandardNormalConfig()
        case "mixture":
            return GaussianMixtureConfig(components=components)
        case "vamp":
            return VampPriorConfig(components=components, mean=mean, std=std)
        case "vamp_data":
            return VampDataConfig(components=components)
    raise ValueError(f"expected one of {_PRIORS}; got {kind!r}.")


def _row(name: str, data: str, model: str, prior: str) -> Run:
    """One cell of the tables."""
    return Run(
        name=name,
        data=_DATA[data],
        model=_MODELS[model](
            prior=_prior(prior, data),
            # grey pixels have the paper's own form, so that our numbers can be compared with its
            likelihood="discretized_logistic_paper" if data in _GREY else "bernoulli",
        ),
        training=_PAPER,
        evaluation=EvaluationConfig(samples=5000, images=None),
    )


def _chosen(name: str, data: str, model: str) -> Run:
    """A cell with the VampPrior, whose number of pseudo-inputs the validation bound chooses."""
    return _row(name, data, model, "vamp").model_copy(update={"candidates": _CANDIDATES})


FAMILIES = (
    Family(
        "vampprior/{}_{}_{}",
        "VAE with a VampPrior (Tomczak & Welling, 2018), the rows of tables 1-4",
        _row,
        (tuple(_DATA), tuple(_MODELS), _PRIORS),
    ),
    Family(
        "vampprior/{}_{}_vamp_k",
        "the same with the number of pseudo-inputs that the validation bound chooses",
        _chosen,
        (tuple(_DATA), tuple(_MODELS)),
    ),
)
