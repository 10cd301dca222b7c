"""What a fit says about itself at its end: that it diverged, or never trained its full loss."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from priorwise.config.training import TrainingConfig
from priorwise.nn import moves_statistics
from priorwise.objectives import AbstractObjective

__all__ = [
    "diverged",
    "no_better",
    "overfitted",
    "still_warming_up",
    "unaveraged_statistics",
]

_NAT = 1.0  # the smallest difference that is worth a warning
_WORSE = 0.1  # of the untrained model's verdict
_EXPLODED = 10.0  # times what the training had gained


def still_warming_up(
    objective: AbstractObjective, config: TrainingConfig, steps_per_epoch: int
) -> tuple[str, ...]:
    """A warning if the weights of the loss are still moving in the last epoch but one."""
    steps = config.epochs * steps_per_epoch
    if objective.is_final(steps - 1 - steps_per_epoch):
        return ()
    trained = "trained for one epoch only" if objective.is_final(steps - 1) else "never trained"
    return (
        f"the full objective is {trained}: its weights warm up (`warmup_epochs` is "
        f"{config.warmup_epochs}) for as long as the fit lasts (`epochs` is {config.epochs}). Use "
        "more epochs, or a shorter warm-up.",
    )


def unaveraged_statistics(config: TrainingConfig, modules: Iterable[nn.Module]) -> tuple[str, ...]:
    """A warning if an average of the weights is judged with statistics of other weights."""
    if config.ema is None or not moves_statistics(modules):
        return ()
    return (
        "the average of the weights (`ema`) is judged and kept with running statistics of batch "
        "normalisation that belong to the weights themselves, not to their average, so it may do "
        "worse than it could. Use a normalisation without running statistics, such as GroupNorm.",
    )


def overfitted(metric: str, line: Mapping[str, Any]) -> tuple[str, ...]:
    """A warning about a fit without steps that is worse on validation data by more than a nat.

    Such a fit goes to its end at once, so no earlier weights were better.
    """
    train, validation = line["train"].get(metric), line.get("validation", {}).get(metric)
    if train is None or validation is None or not validation - train > _NAT:
        return ()
    return (
        f"the fit is too close to the training data: its {metric} is {validation:.2f} nats on "
        f"validation data and {train:.2f} on training data. Use fewer `components`, or more data.",
    )


def no_better(metric: str, untrained: float | None, best: float) -> tuple[str, ...]:
    """A warning about a fit that never was better than its start.

    For a noise contrastive prior the start is chance, 2 log 2 nats a group: a tilt that is no
    better is none.
    """
    if untrained is None or not math.isfinite(best) or best < untrained:
        return ()
    return (
        f"the fit is no better than its start: its best {metric} is {best:.4g}, and it was "
        f"{untrained:.4g} before the first step. Train for longer, or with another `lr`.",
    )


def diverged(
    metric: str, untrained: float | None, best: float, history: Sequence[dict[str, Any]]
) -> tuple[str, ...]:
    """A warning about a fit whose loss exploded without becoming infinite.

    It diverged if the best validation is worse than that of the untrained model by more than a
    tenth and a nat: a share alone would depend on the unit of continuous data. It diverged later if
    the last validation is worse than that of the untrained model by so much, or worse than the best
    by more than ten times what the training had gained.

    Arguments:
        metric: Name of the validation number, lower is better.
        untrained: Its value before the first step; None if it is unknown.
        best: Its value for the weights that were kept.
        history: The lines of metrics.
    """
    values = [line["validation"][metric] for line in history if "validation" in line]
    if untrained is None or not values or not math.isfinite(best):
        return ()
    floor = max(_WORSE * abs(untrained), _NAT)
    if best > untrained + floor:
        return (
            f"the fit diverged: its best {metric} is {best:.4g}, while that of the untrained model "
            f"is {untrained:.4g}. Lower `lr`, and look for extreme values in the data.",
        )
    if values[-1] > untrained + floor or values[-1] - best > _EXPLODED * max(
        untrained - best, floor
    ):
        return (
            f"the fit diverged, or overfits, after its best validation: {metric} rose from "
            f"{best:.4g} to {values[-1]:.4g}, while that of the untrained model is "
            f"{untrained:.4g}. The weights of the best validation are usable; lower `lr`, or stop "
            "earlier.",
        )
    return ()
