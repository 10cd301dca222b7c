"""A run that goes on for more epochs than it was started with."""

import warnings

from priorwise.training.folder import RunFolder, RunFolderError
from priorwise.training.optimizer import lr_factor
from priorwise.training.players import Stepper
from priorwise.training.state import FitState

__all__ = ["StoppedEarlyError", "refuse_stopped", "tell_extension"]


class StoppedEarlyError(RunFolderError):
    """A run that patience stopped, and that more epochs would not change."""


def refuse_stopped(folder: RunFolder, state: FitState) -> None:
    """Refuse to extend a fit that validation ended: with more epochs it would end there, too.

    Raises:
        StoppedEarlyError: if it is such a fit.
    """
    if state.stopped == "patience":
        raise StoppedEarlyError(
            f"expected a run that used up its epochs; {folder.path} was stopped after step "
            f"{state.step}, because validation no longer improved, and more epochs do not change "
            "that. Nothing in it was changed. To train its best weights further, start another "
            f"run with --init {folder.path} and a larger training.patience."
        )


def tell_extension(folder: RunFolder, state: FitState, stepper: Stepper) -> None:
    """Warn of what more epochs do not change, and of how the run differs from an unbroken one."""
    if folder.extended is None or not state.step:
        return
    config, now = stepper.config, folder.extended[1]
    if state.stopped == "solved":
        warnings.warn(
            f"{folder.path} was solved without steps, so more epochs change nothing in it.",
            stacklevel=4,
        )
        return
    has_extra_verdict = (
        state.stopped == "epochs"
        and config.validate_every is not None
        and state.step % config.validate_every != 0
    )
    if has_extra_verdict:
        warnings.warn(
            f"{folder.path} was validated at its old end, after step {state.step}, where a run of "
            f"{now} epochs is not (training.validate_every is {config.validate_every}). So its "
            "best weights, and when patience ends it, may differ from those of an unbroken run.",
            stacklevel=4,
        )
    if stepper.schedule is None and config.schedule != "constant":
        _tell_schedule(folder, state, stepper, has_extra_verdict=has_extra_verdict)


def _tell_schedule(
    folder: RunFolder, state: FitState, stepper: Stepper, *, has_extra_verdict: bool
) -> None:
    """Warn of what the schedule of the learning rate makes of more epochs."""
    assert folder.extended is not None
    config, (before, now) = stepper.config, folder.extended
    steps_before = stepper.steps * before // now
    lr_before, lr = (
        stepper.lrs[0] * lr_factor(state.step, steps, config)
        for steps in (steps_before, stepper.steps)
    )
    warnings.warn(
        f"{folder.path} goes on to {now} epochs instead of {before}. The {config.schedule} "
        f"schedule now covers all {now}, so after step {state.step} the learning rate is {lr:.3g} "
        f"instead of {lr_before:.3g}: the result is not that of an unbroken run of {now} epochs."
        + ("" if has_extra_verdict else " With training.schedule=constant it would have been."),
        stacklevel=5,
    )
