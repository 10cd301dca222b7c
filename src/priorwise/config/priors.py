"""Priors as validated configuration, and how they are built."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from priorwise.config.base import AbstractConfig
from priorwise.config.own_code import OwnCodeError
from priorwise.config.own_parts import AbstractOwnPart
from priorwise.limits import LARGEST_COUNT, LARGEST_LAYER

if TYPE_CHECKING:
    import torch

    import priorwise.data

__all__ = [
    "AbstractPriorConfig",
    "FlowPriorConfig",
    "FullGaussianMixtureConfig",
    "GaussianMixtureConfig",
    "OwnPriorConfig",
    "PriorConfig",
    "StandardNormalConfig",
    "VampDataConfig",
    "VampPriorConfig",
]


class AbstractPriorConfig(AbstractConfig):
    """A prior. A new one has a ``kind`` and fields, builds itself, and joins ``PriorConfig``."""

    def for_data(self, spec: "priorwise.data.DataSpec") -> "AbstractPriorConfig":
        """The configuration with what follows from the data; the same if nothing does."""
        return self

    @abstractmethod
    def build(
        self, latent: int | tuple[int, ...], shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior.

        Arguments:
            latent: Number of dimensions of the top latents, or their shape.
            shape: Shape of one observation.
            x: Training data in the model's units, for a prior that starts from data; None if a
                checkpoint will fill it.
        """


class StandardNormalConfig(AbstractPriorConfig):
    """N(0, I)."""

    kind: Literal["standard"] = "standard"

    def build(
        self, latent: int | tuple[int, ...], shape: tuple[int, ...], x: "torch.Tensor | None"
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
        self, latent: int | tuple[int, ...], shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior."""
        from priorwise import priors

        return priors.GaussianMixture(
            latent, self.components, learn_weights=self.learn_weights, spread=self.spread
        )


class FullGaussianMixtureConfig(AbstractPriorConfig):
    """A mixture of Gaussians with full covariances, for a prior that is fitted afterwards."""

    kind: Literal["full_mixture"] = "full_mixture"
    components: int = Field(10, ge=1, le=LARGEST_LAYER)
    """Number of components."""
    iterations: int = Field(100, ge=1, le=LARGEST_COUNT)
    """Iterations of expectation maximisation, at most."""

    def build(
        self, latent: int | tuple[int, ...], shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior."""
        from priorwise import priors

        return priors.FullGaussianMixture(latent, self.components, iterations=self.iterations)


class VampPriorConfig(AbstractPriorConfig):
    """A VampPrior with trainable pseudo-inputs."""

    kind: Literal["vamp"] = "vamp"
    components: int = Field(500, ge=1, le=LARGEST_LAYER)
    """Number of pseudo-inputs K."""
    mean: float | None = Field(None, ge=0, le=1)
    """Mean of the initial values, as a share of the range of the data; None takes 0.05 for images,
    as the paper, and 0.5 for vectors."""
    std: float | None = Field(None, ge=0)
    """Standard deviation of the initial values, as a share of the width of that range; None takes
    0.01 for images, as the paper, and 0.2 for vectors."""
    value_range: tuple[float, float] | None = None
    """The range to which pseudo-inputs are clamped; None takes that of the data."""

    def for_data(self, spec: "priorwise.data.DataSpec") -> "AbstractPriorConfig":
        """The configuration with the range of the data."""
        value_range = self.value_range or spec.known_range
        return self.model_copy(update={"value_range": value_range})

    def build(
        self, latent: int | tuple[int, ...], shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior."""
        from priorwise import priors

        mean, std = (0.05, 0.01) if len(shape) > 1 else (0.5, 0.2)
        return priors.VampPrior.random(
            self.components,
            shape,
            mean=mean if self.mean is None else self.mean,
            std=std if self.std is None else self.std,
            value_range=self.value_range or (0.0, 1.0),
        )


class VampDataConfig(AbstractPriorConfig):
    """A VampPrior on a fixed random subset of the training set."""

    kind: Literal["vamp_data"] = "vamp_data"
    components: int = Field(500, ge=1, le=LARGEST_LAYER)
    """Number of pseudo-inputs K."""
    value_range: tuple[float, float] | None = None
    """The range to which pseudo-inputs are clamped; None takes that of the data."""

    def for_data(self, spec: "priorwise.data.DataSpec") -> "AbstractPriorConfig":
        """The configuration with the range of the data."""
        value_range = self.value_range or spec.known_range
        return self.model_copy(update={"value_range": value_range})

    def build(
        self, latent: int | tuple[int, ...], shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior; without data its pseudo-inputs are equal, for a checkpoint to fill."""
        import torch

        from priorwise import priors

        value_range = self.value_range or (0.0, 1.0)
        if x is None:
            start = torch.full((self.components, *shape), value_range[0])
            return priors.VampPrior(start, trainable=False, value_range=value_range)
        return priors.VampPrior.from_data(x, self.components, value_range=value_range)


class FlowPriorConfig(AbstractPriorConfig):
    """The decoupled prior: affine couplings over a normal."""

    kind: Literal["flow"] = "flow"
    blocks: int = Field(6, ge=2, le=LARGEST_LAYER)
    """Number of coupling blocks."""
    hidden_features: tuple[int, ...] = (64, 64)
    """Hidden layers of the two networks of each block."""

    def build(
        self, latent: int | tuple[int, ...], shape: tuple[int, ...], x: "torch.Tensor | None"
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
        self, latent: int | tuple[int, ...], shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior; one over latents of another shape is refused."""
        from torch import nn

        from priorwise.priors import as_prior

        prior = as_prior(self._made("a torch module that is a prior", nn.Module, latent))
        expected = (latent,) if isinstance(latent, int) else tuple(latent)
        event_shape = _event_shape(prior, expected)
        if event_shape != expected:
            raise OwnCodeError(
                f"expected {self.path} to return a prior over latents of shape {expected}; its "
                f"distribution has event shape {event_shape}."
            )
        return prior


def _event_shape(prior: "torch.nn.Module", latent: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the latents of a prior, which may call the encoder as a VampPrior does."""
    import torch
    from torch.distributions import Independent, Normal

    from priorwise.models import frozen
    from priorwise.randomness import seeded

    def encode_top(x: torch.Tensor) -> Independent:
        return Independent(Normal(torch.zeros(len(x), *latent), 1.0), len(latent))

    with frozen(prior), torch.no_grad(), seeded(0, "example"):
        return tuple(prior(encode_top).event_shape)


PriorConfig = Annotated[
    StandardNormalConfig
    | FullGaussianMixtureConfig
    | GaussianMixtureConfig
    | VampPriorConfig
    | VampDataConfig
    | FlowPriorConfig
    | OwnPriorConfig,
    Field(discriminator="kind"),
]
