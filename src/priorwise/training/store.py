"""What a fit stores while it runs: its progress, its best weights and its lines of metrics."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorwise.compilation import uncompiled_name
from priorwise.models import AbstractModel
from priorwise.objectives import AbstractObjective
from priorwise.training.average import WeightAverage
from priorwise.training.checkpoint import (
    CheckpointError,
    load_model,
    load_objective,
    load_optimizer,
    model_tensors,
    objective_tensors,
    optimizer_tensors,
    read_checkpoint,
    write_checkpoint,
)
from priorwise.training.folder import GOES_ON, RunFolder, RunFolderError
from priorwise.training.large import drop_others, identity_of, large_path, load_large
from priorwise.training.players import Stepper, stepped_parameters
from priorwise.training.probe import Probe
from priorwise.training.state import FitState, state_from

__all__ = ["Store"]


class Store:
    """The checkpoints and metrics of one fit.

    Arguments:
        folder: The run folder; None keeps the best weights and the metrics in memory.
        model: The model that is fitted.
        objective: The objective of the fit; what it holds besides the model is stored too.
        steppers: The players and their optimisers.
        average: The average of the weights.
        probe: The number that identifies the model of a resumed run.
        device: The device for tensors that are read.
        writes: Whether this process writes; only one of several does.
    """

    def __init__(
        self,
        folder: RunFolder | None,
        model: AbstractModel,
        objective: AbstractObjective,
        steppers: list[Stepper],
        average: WeightAverage,
        probe: Probe,
        *,
        device: torch.device,
        writes: bool,
    ) -> None:
        self.folder = folder
        self.model = model
        self.objective = objective
        self.steppers = steppers
        self.average = average
        self.probe = probe
        self.device = device
        self.writes = writes
        self._lines: list[dict[str, Any]] = []
        self._best: dict[str, Tensor] = {}

    def history(self) -> list[dict[str, Any]]:
        """All lines of metrics so far."""
        return self._lines if self.folder is None else self.folder.read_metrics()

    def add_line(self, line: dict[str, Any]) -> None:
        """Store one line of metrics."""
        if self.folder is None:
            self._lines.append(line)
        elif self.writes:
            self.folder.append_metrics(line)

    def save_best(self, about: dict[str, Any]) -> None:
        """Store the model as it is now as the best one."""
        tensors = model_tensors(self.model)
        if self.folder is None:
            self._best = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        elif self.writes:
            write_checkpoint(self.folder.best, tensors, about, advice=GOES_ON)

    def load_best(self) -> None:
        """Load the best weights into the model."""
        if self.folder is not None:
            tensors, _ = read_checkpoint(self.folder.best, self.device)
            load_model(self.model, tensors, self.folder.best)
        elif self._best:
            load_model(self.model, self._best, Path("memory"))

    def save_last(self, state: FitState) -> None:
        """Write a checkpoint of the fit; without a folder there is nothing to do.

        Large state is written first and under a name of its own, so at any moment the file that
        goes with the last checkpoint is there.
        """
        if self.folder is None or not self.writes:
            return
        state.metrics_bytes = self.folder.metrics_bytes()
        state.probe = self.probe.measured()
        state.large = self._save_large(self.folder.path)
        tensors = model_tensors(self.model) | objective_tensors(self.objective, self.model)
        tensors |= self.average.tensors()
        for stepper in self.steppers:
            tensors |= optimizer_tensors(stepper.optimizer, stepper.player.name)
            state.optimizers[stepper.player.name] = stepper.plain_state()
        write_checkpoint(self.folder.last, tensors, state.as_json(), advice=GOES_ON)
        drop_others(self.folder.path, state.large)

    def _save_large(self, folder: Path) -> str:
        """Write the objective's large state unless it is on the disk; return its identity."""
        large = self.objective.large_state()
        identity = identity_of(large)
        path = large_path(folder, identity)
        if identity and not path.exists():
            write_checkpoint(path, large, {}, advice=GOES_ON)
        return identity

    def resume(self) -> FitState:
        """Restore everything from the last checkpoint; return a fresh state if there is none.

        Raises:
            CheckpointError: if the checkpoint is damaged, or of another model or objective.
            RunFolderError: if the model has other settings than the stored one.
        """
        if self.folder is None:
            return FitState()
        if not self.folder.last.exists():
            self.folder.cut_metrics(0)
            return FitState()
        tensors, stored = read_checkpoint(self.folder.last, self.device)
        state = state_from(stored, self.folder.last)
        large = load_large(self.folder.path, state.large, self.device)
        self._load_checked(tensors, state)
        self.average.load(tensors, self.folder.last)
        for stepper in self.steppers:
            load_optimizer(stepper.optimizer, tensors, stepper.player.name)
            stepper.load_plain_state(state.optimizers.get(stepper.player.name, {}))
        if large:
            self.objective.load_large_state(large)
        self.folder.cut_metrics(state.metrics_bytes)
        return state

    def _refuse_other_base(self, tensors: dict[str, Tensor]) -> None:
        """Refuse a checkpoint whose fixed parameters differ from the model's.

        Parameters that no player steps belong to the user: another base is never overwritten.
        """
        assert self.folder is not None
        stepped = stepped_parameters(self.model, self.steppers)
        for path, parameter in self.model.named_parameters():
            name = uncompiled_name(path)
            stored = tensors.get(f"model/{name}")
            if name in stepped or stored is None or stored.shape != parameter.shape:
                continue
            if not torch.equal(stored.to(parameter.device), parameter.detach()):
                raise RunFolderError(
                    f"{self.folder.path} holds a fit over another model: `{name}`, which this fit "
                    "does not train, differs. Nothing was changed. Choose another folder, or the "
                    "model that the fit started with."
                )

    def _load_checked(self, tensors: dict[str, Tensor], state: FitState) -> None:
        """Load model and objective; restore them if the checkpoint is of others."""
        assert self.folder is not None
        before = {
            name: tensor.detach().clone() for name, tensor in self.objective.state_dict().items()
        }
        self._refuse_other_base(tensors)
        try:
            load_model(self.model, tensors, self.folder.last)
            load_objective(self.objective, self.model, tensors, self.folder.last)
            self.probe.refuse_other(state.probe, self.folder.path)
        except (CheckpointError, RunFolderError):
            self.objective.load_state_dict(before)
            raise
