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
from priorwise.training.extension import refuse_stopped, tell_extension
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
            self._write(self.folder.best, tensors, about)

    def _write(self, path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        assert self.folder is not None
        write_checkpoint(path, tensors, state, run=self.folder.name, advice=GOES_ON)

    def load_best(self) -> None:
        """Load the best weights into the model."""
        if self.folder is not None:
            tensors, _ = read_checkpoint(self.folder.best, self.device, run=self.folder.name)
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
        self._write(self.folder.last, tensors, state.as_json())
        drop_others(self.folder.path, state.large)

    def _save_large(self, folder: Path) -> str:
        """Write the objective's large state unless it is on the disk; return its identity."""
        large = self.objective.large_state()
        identity = identity_of(large)
        path = large_path(folder, identity)
        if identity and not path.exists():
            self._write(path, large, {})
        return identity

    def resume(self) -> FitState:
        """Restore everything from the last checkpoint; without one, write the first.

        Raises:
            CheckpointError: if the checkpoint is damaged, or of another model or objective.
            RunFolderError: if the model has other settings than the stored one, if files of the
                run are missing or damaged, or if the fit ended early and cannot be extended.
        """
        if self.folder is None:
            return FitState()
        if not self.folder.last.exists():
            return self._begun(self.folder)
        tensors, stored = read_checkpoint(self.folder.last, self.device, run=self.folder.name)
        state = state_from(stored, self.folder.last)
        if self.folder.extended is not None:
            refuse_stopped(self.folder, state)
        large = load_large(self.folder.path, state.large, self.device)
        self._refuse_missing_optimizers(tensors, state)
        if self.folder.best.exists():
            read_checkpoint(self.folder.best, run=self.folder.name)  # before hours of training
        self._load_checked(tensors, state, large)
        if state.step and state.stopped != "solved":
            self.average.load(tensors, self.folder.last)
        for stepper in self.steppers:
            load_optimizer(stepper.optimizer, tensors, stepper.player.name)
            stepper.load_plain_state(state.optimizers.get(stepper.player.name, {}))
        self.folder.cut_metrics(state.metrics_bytes)
        if self.folder.extended is not None and self.writes:
            tell_extension(self.folder, state, self.steppers[0])
        if state.stopped == "epochs" and state.step < self.steppers[0].steps:
            state.stopped = ""
        if self.writes:
            drop_others(self.folder.path, state.large)  # a kill may have come before
            self.folder.settle(state.step)
        return state

    def _begun(self, folder: RunFolder) -> FitState:
        """The state before the first step, which is stored at once.

        So a best checkpoint without a last one can only mean that somebody removed the last one.
        """
        if folder.best.exists():
            raise RunFolderError(
                f"expected {folder.last.name} beside {folder.best}; it is missing, so this run "
                "cannot go on, and starting it again would replace its best weights. Restore the "
                f"file from a backup, choose another folder with --out, or remove {folder.best} to "
                "start again here."
            )
        folder.cut_metrics(0)
        state = FitState()
        self.save_last(state)
        return state

    def _refuse_missing_optimizers(self, tensors: dict[str, Tensor], state: FitState) -> None:
        assert self.folder is not None
        if state.stopped == "solved":  # without a step of an optimiser
            return
        for stepper in self.steppers:
            start = f"optimizer/{stepper.player.name}/"
            if "optimizer" in stepper.own:  # one of the user's may keep nothing, as plain SGD does
                continue
            if state.step and not any(name.startswith(start) for name in tensors):
                raise CheckpointError(
                    f"expected the state of the optimiser of {stepper.player.name!r} in "
                    f"{self.folder.last}, which was written after step {state.step}; there is "
                    "none, so the fit cannot go on as it was. Restore the file from a backup, or "
                    "start the run again in another folder."
                )

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

    def _load_checked(
        self, tensors: dict[str, Tensor], state: FitState, large: dict[str, Tensor]
    ) -> None:
        """Load model and objective; restore them if the checkpoint is of others.

        The large state comes before the probe, whose verdict may depend on it.
        """
        assert self.folder is not None
        large_before = {
            name: tensor.clone() for name, tensor in self.objective.large_state().items()
        }
        before = {
            name: tensor.detach().clone() for name, tensor in self.objective.state_dict().items()
        }
        self._refuse_other_base(tensors)
        try:
            load_model(self.model, tensors, self.folder.last)
            load_objective(self.objective, self.model, tensors, self.folder.last)
            if large:
                self.objective.load_large_state(large)
            self.probe.refuse_other(state.probe, self.folder.path)
        except (CheckpointError, RunFolderError):
            self.objective.load_state_dict(before)
            if large_before:
                self.objective.load_large_state(large_before)
            raise
