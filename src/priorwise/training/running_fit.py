"""One fit in progress: its steps, its validations and its checkpoints.

Order, batches and draws are addressed by seed, epoch and step, so a run that goes on from a
checkpoint computes what a run that was never stopped computes, bit for bit on the same machine, and
no state of a random generator is kept.
"""

import math
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor

from priorwise.config.training import TrainingConfig
from priorwise.data import Splits, Stream, reading
from priorwise.models import AbstractModel
from priorwise.nn import kept_modes
from priorwise.objectives import AbstractObjective, Terms
from priorwise.progress import Advance, progress_bar, say
from priorwise.randomness import seeded
from priorwise.training.average import WeightAverage
from priorwise.training.callbacks import AbstractCallback, Moment
from priorwise.training.divergence import bad_terms, refuse
from priorwise.training.folder import RunFolder
from priorwise.training.forward import forward_of, require_compilation
from priorwise.training.lines import about_weights, metrics_line, status
from priorwise.training.modes import set_modes
from priorwise.training.notices import (
    diverged,
    no_better,
    overfitted,
    still_warming_up,
    unaveraged_statistics,
)
from priorwise.training.own_optimizer import Factories
from priorwise.training.players import Stepper, stepped_parameters, steppers_for
from priorwise.training.probe import Probe
from priorwise.training.result import FitResult
from priorwise.training.signals import catch_signals
from priorwise.training.stage import (
    judged,
    objective_for,
    trained_words,
)
from priorwise.training.state import FitState
from priorwise.training.store import Store
from priorwise.training.verdict import count_verdict

__all__ = ["RunningFit"]

_START_ROWS = 1000


class RunningFit:
    """One fit in progress: the parts that the loop uses. Nothing changes before ``run``."""

    store: Store
    validation: Tensor
    forward: Callable[..., Terms]

    def __init__(
        self,
        model: AbstractModel,
        splits: Splits | Stream,
        objective: AbstractObjective | None,
        config: TrainingConfig,
        factories: Factories,
        callbacks: tuple[AbstractCallback, ...],
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
        self.steps_per_epoch = max(1, math.ceil(splits.train_size / config.batch_size))
        self.steps = config.epochs * self.steps_per_epoch
        self.objective = objective_for(model, objective, config, splits.train_size)
        self.steppers: list[Stepper] = steppers_for(
            self.objective, config, self.steps, self.steps_per_epoch, factories
        )
        self.average = WeightAverage(stepped_parameters(model, self.steppers), config.ema)
        self.state = FitState()
        self.order = (0, torch.empty(0))  # the epoch, and the order of its examples
        self.show = show and self.accelerator.is_main_process
        self.callbacks = callbacks if self.accelerator.is_main_process else ()

    # -- the whole ---------------------------------------------------------------------------------

    def run(self, folder: RunFolder | None) -> FitResult:
        """Train to the end, from the start or from the last checkpoint in the folder."""
        home = next(self.model.parameters(), self.steppers[0].player.trained()[0]).device
        try:
            with kept_modes(self.objective):
                self._move_in(folder)
                self.state = self.store.resume()
                self._tell(lambda callback: callback.on_start(self._moment(), self.store.history()))
                if not self.state.stopped:
                    with ExitStack() as stack:
                        set_modes(
                            [stepper.player.module for stepper in self.steppers],
                            [p for stepper in self.steppers for p in stepper.player.trained()],
                        )
                        stack.enter_context(self.objective.running())
                        if self.state.step == 0:
                            self._start()
                        if not self.state.stopped:
                            self._train(stack)
                self.accelerator.wait_for_everyone()
                self.store.load_best()
                if folder is not None:
                    folder.warn_if_lost()
        finally:
            self.objective.zero_grad()
            self.model.to(home)
        result = FitResult(
            model=self.model,
            trained=trained_words(self.objective, self.model),
            metric=self.objective.metric,
            best=self.state.best if math.isfinite(self.state.best) else None,
            best_epoch=self._epoch_of(self.state.best_step),
            best_step=self.state.best_step,
            epochs=self.state.step // self.steps_per_epoch,
            seconds=self.state.seconds,
            stopped=self.state.stopped,
            history=self.store.history(),
            folder=folder.path if folder else None,
            data=reading(self.splits),
        )
        self._tell(lambda callback: callback.on_end(result))
        return result

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
            folder,
            self.model,
            self.objective,
            self.steppers,
            self.average,
            probe,
            device=device,
            writes=writes,
        )

    def _train(self, stack: ExitStack) -> None:
        interrupted = stack.enter_context(catch_signals())
        examples = self.config.epochs * self.splits.train_size
        done = examples * self.state.step / self.steps
        bar = progress_bar("training", examples, done=done, unit="ex", show=self.show)
        advance = stack.enter_context(bar)
        with seeded(self.config.seed, "rehearsal"), self._autocast():
            rows = torch.arange(min(self.config.batch_size, self.splits.train_size))
            batch = self.splits.batch(rows, 0, self.config.seed)
            self.forward = forward_of(self.objective, batch, self.config, self.processes)
        if self.state.step == 0:
            self._judge_untrained()
        self.started = saved = time.monotonic()
        while not self.state.stopped:
            if self._line_is_due():
                self._finish_line(advance)
                continue
            rows = self._rows()
            self._step(rows)
            advance(len(rows))
            self._watch(lambda callback: callback.on_step(self._moment()))
            now = time.monotonic()
            if interrupted or now - saved > self.config.checkpoint_seconds:
                saved = now
                self._save_last()
            if interrupted:
                raise KeyboardInterrupt
        self._save_last()
        if interrupted:  # during the last validation
            raise KeyboardInterrupt

    def _start(self) -> None:
        """Whatever starts from the data; a fit that needs no steps ends here."""
        size, seed = self.splits.train_size, self.config.seed
        places = torch.arange(size).split(_START_ROWS)
        batches = (self.splits.batch(rows, 1, seed) for rows in places)
        started = time.monotonic()
        with seeded(seed, "start"):
            means = self.objective.start(batches, show=self.show)
        if means is None:
            return
        self.state.seconds += time.monotonic() - started
        self.state.step, self.state.examples = self.steps_per_epoch, size
        self.state.sums = {name: mean * size for name, mean in means.items()}
        self.started = time.monotonic()
        self._finish_line(lambda amount=1, *, status=None, milestone=False: None, solved=True)
        self._save_last()

    def _save_last(self) -> None:
        """Count the time and write a checkpoint."""
        now = time.monotonic()
        self.state.seconds += now - self.started
        self.started = now
        self.store.save_last(self.state)

    def _epoch_of(self, step: int) -> int:
        """The epoch to which the last of so many steps belongs, from 1."""
        return math.ceil(step / self.steps_per_epoch)

    def _judge_untrained(self) -> None:
        """Remember what a diverged fit is told by, and say what this fit will not do."""
        value = judged(self.objective, self.validation, self.config.batch_size)
        self.state.untrained = value if value is not None and math.isfinite(value) else None
        for notice in (
            *still_warming_up(self.objective, self.config, self.steps_per_epoch),
            *unaveraged_statistics(self.config, [each.player.module for each in self.steppers]),
        ):
            say(f"note: {notice}", show=self.show)

    # -- one step ----------------------------------------------------------------------------------

    def _rows(self) -> Tensor:
        """The places of the next batch in the training set."""
        epoch, position = (
            self.state.step // self.steps_per_epoch + 1,
            self.state.step % self.steps_per_epoch,
        )
        if self.order[0] != epoch:
            with seeded(self.config.seed, "order", epoch):
                self.order = (epoch, self.splits.order().to(self.accelerator.device))
        return self.order[1][
            position * self.config.batch_size : (position + 1) * self.config.batch_size
        ]

    def _step(self, rows: Tensor) -> None:
        step, rank = self.state.step, self.accelerator.process_index
        mine, weight = self._share(rows)
        with seeded(self.config.seed, "train", step, rank):
            x = self.splits.batch(mine, self._epoch_of(step + 1), self.config.seed)
            self._turn(self.steppers[0], weight, partial(self.forward, x, step), len(rows))
        for stepper in self.steppers[1:]:
            name = stepper.player.name
            with seeded(self.config.seed, "train", step, rank, name):
                self._turn(stepper, weight, partial(self.forward, x, step, player=name), len(rows))
        self.state.step += 1
        self.state.examples += len(rows)
        self.average.update(self.state.step)

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
        bad = bad_terms(loss, terms)
        if bad:
            self._refuse(
                f"the loss is not finite at step {self.state.step} (epoch "
                f"{self._epoch_of(self.state.step + 1)}), in the term {', '.join(bad)}."
            )

    def _refuse(self, problem: str) -> NoReturn:
        best = None if self.store.folder is None else self.store.folder.best
        refuse(problem, best, self._epoch_of(self.state.best_step))

    # -- once an epoch, or every n steps -----------------------------------------------------------

    def _line_is_due(self) -> bool:
        """Whether a validation and a line of metrics are due, also after a stop right before."""
        every = self.config.validate_every or self.steps_per_epoch
        return self.state.examples > 0 and (
            self.state.step % every == 0 or self.state.step == self.steps
        )

    def _finish_line(self, advance: Advance, *, solved: bool = False) -> None:
        state, config, metric = self.state, self.config, self.objective.metric
        warmup = config.warmup_epochs * self.steps_per_epoch
        with self.average.applied():
            value = judged(self.objective, self.validation, config.batch_size)
            if value is not None and not math.isfinite(value):
                place = f"after step {state.step} (epoch {self._epoch_of(state.step)})"
                self._refuse(f"the validation {metric} is not finite {place}.")
            better = count_verdict(value, state, config, steps=self.steps, warmup=warmup)
            if solved:
                state.stopped = "solved"
            line = metrics_line(state, metric, value, self._epoch_of)
            if state.stopped and (doubts := self._doubts(line)):
                line["warnings"] = list(doubts)
            state.sums, state.examples = {}, 0
            for stepper in self.steppers:
                stepper.finish_line(value)
            self.store.add_line(line)
            if better:
                self.store.save_best(about_weights(line))
        words = status(line, config.epochs, state.best)
        advance(0, status=words, milestone=self._ends_epoch())
        self._watch(lambda callback: callback.on_line(self._moment(), line), self.average.applied)

    def _doubts(self, last: dict[str, Any]) -> tuple[str, ...]:
        """Reasons to doubt the finished fit; where its weights are lost, Python warns, too."""
        state, lines = self.state, [*self.store.history(), last]
        explosion = diverged(self.objective.metric, state.untrained, state.best, lines)
        if explosion and state.untrained is not None and state.best > state.untrained:
            warnings.warn(explosion[0], stacklevel=2)
        return (
            *(explosion or no_better(self.objective.metric, state.untrained, state.best)),
            *(overfitted(self.objective.metric, last) if state.stopped == "solved" else ()),
            *still_warming_up(self.objective, self.config, self.steps_per_epoch),
        )

    def _ends_epoch(self) -> bool:
        """Whether no other line follows in this epoch."""
        state, every = self.state, self.config.validate_every or self.steps_per_epoch
        next_line = min(state.step + every, self.steps)
        return bool(state.stopped) or self._epoch_of(next_line) > self._epoch_of(state.step)

    # -- those who watch ---------------------------------------------------------------------------

    def _moment(self) -> Moment:
        return Moment(
            model=self.model,
            objective=self.objective,
            optimizers={stepper.player.name: stepper.optimizer for stepper in self.steppers},
            step=self.state.step,
            steps=self.steps,
            epoch=self._epoch_of(self.state.step),
            epochs=self.config.epochs,
            folder=None if self.store.folder is None else self.store.folder.path,
        )

    def _tell(self, call: Callable[[AbstractCallback], None]) -> None:
        """Call every callback; whatever modes it leaves, the fit goes on in its own."""
        for callback in self.callbacks:
            with kept_modes(self.objective):
                call(callback)

    def _watch(
        self,
        call: Callable[[AbstractCallback], None],
        weights: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Call every callback in the middle of the fit; if one fails, a checkpoint is left."""
        if not self.callbacks:
            return
        try:
            with weights():
                self._tell(call)
        except BaseException:
            self._save_last()
            raise
