"""Checks that observations fit a model before anything is computed from them."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorwise.arrays import Array, as_tensor, input_tensor
from priorwise.distributions import (
    has_mean,
    has_whole_numbers,
    require_event_shape,
    require_support,
)
from priorwise.models.base import AbstractModel, example_pass, frozen
from priorwise.randomness import seeded

__all__ = [
    "as_observations",
    "checked_observations",
    "decodes_to_means",
    "example_likelihood",
    "require_observations",
]


def as_observations(model: AbstractModel, x: Array, what: str = "x") -> Tensor:
    """Observations as the model computes with them; see ``checked_observations``."""
    return checked_observations(model, x, what)[0]


def require_observations(model: AbstractModel, x: Array, what: str = "x") -> tuple[str, ...]:
    """Doubts about observations in words; see ``checked_observations``."""
    return checked_observations(model, x, what)[1]


def checked_observations(
    model: AbstractModel, x: Array, what: str = "x"
) -> tuple[Tensor, tuple[str, ...]]:
    """Convert observations for a model, and refuse those that do not fit it.

    They come onto the device of the model, in its precision, and are never scaled. So bytes are
    refused, unless the likelihood is one of whole numbers or they are zeros and ones.

    The likelihood is computed from one draw of the untilted priors. So observations of a wrong
    shape get a clear message before they reach a network, or are broadcast.

    Arguments:
        model: The model; it is not changed.
        x: Observations ``(N, *event)``, a tensor or a numpy array.
        what: The name of the observations in messages.

    Returns:
        tuple: The observations, and doubts in words (``distributions.require_support``).

    Raises:
        TypeError: for what is no array of numbers.
        ValueError: for a wrong shape, NaN or infinity, values outside the support, or integers
            where the likelihood is of real numbers.
    """
    raw = as_tensor(x, what)
    device = next(model.parameters(), torch.empty(0)).device
    with torch.autocast(device.type, enabled=False):  # whatever the caller opened
        likelihood = example_likelihood(model)
    require_event_shape(likelihood, raw, what)
    tensor = input_tensor(model, raw if isinstance(x, Tensor) else x, what)
    doubts = require_support(likelihood, tensor, what)
    if not raw.is_floating_point() and not has_whole_numbers(likelihood):
        _refuse_bytes(tensor, str(raw.dtype).removeprefix("torch."), what)
    return tensor, doubts


def _refuse_bytes(x: Tensor, dtype: str, what: str) -> None:
    low, high = (int(bound) for bound in x.aminmax()) if x.numel() else (0, 0)
    if low < 0 or high > 1:
        raise ValueError(
            f"expected `{what}` in the units of the training data; got {dtype} from {low} to "
            f"{high}, which are not scaled here. Scale them as the training data were: "
            "Splits.prepare does so, or divide by 255."
        )


def example_likelihood(model: AbstractModel) -> Distribution:
    """The likelihood p(x|z) of one draw from the untilted priors, of batch shape ``(1,)``."""
    with frozen(model), torch.no_grad(), seeded(0, "observations"):
        return model.likelihood(example_pass(model))


def decodes_to_means(model: AbstractModel) -> bool:
    """Whether ``sample`` and ``reconstruct`` show the decoder's means.

    A decoder without a mean in closed form, such as a PixelCNN, is drawn from instead.
    """
    return has_mean(example_likelihood(model))
