"""What is trained in a fit, by what, and how it is judged: the model and the objective say so."""

import difflib
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from priorwise.compilation import advice_if_compiled
from priorwise.config.training import TrainingConfig
from priorwise.data import Splits, Stream, as_training_data, reading_doubts
from priorwise.models import AbstractModel, frozen, require_observations
from priorwise.objectives import AbstractObjective, default_objective

__all__ = ["as_model", "config_for", "judged", "objective_for", "training_data"]

_VALIDATION_SEED = 777


def config_for(model: AbstractModel, options: Mapping[str, Any]) -> TrainingConfig:
    """The options over the defaults for this kind of model.

    Raises:
        TypeError: if there is no option of such a name; the nearest is suggested.
    """
    known = list(TrainingConfig.model_fields)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(
                f"unknown option {name!r} of a fit.{hint} There are: {', '.join(known)}."
            )
    return TrainingConfig(**{**model.training_defaults, **options})


def as_model(what: object) -> AbstractModel:
    """The model itself; what cannot be fitted is refused before anything is touched.

    Raises:
        TypeError: if it is no model.
    """
    if not isinstance(what, AbstractModel):
        raise TypeError(
            f"expected a model of priorwise to fit; got {type(what).__name__}. A model has "
            "`top_down` and `likelihood`: inherit from priorwise.models.AbstractModel, or use "
            f"priorwise.wrap(encode=..., decode=...).{advice_if_compiled(what)}"
        )
    return what


def objective_for(
    model: AbstractModel,
    objective: AbstractObjective | None,
    config: TrainingConfig,
    data_size: int,
) -> AbstractObjective:
    """The objective that was given, or the model's default with the warm-up of the options.

    Raises:
        TypeError: if the objective holds another model.
    """
    if objective is None:
        return default_objective(model, beta=config.kl_weight(data_size))
    if not any(module is model for module in objective.modules()):
        raise TypeError(
            f"expected an objective that holds the model to fit; {type(objective).__name__} holds "
            "another one."
        )
    return objective


def training_data(model: AbstractModel, data: Any) -> Splits | Stream:  # noqa: ANN401
    """The data of a fit.

    Raises:
        ValueError: if they do not fit the model's likelihood.

    Warns:
        UserWarning: for data that were probably meant in another way.
    """
    source = as_training_data(data)
    doubts = require_observations(model, source.evaluation("validation"), "data")
    spec = source.spec
    if isinstance(source, Splits) and spec.levels is None and spec.binarize == "none":
        require_observations(model, source.train, "data")
    for doubt in (*doubts, *reading_doubts(source)):
        warnings.warn(doubt, stacklevel=3)
    return source


def judged(objective: AbstractObjective, x: Tensor, batch_size: int) -> float | None:
    """The objective's verdict on prepared data, always with the same random numbers."""
    with frozen(objective), torch.no_grad():
        return objective.judge(x, batch_size=batch_size, seed=_VALIDATION_SEED)
