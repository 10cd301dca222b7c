"""Priors as validated configuration, and how they are built."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from priorwise.config.base import AbstractConfig
from priorwise.config.own_code import OwnCodeError
from priorwise.config.own_parts import AbstractOwnPart

if TYPE_CHECKING:
    import torch
from priorwise.limits import LARGEST_LAYER

__all__ = [
    "AbstractPriorConfig",
    "FlowPriorConfig",
    "GaussianMixtureConfig",
    "OwnPriorConfig",
    "PriorConfig",
    "StandardNormalConfig",
    "VampDataConfig",
    "VampPriorConfig",
]


class AbstractPriorConfig(AbstractConfig):
    """A prior. A new one has a ``kind`` and fields, builds itself, and joins ``PriorConfig``."""

    @abstractmethod
    def build(
        self, latent: int, shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior.

        Arguments:
            latent: Number of dimensions of the top latents.
            shape: Shape of one observation.
            x: Training data in the model's units, for a prior that starts from data; None if a
                checkpoint will fill it.
        """


class StandardNormalConfig(AbstractPriorConfig):
    """N(0, I)."""

    kind: Literal["standard"] = "standard"

    def build(
        self, latent: int, shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior."""
        from priorwise import priors

        return priors.StandardNormal(latent)


class GaussianMixtureConfig(AbstractPriorConfig):
    """A mixture of Gaussians with free parameters."""

    kind: Literal["mixture"] = "mixture"
    components: int = Field(500, ge=1, le=LARGEST_LAYER)
    """Number of components."""
    learn_weights: bool = False
    """Whether the weights of the components are learned."""
    spread: float = Field(0.5, gt=0)
    """Standard deviation of the initial means."""

    def build(
        self, latent: int, shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior."""
        from priorwise import priors

        return priors.GaussianMixture(
            latent, self.components, learn_weights=self.learn_weights, spread=self.spread
        )


class VampPriorConfig(AbstractPriorConfig):
    """A VampPrior with trainable pseudo-inputs."""

    kind: Literal["vamp"] = "vamp"
    components: int = Field(500, ge=1, le=LARGEST_LAYER)
    """Number of pseudo-inputs K."""
    mean: float = Field(0.05, ge=0, le=1)
    """Mean of the initial pixels."""
    std: float = Field(0.01, ge=0)
    """Standard deviation of the initial pixels."""

    def build(
        self, latent: int, shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior."""
        from priorwise import priors

        return priors.VampPrior.random(self.components, shape, mean=self.mean, std=self.std)


class VampDataConfig(AbstractPriorConfig):
    """A VampPrior on a fixed random subset of the training set."""

    kind: Literal["vamp_data"] = "vamp_data"
    components: int = Field(500, ge=1, le=LARGEST_LAYER)
    """Number of pseudo-inputs K."""

    def build(
        self, latent: int, shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior; without data its pseudo-inputs are zeros, for a checkpoint to fill."""
        import torch

        from priorwise import priors

        if x is None:
            return priors.VampPrior(torch.zeros(self.components, *shape), trainable=False)
        return priors.VampPrior.from_data(x, self.components)


class FlowPriorConfig(AbstractPriorConfig):
    """The decoupled prior: affine couplings over a normal."""

    kind: Literal["flow"] = "flow"
    blocks: int = Field(6, ge=2, le=LARGEST_LAYER)
    """Number of coupling blocks."""
    hidden_features: tuple[int, ...] = (64, 64)
    """Hidden layers of the two networks of each block."""

    def build(
        self, latent: int, shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior."""
        from priorwise import priors

        return priors.FlowPrior(latent, blocks=self.blocks, hidden_features=self.hidden_features)


class OwnPriorConfig(AbstractOwnPart, AbstractPriorConfig):
    """A prior of the user's own, ``NAME(latent, **options)``: a module of ``priorwise.priors``.

    Any module works that returns a ``torch.distributions.Distribution`` over latents of shape
    ``(latent,)`` when it is called.
    """

    def build(
        self, latent: int, shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior; one over latents of another shape is refused."""
        from torch import nn

        from priorwise.priors import as_prior

        prior = as_prior(self._made("a torch module that is a prior", nn.Module, latent))
        event_shape = _event_shape(prior, latent)
        if event_shape != (latent,):
            raise OwnCodeError(
                f"expected {self.path} to return a prior over latents of shape ({latent},); its "
                f"distribution has event shape {event_shape}."
            )
        return prior


def _event_shape(prior: "torch.nn.Module", latent: int) -> tuple[int, ...]:
    """The shape of the latents of a prior, which may call the encoder as a VampPrior does."""
    import torch
    from torch.distributions import Independent, Normal

    from priorwise.models import frozen
    from priorwise.randomness import seeded

    def encode_top(x: torch.Tensor) -> Independent:
        return Independent(Normal(torch.zeros(len(x), latent), 1.0), 1)

    with frozen(prior), torch.no_grad(), seeded(0, "example"):
        return tuple(prior(encode_top).event_shape)


PriorConfig = Annotated[
    StandardNormalConfig
    | GaussianMixtureConfig
    | VampPriorConfig
    | VampDataConfig
    | FlowPriorConfig
    | OwnPriorConfig,
    Field(discriminator="kind"),
]
