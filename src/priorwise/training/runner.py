"""Training a run into a folder, and loading its model from there."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.objectives import Fit
from priorwise.config.own_parts import NamedCode, code_hashes, stored, warn_of_changed_code
from priorwise.config.run import Run
from priorwise.data import Splits
from priorwise.data import load as load_data
from priorwise.data.splits import pseudo_input_data
from priorwise.models import AbstractModel, example_pass, frozen
from priorwise.objectives import AbstractObjective
from priorwise.randomness import seeded
from priorwise.training.callbacks import AbstractCallback
from priorwise.training.checkpoint import load_model, read_checkpoint, write_checkpoint
from priorwise.training.checkpoint import model_tensors as tensors_of
from priorwise.training.folder import read_record
from priorwise.training.loop import FitResult, fit
from priorwise.training.run_record import read_run

__all__ = ["load", "load_splits", "save_log_norm", "train_run"]


def load_splits(run: Run) -> Splits:
    """The data of a run."""
    return load_data(run.data.name, binarize=run.data.binarize, likelihood=run.data.likelihood)


def train_run(
    run: Run,
    out: str | Path,
    *,
    progress: bool = True,
    callbacks: Iterable[AbstractCallback] = (),
) -> FitResult:
    """Train a run into a folder, or continue it from there; calling this again is safe.

    If the run names code of your own, this code is executed. The callbacks are those of
    ``priorwise.fit``.

    Raises:
        OwnCodeError: if your own code is not found, or fails.
        RunFolderError: if the folder holds another run.
    """
    splits = load_splits(run)
    model = run.model.build(splits.spec, seed=run.training.seed, x=pseudo_input_data(splits))
    if isinstance(run.model, AbstractPosthocConfig):
        base_folder = Path(run.model.base_run)
        best = base_folder / "best.safetensors"
        load_model(model.untilted, read_checkpoint(best)[0], best)
        warn_of_changed_code(run.model.base, _about(base_folder), base_folder)
    identity = {"run": stored(run).model_dump(mode="json"), "spec": asdict(splits.spec)}
    objective = _objective(run, model, len(splits.train))
    return fit(
        model,
        splits,
        objective,
        out=out,
        progress=progress,
        callbacks=callbacks,
        identity=identity,
        about=code_hashes(run),
        **run.training.model_dump(),
    )


def _objective(run: Run, model: AbstractModel, data_size: int) -> AbstractObjective | None:
    """The objective of a run; None for a tilted prior, which has its own."""
    if isinstance(run.model, AbstractPosthocConfig):
        return None
    with frozen(model), torch.no_grad():
        latent = example_pass(model)[0].prior.event_shape.numel()
    with seeded(run.training.seed, "init", "objective"):
        return run.objective.build(model, Fit(run.training, data_size, latent))


def _about(folder: Path) -> dict[str, Any]:
    """What a run folder records besides the identity of the run."""
    return read_record(folder / "run.json").get("about", {})


def load(run: str | Path, code: NamedCode | None = None) -> AbstractModel:
    """The trained model of a run folder, with the weights of its best validation.

    Arguments:
        run: The folder.
        code: Python files or modules of your own that may be executed, if the run needs them. The
            folder does not decide what is executed.

    Raises:
        RunFolderError: if there is no such run.
        OwnCodeError: if the run needs code that ``code`` does not name.
        CheckpointError: if the run was not trained yet, or its checkpoint is damaged.
    """
    config, spec, _ = read_run(run, code)
    model = config.model.build(spec, seed=config.training.seed)
    best = Path(run) / "best.safetensors"
    load_model(model, read_checkpoint(best)[0], best)
    warn_of_changed_code(config, _about(Path(run)), run)
    return model


def save_log_norm(folder: str | Path, model: AbstractModel) -> None:
    """Keep an estimated log normaliser in the run's best checkpoint."""
    best = Path(folder) / "best.safetensors"
    _, state = read_checkpoint(best)
    write_checkpoint(best, tensors_of(model), state)
