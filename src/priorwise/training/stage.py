"""What is trained in a fit, by what, and how it is judged: the model and the objective say so."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from priorwise.compilation import advice_if_compiled
from priorwise.config.overrides import with_settings
from priorwise.config.training import TrainingConfig
from priorwise.data import Splits, Stream, as_training_data, reading_doubts
from priorwise.models import AbstractModel, frozen, own_prior, require_observations
from priorwise.nearest import suggestion
from priorwise.objectives import AbstractObjective, default_objective

__all__ = [
    "as_model",
    "config_for",
    "judged",
    "left_alone",
    "objective_for",
    "trained_words",
    "training_data",
]

_VALIDATION_SEED = 777


def config_for(model: AbstractModel, options: Mapping[str, Any]) -> TrainingConfig:
    """The options over the defaults for this kind of model.

    Raises:
        TypeError: if there is no option of such a name; the nearest is suggested.
        ValueError: if an option cannot take its value.
    """
    known = list(TrainingConfig.model_fields)
    for name in options:
        if name not in known:
            raise TypeError(
                f"unknown option {name!r} of a fit.{suggestion(name, known)} There are: "
                f"{', '.join(known)}."
            )
    return with_settings(TrainingConfig(), {**model.training_defaults, **options})


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
    if not isinstance(objective, AbstractObjective):
        is_class = isinstance(objective, type)
        got = objective.__name__ if is_class else type(objective).__name__
        raise TypeError(
            f"expected an objective of priorwise.objectives; got {got}. Build it over the model: "
            f"{got if is_class else 'ELBO'}(model)."
        )
    if not any(module is model for module in objective.modules()):
        raise TypeError(
            f"expected an objective that holds the model to fit; {type(objective).__name__} holds "
            "another one."
        )
    return objective


def training_data(
    model: AbstractModel,
    data: Any,  # noqa: ANN401
    objective: AbstractObjective | None = None,
) -> Splits | Stream:
    """The data of a fit with this objective, or with the model's own.

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
    sees_only_codes = isinstance(objective, AbstractObjective) and objective.sees_only_codes
    for doubt in (*doubts, *(() if sees_only_codes else reading_doubts(source))):
        warnings.warn(doubt, stacklevel=3)
    return source


@contextmanager
def left_alone(model: AbstractModel, config: TrainingConfig) -> Iterator[None]:
    """No gradients for networks that somebody else trained, unless all are to be trained.

    The prior is ours, also if it is a part of such a network.

    Raises:
        ValueError: if nothing is left to train.
    """
    prior = own_prior(model)
    ours = set() if prior is None else {id(parameter) for parameter in prior.parameters()}
    borrowed = [
        parameter
        for part in (() if config.train == "all" else model.borrowed)
        for parameter in part.parameters()
        if parameter.requires_grad and id(parameter) not in ours
    ]
    for parameter in borrowed:
        parameter.requires_grad = False
    try:
        if borrowed and not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                "expected something of ours to train; the prior of this wrapped model has no "
                "parameters, and somebody else trained its networks. Fit another prior to the "
                "codes: priorwise.fit_prior(model, prior, data). Or tilt the prior: "
                'priorwise.fit(priorwise.NCP(model), data). Or train the networks: train="all".'
            )
        yield
    finally:
        for parameter in borrowed:
            parameter.requires_grad = True


def trained_words(objective: AbstractObjective, model: AbstractModel) -> str:
    """What the players of a fit train, such as ``prior: 312 of 1,480 parameters of the model``.

    Call it while everything that the fit leaves alone is frozen.
    """
    trained = {id(parameter) for player in objective.players for parameter in player.trained()}
    total = sum(parameter.numel() for parameter in model.parameters())
    parts = [
        "the wrapped networks" if part in model.borrowed else name
        for name, part in model.named_children()
        if _count(part, trained)
    ]
    names = ", ".join(dict.fromkeys(parts)) or type(model).__name__
    return f"{names}: {_count(model, trained):,} of {total:,} parameters of the model"


def _count(module: nn.Module, trained: set[int]) -> int:
    return sum(p.numel() for p in module.parameters() if id(p) in trained)


def judged(objective: AbstractObjective, x: Tensor, batch_size: int) -> float | None:
    """The objective's verdict on prepared data, always with the same random numbers."""
    with frozen(objective), torch.no_grad():
        return objective.judge(x, batch_size=batch_size, seed=_VALIDATION_SEED)
