"""A model that does not fit into memory is refused before it is built."""

import torch

from priorwise.config.models import (
    AbstractModelConfig,
    AbstractPosthocConfig,
    AbstractVAEConfig,
)
from priorwise.config.priors import StandardNormalConfig
from priorwise.data import DataSpec
from priorwise.memory import MemoryLimitError, refuse_beyond_memory

__all__ = ["refuse_too_large"]

_COPIES = 4  # of each parameter in training: itself, its gradient and the optimiser's two moments
_BYTES = 4  # of a float32
_ADVICE = "Take a smaller one: model.latent, model.hidden, model.prior.components."


def refuse_too_large(config: AbstractModelConfig, spec: DataSpec) -> None:
    """Refuse a configuration whose parameters would not fit into memory in training.

    The networks are built without memory for their numbers (torch's device "meta"). A model of the
    user's own is not counted, because that would execute its code once more.

    Raises:
        MemoryLimitError: if it does not fit.
    """
    below = config.base if isinstance(config, AbstractPosthocConfig) else config
    if not isinstance(below, AbstractVAEConfig):
        return
    # Some priors look at their numbers while they are built, so their size is counted beside it.
    plain: AbstractModelConfig = below.model_copy(update={"prior": StandardNormalConfig()})
    if isinstance(config, AbstractPosthocConfig):
        plain = config.model_copy(update={"base": plain})
    try:
        with torch.device("meta"):
            model = plain.build(spec, seed=0)
    except RuntimeError as error:  # more numbers than 64 bits can count
        raise MemoryLimitError(
            f"expected a model (model.*) that fits into memory. {_ADVICE}"
        ) from error
    numbers = sum(parameter.numel() for parameter in model.parameters()) + _of_prior(below, spec)
    refuse_beyond_memory(_COPIES * _BYTES * numbers, "the model (model.*)", _ADVICE)


def _of_prior(config: AbstractVAEConfig, spec: DataSpec) -> int:
    """Numbers of the prior's components: means and scales of latents, or whole observations."""
    components = config.prior.model_dump().get("components", 1)
    return int(components) * max(2 * config.latent, torch.Size(spec.shape).numel())
