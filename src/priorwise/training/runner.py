"""From a run to a trained model in a folder, and back."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.overrides import OverrideError, validated
from priorwise.config.own_parts import (
    NamedCode,
    code_hashes,
    stored,
    warn_of_changed_code,
    with_code,
)
from priorwise.config.run import EvaluationConfig, Run
from priorwise.data import DataSpec, Splits
from priorwise.data import load as load_data
from priorwise.data.splits import pseudo_input_data
from priorwise.models import AbstractModel, example_pass, frozen
from priorwise.objectives import AbstractObjective
from priorwise.randomness import seeded
from priorwise.training.checkpoint import load_model, read_checkpoint, write_checkpoint
from priorwise.training.checkpoint import model_tensors as tensors_of
from priorwise.training.folder import RunFolderError, read_record
from priorwise.training.loop import FitResult, fit

__all__ = ["load", "load_splits", "read_run", "resolve_base", "save_log_norm", "train_run"]


def load_splits(run: Run) -> Splits:
    """The data of a run."""
    return load_data(run.data.name, binarize=run.data.binarize, likelihood=run.data.likelihood)


def read_run(
    folder: str | Path, code: NamedCode | None = None
) -> tuple[Run, DataSpec, dict[str, Any]]:
    """The configuration, data description and identity of a run folder.

    A run may ask for code of its user's: its own prior, say. The folder may come from anywhere, so
    it never says what is executed: you name the files, and only they are.

    Arguments:
        folder: The run.
        code: Python files or modules that may be executed for the run, such as "recipes.py".

    Raises:
        RunFolderError: if there is no run, it was not made from a recipe, or is not valid.
        OwnCodeError: if it asks for code that is not named.
    """
    identity = read_record(Path(folder) / "run.json")["identity"]
    if "run" not in identity:
        raise RunFolderError(
            f"expected a run that a recipe made; {folder} was made by priorwise.fit with a model "
            "of your own. Build that model and call fit with the same `out`, or load "
            "best.safetensors into it."
        )
    spec = dict(identity["spec"])
    spec["shape"] = tuple(spec["shape"])
    try:
        run = validated(identity["run"])
    except OverrideError as error:
        raise RunFolderError(f"{Path(folder) / 'run.json'} cannot be read: {error}") from error
    return with_code(run, code, folder), DataSpec(**spec), identity


def resolve_base(run: Run, base: str | Path | None, code: NamedCode | None = None) -> Run:
    """A post-hoc run completed from the run that it builds on.

    Arguments:
        run: What is completed.
        base: The folder of the run underneath.
        code: Python files or modules that may be executed for that run.

    Raises:
        RunFolderError: if the base is missing, or fitted over another run itself.
    """
    if not isinstance(run.model, AbstractPosthocConfig):
        if base is not None:
            raise RunFolderError(
                f"expected a recipe that builds on another run for `--base`; {run.name} does not."
            )
        return run
    source = base if base is not None else run.model.base_run
    if not source:
        raise RunFolderError(
            f"expected the run that {run.name} builds on; give it with --base RUN."
        )
    below, _, _ = read_run(source, code)
    if isinstance(below.model, AbstractPosthocConfig):
        raise RunFolderError(
            f"expected a run without a tilted prior as the base; {source} is an "
            f"{below.model.title}. Use its own base."
        )
    model = run.model.model_copy(update={"base": below.model, "base_run": str(source)})
    changes: dict[str, Any] = {"data": below.data, "model": model}
    if run.evaluation == EvaluationConfig():  # measured as its base was, to be compared with it
        changes["evaluation"] = below.evaluation
    return run.model_copy(update=changes)


def train_run(run: Run, out: str | Path, *, progress: bool = True) -> FitResult:
    """Train a run into a folder, or go on with it; safe to repeat.

    Code of your own that the run names is executed.

    Raises:
        OwnCodeError: if such code is not found, or fails.
        RunFolderError: if the folder holds another run.
    """
    splits = load_splits(run)
    model = run.model.build(splits.spec, seed=run.training.seed, x=pseudo_input_data(splits))
    if isinstance(run.model, AbstractPosthocConfig):
        below = Path(run.model.base_run)
        best = below / "best.safetensors"
        load_model(model.untilted, read_checkpoint(best)[0], best)
        warn_of_changed_code(run.model.base, _about(below), below)
    identity = {"run": stored(run).model_dump(mode="json"), "spec": asdict(splits.spec)}
    objective = _objective(run, model, len(splits.train))
    return fit(
        model,
        splits,
        objective,
        out=out,
        progress=progress,
        identity=identity,
        about=code_hashes(run),
        **run.training.model_dump(),
    )


def _objective(run: Run, model: AbstractModel, data_size: int) -> AbstractObjective | None:
    """What a run minimises; None for a tilted prior, whose objective follows from it."""
    if isinstance(run.model, AbstractPosthocConfig):
        return None
    with frozen(model), torch.no_grad():
        latent = example_pass(model)[0].prior.event_shape.numel()
    with seeded(run.training.seed, "init", "objective"):
        return run.objective.build(model, run.training, data_size=data_size, latent=latent)


def _about(folder: Path) -> dict[str, Any]:
    """What was recorded of a run beside its identity."""
    return read_record(folder / "run.json").get("about", {})


def load(run: str | Path, code: NamedCode | None = None) -> AbstractModel:
    """The trained model of a run folder, with the weights of its best validation.

    Arguments:
        run: The folder.
        code: Python files or modules of your own that may be executed for the run, for one that
            asks for them. The folder never says what is executed.

    Raises:
        RunFolderError: if there is no such run.
        OwnCodeError: if it asks for code that is not named.
        CheckpointError: if it was not trained yet, or the checkpoint is damaged.
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
