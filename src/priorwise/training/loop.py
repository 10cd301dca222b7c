"""The training loop: one readable pass from data to the best checkpoint.

Order, batches and draws are addressed by seed, epoch and step, so a run that goes on from a
checkpoint computes what a run that was never stopped computes, bit for bit on the same machine, and
no state of a random generator is kept.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from priorwise.config.training import TrainingConfig
from priorwise.data import Splits, as_splits
from priorwise.models import AbstractModel, require_observations
from priorwise.objectives import AbstractObjective, Terms
from priorwise.progress import Advance, progress_bar
from priorwise.randomness import seeded
from priorwise.training.folder import RunFolder
from priorwise.training.forward import forward_of, require_compilation
from priorwise.training.notices import diverged, still_warming_up
from priorwise.training.players import Stepper, steppers_for
from priorwise.training.probe import Probe
from priorwise.training.signals import catch_signals
from priorwise.training.stage import as_model, config_for, judged, objective_for
from priorwise.training.state import FitState
from priorwise.training.store import Store
from priorwise.training.versions import versions

__all__ = ["FitResult", "TrainingDivergedError", "fit"]


class TrainingDivergedError(ArithmeticError):
    """A loss that is not a number."""


@dataclass(frozen=True)
class FitResult:
    """What a fit came to.

    Attributes:
        model: The model that was given, with the weights of the best validation, or the last ones
            with ``keep="last"``.
        metric: Name of the validation number, lower is better.
        best: Its value for these weights; None if the objective judged nothing, and then the
            weights are the last ones.
        best_epoch: The epoch in which they were found, counted from 1.
        best_step: The number of steps after which they were found.
        epochs: Epochs that were run to their end.
        seconds: Wall-clock time, all sessions of the run together.
        stopped: ``"epochs"`` if all were run, ``"patience"`` if validation stopped improving.
        history: One record a validation, as in ``metrics.jsonl``.
        folder: Where the run lies, None if it was kept in memory.

    ``warnings`` has the reasons for doubt, in words.
    """

    model: nn.Module
    metric: str
    best: float | None
    best_epoch: int
    best_step: int
    epochs: int
    seconds: float
    stopped: str
    history: list[dict[str, Any]]
    folder: Path | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt the fit, in words, as in the last line of ``metrics.jsonl``."""
        return tuple(self.history[-1].get("warnings", ())) if self.history else ()


def fit(
    what: nn.Module,
    data: Any,  # noqa: ANN401 - whatever `as_splits` takes
    objective: AbstractObjective | None = None,
    *,
    out: str | Path | None = None,
    progress: bool = True,
    identity: dict[str, Any] | None = None,
    about: dict[str, Any] | None = None,
    **options: Any,  # noqa: ANN401 - the fields of TrainingConfig
) -> FitResult:
    """Train a model, or fit an NCP on the model underneath it.

    A model is trained by its ELBO with a warm-up of the KL, an NCP by noise contrastive estimation
    with its base frozen (``priorwise.objectives.default_objective``). After every epoch, or every
    ``validate_every`` steps, the objective judges it on validation data with common random numbers.
    The best weights are in the model when the fit returns, and the model is otherwise as it was
    given (device, modes, hooks). An objective that judges nothing leaves the last weights.

    Arguments:
        what: A model of ``priorwise.models``; an ``NCP`` has its classifiers fitted.
        data: What ``priorwise.data.load`` returns, or arrays ``(N, *shape)``, of which a tenth is
            held out.
        objective: What to minimise, a module of ``priorwise.objectives`` that holds ``what``; by
            default as above.
        out: Folder for checkpoints and metrics. A fit that was killed goes on from there when it is
            called again.
        progress: Whether to show a progress bar.
        identity: What defines the run in the folder, beside the options; recipes give their whole
            configuration.
        about: Further facts for ``run.json``, beside the versions; when one has changed on a
            resume, that is warned of.
        **options: The fields of ``TrainingConfig``: ``epochs``, ``batch_size``, ``lr``,
            ``lr_warmup_steps``, ``schedule``, ``lr_final``, ``optimizer``, ``weight_decay``,
            ``eps``, ``warmup_epochs``, ``validate_every``, ``patience``, ``keep``, ``precision``,
            ``compile``, ``seed``, ``checkpoint_seconds``. Defaults: 100 epochs of batches of 100,
            Adam at 1e-3 with cosine decay, warm-up 10, patience 50; an NCP: no warm-up and 20.

    Raises:
        TrainingDivergedError: if a loss is not finite; it names the step, the term and the last
            checkpoint.
        RunFolderError: if ``out`` holds another run, also one of a model with other settings that
            no tensor tells.
        TypeError: if there is no such option, or the objective holds another model.
        ValueError: if there is nothing to train, two players of the objective share a parameter,
            the data do not fit the model's likelihood, or the objective cannot be compiled here.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint was written.
    """
    from accelerate import Accelerator

    model = as_model(what)
    config = config_for(model, options)
    splits = as_splits(data)
    if len(splits.validation):
        require_observations(model, splits.evaluation("validation"), "data")
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available()
    )  # else torchrun's processes would not meet
    running = _Fit(model, splits, objective, config, accelerator, show=progress)
    folder = None
    if out is not None:
        full = identity if identity is not None else _identity(config, objective)
        with accelerator.main_process_first():
            full = {**full, "data_fingerprint": splits.fingerprint()}
            folder = RunFolder(out, full, {**versions(), **(about or {})})
    return running.run(folder)


def _identity(config: TrainingConfig, objective: AbstractObjective | None) -> dict[str, Any]:
    """What defines a run without a recipe, but for the model, whose tensors speak for it."""
    training = {"training": config.model_dump(mode="json")}
    if objective is None:
        return training
    explained = objective.explain()
    players = {
        player.name: [player.lr, list(player.betas), player.weight_decay, player.optimizer]
        for player in objective.players
    }
    return {
        **training,
        "objective": {"minimised": explained.minimised, **explained.terms},
        "players": players,
    }


class _Fit:
    """One fit in progress: the parts that the loop uses. Nothing changes before ``run``."""

    store: Store
    validation: Tensor
    forward: Callable[..., Terms]

    def __init__(
        self,
        model: AbstractModel,
        splits: Splits,
        objective: AbstractObjective | None,
        config: TrainingConfig,
        accelerator: Any,  # noqa: ANN401 - accelerate has no types
        *,
        show: bool,
    ) -> None:
        self.processes: int = accelerator.num_processes
        if config.compile:
            require_compilation(self.processes)
        self.accelerator = accelerator
        self.config = config
        self.model = model
        self.splits = splits
        self.steps_per_epoch = max(1, math.ceil(len(splits.train) / config.batch_size))
        self.steps = config.epochs * self.steps_per_epoch
        self.objective = objective_for(model, objective, config, len(splits.train))
        self.steppers: list[Stepper] = steppers_for(self.objective, config, self.steps)
        self.state = FitState()
        self.order = (0, torch.empty(0))  # the epoch, and the order of its examples
        self.show = show and self.accelerator.is_main_process

    # -- the whole ---------------------------------------------------------------------------------

    def run(self, folder: RunFolder | None) -> FitResult:
        modes = [(module, module.training) for module in self.objective.modules()]
        home = next(self.model.parameters(), self.steppers[0].player.trained()[0]).device
        try:
            self._move_in(folder)
            self.state = self.store.resume()
            if not self.state.stopped:
                with ExitStack() as stack:
                    for stepper in self.steppers:
                        stepper.player.module.train()
                    stack.enter_context(self.objective.running())
                    self._train(stack)
            self.accelerator.wait_for_everyone()
            self.store.load_best()
        finally:
            for module, mode in modes:
                module.training = mode
            self.objective.zero_grad()
            self.model.to(home)
        return FitResult(
            model=self.model,
            metric=self.objective.metric,
            best=self.state.best if math.isfinite(self.state.best) else None,
            best_epoch=self._epoch_of(self.state.best_step),
            best_step=self.state.best_step,
            epochs=self.state.step // self.steps_per_epoch,
            seconds=self.state.seconds,
            stopped=self.state.stopped,
            history=self.store.history(),
            folder=folder.path if folder else None,
        )

    def _move_in(self, folder: RunFolder | None) -> None:
        """Everything onto the device, and the place where it is kept."""
        device = self.accelerator.device
        self.model.to(device)
        self.objective.to(device)
        self.splits = self.splits.to(device)
        self.validation = self.splits.evaluation("validation")
        writes = self.accelerator.is_main_process
        probe = Probe(self.objective, self.validation, self.config.batch_size)
        self.store = Store(
            folder, self.model, self.objective, self.steppers, probe, device=device, writes=writes
        )

    def _train(self, stack: ExitStack) -> None:
        interrupted = stack.enter_context(catch_signals())
        advance = stack.enter_context(self._bar())
        with seeded(self.config.seed, "rehearsal"), self._autocast():
            batch = self.splits.prepare(self.splits.train[: self.config.batch_size])
            self.forward = forward_of(self.objective, batch, self.config, self.processes)
        if self.state.step == 0:
            self._judge_untrained()
        started = saved = time.monotonic()
        while not self.state.stopped:
            if self._line_is_due():
                self._finish_line(advance)
                continue
            rows = self._rows()
            self._step(rows)
            advance(len(rows))
            now = time.monotonic()
            if interrupted or now - saved > self.config.checkpoint_seconds:
                self.state.seconds += now - started
                started = saved = now
                self.store.save_last(self.state)
            if interrupted:
                raise KeyboardInterrupt
        self.state.seconds += time.monotonic() - started
        self.store.save_last(self.state)

    def _bar(self) -> AbstractContextManager[Advance]:
        examples = self.config.epochs * len(self.splits.train)
        done = examples * self.state.step / self.steps
        return progress_bar("training", examples, done=done, unit="ex", show=self.show)

    def _epoch_of(self, step: int) -> int:
        """The epoch to which the last of so many steps belongs, from 1."""
        return math.ceil(step / self.steps_per_epoch)

    def _judge_untrained(self) -> None:
        """Remember what a diverged fit is told by, and say what this fit will not do."""
        value = judged(self.objective, self.validation, self.config.batch_size)
        self.state.untrained = value if value is not None and math.isfinite(value) else None
        if self.show:
            for notice in still_warming_up(self.objective, self.config, self.steps_per_epoch):
                print(f"note: {notice}", file=sys.stderr)

    # -- one step ----------------------------------------------------------------------------------

    def _rows(self) -> Tensor:
        """The places of the next batch in the training set."""
        epoch, position = (
            self.state.step // self.steps_per_epoch + 1,
            self.state.step % self.steps_per_epoch,
        )
        if self.order[0] != epoch:
            with seeded(self.config.seed, "order", epoch):
                self.order = (
                    epoch,
                    torch.randperm(len(self.splits.train)).to(self.accelerator.device),
                )
        return self.order[1][
            position * self.config.batch_size : (position + 1) * self.config.batch_size
        ]

    def _step(self, rows: Tensor) -> None:
        step, rank = self.state.step, self.accelerator.process_index
        mine, weight = self._share(rows)
        with seeded(self.config.seed, "train", step, rank):
            x = self.splits.prepare(self.splits.train[mine])
            self._turn(self.steppers[0], weight, partial(self.forward, x, step), len(rows))
        for stepper in self.steppers[1:]:
            name = stepper.player.name
            with seeded(self.config.seed, "train", step, rank, name):
                self._turn(stepper, weight, partial(self.forward, x, step, player=name), len(rows))
        self.state.step += 1
        self.state.examples += len(rows)

    def _turn(
        self, stepper: Stepper, weight: float, compute: Callable[[], Terms], rows: int
    ) -> None:
        """One player's step: its terms, their gradient, its optimiser."""
        with self._autocast():
            terms = compute()
        loss = terms.loss()
        self._refuse_nan(loss, terms)
        for each in self.steppers:
            each.optimizer.zero_grad(set_to_none=True)
        (weight * loss).backward()
        stepper.step(self.objective, self.state.step)
        for name, term in (terms.per_example | terms.batch).items():
            self.state.sums[name] = self.state.sums.get(name, 0.0) + rows * float(
                term.detach().mean()
            )

    def _share(self, rows: Tensor) -> tuple[Tensor, float]:
        """This process's rows of a batch, and their weight in the mean gradient over processes."""
        rank, world = self.accelerator.process_index, self.processes
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
            f"the loss is not finite at step {self.state.step} (epoch "
            f"{self._epoch_of(self.state.step + 1)}), in the term {', '.join(bad) or 'sum'}."
        )

    def _refuse(self, what: str) -> NoReturn:
        where = "none was written yet"
        if self.store.folder is not None and self.state.best_step:
            where = f"{self.store.folder.best} (epoch {self._epoch_of(self.state.best_step)})"
        raise TrainingDivergedError(
            f"{what} The last good checkpoint: {where}. Lower `lr`, lengthen `warmup_epochs`, or "
            "look for extreme values in the data."
        )

    # -- once an epoch, or every n steps -----------------------------------------------------------

    def _line_is_due(self) -> bool:
        """Whether a validation and a line of metrics are due, also after a stop right before."""
        every = self.config.validate_every or self.steps_per_epoch
        return self.state.examples > 0 and (
            self.state.step % every == 0 or self.state.step == self.steps
        )

    def _finish_line(self, advance: Advance) -> None:
        state, metric = self.state, self.objective.metric
        epoch = self._epoch_of(state.step)
        value = judged(self.objective, self.validation, self.config.batch_size)
        if value is not None and not math.isfinite(value):
            self._refuse(
                f"the validation {metric} is not finite after step {state.step} (epoch {epoch})."
            )
        better = self._count(value)
        best_epoch = self._epoch_of(state.best_step)
        means = {name: total / state.examples for name, total in state.sums.items()}
        line: dict[str, Any] = {"epoch": epoch, "step": state.step, "train": means}
        about: dict[str, Any] = {"epoch": epoch, "step": state.step}
        if value is not None:
            line["validation"] = {metric: value}
            about[metric] = value
            advance(0, status=f"epoch {epoch}: {metric} {value:.2f}, best {state.best:.2f}")
        line |= {"best_epoch": best_epoch, "best_step": state.best_step}
        if state.stopped and (doubts := self._doubts(line)):
            line["warnings"] = list(doubts)
        state.sums, state.examples = {}, 0
        self.store.add_line(line)
        if better:
            self.store.save_best(about)

    def _doubts(self, last: dict[str, Any]) -> tuple[str, ...]:
        """Reasons to doubt the finished fit; where its weights are lost, Python warns, too."""
        state, lines = self.state, [*self.store.history(), last]
        explosion = diverged(self.objective.metric, state.untrained, state.best, lines)
        if explosion and state.untrained is not None and state.best > state.untrained:
            warnings.warn(explosion[0], stacklevel=2)
        return (
            *explosion,
            *still_warming_up(self.objective, self.config, self.steps_per_epoch),
        )

    def _is_better(self, value: float | None) -> bool:
        """Whether these weights are kept instead of those from before."""
        if value is None:  # as long as nothing was judged the last weights are kept
            return math.isinf(self.state.best)
        return value < self.state.best or self.config.keep == "last"

    def _count(self, value: float | None) -> bool:
        """Count the validation and return whether the weights are better; it may end the fit."""
        state, config = self.state, self.config
        better = self._is_better(value)
        if better:
            state.best_step = state.step
            state.best = state.best if value is None else value
        warming_up = state.step < config.warmup_epochs * self.steps_per_epoch
        if better or warming_up:
            state.since_best = 0
        elif value is not None:
            state.since_best += 1
        if config.patience is not None and state.since_best >= config.patience:
            state.stopped = "patience"
        elif state.step == self.steps:
            state.stopped = "epochs"
        return better
