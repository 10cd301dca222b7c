"""What a validation means for a fit: whether its weights are kept, and whether it goes on."""

import math

from priorwise.config.training import TrainingConfig
from priorwise.training.state import FitState

__all__ = ["count_verdict"]


def count_verdict(
    value: float | None, state: FitState, config: TrainingConfig, *, steps: int, warmup: int
) -> bool:
    """Count a validation in the state, and return whether its weights are kept; it may end the fit.

    Arguments:
        value: The objective's verdict, lower is better; None if it does not judge.
        state: The progress of the fit, which is changed.
        config: The options of the fit.
        steps: Steps of the whole fit.
        warmup: Steps of the warm-up, in which patience does not count.
    """
    better = _is_better(value, state, config)
    if better:
        state.best_step = state.step
        state.best = state.best if value is None else value
    if better or state.step < warmup:
        state.since_best = 0
    elif value is not None:
        state.since_best += 1
    if config.patience is not None and state.since_best >= config.patience:
        state.stopped = "patience"
    elif state.step == steps and not state.stopped:
        state.stopped = "epochs"
    return better


def _is_better(value: float | None, state: FitState, config: TrainingConfig) -> bool:
    """Whether these weights are kept instead of those from before."""
    if value is None:  # as long as nothing was judged the last weights are kept
        return math.isinf(state.best)
    return value < state.best or config.keep == "last"
