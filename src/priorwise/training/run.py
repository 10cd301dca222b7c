"""A run as one complete, validated configuration, and the objects that it describes."""

import math
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priorwise import likelihoods, priors
from priorwise.data import DataSpec, Splits
from priorwise.models import NCP, AbstractModel, gated_hvae, gated_vae
from priorwise.randomness import seeded
from priorwise.training.config import AbstractConfig, TrainingConfig

__all__ = [
    "DataConfig",
    "EvaluationConfig",
    "GaussianMixtureConfig",
    "HVAEConfig",
    "ModelConfig",
    "NCPConfig",
    "Run",
    "StandardNormalConfig",
    "VAEConfig",
    "VampDataConfig",
    "VampPriorConfig",
    "build_model",
    "pseudo_input_data",
]


class DataConfig(AbstractConfig):
    """Which data, and how they are shown to the model."""

    name: str
    """A name of ``priorwise list``, or the path of an .npz file or image folder."""
    binarize: Literal["none", "dynamic", "threshold"] | None = None
    """Overrides how the set is binarised; None keeps what the set says."""


class StandardNormalConfig(AbstractConfig):
    """N(0, I)."""

    kind: Literal["standard"] = "standard"

    def build(self, latent: int, shape: tuple[int, ...], x: Tensor | None) -> nn.Module:
        """The prior."""
        return priors.StandardNormal(latent)


class GaussianMixtureConfig(AbstractConfig):
    """A mixture of Gaussians with free parameters."""

    kind: Literal["mixture"] = "mixture"
    components: int = Field(500, ge=1)
    """Number of components."""
    learn_weights: bool = False
    """Whether the weights are learned."""
    spread: float = Field(0.5, gt=0)
    """Standard deviation of the initial means."""

    def build(self, latent: int, shape: tuple[int, ...], x: Tensor | None) -> nn.Module:
        """The prior."""
        return priors.GaussianMixture(latent, self.components, learn_weights=self.learn_weights, spread=self.spread)


class VampPriorConfig(AbstractConfig):
    """A VampPrior with trainable pseudo-inputs."""

    kind: Literal["vamp"] = "vamp"
    components: int = Field(500, ge=1)
    """Number of pseudo-inputs K."""
    mean: float = Field(0.05, ge=0, le=1)
    """Mean of the initial pixels."""
    std: float = Field(0.01, ge=0)
    """Standard deviation of the initial pixels."""

    def build(self, latent: int, shape: tuple[int, ...], x: Tensor | None) -> nn.Module:
        """The prior."""
        return priors.VampPrior.random(self.components, shape, mean=self.mean, std=self.std)


class VampDataConfig(AbstractConfig):
    """A VampPrior on a fixed random subset of the training set."""

    kind: Literal["vamp_data"] = "vamp_data"
    components: int = Field(500, ge=1)
    """Number of pseudo-inputs K."""

    def build(self, latent: int, shape: tuple[int, ...], x: Tensor | None) -> nn.Module:
        """The prior; without data its place is kept, for a checkpoint to fill."""
        if x is None:
            return priors.VampPrior(torch.zeros(self.components, *shape), trainable=False)
        return priors.VampPrior.from_data(x, self.components)


PriorConfig = Annotated[
    StandardNormalConfig | GaussianMixtureConfig | VampPriorConfig | VampDataConfig,
    Field(discriminator="kind"),
]


class _GatedConfig(AbstractConfig):
    """What the models of gated dense layers share."""

    prior: PriorConfig = StandardNormalConfig()
    """Prior of the top latents."""
    latent: int = Field(40, ge=1)
    """Number of dimensions of each group of latents."""
    hidden: int = Field(300, ge=1)
    """Size of the hidden layers."""
    likelihood: Literal[
        "auto", "bernoulli", "gaussian", "gaussian_predicted", "discretized_logistic", "discretized_logistic_paper"
    ] = "auto"
    """p(x|z); auto takes what the data set says."""


class VAEConfig(_GatedConfig):
    """The one-level VAE of gated dense layers."""

    kind: Literal["vae"] = "vae"


class HVAEConfig(_GatedConfig):
    """The two-level HVAE of gated dense layers."""

    kind: Literal["hvae"] = "hvae"


BaseConfig = Annotated[VAEConfig | HVAEConfig, Field(discriminator="kind")]


class NCPConfig(AbstractConfig):
    """A noise contrastive prior over a trained model."""

    kind: Literal["ncp"] = "ncp"
    base: BaseConfig
    """The model underneath."""
    base_run: str
    """The run folder from which its weights come."""
    hidden_features: tuple[int, ...] = (256, 256, 256)
    """Hidden layers of each classifier."""
    max_logit: float | None = Field(None, gt=0)
    """Bound of the logits in nats; with one, rejection sampling is exact."""


ModelConfig = Annotated[VAEConfig | HVAEConfig | NCPConfig, Field(discriminator="kind")]


class EvaluationConfig(AbstractConfig):
    """What ``priorwise evaluate`` measures."""

    samples: int = Field(5000, ge=1)
    """Importance samples of each test image."""
    images: int | None = Field(None, ge=1)
    """A random subset of the test images; None takes all."""
    log_norm_samples: int = Field(1_000_000, ge=1)
    """Draws for the log normaliser of a tilted prior."""
    seed: int = 0
    """Seed of the draws."""


class Run(AbstractConfig):
    """A complete run: data, model, training, evaluation."""

    name: str
    """Name of the recipe."""
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


def _noise_scale(spec: DataSpec) -> float:
    """Floor of a predicted scale: the standard deviation of the noise of dequantisation, where there is one."""
    return 1e-3 if spec.levels is None else 1 / (math.sqrt(12) * spec.levels)


def _likelihood(name: str, spec: DataSpec) -> Any:  # noqa: ANN401 - a constructor of one of several modules
    chosen = spec.likelihood if name == "auto" else name
    if chosen == "bernoulli":
        return likelihoods.Bernoulli
    if chosen == "gaussian":
        return likelihoods.Gaussian
    if chosen == "gaussian_predicted":
        return partial(likelihoods.Gaussian, scale="predicted", min_scale=_noise_scale(spec))
    tails = chosen != "discretized_logistic_paper"
    levels = spec.levels or 256
    return lambda features, shape: likelihoods.DiscretizedLogistic(features, shape, levels=levels, tails=tails)


def build_model(config: Any, spec: DataSpec, *, seed: int, x: Tensor | None = None) -> AbstractModel:  # noqa: ANN401
    """The model of a configuration.

    Arguments:
        config: One of the model configurations.
        spec: What the data are.
        seed: Seed of the initial weights.
        x: Training data in the model's units, for a prior that starts from data.
    """
    if isinstance(config, NCPConfig):
        base = build_model(config.base, spec, seed=seed, x=x)
        with seeded(seed, "init", "classifiers"):
            return NCP(base, hidden_features=config.hidden_features, max_logit=config.max_logit)
    build = gated_vae if config.kind == "vae" else gated_hvae
    with seeded(seed, "init"):
        return build(
            spec.shape,
            prior=config.prior.build(config.latent, spec.shape, x),
            likelihood=_likelihood(config.likelihood, spec),
            latent=config.latent,
            hidden=config.hidden,
        )


def pseudo_input_data(splits: Splits) -> Tensor:
    """Training data in [0, 1] as the encoder sees them on average, from which pseudo-inputs may be taken.

    Grey images that are binarised or dequantised afresh every time are given as their means.
    """
    train, levels = splits.train, splits.spec.levels
    if levels is None:
        return train
    middle = splits.spec.binarize == "none" and splits.spec.scaling in ("midpoint", "dequantize")
    return (train.float() + 0.5) / levels if middle else train.float() / (levels - 1)
