"""What is trained in a fit, and how it is judged.

A bound is judged by the ELBO, an NCP by its held-out cross-entropy, any other objective by its own loss.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from priorwise.estimators import elbo, held_out_bce
from priorwise.models import NCP, AbstractModel
from priorwise.objectives import ELBO, NCE, AbstractObjective
from priorwise.randomness import seeded
from priorwise.schedules import warmup
from priorwise.training.config import TrainingConfig

__all__ = ["Stage", "as_model", "config_for", "stage_for"]

_VALIDATION_SEED = 777
_FINAL_STEP = 2**62


@dataclass(frozen=True)
class Stage:
    """One fit.

    Attributes:
        model: What is saved: the model as a whole.
        objective: What is minimised.
        metric: Name of the validation number, lower is better.
        validate: Computes it on prepared validation data, with the same random numbers every time.
    """

    model: nn.Module
    objective: AbstractObjective
    metric: str
    validate: Callable[[Tensor], float]


_NCP_DEFAULTS: dict[str, Any] = {
    "epochs": 100,
    "lr": 1e-3,
    "schedule": "cosine",
    "warmup_epochs": 0,
    "patience": 20,
}


def config_for(what: nn.Module, options: Mapping[str, Any]) -> TrainingConfig:
    """The options over the defaults for this kind of model.

    Raises:
        TypeError: if there is no option of such a name; the nearest is suggested.
    """
    known = list(TrainingConfig.model_fields)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"unknown option {name!r} of a fit.{hint} There are: {', '.join(known)}.")
    defaults = _NCP_DEFAULTS if isinstance(what, NCP) else {}
    return TrainingConfig(**{**defaults, **options})


def as_model(what: object) -> AbstractModel:
    """The model itself; what cannot be fitted is refused before anything is touched.

    Raises:
        TypeError: if it is no model.
    """
    if not isinstance(what, AbstractModel):
        raise TypeError(
            f"expected a model of priorwise to fit; got {type(what).__name__}. A model has `top_down` and `likelihood`: "
            "inherit from priorwise.models.AbstractModel, or use priorwise.wrap(encode=..., decode=...)."
        )
    return what


def stage_for(
    what: AbstractModel, objective: AbstractObjective | None, config: TrainingConfig, steps_per_epoch: int
) -> Stage:
    """The stage that follows from what is fitted.

    Raises:
        TypeError: if the objective holds another model.
    """

    def beta(step: int) -> float:
        return warmup(step // steps_per_epoch + 1, config.warmup_epochs)

    chosen = objective
    if chosen is None:
        chosen = NCE(what) if isinstance(what, NCP) else ELBO(what, beta=beta)
    if not any(module is what for module in chosen.modules()):
        raise TypeError(
            f"expected an objective that holds the model to fit; {type(chosen).__name__} holds another one."
        )
    if isinstance(what, NCP):
        return Stage(what, chosen, "held_out_bce", lambda x: held_out_bce(what, x, seed=_VALIDATION_SEED).value)
    if chosen.judged_by == "loss":
        return Stage(what, chosen, "loss", lambda x: _final_loss(chosen, x, config.batch_size))
    return Stage(what, chosen, "negative_elbo", lambda x: -elbo(what, x, seed=_VALIDATION_SEED).value)


def _final_loss(objective: AbstractObjective, x: Tensor, batch_size: int) -> float:
    """The mean loss over whole batches, with every schedule of the objective at its end."""
    whole = max(1, len(x) // batch_size)
    losses = []
    for block, batch in enumerate(x.split(batch_size)[:whole]):
        with seeded(_VALIDATION_SEED, "loss", block):
            losses.append(float(objective(batch, _FINAL_STEP).loss()))
    return math.fsum(losses) / whole
