"""Training a model: what is to be trained, on which data, kept in which folder."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from priorwise.data import reading_words
from priorwise.objectives import AbstractObjective
from priorwise.progress import say
from priorwise.training.callbacks import AbstractCallback, as_callbacks
from priorwise.training.fit_result import FitResult
from priorwise.training.folder import RunFolder
from priorwise.training.identity import identity_without_recipe, own_parts
from priorwise.training.lock import held_for_run
from priorwise.training.not_finite import TrainingDivergedError
from priorwise.training.own_optimizer import Interval, factories_among
from priorwise.training.running_fit import RunningFit
from priorwise.training.stage import (
    as_model,
    config_for,
    left_alone,
    training_data,
)
from priorwise.training.versions import versions

__all__ = ["FitResult", "TrainingDivergedError", "fit"]


def fit(
    what: nn.Module,
    data: Any,  # noqa: ANN401 - whatever `as_splits` takes
    objective: AbstractObjective | None = None,
    *,
    out: str | Path | None = None,
    progress: bool = True,
    callbacks: Iterable[AbstractCallback] = (),
    schedule_every: Interval = "epoch",
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

    Frozen means frozen: while the fit runs, only modules that hold a parameter which it trains are
    in training mode, so batch statistics of frozen modules stay as they are, and their dropout is
    off. The networks of a wrapped model are frozen unless ``train="all"``.

    Arguments:
        what: A model of ``priorwise.models``; an ``NCP`` has its classifiers fitted.
        data: What ``priorwise.data.load`` returns, or arrays ``(N, *shape)``, of which a tenth is
            held out; or a ``Dataset`` or ``DataLoader`` of torch, drawn afresh in every epoch
            (``priorwise.data.Stream``).
        objective: What to minimise, a module of ``priorwise.objectives`` that holds ``what``; by
            default as above.
        out: Folder for checkpoints and metrics. A fit that was killed goes on from there when it is
            called again.
        progress: Whether to say how the data were read, and to show a progress bar, or a line an
            epoch where standard error is no terminal.
        callbacks: What watches the fit: objects of ``priorwise.training.AbstractCallback``, such as
            ``priorwise.training.TensorBoard(folder)``.
        schedule_every: When a ``schedule`` of your own is stepped: after each epoch or each step.
        identity: What defines the run in the folder, beside the options; recipes give their whole
            configuration.
        about: Further facts for ``run.json``, beside the versions; when one has changed on a
            resume, that is warned of.
        **options: The fields of ``TrainingConfig``: ``epochs``, ``batch_size``, ``lr``,
            ``lr_warmup_steps``, ``schedule``, ``lr_final``, ``optimizer``, ``weight_decay``,
            ``eps``, ``gradient_clip``, ``ema``, ``warmup_epochs``, ``train``, ``validate_every``,
            ``patience``, ``keep``, ``precision``, ``compile``, ``seed``, ``checkpoint_seconds``.
            Defaults: 100 epochs of batches of 100, Adam at 1e-3 with cosine decay, warm-up 10,
            patience 50; an NCP: no warm-up and 20. ``optimizer`` and ``schedule`` may be functions
            of your own, called once for each player: ``optimizer=lambda parameters:
            torch.optim.SGD(parameters, lr=0.1)`` and ``schedule=lambda optimizer:
            torch.optim.lr_scheduler.StepLR(optimizer, 30)``. With an optimiser of your own the
            learning rate is constant unless you give a schedule.

    Raises:
        TrainingDivergedError: if a loss is not finite; it names the step, the term and the last
            checkpoint.
        RunFolderError: if ``out`` holds another run, also one of a model with other settings that
            no tensor tells.
        TypeError: if there is no such option, or the objective holds another model.
        ValueError: if there is nothing to train, or only networks of a wrapped model; if two
            players of the objective share a parameter, the data do not fit the model's likelihood,
            or the objective cannot be compiled here.
        KeyboardInterrupt: on Ctrl-C, after a checkpoint was written.
    """
    from accelerate import Accelerator

    model = as_model(what)
    watching = as_callbacks(callbacks)
    factories, options = factories_among(options, schedule_every)
    config = config_for(model, options)
    splits = training_data(model, data, objective)
    # Without `cpu`, torchrun's processes would not meet.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    say(reading_words(splits), show=progress and accelerator.is_main_process)
    with ExitStack() as stack:
        stack.enter_context(left_alone(model, config))
        running = RunningFit(
            model, splits, objective, config, factories, watching, accelerator, show=progress
        )
        if out is None:
            return running.run(None)
        full = identity if identity is not None else identity_without_recipe(config, objective)
        fingerprint = splits.fingerprint()
        full = {**full, **own_parts(running.steppers), "data_fingerprint": fingerprint}
        facts = {**versions(), "data": splits.describe(), **(about or {})}
        with accelerator.main_process_first():
            stack.enter_context(held_for_run(Path(out), alone=accelerator.is_main_process))
            folder = RunFolder(out, full, facts)
        return running.run(folder)
