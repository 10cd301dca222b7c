"""Whether observations fit a model, before anything is computed from them."""

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorwise.distributions import require_support
from priorwise.models.base import AbstractModel, example_pass, frozen
from priorwise.randomness import seeded

__all__ = ["example_likelihood", "require_observations"]


def require_observations(model: AbstractModel, x: Tensor, what: str = "x") -> tuple[str, ...]:
    """Refuse observations that the model's likelihood does not fit; see ``distributions.require_support``.

    The likelihood is that of one draw from the priors, so that observations of a wrong shape are
    refused in words before a network sees them. A tilted prior is drawn from without its tilt,
    which the likelihood does not know.

    Arguments:
        model: The model; it is left as it was.
        x: Observations ``(N, *event)``.
        what: The name that they have in the message.

    Returns:
        tuple[str, ...]: Doubts in words, empty if there are none.

    Raises:
        ValueError: for another shape, NaN or infinity, or values that the likelihood cannot have.
    """
    return require_support(example_likelihood(model), x, what)


def example_likelihood(model: AbstractModel) -> Distribution:
    """The likelihood p(x|z) of one draw from the priors, of batch shape ``(1,)``: its kind, its shape and its support."""
    with frozen(model), torch.no_grad(), seeded(0, "observations"):
        return model.likelihood(example_pass(model))
