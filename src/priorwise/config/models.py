"""Models as validated configuration, and how they are built."""

import math
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from priorwise.config.base import AbstractConfig
from priorwise.config.own_parts import AbstractOwnPart
from priorwise.config.priors import PriorConfig, StandardNormalConfig

if TYPE_CHECKING:
    import torch

    import priorwise.data
    import priorwise.models

__all__ = [
    "AbstractModelConfig",
    "AbstractPosthocConfig",
    "AbstractVAEConfig",
    "ConvVAEConfig",
    "HVAEConfig",
    "ModelConfig",
    "MoonsVAEConfig",
    "NCPConfig",
    "OwnModelConfig",
    "VAEConfig",
]


class AbstractModelConfig(AbstractConfig):
    """What all models share. A new one gives its ``kind`` and fields, builds itself, and joins ``ModelConfig``."""

    @abstractmethod
    def build(
        self, spec: "priorwise.data.DataSpec", *, seed: int, x: "torch.Tensor | None" = None
    ) -> "priorwise.models.AbstractModel":
        """The model.

        Arguments:
            spec: What the data are.
            seed: Seed of the initial weights.
            x: Training data in the model's units, for a prior that starts from data.

        Raises:
            ValueError: if the networks are for data of another shape.
        """


class AbstractVAEConfig(AbstractModelConfig):
    """What all models share that are trained with their prior."""

    prior: PriorConfig = StandardNormalConfig()
    """Prior of the top latents."""
    latent: int = Field(40, ge=1)
    """Number of dimensions of each group of latents."""
    likelihood: Literal[
        "auto",
        "bernoulli",
        "gaussian",
        "gaussian_predicted",
        "discretized_logistic",
        "discretized_logistic_paper",
    ] = "auto"
    """p(x|z); auto takes what the data set says."""
    scale: float | None = Field(None, gt=0)
    """Standard deviation of the Gaussian likelihood, in the data's units; None learns it."""

    def build(
        self, spec: "priorwise.data.DataSpec", *, seed: int, x: "torch.Tensor | None" = None
    ) -> "priorwise.models.AbstractModel":
        """The model: networks around its prior and its likelihood."""
        from priorwise.randomness import seeded

        with seeded(seed, "init"):
            prior = self.prior.build(self.latent, spec.shape, x)
            return self._networks(spec.shape, prior, self._head(spec))

    @abstractmethod
    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        """The networks for observations of a shape, around a prior and the constructor of a likelihood."""

    def _head(self, spec: "priorwise.data.DataSpec") -> Any:  # noqa: ANN401 - a constructor of one of several
        """The constructor of the likelihood."""
        from priorwise import likelihoods

        name = spec.likelihood if self.likelihood == "auto" else self.likelihood
        if self.scale is not None and name != "gaussian":
            raise ValueError(
                f"expected `model.scale` with the Gaussian likelihood alone; got it with {name}."
            )
        if name == "bernoulli":
            return likelihoods.Bernoulli
        if name == "gaussian":
            return (
                likelihoods.Gaussian
                if self.scale is None
                else partial(likelihoods.Gaussian, scale=self.scale)
            )
        if name == "gaussian_predicted":
            return partial(
                likelihoods.Gaussian, scale="predicted", min_scale=_noise_scale(spec.levels)
            )
        return partial(
            likelihoods.DiscretizedLogistic,
            levels=spec.levels or 256,
            tails=name != "discretized_logistic_paper",
        )


def _noise_scale(levels: int | None) -> float:
    """Floor of a predicted scale: the standard deviation of the noise of dequantisation, where there is one."""
    return 1e-3 if levels is None else 1 / (math.sqrt(12) * levels)


class VAEConfig(AbstractVAEConfig):
    """The one-level VAE of gated dense layers."""

    kind: Literal["vae"] = "vae"
    hidden: int = Field(300, ge=1)
    """Size of the hidden layers."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.models import gated_vae

        return gated_vae(
            shape, prior=prior, likelihood=likelihood, latent=self.latent, hidden=self.hidden
        )


class HVAEConfig(AbstractVAEConfig):
    """The two-level HVAE of gated dense layers."""

    kind: Literal["hvae"] = "hvae"
    hidden: int = Field(300, ge=1)
    """Size of the hidden layers."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.models import gated_hvae

        return gated_hvae(
            shape, prior=prior, likelihood=likelihood, latent=self.latent, hidden=self.hidden
        )


class ConvVAEConfig(AbstractVAEConfig):
    """The convolutional VAEs of the dpVAE paper."""

    kind: Literal["conv_vae"] = "conv_vae"
    network: Literal["mnist", "mnist_factor", "svhn", "celeba"] = "mnist"
    """Layers, for images of 1x28x28 (the first two), 3x32x32 and 3x64x64."""
    latent: int = Field(10, ge=1)
    """Number of latent dimensions."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.backbones import IMAGE_BODIES
        from priorwise.models import conv_vae

        expected = IMAGE_BODIES[self.network].shape
        if shape != expected:
            raise ValueError(
                f"expected images of shape {expected} for model.network={self.network}; the data "
                f"have {tuple(shape)}."
            )
        return conv_vae(self.network, prior=prior, likelihood=likelihood, latent=self.latent)


class MoonsVAEConfig(AbstractVAEConfig):
    """The dpVAE paper's VAE of dense layers for points in the plane."""

    kind: Literal["moons_vae"] = "moons_vae"
    latent: int = Field(2, ge=1)
    """Number of latent dimensions."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.models import moons_vae

        if shape != (2,):
            raise ValueError(
                "expected points in the plane for model.kind=moons_vae; the data have shape "
                f"{tuple(shape)}."
            )
        return moons_vae(prior=prior, likelihood=likelihood, latent=self.latent)


class OwnModelConfig(AbstractOwnPart, AbstractModelConfig):
    """A model of the user's own, ``NAME(spec, **options)``: an ``AbstractModel``.

    ``spec`` is the ``DataSpec`` of the data: their shape, levels and usual likelihood.
    """

    def build(
        self, spec: "priorwise.data.DataSpec", *, seed: int, x: "torch.Tensor | None" = None
    ) -> "priorwise.models.AbstractModel":
        """The model, as the user's code returns it."""
        from priorwise.models import AbstractModel
        from priorwise.randomness import seeded

        with seeded(seed, "init"):
            return self._made("a model of priorwise.models", AbstractModel, spec)


BaseConfig = Annotated[
    VAEConfig | HVAEConfig | ConvVAEConfig | MoonsVAEConfig | OwnModelConfig,
    Field(discriminator="kind"),
]


class AbstractPosthocConfig(AbstractModelConfig):
    """What all models have that are fitted over a trained one."""

    title: ClassVar[str]
    """What it is called in tables."""

    base: BaseConfig
    """The model underneath."""
    base_run: str
    """The run folder from which its weights come."""

    def build(
        self, spec: "priorwise.data.DataSpec", *, seed: int, x: "torch.Tensor | None" = None
    ) -> "priorwise.models.AbstractModel":
        """The model, over the one underneath."""
        from priorwise.randomness import seeded

        base = self.base.build(spec, seed=seed, x=x)
        with seeded(seed, "init", "classifiers"):
            return self._over(base)

    @abstractmethod
    def _over(self, base: Any) -> Any:  # noqa: ANN401
        """The model over a base that is built."""


class NCPConfig(AbstractPosthocConfig):
    """A noise contrastive prior over a trained model."""

    title: ClassVar[str] = "NCP"

    kind: Literal["ncp"] = "ncp"
    hidden_features: tuple[int, ...] = (256, 256, 256)
    """Hidden layers of each classifier."""
    max_logit: float | None = Field(None, gt=0)
    """Bound of the logits in nats; with one, rejection sampling is exact."""

    def _over(self, base: Any) -> Any:  # noqa: ANN401
        from priorwise.models import NCP

        return NCP(base, hidden_features=self.hidden_features, max_logit=self.max_logit)


ModelConfig = Annotated[BaseConfig | NCPConfig, Field(discriminator="kind")]
