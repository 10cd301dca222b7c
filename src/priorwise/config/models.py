"""Models as validated configuration, and how they are built."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from priorwise.choices import ModelLikelihood
from priorwise.config.abstract_models import AbstractModelConfig, AbstractVAEConfig
from priorwise.config.conv_models import ConvHVAEConfig, PixelHVAEConfig
from priorwise.config.own_parts import AbstractOwnPart
from priorwise.config.priors import FlowPriorConfig, PriorConfig, StandardNormalConfig
from priorwise.config.residual_models import ResidualVAEConfig
from priorwise.limits import LARGEST_LAYER

if TYPE_CHECKING:
    import torch

    import priorwise.data
    import priorwise.models
    import priorwise.objectives

__all__ = [
    "LARGEST_DENSE",
    "AbstractModelConfig",
    "AbstractPosthocConfig",
    "AbstractVAEConfig",
    "ConvHVAEConfig",
    "ConvVAEConfig",
    "FittedPriorConfig",
    "HVAEConfig",
    "ModelConfig",
    "MoonsVAEConfig",
    "NCPConfig",
    "OwnModelConfig",
    "PixelHVAEConfig",
    "ResidualVAEConfig",
    "VAEBySizeConfig",
    "VAEConfig",
]

LARGEST_DENSE = 32
"""Pixels a side of the largest image for which ``VAEBySizeConfig`` takes dense layers."""


class VAEConfig(AbstractVAEConfig):
    """The one-level VAE of gated dense layers."""

    kind: Literal["vae"] = "vae"
    hidden: int = Field(300, ge=1, le=LARGEST_LAYER)
    """Size of the hidden layers."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.models import gated_vae

        return gated_vae(
            shape, prior=prior, likelihood=likelihood, latent=self.latent, hidden=self.hidden
        )


class VAEBySizeConfig(AbstractModelConfig):
    """Residual convolutions for images larger than 32x32 pixels, dense layers for all else.

    A setting that only one of them has decides, too: ``hidden`` for dense layers, ``width`` for
    convolutions. Training decides once and records the model that it took.
    """

    kind: Literal["vae_by_size"] = "vae_by_size"
    prior: PriorConfig = StandardNormalConfig()
    """Prior of the latents."""
    latent: int | None = Field(None, ge=1, le=LARGEST_LAYER)
    """Number of latent dimensions; None takes 40 with dense layers, and 128 with convolutions."""
    likelihood: ModelLikelihood = "auto"
    """p(x|z); "auto" takes the likelihood of the data set."""
    scale: float | None = Field(None, gt=0)
    """Standard deviation of the Gaussian likelihood, in the units of the data; None learns it."""
    hidden: int | None = Field(None, ge=1, le=LARGEST_LAYER)
    """Size of the hidden layers; None decides by the size of the images."""
    width: int | None = Field(None, ge=2, le=LARGEST_LAYER)
    """Planes of the finest level; None decides by the size of the images."""

    @model_validator(mode="after")
    def _check_layers(self) -> "VAEBySizeConfig":
        if self.hidden is not None and self.width is not None:
            raise ValueError(
                "expected `hidden`, for dense layers, or `width`, for convolutions; got both. "
                "Leave one out."
            )
        return self

    def for_data(self, spec: "priorwise.data.DataSpec") -> AbstractVAEConfig:
        """The one or the other."""
        large = len(spec.shape) == 3 and max(spec.shape[1:]) > LARGEST_DENSE
        convolutions = self.width is not None or (large and self.hidden is None)
        settings = self.model_dump(exclude={"kind"}, exclude_none=True)
        return (ResidualVAEConfig if convolutions else VAEConfig)(**settings)

    def build(
        self, spec: "priorwise.data.DataSpec", *, seed: int, x: "torch.Tensor | None" = None
    ) -> "priorwise.models.AbstractModel":
        """The model for these data."""
        return self.for_data(spec).build(spec, seed=seed, x=x)


class HVAEConfig(AbstractVAEConfig):
    """The two-level HVAE of gated dense layers."""

    kind: Literal["hvae"] = "hvae"
    hidden: int = Field(300, ge=1, le=LARGEST_LAYER)
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
    """Layers for images of 1x28x28 (the first two), 3x32x32 (svhn) and 3x64x64 (celeba)."""
    latent: int = Field(10, ge=1, le=LARGEST_LAYER)
    """Number of latent dimensions."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.backbones import IMAGE_BODIES
        from priorwise.models import conv_vae

        expected = IMAGE_BODIES[self.network].shape
        if shape != expected:
            raise ValueError(
                f"expected images of shape {expected} for model.network={self.network}; got data "
                f"of shape {tuple(shape)}."
            )
        return conv_vae(self.network, prior=prior, likelihood=likelihood, latent=self.latent)


class MoonsVAEConfig(AbstractVAEConfig):
    """The dpVAE paper's VAE of dense layers for points in the plane."""

    kind: Literal["moons_vae"] = "moons_vae"
    latent: int = Field(2, ge=1, le=LARGEST_LAYER)
    """Number of latent dimensions."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.models import moons_vae

        if shape != (2,):
            raise ValueError(
                "expected points in the plane for model.kind=moons_vae; got data of shape "
                f"{tuple(shape)}."
            )
        return moons_vae(prior=prior, likelihood=likelihood, latent=self.latent)


class OwnModelConfig(AbstractOwnPart, AbstractModelConfig):
    """A model of the user's own, ``NAME(spec, **options)``: an ``AbstractModel``.

    ``spec`` is the ``DataSpec`` of the data: their shape, levels and default likelihood.
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
    VAEConfig
    | VAEBySizeConfig
    | ResidualVAEConfig
    | HVAEConfig
    | ConvVAEConfig
    | ConvHVAEConfig
    | PixelHVAEConfig
    | MoonsVAEConfig
    | OwnModelConfig,
    Field(discriminator="kind"),
]


class AbstractPosthocConfig(AbstractModelConfig):
    """A model that is fitted on top of a trained one."""

    title: ClassVar[str]
    """Its name in tables."""

    base: AbstractModelConfig
    """The model underneath."""
    base_run: str
    """The run folder that holds the weights of the model underneath."""

    def build(
        self, spec: "priorwise.data.DataSpec", *, seed: int, x: "torch.Tensor | None" = None
    ) -> "priorwise.models.AbstractModel":
        """The model, on top of the one underneath."""
        return self.over(self.base.build(spec, seed=seed, x=x), spec, seed=seed, x=x)

    def builds_on_fitted(self, base: "AbstractPosthocConfig") -> bool:
        """Whether the model underneath may itself have a prior that was fitted afterwards."""
        return False

    @abstractmethod
    def over(
        self,
        base: "priorwise.models.AbstractModel",
        spec: "priorwise.data.DataSpec",
        *,
        seed: int,
        x: "torch.Tensor | None" = None,
    ) -> "priorwise.models.AbstractModel":
        """The model on top of ``base``, the model underneath; the others are as for ``build``."""

    @abstractmethod
    def objective(
        self, model: "priorwise.models.AbstractModel", *, from_codes: bool = True
    ) -> "priorwise.objectives.AbstractObjective":
        """What the fit minimises.

        Arguments:
            model: The model on top.
            from_codes: Whether a prior starts from the codes; False keeps the values that it has.
        """


class FittedPriorConfig(AbstractPosthocConfig):
    """A trained model with a prior that is fitted to its codes."""

    title: ClassVar[str] = "fitted prior"

    base: BaseConfig
    """The model underneath."""
    kind: Literal["posthoc"] = "posthoc"
    prior: PriorConfig = FlowPriorConfig()
    """The prior that is fitted."""

    def over(
        self,
        base: "priorwise.models.AbstractModel",
        spec: "priorwise.data.DataSpec",
        *,
        seed: int,
        x: "torch.Tensor | None" = None,
    ) -> "priorwise.models.AbstractModel":
        """The model underneath with another prior."""
        import torch

        from priorwise.models import example_pass, frozen, with_prior
        from priorwise.priors import as_prior
        from priorwise.randomness import seeded

        with frozen(base), torch.no_grad():
            latents = tuple(example_pass(base)[0].z.shape[1:])
        with seeded(seed, "init", "prior"):
            config = self.prior.for_data(spec)
            prior = config.build(latents[0] if len(latents) == 1 else latents, spec.shape, x)
        return with_prior(base, as_prior(prior))

    def objective(
        self, model: "priorwise.models.AbstractModel", *, from_codes: bool = True
    ) -> "priorwise.objectives.AbstractObjective":
        """The cross-entropy of the codes."""
        from priorwise.objectives import ExPostPrior

        return ExPostPrior(model, from_codes=from_codes)


TiltableConfig = Annotated[BaseConfig | FittedPriorConfig, Field(discriminator="kind")]


class NCPConfig(AbstractPosthocConfig):
    """A noise contrastive prior on top of a trained model."""

    title: ClassVar[str] = "NCP"

    base: TiltableConfig
    """The model underneath."""
    kind: Literal["ncp"] = "ncp"
    hidden_features: tuple[int, ...] = (256, 256, 256)
    """Hidden layers of each classifier."""
    max_logit: float | None = Field(None, gt=0)
    """Bound on the logits, in nats; with a bound, rejection sampling is exact."""

    def builds_on_fitted(self, base: AbstractPosthocConfig) -> bool:
        """A prior that was fitted is normalised, so it can be tilted; one that is tilted cannot."""
        return isinstance(base, FittedPriorConfig)

    def over(
        self,
        base: "priorwise.models.AbstractModel",
        spec: "priorwise.data.DataSpec",
        *,
        seed: int,
        x: "torch.Tensor | None" = None,
    ) -> "priorwise.models.AbstractModel":
        """The model underneath, its prior tilted by classifiers."""
        from priorwise.models import NCP
        from priorwise.randomness import seeded

        with seeded(seed, "init", "classifiers"):
            return NCP(base, hidden_features=self.hidden_features, max_logit=self.max_logit)

    def objective(
        self, model: "priorwise.models.AbstractModel", *, from_codes: bool = True
    ) -> "priorwise.objectives.AbstractObjective":
        """Noise contrastive estimation."""
        from priorwise.objectives import default_objective

        return default_objective(model)


ModelConfig = Annotated[
    BaseConfig | FittedPriorConfig | NCPConfig,
    Field(discriminator="kind"),
]
