"""What a fit keeps while it runs: where it stands, its best weights, its lines of metrics; in a folder or in memory."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorwise.models import AbstractModel
from priorwise.objectives import AbstractObjective
from priorwise.training.checkpoint import (
    load_model,
    load_objective,
    load_optimizer,
    model_tensors,
    objective_tensors,
    optimizer_tensors,
    read_checkpoint,
    write_checkpoint,
)
from priorwise.training.folder import RunFolder
from priorwise.training.players import Stepper
from priorwise.training.state import FitState, state_from

__all__ = ["Store"]


class Store:
    """The checkpoints and metrics of one fit.

    Arguments:
        folder: Where they lie; None keeps the best weights and the metrics in memory.
        model: The model that is fitted.
        objective: What is minimised; what it holds beside the model is kept too.
        steppers: The players and their optimisers.
        device: Where tensors go when they are read.
        writes: Whether this process writes; of several, one does.
    """

    def __init__(
        self,
        folder: RunFolder | None,
        model: AbstractModel,
        objective: AbstractObjective,
        steppers: list[Stepper],
        *,
        device: torch.device,
        writes: bool,
    ) -> None:
        self.folder = folder
        self.model = model
        self.objective = objective
        self.steppers = steppers
        self.device = device
        self.writes = writes
        self._lines: list[dict[str, Any]] = []
        self._best: dict[str, Tensor] = {}

    def history(self) -> list[dict[str, Any]]:
        """All lines of metrics so far."""
        return self._lines if self.folder is None else self.folder.read_metrics()

    def add_line(self, line: dict[str, Any]) -> None:
        """Keep one line of metrics."""
        if self.folder is None:
            self._lines.append(line)
        elif self.writes:
            self.folder.append_metrics(line)

    def save_best(self, about: dict[str, Any]) -> None:
        """Keep the model as it is now as the best one."""
        tensors = model_tensors(self.model)
        if self.folder is None:
            self._best = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        elif self.writes:
            write_checkpoint(self.folder.best, tensors, about)

    def load_best(self) -> None:
        """Put the best weights into the model."""
        if self.folder is not None:
            tensors, _ = read_checkpoint(self.folder.best, self.device)
            load_model(self.model, tensors, self.folder.best)
        elif self._best:
            load_model(self.model, self._best, Path("memory"))

    def save_last(self, state: FitState) -> None:
        """Keep where the fit stands; in memory there is no need."""
        if self.folder is None or not self.writes:
            return
        state.metrics_bytes = self.folder.metrics_bytes()
        tensors = model_tensors(self.model) | objective_tensors(self.objective, self.model)
        for stepper in self.steppers:
            tensors |= optimizer_tensors(stepper.optimizer, stepper.player.name)
        write_checkpoint(self.folder.last, tensors, state.as_json())

    def resume(self) -> FitState:
        """Put everything back as the last checkpoint has it; a fresh state if there is none.

        Raises:
            CheckpointError: if it is damaged, or of another model or objective.
        """
        if self.folder is None:
            return FitState()
        if not self.folder.last.exists():
            self.folder.cut_metrics(0)
            return FitState()
        tensors, stored = read_checkpoint(self.folder.last, self.device)
        load_model(self.model, tensors, self.folder.last)
        load_objective(self.objective, self.model, tensors, self.folder.last)
        for stepper in self.steppers:
            load_optimizer(stepper.optimizer, tensors, stepper.player.name)
        state = state_from(stored, self.folder.last)
        self.folder.cut_metrics(state.metrics_bytes)
        return state
