"""A model that does not fit into memory is refused before it is built."""

import math
from itertools import pairwise
from typing import Any

from priorwise.config.models import AbstractModelConfig
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
    numbers = _numbers(config.model_dump(), math.prod(spec.shape))
    refuse_beyond_memory(
        _COPIES * _BYTES * numbers,
        "the model (model.*)",
        "Take a smaller one: model.latent, model.hidden, model.width, model.prior.components.",
    )


def _numbers(part: dict[str, Any], pixels: int) -> int:
    """Parameters of the largest tensors of a part and of the parts within it, at least."""
    hidden, latent = part.get("hidden") or 0, part.get("latent") or 1
    layers = part.get("hidden_features", ())
    numbers = hidden * (hidden + pixels + latent) + part.get("components", 0) * pixels
    numbers += (part.get("width") or 0) ** 2  # of one convolution between two levels, at least
    numbers += part.get("blocks", 1) * sum(one * other for one, other in pairwise(layers))
    inner = (value for value in part.values() if isinstance(value, dict))
    return int(numbers) + sum(_numbers(each, pixels) for each in inner)
