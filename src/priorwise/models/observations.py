"""Checks that observations fit a model before anything is computed from them."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorwise.distributions import require_support
from priorwise.models.base import AbstractModel, example_pass, frozen
from priorwise.randomness import seeded

__all__ = ["example_likelihood", "require_observations"]


def require_observations(model: AbstractModel, x: Tensor, what: str = "x") -> tuple[str, ...]:
    """Refuse observations that do not fit the model; see ``distributions.require_support``.

    The likelihood is computed from one draw of the untilted priors. So observations of a wrong
    shape get a clear message before they reach a network.

    Arguments:
        model: The model; it is not changed.
        x: Observations ``(N, *event)``.
        what: The name of the observations in messages.

    Returns:
        tuple[str, ...]: Doubts in words; empty if there are none.

    Raises:
        ValueError: for a wrong shape, NaN or infinity, or values outside the support.
    """
    return require_support(example_likelihood(model), x, what)


def example_likelihood(model: AbstractModel) -> Distribution:
    """The likelihood p(x|z) of one draw from the untilted priors, of batch shape ``(1,)``."""
    with frozen(model), torch.no_grad(), seeded(0, "observations"):
        return model.likelihood(example_pass(model))
