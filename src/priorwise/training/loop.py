"""The training loop: one readable pass from data to the best checkpoint.

Order, batches and draws are addressed by seed, epoch and step, so a run that goes on from a checkpoint computes what a run
that was never stopped computes, bit for bit on the same machine, and no state of a random generator is kept.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from priorwise.data import Splits, as_splits
from priorwise.models import AbstractModel, frozen
from priorwise.objectives import AbstractObjective, Player, Terms
from priorwise.randomness import seeded
from priorwise.schedules import cosine
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
from priorwise.training.config import TrainingConfig
from priorwise.training.folder import RunFolder
from priorwise.training.optimizer import build_optimizer, normalize_gradients_, set_lr
from priorwise.training.progress import progress_bar
from priorwise.training.stage import Stage, as_model, config_for, stage_for
from priorwise.training.versions import versions

__all__ = ["FitResult", "TrainingDivergedError", "fit"]


class TrainingDivergedError(ArithmeticError):
    """A loss that is not a number."""


@dataclass(frozen=True)
class FitResult:
    """What a fit came to.

    Attributes:
        model: The model that was given, with the weights of the best validation, or the last ones with ``keep="last"``.
        metric: Name of the validation number, lower is better.
        best: Its value for these weights.
        best_epoch: The epoch of that value, counted from 1.
        epochs: Epochs that were run.
        seconds: Wall-clock time, all sessions of the run together.
        stopped: ``"epochs"`` if all were run, ``"patience"`` if validation stopped improving.
        history: One record an epoch, as in ``metrics.jsonl``.
        folder: Where the run lies, None if it was kept in memory.
    """

    model: nn.Module
    metric: str
    best: float
    best_epoch: int
    epochs: int
    seconds: float
    stopped: str
    history: list[dict[str, Any]]
    folder: Path | None


@dataclass
class _Progress:
    """Where a fit stands; everything that a checkpoint needs beside tensors."""

    step: int = 0
    best: float = math.inf
    best_epoch: int = 0
    since_best: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    metrics_bytes: int = 0
    stopped: str = ""


def fit(
    what: nn.Module,
    data: Any,  # noqa: ANN401 - whatever `as_splits` takes
    objective: AbstractObjective | None = None,
    *,
    out: str | Path | None = None,
    progress: bool = True,
    identity: dict[str, Any] | None = None,
    **options: Any,  # noqa: ANN401 - the fields of TrainingConfig
) -> FitResult:
    """Train a model, or fit an NCP on the model underneath it.

    A model is trained by its ELBO with a warm-up of the KL, an NCP by noise contrastive estimation with its base frozen.
    After every epoch it is validated with common random numbers; the best weights are in the model when the fit returns,
    and the model is otherwise as it was given (device, modes, hooks).

    Arguments:
        what: A model of ``priorwise.models``; an ``NCP`` has its classifiers fitted.
        data: What ``priorwise.data.load`` returns, or arrays ``(N, *shape)``, of which a tenth is held out.
        objective: What to minimise, a module of ``priorwise.objectives`` that holds ``what``; by default as above.
        out: Folder for checkpoints and metrics. A fit that was killed goes on from there when it is called again.
        progress: Whether to show a progress bar.
        identity: What defines the run in the folder, beside the options; recipes give their whole configuration.
        **options: The fields of ``TrainingConfig``: ``epochs``, ``batch_size``, ``lr``, ``schedule``, ``optimizer``,
            ``warmup_epochs``, ``patience``, ``keep``, ``precision``, ``seed``, ``checkpoint_seconds``. Defaults: 100 epochs, batch
            100, Adam at 1e-3 with cosine decay, warm-up 10 epochs, patience 50; for an NCP no warm-up and patience 20.

    Raises:
        TrainingDivergedError: if a loss is not finite; it names the step, the term and the last checkpoint.
        RunFolderError: if ``out`` holds another run.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint was written.
    """
    from accelerate import Accelerator

    model = as_model(what)
    config = config_for(what, options)
    splits = as_splits(data)
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())  # else torchrun's processes would not meet
    folder = None
    if out is not None:
        full = identity if identity is not None else _identity(config, objective)
        with accelerator.main_process_first():
            folder = RunFolder(out, {**full, "data_fingerprint": splits.fingerprint()}, versions())
    return _Fit(model, splits, objective, config, folder, accelerator, show=progress).run()


def _identity(config: TrainingConfig, objective: AbstractObjective | None) -> dict[str, Any]:
    """What defines a run without a recipe, but for the model, whose tensors speak for it."""
    training = {"training": config.model_dump(mode="json")}
    if objective is None:
        return training
    explained = objective.explain()
    return {**training, "objective": {"minimised": explained.minimised, **explained.terms}}


class _Fit:
    """One fit in progress: the parts that the loop moves between."""

    def __init__(
        self,
        what: AbstractModel,
        splits: Splits,
        objective: AbstractObjective | None,
        config: TrainingConfig,
        folder: RunFolder | None,
        accelerator: Any,  # noqa: ANN401 - accelerate has no types
        *,
        show: bool,
    ) -> None:
        self.accelerator = accelerator
        self.config = config
        self.folder = folder
        self.home = next(what.parameters()).device
        what.to(self.accelerator.device)
        self.splits = splits.to(self.accelerator.device)
        self.steps_per_epoch = max(1, math.ceil(len(splits.train) / config.batch_size))
        self.stage: Stage = stage_for(what, objective, config, self.steps_per_epoch)
        self.stage.objective.to(self.accelerator.device)
        self.players = self.stage.objective.players
        self.optimizers: list[Optimizer] = [
            build_optimizer(player.module.parameters(), self._lr(player), player.betas) for player in self.players
        ]
        self.validation = self.splits.evaluation("validation")
        self.progress = _Progress()
        self.history: list[dict[str, Any]] = []
        self.best_tensors: dict[str, Tensor] = {}
        self.show = show and self.accelerator.is_main_process

    # -- the whole ------------------------------------------------------------------------------------------------

    def run(self) -> FitResult:
        modes = [(module, module.training) for module in self.stage.objective.modules()]
        try:
            self._resume()
            if not self.progress.stopped:
                with ExitStack() as stack:
                    for player in self.players:
                        player.module.train()
                    stack.enter_context(self.stage.objective.running())
                    self._train(stack)
            self._load_best()
        finally:
            for module, mode in modes:
                module.training = mode
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            self.stage.model.to(self.home)
        return FitResult(
            model=self.stage.model,
            metric=self.stage.metric,
            best=self.progress.best,
            best_epoch=self.progress.best_epoch,
            epochs=self.progress.step // self.steps_per_epoch,
            seconds=self.progress.seconds,
            stopped=self.progress.stopped,
            history=self.folder.read_metrics() if self.folder else self.history,
            folder=self.folder.path if self.folder else None,
        )

    def _train(self, stack: ExitStack) -> None:
        interrupted = stack.enter_context(_catch_signals())
        examples = self.config.epochs * len(self.splits.train)
        done = examples * self.progress.step / (self.config.epochs * self.steps_per_epoch)
        bar = progress_bar("training", examples, done=done, unit="ex", show=self.show)
        advance = stack.enter_context(bar)
        forward = self._forward_module()
        started = saved = time.monotonic()
        while not self.progress.stopped:
            epoch = self._epoch()
            order = self._order(epoch)
            for position in range(self.progress.step - (epoch - 1) * self.steps_per_epoch, self.steps_per_epoch):
                rows = order[position * self.config.batch_size : (position + 1) * self.config.batch_size]
                self._step(forward, rows)
                advance(len(rows))
                now = time.monotonic()
                if interrupted:
                    self.progress.seconds += now - started
                    self._save_last()
                    raise KeyboardInterrupt
                if now - saved > self.config.checkpoint_seconds:
                    self.progress.seconds += now - started
                    started = saved = now
                    self._save_last()
            value = self._finish_epoch(epoch)
            advance(0, status=f"epoch {epoch}: {self.stage.metric} {value:.2f}, best {self.progress.best:.2f}")
        self.progress.seconds += time.monotonic() - started
        self._save_last()

    def _epoch(self) -> int:
        """The epoch that goes on, from 1; one whose sums stand was not validated yet, even if all its steps are done."""
        last_step = self.progress.step - 1 if self.progress.sums else self.progress.step
        return last_step // self.steps_per_epoch + 1

    # -- one step -------------------------------------------------------------------------------------------------

    def _forward_module(self) -> nn.Module:
        if self.accelerator.num_processes == 1:
            return self.stage.objective
        several = len(self.players) > 1  # each turn leaves the others' parameters alone
        return nn.parallel.DistributedDataParallel(self.stage.objective, find_unused_parameters=several)

    def _order(self, epoch: int) -> Tensor:
        with seeded(self.config.seed, "order", epoch):
            return torch.randperm(len(self.splits.train)).to(self.accelerator.device)

    def _step(self, forward: nn.Module, rows: Tensor) -> None:
        step, rank = self.progress.step, self.accelerator.process_index
        mine, weight = self._share(rows)
        with seeded(self.config.seed, "train", step, rank):
            x = self.splits.prepare(self.splits.train[mine])
            self._turn(0, weight, lambda: forward(x, step), len(rows))
        for place, player in enumerate(self.players[1:], 1):
            with seeded(self.config.seed, "train", step, rank, player.name):
                self._turn(place, weight, lambda: forward(x, step, player=player.name), len(rows))  # noqa: B023 - called at once
        self.progress.step += 1

    def _turn(self, place: int, weight: float, compute: Callable[[], Terms], rows: int) -> None:
        """One player's step: its terms, their gradient, its optimiser."""
        config, optimizer = self.config, self.optimizers[place]
        with self._autocast():
            terms = compute()
        loss = terms.loss()
        self._refuse_nan(loss, terms)
        for each in self.optimizers:
            each.zero_grad(set_to_none=True)
        (weight * loss).backward()
        if config.optimizer == "adam_normalized":
            normalize_gradients_(optimizer)
        if config.schedule == "cosine":
            factor = cosine(self.progress.step, config.epochs * self.steps_per_epoch)
            set_lr(optimizer, factor * self._lr(self.players[place]))
        optimizer.step()
        share = rows / len(self.splits.train)
        for name, term in (terms.per_example | terms.batch).items():
            self.progress.sums[name] = self.progress.sums.get(name, 0.0) + share * float(term.detach().mean())

    def _lr(self, player: Player) -> float:
        return self.config.lr if player.lr is None else player.lr

    def _share(self, rows: Tensor) -> tuple[Tensor, float]:
        """This process's rows of a batch, and the weight with which the processes' mean gradient is the batch's."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        mine = rows[rank::world]
        if not len(mine):  # fewer rows than processes, and all of them must take the step
            return rows[:1], 0.0
        return mine, world * len(mine) / len(rows)

    def _autocast(self) -> torch.autocast:
        half = self.config.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16, enabled=half)

    def _refuse_nan(self, loss: Tensor, terms: Terms) -> None:
        if bool(loss.isfinite()):
            return
        named = terms.per_example | terms.batch
        bad = [name for name, term in named.items() if not bool(term.isfinite().all())]
        self._refuse(
            f"the loss is not finite at step {self.progress.step} (epoch {self.progress.step // self.steps_per_epoch + 1}), in "
            f"the term {', '.join(bad) or 'sum'}."
        )

    def _refuse(self, what: str) -> NoReturn:
        where = "none was written yet"
        if self.folder is not None and self.progress.best_epoch:
            where = f"{self.folder.best} (epoch {self.progress.best_epoch})"
        raise TrainingDivergedError(
            f"{what} The last good checkpoint: {where}. Lower `lr`, lengthen `warmup_epochs`, or look for extreme values in "
            "the data."
        )

    # -- once an epoch --------------------------------------------------------------------------------------------

    def _finish_epoch(self, epoch: int) -> float:
        with frozen(self.stage.objective), torch.no_grad():
            value = self.stage.validate(self.validation)
        if not math.isfinite(value):
            self._refuse(
                f"the validation {self.stage.metric} is not finite after step {self.progress.step} (epoch {epoch})."
            )
        progress = self.progress
        improved = value < progress.best or self.config.keep == "last"
        if improved:
            progress.best, progress.best_epoch = value, epoch
        waiting = epoch >= self.config.warmup_epochs
        progress.since_best = 0 if improved or not waiting else progress.since_best + 1
        line = {
            "epoch": epoch,
            "step": progress.step,
            "train": progress.sums,
            "validation": {self.stage.metric: value},
            "best_epoch": progress.best_epoch,
        }
        progress.sums = {}
        if self.config.patience is not None and progress.since_best >= self.config.patience:
            progress.stopped = "patience"
        elif epoch == self.config.epochs:
            progress.stopped = "epochs"
        self._record(line, improved=improved)
        return value

    def _record(self, line: dict[str, Any], *, improved: bool) -> None:
        if self.folder is None:
            self.history.append(line)
            if improved:
                tensors = model_tensors(self.stage.model).items()
                self.best_tensors = {name: tensor.detach().clone() for name, tensor in tensors}
            return
        if not self.accelerator.is_main_process:
            return
        self.folder.append_metrics(line)
        if improved:
            state = {"epoch": line["epoch"], self.stage.metric: self.progress.best}
            write_checkpoint(self.folder.best, model_tensors(self.stage.model), state)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def _save_last(self) -> None:
        if self.folder is None or not self.accelerator.is_main_process:
            return
        self.progress.metrics_bytes = self.folder.metrics_bytes()
        tensors = model_tensors(self.stage.model) | objective_tensors(self.stage.objective, self.stage.model)
        for player, optimizer in zip(self.players, self.optimizers, strict=True):
            tensors |= optimizer_tensors(optimizer, player.name)
        write_checkpoint(self.folder.last, tensors, asdict(self.progress))

    def _resume(self) -> None:
        if self.folder is None:
            return
        if not self.folder.last.exists():
            self.folder.cut_metrics(0)
            return
        tensors, state = read_checkpoint(self.folder.last, self.accelerator.device)
        load_model(self.stage.model, tensors, self.folder.last)
        load_objective(self.stage.objective, self.stage.model, tensors, self.folder.last)
        for player, optimizer in zip(self.players, self.optimizers, strict=True):
            load_optimizer(optimizer, tensors, player.name)
        self.progress = _progress_from(state, self.folder.last)
        self.folder.cut_metrics(self.progress.metrics_bytes)

    def _load_best(self) -> None:
        self.accelerator.wait_for_everyone()
        if self.folder is not None:
            tensors, _ = read_checkpoint(self.folder.best, self.accelerator.device)
            load_model(self.stage.model, tensors, self.folder.best)
        elif self.best_tensors:
            load_model(self.stage.model, self.best_tensors, Path("memory"))


def _progress_from(state: dict[str, Any], path: Path) -> _Progress:
    if state.keys() != _Progress.__dataclass_fields__.keys():
        raise CheckpointError(
            f"{path} does not say where a fit stands; it may be a copy of best.safetensors. Restore it from a copy, or remove "
            "it to start this run again."
        )
    return _Progress(**state)


@contextmanager
def _catch_signals() -> Iterator[list[int]]:
    """Let a step finish before Ctrl-C or a termination request takes effect; a second one takes effect at once."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals go where they went
        before = {}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
