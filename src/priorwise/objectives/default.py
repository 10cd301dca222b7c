"""The objective that trains a model by default."""

from functools import singledispatch

from priorwise.models import AbstractModel
from priorwise.objectives.base import AbstractObjective, Weight
from priorwise.objectives.elbo import ELBO

__all__ = ["default_objective"]


@singledispatch
def default_objective(model: AbstractModel, *, beta: Weight = 1.0) -> AbstractObjective:
    """The objective that trains a model by default: its ELBO, unless its class registered another.

    Another kind of model registers its objective with ``default_objective.register``, in the file
    of that objective.

    Arguments:
        model: The model.
        beta: Weight of the ELBO's rate, a number or a function of the step; other objectives
            ignore it.
    """
    return ELBO(model, beta=beta)
