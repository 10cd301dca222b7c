"""A run as one complete, validated configuration, and the objects that it describes."""

import math
from abc import abstractmethod
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from priorwise import likelihoods
from priorwise.backbones import IMAGE_BODIES
from priorwise.data import DataSpec, Splits
from priorwise.models import NCP, AbstractModel, conv_vae, gated_hvae, gated_vae, moons_vae
from priorwise.randomness import seeded
from priorwise.training.config import AbstractConfig, TrainingConfig
from priorwise.training.objective import ELBOConfig, ObjectiveConfig
from priorwise.training.prior import PriorConfig, StandardNormalConfig

__all__ = [
    "AbstractPosthocConfig",
    "ConvVAEConfig",
    "DataConfig",
    "EvaluationConfig",
    "HVAEConfig",
    "ModelConfig",
    "MoonsVAEConfig",
    "NCPConfig",
    "Run",
    "VAEConfig",
    "build_model",
    "pseudo_input_data",
]


class DataConfig(AbstractConfig):
    """Which data, and how they are shown to the model."""

    name: str
    """A name of ``priorwise list``, or the path of an .npz file or image folder."""
    binarize: Literal["none", "dynamic", "threshold"] | None = None
    """Overrides how the set is binarised; None keeps what the set says."""
    likelihood: Literal["bernoulli", "gaussian", "discretized_logistic"] | None = None
    """Overrides for which likelihood the values are prepared; None keeps what the set says."""


class _VAEConfig(AbstractConfig):
    """What all models share."""

    prior: PriorConfig = StandardNormalConfig()
    """Prior of the top latents."""
    latent: int = Field(40, ge=1)
    """Number of dimensions of each group of latents."""
    likelihood: Literal[
        "auto", "bernoulli", "gaussian", "gaussian_predicted", "discretized_logistic", "discretized_logistic_paper"
    ] = "auto"
    """p(x|z); auto takes what the data set says."""
    scale: float | None = Field(None, gt=0)
    """Standard deviation of the Gaussian likelihood, in the data's units; None learns it."""


class VAEConfig(_VAEConfig):
    """The one-level VAE of gated dense layers."""

    kind: Literal["vae"] = "vae"
    hidden: int = Field(300, ge=1)
    """Size of the hidden layers."""

    def build(self, shape: tuple[int, ...], prior: nn.Module, likelihood: Any) -> AbstractModel:  # noqa: ANN401
        """The model."""
        return gated_vae(shape, prior=prior, likelihood=likelihood, latent=self.latent, hidden=self.hidden)


class HVAEConfig(_VAEConfig):
    """The two-level HVAE of gated dense layers."""

    kind: Literal["hvae"] = "hvae"
    hidden: int = Field(300, ge=1)
    """Size of the hidden layers."""

    def build(self, shape: tuple[int, ...], prior: nn.Module, likelihood: Any) -> AbstractModel:  # noqa: ANN401
        """The model."""
        return gated_hvae(shape, prior=prior, likelihood=likelihood, latent=self.latent, hidden=self.hidden)


class ConvVAEConfig(_VAEConfig):
    """The convolutional VAEs of the dpVAE paper."""

    kind: Literal["conv_vae"] = "conv_vae"
    network: Literal["mnist", "mnist_factor", "svhn", "celeba"] = "mnist"
    """Layers, for images of 1x28x28 (the first two), 3x32x32 and 3x64x64."""
    latent: int = Field(10, ge=1)
    """Number of latent dimensions."""

    def build(self, shape: tuple[int, ...], prior: nn.Module, likelihood: Any) -> AbstractModel:  # noqa: ANN401
        """The model.

        Raises:
            ValueError: if the network is for images of another shape.
        """
        if shape != IMAGE_BODIES[self.network].shape:
            raise ValueError(
                f"expected images of shape {IMAGE_BODIES[self.network].shape} for model.network={self.network}; the data have "
                f"{tuple(shape)}."
            )
        return conv_vae(self.network, prior=prior, likelihood=likelihood, latent=self.latent)


class MoonsVAEConfig(_VAEConfig):
    """The dpVAE paper's VAE of dense layers for points in the plane."""

    kind: Literal["moons_vae"] = "moons_vae"
    latent: int = Field(2, ge=1)
    """Number of latent dimensions."""

    def build(self, shape: tuple[int, ...], prior: nn.Module, likelihood: Any) -> AbstractModel:  # noqa: ANN401
        """The model.

        Raises:
            ValueError: if the data are not points in the plane.
        """
        if shape != (2,):
            raise ValueError(
                f"expected points in the plane for model.kind=moons_vae; the data have shape {tuple(shape)}."
            )
        return moons_vae(prior=prior, likelihood=likelihood, latent=self.latent)


BaseConfig = Annotated[VAEConfig | HVAEConfig | ConvVAEConfig | MoonsVAEConfig, Field(discriminator="kind")]


class AbstractPosthocConfig(AbstractConfig):
    """What all models have that are fitted over a trained one."""

    title: ClassVar[str]
    """What it is called in tables."""

    base: BaseConfig
    """The model underneath."""
    base_run: str
    """The run folder from which its weights come."""

    @abstractmethod
    def build_over(self, base: AbstractModel) -> AbstractModel:
        """The model, over the one underneath."""


class NCPConfig(AbstractPosthocConfig):
    """A noise contrastive prior over a trained model."""

    title: ClassVar[str] = "NCP"

    kind: Literal["ncp"] = "ncp"
    hidden_features: tuple[int, ...] = (256, 256, 256)
    """Hidden layers of each classifier."""
    max_logit: float | None = Field(None, gt=0)
    """Bound of the logits in nats; with one, rejection sampling is exact."""

    def build_over(self, base: AbstractModel) -> AbstractModel:
        """The model."""
        return NCP(base, hidden_features=self.hidden_features, max_logit=self.max_logit)


ModelConfig = Annotated[
    VAEConfig | HVAEConfig | ConvVAEConfig | MoonsVAEConfig | NCPConfig, Field(discriminator="kind")
]


class EvaluationConfig(AbstractConfig):
    """What ``priorwise evaluate`` measures."""

    samples: int = Field(5000, ge=1)
    """Importance samples of each test image."""
    images: int | None = Field(None, ge=1)
    """A random subset of the test images; None takes all."""
    quality: Literal["none", "auto", "raw", "classifier", "efficientnet", "inception"] = "none"
    """Features for the distances of generated images; auto takes the points themselves for vectors, else a classifier that
    is trained on the training set on the spot."""
    quality_images: int = Field(5000, ge=50)
    """Generated images of each kind, at most; all test images stand against them."""
    log_norm: Literal["importance", "annealed"] = "importance"
    """How the log normaliser of a tilted prior is estimated; annealed brackets it."""
    log_norm_samples: int = Field(1_000_000, ge=1)
    """Draws for it, by importance sampling."""
    log_norm_chains: int = Field(1000, ge=2)
    """Paths each way, by annealing."""
    log_norm_temperatures: int = Field(1000, ge=1)
    """Steps of each path."""
    seed: int = 0
    """Seed of the draws."""


class Run(AbstractConfig):
    """A complete run: data, model, training, evaluation."""

    name: str
    """Name of the recipe."""
    data: DataConfig
    model: ModelConfig
    objective: ObjectiveConfig = ELBOConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _check_objective(self) -> "Run":
        if isinstance(self.model, AbstractPosthocConfig) and self.objective != ELBOConfig():
            raise ValueError(
                f"expected no `objective` for an {self.model.title}, whose own follows from it; got "
                f"{self.objective.kind!r}."
            )
        return self


def _noise_scale(spec: DataSpec) -> float:
    """Floor of a predicted scale: the standard deviation of the noise of dequantisation, where there is one."""
    return 1e-3 if spec.levels is None else 1 / (math.sqrt(12) * spec.levels)


def _likelihood(name: str, scale: float | None, spec: DataSpec) -> Any:  # noqa: ANN401 - a constructor of one of several
    chosen = spec.likelihood if name == "auto" else name
    if scale is not None and chosen != "gaussian":
        raise ValueError(f"expected `model.scale` with the Gaussian likelihood alone; got it with {chosen}.")
    if chosen == "bernoulli":
        return likelihoods.Bernoulli
    if chosen == "gaussian":
        return likelihoods.Gaussian if scale is None else partial(likelihoods.Gaussian, scale=scale)
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
    if isinstance(config, AbstractPosthocConfig):
        base = build_model(config.base, spec, seed=seed, x=x)
        with seeded(seed, "init", "classifiers"):
            return config.build_over(base)
    with seeded(seed, "init"):
        prior = config.prior.build(config.latent, spec.shape, x)
        return config.build(spec.shape, prior, _likelihood(config.likelihood, config.scale, spec))


def pseudo_input_data(splits: Splits) -> Tensor:
    """Training data in [0, 1] as the encoder sees them on average, from which pseudo-inputs may be taken.

    Grey images that are binarised or dequantised afresh every time are given as their means.
    """
    train, levels = splits.train, splits.spec.levels
    if levels is None:
        return train
    middle = splits.spec.binarize == "none" and splits.spec.scaling in ("midpoint", "dequantize")
    return (train.float() + 0.5) / levels if middle else train.float() / (levels - 1)
