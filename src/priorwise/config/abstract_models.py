"""What every configuration of a model has, and every one of a VAE."""

import math
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from priorwise.choices import ModelLikelihood
from priorwise.config.base import AbstractConfig
from priorwise.config.priors import PriorConfig, StandardNormalConfig
from priorwise.limits import LARGEST_LAYER

if TYPE_CHECKING:
    import torch

    import priorwise.data
    import priorwise.models

__all__ = ["AbstractModelConfig", "AbstractVAEConfig"]


class AbstractModelConfig(AbstractConfig):
    """A model. A new one has a ``kind`` and fields, builds itself, and joins ``ModelConfig``."""

    def for_data(self, spec: "priorwise.data.DataSpec") -> "AbstractModelConfig":
        """The configuration that these data decide on; the same if they decide nothing."""
        return self

    @abstractmethod
    def build(
        self, spec: "priorwise.data.DataSpec", *, seed: int, x: "torch.Tensor | None" = None
    ) -> "priorwise.models.AbstractModel":
        """The model.

        Arguments:
            spec: Description of the data.
            seed: Seed of the initial weights.
            x: Training data in the model's units, for a prior that starts from data.

        Raises:
            ValueError: if the networks do not fit the shape of the data.
        """


class AbstractVAEConfig(AbstractModelConfig):
    """A model that is trained together with its prior."""

    prior: PriorConfig = StandardNormalConfig()
    """Prior of the top latents."""
    latent: int = Field(40, ge=1, le=LARGEST_LAYER)
    """Number of dimensions of each group of latents."""
    likelihood: ModelLikelihood = "auto"
    """p(x|z); "auto" takes the likelihood of the data set."""
    scale: float | None = Field(None, gt=0)
    """Standard deviation of the Gaussian likelihood, in the units of the data; None learns it."""

    def build(
        self, spec: "priorwise.data.DataSpec", *, seed: int, x: "torch.Tensor | None" = None
    ) -> "priorwise.models.AbstractModel":
        """The model: its networks with its prior and its likelihood."""
        from priorwise.randomness import seeded

        with seeded(seed, "init"):
            prior = self.prior.for_data(spec).build(self.latent, spec.shape, x)
            return self._networks(spec.shape, prior, self._head(spec))

    @abstractmethod
    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        """The model for observations of a shape, with a prior and a likelihood's constructor."""

    def _head(self, spec: "priorwise.data.DataSpec") -> Any:  # noqa: ANN401 - a constructor of one of several
        """The constructor of the likelihood."""
        from priorwise import likelihoods

        name = spec.likelihood if self.likelihood == "auto" else self.likelihood
        if self.scale is not None and name != "gaussian":
            raise ValueError(
                f"expected `model.scale` with the Gaussian likelihood only; got it with {name}. "
                "Leave it out, or set model.likelihood=gaussian."
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
        if name not in ("discretized_logistic", "discretized_logistic_paper"):
            raise AssertionError(name)
        return partial(
            likelihoods.DiscretizedLogistic,
            levels=spec.levels or 256,
            tails=name != "discretized_logistic_paper",
        )


def _noise_scale(levels: int | None) -> float:
    """Floor of a predicted scale: the standard deviation of the dequantisation noise, if any."""
    return 1e-3 if levels is None else 1 / (math.sqrt(12) * levels)
