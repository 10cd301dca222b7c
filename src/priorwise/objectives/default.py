"""What a model is trained by unless somebody says otherwise."""

from functools import singledispatch

from priorwise.models import AbstractModel
from priorwise.objectives.base import AbstractObjective, Weight
from priorwise.objectives.elbo import ELBO

__all__ = ["default_objective"]


@singledispatch
def default_objective(model: AbstractModel, *, beta: Weight = 1.0) -> AbstractObjective:
    """The objective by which a model is trained: its ELBO, unless its kind has another one.

    A kind of model that is trained otherwise registers its objective in that objective's file, with
    ``default_objective.register``.

    Arguments:
        model: The model.
        beta: Weight of the ELBO's rate, a number or a function of the step; other objectives have
            none.
    """
    return ELBO(model, beta=beta)
