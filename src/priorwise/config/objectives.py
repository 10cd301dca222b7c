"""Objectives as validated configuration, and how they are built."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from priorwise.choices import KL, Weighting
from priorwise.config.base import AbstractConfig
from priorwise.config.own_parts import AbstractOwnPart
from priorwise.config.training import TrainingConfig

if TYPE_CHECKING:
    import priorwise.models
    import priorwise.objectives
from priorwise.limits import LARGEST_COUNT, LARGEST_SET

__all__ = [
    "AbstractObjectiveConfig",
    "AnnealedVAEConfig",
    "BetaTCVAEConfig",
    "BetaVAEConfig",
    "ELBOConfig",
    "FactorVAEConfig",
    "Fit",
    "IWAEConfig",
    "InfoVAEConfig",
    "ObjectiveConfig",
    "OwnObjectiveConfig",
]


@dataclass(frozen=True)
class Fit:
    """What an objective may depend on besides the model.

    Attributes:
        training: Options of the fit; the ELBO takes its warm-up from them.
        data_size: Number of training examples.
        latent: Number of dimensions of the top latents.
    """

    training: TrainingConfig
    data_size: int
    latent: int


class AbstractObjectiveConfig(AbstractConfig):
    """An objective.

    A new one has a ``kind`` and fields, builds itself, and joins ``ObjectiveConfig``.
    """

    kind: str

    @abstractmethod
    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective that trains a model in a fit."""


class ELBOConfig(AbstractObjectiveConfig):
    """The evidence lower bound, with the fit's warm-up of the KL."""

    kind: Literal["elbo"] = "elbo"
    kl: KL = "sample"
    """How the rate is computed: from a draw ("sample"), from a draw with the posterior's entropy in
    closed form ("entropy"), or in closed form ("analytic")."""

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective."""
        from priorwise import objectives

        return objectives.ELBO(model, beta=fit.training.kl_weight(fit.data_size), kl=self.kl)


class IWAEConfig(AbstractObjectiveConfig):
    """The importance-weighted bound."""

    kind: Literal["iwae"] = "iwae"
    samples: int = Field(50, ge=1, le=LARGEST_SET)
    """Importance samples per example."""

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective."""
        from priorwise import objectives

        return objectives.IWAE(model, self.samples)


class BetaVAEConfig(AbstractObjectiveConfig):
    """The beta-VAE (beta-VAE-H)."""

    kind: Literal["beta_vae"] = "beta_vae"
    beta: float = Field(4.0, ge=0)
    """Weight of the rate."""
    kl: KL = "sample"
    """How the rate is computed."""

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective."""
        from priorwise import objectives

        return objectives.BetaVAE(model, beta=self.beta, kl=self.kl)


class AnnealedVAEConfig(AbstractObjectiveConfig):
    """The beta-VAE with a growing capacity (beta-VAE-B)."""

    kind: Literal["annealed_vae"] = "annealed_vae"
    gamma: float = Field(1000.0, ge=0)
    """Weight of the distance from the capacity."""
    capacity: float = Field(25.0, ge=0)
    """Final capacity, in nats per example."""
    capacity_steps: int = Field(100_000, ge=1, le=LARGEST_COUNT)
    """Steps until the capacity is reached."""
    kl: KL = "sample"
    """How the rate is computed."""

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective."""
        from priorwise import objectives

        return objectives.AnnealedVAE(
            model,
            gamma=self.gamma,
            capacity=self.capacity,
            capacity_steps=self.capacity_steps,
            kl=self.kl,
        )


class BetaTCVAEConfig(AbstractObjectiveConfig):
    """The beta-TCVAE."""

    kind: Literal["beta_tcvae"] = "beta_tcvae"
    alpha: float = 1.0
    """Weight of the mutual information."""
    beta: float = 6.0
    """Weight of the total correlation."""
    gamma: float = 1.0
    """Weight of the dimension-wise term."""
    weights: Weighting = "stratified"
    """How the examples of a batch are weighted to estimate q(z) over the data set."""

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective."""
        from priorwise import objectives

        return objectives.BetaTCVAE(
            model,
            fit.data_size,
            alpha=self.alpha,
            beta=self.beta,
            gamma=self.gamma,
            weights=self.weights,
        )


class FactorVAEConfig(AbstractObjectiveConfig):
    """The FactorVAE."""

    kind: Literal["factor_vae"] = "factor_vae"
    gamma: float = 10.0
    """Weight of the total correlation."""
    discriminator_lr: float = Field(1e-4, gt=0)
    """Learning rate of the discriminator."""
    discriminator_betas: tuple[float, float] = (0.9, 0.999)
    """The averaging rates of the discriminator's Adam."""
    hidden_features: tuple[int, ...] = (1000,) * 5
    """Hidden layers of the discriminator."""
    kl: KL = "sample"
    """How the rate is computed."""

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective."""
        from priorwise import objectives

        return objectives.FactorVAE(
            model,
            fit.latent,
            gamma=self.gamma,
            discriminator=objectives.Discriminator(fit.latent, self.hidden_features),
            discriminator_lr=self.discriminator_lr,
            discriminator_betas=self.discriminator_betas,
            kl=self.kl,
        )


class InfoVAEConfig(AbstractObjectiveConfig):
    """The InfoVAE with the maximum mean discrepancy."""

    kind: Literal["info_vae"] = "info_vae"
    alpha: float = Field(0.0, le=1)
    """1 minus the weight of the rate."""
    lambda_: float = 1000.0
    """The discrepancy has the weight alpha + lambda_ - 1, in nats per unit of the kernel."""
    kernel: Literal["imq", "rbf"] = "imq"
    """Inverse multiquadratic, or Gaussian."""
    kernel_scale: float | None = Field(None, gt=0)
    """Scale of the kernel, in squared latent units; None takes the default of the kernel."""
    kl: KL = "sample"
    """How the rate is computed."""

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective."""
        from priorwise import objectives

        kernel = objectives.IMQ if self.kernel == "imq" else objectives.RBF
        return objectives.InfoVAE(
            model,
            alpha=self.alpha,
            lambda_=self.lambda_,
            kernel=kernel(self.kernel_scale),
            kl=self.kl,
        )


class OwnObjectiveConfig(AbstractOwnPart, AbstractObjectiveConfig):
    """An objective of the user's own, ``NAME(model, **options)``: an ``AbstractObjective``.

    It must hold the model that it is called with.
    """

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective, as the user's code returns it."""
        from priorwise.objectives import AbstractObjective

        return self._made("an objective of priorwise.objectives", AbstractObjective, model)


ObjectiveConfig = Annotated[
    ELBOConfig
    | IWAEConfig
    | BetaVAEConfig
    | AnnealedVAEConfig
    | BetaTCVAEConfig
    | FactorVAEConfig
    | InfoVAEConfig
    | OwnObjectiveConfig,
    Field(discriminator="kind"),
]
