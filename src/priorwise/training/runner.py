"""Training a run into a folder, and loading its model from there."""

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
from priorwise.storage import write_atomically
from priorwise.training.checkpoint import load_model, read_checkpoint, write_checkpoint
from priorwise.training.checkpoint import model_tensors as tensors_of
from priorwise.training.folder import RunFolderError, read_record
from priorwise.training.loop import FitResult, fit
from priorwise.training.run_record import read_run

__all__ = ["load", "load_base", "load_splits", "save_log_norm", "train_run"]

_BEST = "best.safetensors"


def load_splits(run: Run) -> Splits:
    """The data of a run."""
    return load_data(run.data.name, binarize=run.data.binarize, likelihood=run.data.likelihood)


def train_run(run: Run, out: str | Path, *, progress: bool = True) -> FitResult:
    """Train a run into a folder, or continue it from there; calling this again is safe.

    If the run names code of your own, this code is executed.

    Raises:
        OwnCodeError: if your own code is not found, or fails.
        RunFolderError: if the folder holds another run.
    """
    splits = load_splits(run)
    model = _built(run, splits)
    identity = {"run": stored(run).model_dump(mode="json"), "spec": asdict(splits.spec)}
    objective = _objective(run, model, len(splits.train))
    result = fit(
        model,
        splits,
        objective,
        out=out,
        progress=progress,
        identity=identity,
        about=code_hashes(run),
        **run.training.model_dump(),
    )
    if isinstance(run.model, AbstractPosthocConfig):
        _keep_base(Path(out), Path(run.model.base_run))
    return result


def _built(run: Run, splits: Splits) -> AbstractModel:
    """The model with its initial weights, which are those of the base if it builds on a run."""
    how: dict[str, Any] = {"seed": run.training.seed, "x": pseudo_input_data(splits)}
    if not isinstance(run.model, AbstractPosthocConfig):
        return run.model.build(splits.spec, **how)
    base_folder = Path(run.model.base_run)
    base = run.model.base.build(splits.spec, **how)
    load_model(base, read_checkpoint(base_folder / _BEST)[0], base_folder / _BEST)
    warn_of_changed_code(run.model.base, _about(base_folder), base_folder)
    return run.model.over(base, splits.spec, **how)


def _keep_base(folder: Path, base_folder: Path) -> None:
    """Copy the weights of the model underneath, so that the folder can be moved alone."""
    kept = folder / "base" / _BEST
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        write_atomically(kept, (base_folder / _BEST).read_bytes())


def _objective(run: Run, model: AbstractModel, data_size: int) -> AbstractObjective | None:
    """The objective of a run; a model that is fitted on top of another has its own."""
    if isinstance(run.model, AbstractPosthocConfig):
        return run.model.objective(model)
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
    best = Path(run) / _BEST
    load_model(model, read_checkpoint(best)[0], best)
    warn_of_changed_code(config, _about(Path(run)), run)
    return model


def load_base(folder: str | Path, code: NamedCode | None = None) -> AbstractModel:
    """The model underneath that of a run whose prior was fitted afterwards.

    Arguments:
        folder: The run folder.
        code: As for ``load``.

    Raises:
        RunFolderError: if the run builds on no other.
    """
    run, spec, _ = read_run(folder, code)
    if not isinstance(run.model, AbstractPosthocConfig):
        raise RunFolderError(f"expected a run that builds on another; {folder} does not.")
    kept = Path(folder) / "base" / _BEST
    best = kept if kept.exists() else Path(run.model.base_run) / _BEST
    if not best.exists():
        return load(folder, code).untilted  # an earlier version kept no copy of the weights
    model = run.model.base.build(spec, seed=run.training.seed)
    load_model(model, read_checkpoint(best)[0], best)
    return model


def save_log_norm(folder: str | Path, model: AbstractModel) -> None:
    """Keep an estimated log normaliser in the run's best checkpoint."""
    best = Path(folder) / _BEST
    _, state = read_checkpoint(best)
    write_checkpoint(best, tensors_of(model), state)
