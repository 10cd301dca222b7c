"""A model with another prior over its top latents, which shares everything else with the first."""

import torch

from priorwise.models.base import AbstractModel, require_prior
from priorwise.priors import AbstractPrior

__all__ = ["with_prior"]


def with_prior(model: AbstractModel, prior: AbstractPrior) -> AbstractModel:
    """A model of the same parts with another prior, for a fit to the codes of this model.

    The parts are shared with the old model, but the lists of the parts are copied, so the old model
    keeps its prior.

    Raises:
        TypeError: if the model has no prior to replace.
        ValueError: if the prior shares parameters with the model.
    """
    require_prior(model)
    model_parameters = {id(parameter) for parameter in model.parameters()}
    if any(id(parameter) in model_parameters for parameter in prior.parameters()):
        raise ValueError(
            "expected a `prior` with parameters of its own; got one that shares some with the "
            "model, so fitting it would change the model. Fit a copy: copy.deepcopy(prior)."
        )
    replaced = model.__new__(type(model))
    replaced.__dict__ = {
        name: value.copy() if isinstance(value, (dict, set)) else value
        for name, value in vars(model).items()
    }
    replaced.prior = prior.to(next(model.parameters(), torch.empty(0)).device)
    prior.expect_codes()
    return replaced
