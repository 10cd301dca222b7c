"""A run that goes on for more epochs than it was started with."""

import warnings

from priorwise.training.folder import RunFolder, RunFolderError
from priorwise.training.optimizer import lr_factor
from priorwise.training.players import Stepper
from priorwise.training.state import FitState

__all__ = ["refuse_stopped", "tell_schedule"]


def refuse_stopped(folder: RunFolder, state: FitState) -> None:
    """Refuse to extend a fit that validation ended: with more epochs it would end there, too.

    Raises:
        RunFolderError: if it is such a fit.
    """
    if state.stopped == "patience":
        raise RunFolderError(
            f"expected a run that used up its epochs; {folder.path} was stopped after step "
            f"{state.step}, because validation no longer improved, and more epochs do not change "
            "that. Nothing in it was changed. To train its best weights further, start another "
            f"run with --init {folder.path} and a larger training.patience."
        )


def tell_schedule(folder: RunFolder, state: FitState, stepper: Stepper) -> None:
    """Warn of what the schedule of the learning rate makes of more epochs."""
    config = stepper.config
    if folder.extended is not None and state.stopped == "solved":
        warnings.warn(
            f"{folder.path} was solved without steps, so more epochs change nothing in it.",
            stacklevel=4,
        )
        return
    follows_options = stepper.schedule is None and config.schedule != "constant"
    if folder.extended is None or not follows_options or not state.step:
        return
    before, now = folder.extended
    steps_before = stepper.steps * before // now
    lr_before, lr = (
        stepper.lrs[0] * lr_factor(state.step, steps, config)
        for steps in (steps_before, stepper.steps)
    )
    warnings.warn(
        f"{folder.path} goes on to {now} epochs instead of {before}. The {config.schedule} "
        f"schedule now covers all {now}, so after step {state.step} the learning rate is {lr:.3g} "
        f"instead of {lr_before:.3g}: the result is not that of an unbroken run of {now} epochs. "
        "With training.schedule=constant it would have been.",
        stacklevel=4,
    )
