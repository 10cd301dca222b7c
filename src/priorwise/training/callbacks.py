"""Callbacks: what may watch a fit."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from priorwise.models import AbstractModel
from priorwise.objectives import AbstractObjective
from priorwise.training.fit_result import FitResult

__all__ = ["AbstractCallback", "Moment", "as_callbacks"]


@dataclass(frozen=True)
class Moment:
    """Where a fit stands when it calls a callback.

    Attributes:
        model: The model that is trained.
        objective: What is minimised; it holds the model.
        optimizers: The optimiser of each player by the player's name.
        step: Steps so far, over all sessions of the run.
        steps: Steps of the whole fit.
        epoch: The epoch of the last step, from 1; 0 before the first step.
        epochs: Epochs of the whole fit, if it does not stop early.
        folder: The run folder; None if the fit is kept in memory.
    """

    model: AbstractModel
    objective: AbstractObjective
    optimizers: Mapping[str, Optimizer]
    step: int
    steps: int
    epoch: int
    epochs: int
    folder: Path | None


class AbstractCallback(ABC):
    """How to write a callback.

    1. Inherit and implement ``on_line``, which is called after every validation.
    2. Implement ``on_start``, ``on_step`` or ``on_end`` if you need them.
    3. Count by ``moment.step``, not by calls: a resumed fit starts at the step of its checkpoint
       and may repeat lines that an earlier session has already shown.

    A callback watches. The random numbers of a fit are addressed by seed and step, and the modes of
    the modules are restored after each call, so neither changes the fit. Weights, gradients,
    batch statistics and optimisers are the fit's own: a callback that changes them changes the fit.
    If a callback raises, the fit writes a checkpoint and ends with that error; the same call goes
    on from there. Of several processes only the first calls its callbacks.

    Example:
        >>> class Print(AbstractCallback):
        ...     def on_line(self, moment, line):
        ...         print(moment.epoch, sorted(line["train"]))
    """

    def on_start(self, moment: Moment, history: list[dict[str, Any]]) -> None:
        """Called once a session before its first step, also if there is nothing left to do.

        Arguments:
            moment: Where the fit stands; ``moment.step`` is 0 unless it goes on.
            history: The lines of metrics of earlier sessions, as in ``metrics.jsonl``.
        """
        return

    def on_step(self, moment: Moment) -> None:
        """Called after every step; the gradients of the step are still there."""
        return

    @abstractmethod
    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        """Called after a line of metrics was stored; the model has the weights that were judged.

        Arguments:
            moment: Where the fit stands.
            line: The line, as in ``metrics.jsonl``.
        """

    def on_end(self, result: FitResult) -> None:
        """Called at the end of the fit, when the model has its best weights."""
        return


def as_callbacks(callbacks: Iterable[AbstractCallback]) -> tuple[AbstractCallback, ...]:
    """The callbacks of a fit, checked.

    Raises:
        TypeError: if one of them is something else.
    """
    if isinstance(callbacks, AbstractCallback):
        raise TypeError(
            f"expected `callbacks` as a list; got one {type(callbacks).__name__}. Write "
            "callbacks=[...]."
        )
    listed = tuple(callbacks)
    for each in listed:
        if not isinstance(each, AbstractCallback):
            got = each.__name__ if isinstance(each, type) else type(each).__name__
            raise TypeError(
                "expected `callbacks` as a list of objects that inherit from "
                f"priorwise.training.AbstractCallback; got {got}."
            )
    return listed
