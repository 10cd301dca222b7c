"""A model that does not fit into memory is refused before it is built."""

import math
from itertools import pairwise
from typing import Any

from priorwise.config.models import AbstractModelConfig, AbstractPosthocConfig
from priorwise.data import DataSpec
from priorwise.memory import refuse_beyond_memory

__all__ = ["refuse_too_large"]

_COPIES = 4  # of each parameter in training: itself, its gradient and the optimiser's two moments
_BYTES = 4  # of a float32


def refuse_too_large(config: AbstractModelConfig, spec: DataSpec) -> None:
    """Refuse a configuration whose largest tensors alone would not fit into memory in training.

    Counted are a layer between two hidden ones, the layers to data and latents, and the components
    of the prior. A model of the user's own has sizes of its own, which nobody knows here.

    Raises:
        MemoryLimitError: if it does not fit.
    """
    base = config.base if isinstance(config, AbstractPosthocConfig) else config
    numbers = _numbers(base.model_dump(), math.prod(spec.shape))
    layers = config.model_dump().get("hidden_features", ())
    numbers += sum(one * other for one, other in pairwise(layers))
    refuse_beyond_memory(
        _COPIES * _BYTES * numbers,
        "the model (model.*)",
        "Take a smaller one: model.latent, model.hidden, model.prior.components.",
    )


def _numbers(model: dict[str, Any], pixels: int) -> int:
    """Parameters of the largest tensors of a model, at least."""
    hidden, latent = model.get("hidden", 1), model.get("latent", 1)
    components = (model.get("prior") or {}).get("components", 1)
    return int(hidden * (hidden + pixels + latent) + components * max(2 * latent, pixels))
