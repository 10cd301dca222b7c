"""Training a run into a folder, and loading its model from there."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.objectives import Fit
from priorwise.config.own_code import OwnCodeError
from priorwise.config.own_parts import NamedCode, code_hashes, stored, warn_of_changed_code
from priorwise.config.run import Run
from priorwise.data import Splits
from priorwise.data.splits import pseudo_input_data
from priorwise.models import AbstractModel, example_pass, frozen
from priorwise.objectives import AbstractObjective
from priorwise.randomness import seeded
from priorwise.storage import content_hash, write_atomically
from priorwise.tilts import tensors_without_log_norms
from priorwise.training.callbacks import AbstractCallback
from priorwise.training.checkpoint import (
    CheckpointError,
    load_model,
    read_checkpoint,
    write_checkpoint,
)
from priorwise.training.checkpoint import model_tensors as tensors_of
from priorwise.training.folder import RunFolderError, read_record
from priorwise.training.loop import FitResult, fit
from priorwise.training.model_size import refuse_too_large
from priorwise.training.run_data import load_splits, located, require_same_data, splits_of
from priorwise.training.run_identity import name_of
from priorwise.training.run_record import read_run

__all__ = ["load", "load_base", "load_splits", "save_log_norm", "train_run"]

_BEST = "best.safetensors"


def train_run(
    run: Run,
    out: str | Path,
    *,
    init: str | Path | None = None,
    progress: bool = True,
    callbacks: Iterable[AbstractCallback] = (),
) -> FitResult:
    """Train a run into a folder, or continue it from there; calling this again is safe.

    If the run names code of your own, this code is executed. A run that has ended goes on if it is
    given more ``training.epochs``; with a constant learning rate and a validation every epoch it
    then equals an unbroken run of so many epochs, bit for bit.

    Arguments:
        run: The run.
        out: Its folder.
        init: A run folder, from whose best weights training starts; its model must have the same
            tensors. For a run that builds on another it must build on the same weights; a prior
            then starts from its values, not from the codes.
        progress: Whether to show a progress bar.
        callbacks: Those of ``priorwise.fit``.

    Raises:
        OwnCodeError: if your own code is not found, or fails.
        RunFolderError: if the folder holds another run, another process writes to it, or the data
            of the run underneath have changed.
        CheckpointError: if a checkpoint is damaged, or ``init`` is a run of another model or over
            another base.
    """
    run = located(run)
    splits = splits_of(run.data)
    refuse_too_large(run.model, splits.spec)
    model = _built(run, splits)
    identity = {"run": stored(run).model_dump(mode="json"), "spec": asdict(splits.spec)}
    if init is not None:
        _start_from(model, Path(init), run)
        weights = content_hash(tensors_without_log_norms(model))
        identity["init"] = {"weights": weights, "run": str(Path(init).absolute())}
    objective = _objective(run, model, len(splits.train), from_codes=init is None)
    result = fit(
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
    if isinstance(run.model, AbstractPosthocConfig):
        _keep_base(Path(out), Path(run.model.base_run))
    return result


def _built(run: Run, splits: Splits) -> AbstractModel:
    """The model with its initial weights, which are those of the base if it builds on a run."""
    how: dict[str, Any] = {"seed": run.training.seed, "x": pseudo_input_data(splits)}
    if not isinstance(run.model, AbstractPosthocConfig):
        return run.model.build(splits.spec, **how)
    base_folder = Path(run.model.base_run)
    require_same_data(splits, base_folder)
    base = run.model.base.build(splits.spec, **how)
    _load_weights(base, base_folder)
    warn_of_changed_code(run.model.base, _about(base_folder), base_folder)
    return run.model.over(base, splits.spec, **how)


def _start_from(model: AbstractModel, folder: Path, run: Run) -> None:
    """Load the best weights of an earlier run; those of the base must stay as they are.

    Raises:
        CheckpointError: if the earlier run is of another model, or over another base.
    """
    base = _base_tensors(model, run)
    before = {name: tensor.detach().clone() for name, tensor in base.items()}
    _load_weights(model, folder)
    changed = [name for name, tensor in base.items() if not torch.equal(tensor, before[name])]
    if changed:
        raise CheckpointError(
            f"expected --init with a run over the same base as --base; {folder} was fitted over "
            f"another one: {len(changed)} of {len(base)} tensors of the base differ, the first is "
            f"`{changed[0]}`. Give the base of {folder} as --base, or leave out --init."
        )


def _base_tensors(model: AbstractModel, run: Run) -> dict[str, torch.Tensor]:
    """The tensors that belong to the run underneath; none if there is no such run."""
    if not isinstance(run.model, AbstractPosthocConfig):
        return {}
    ours = run.model.objective(model).trained.state_dict(keep_vars=True).values()
    trained = {id(tensor) for tensor in ours}
    return {
        name: tensor
        for name, tensor in tensors_without_log_norms(model).items()
        if id(tensor) not in trained
    }


def _keep_base(folder: Path, base_folder: Path) -> None:
    """Copy the weights of the model underneath, so that the folder can be moved alone."""
    kept = folder / "base" / _BEST
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        write_atomically(kept, (base_folder / _BEST).read_bytes())


def _objective(
    run: Run, model: AbstractModel, data_size: int, *, from_codes: bool
) -> AbstractObjective | None:
    """The objective of a run; a model that is fitted on top of another has its own."""
    if isinstance(run.model, AbstractPosthocConfig):
        return run.model.objective(model, from_codes=from_codes)
    with frozen(model), torch.no_grad():
        latent = example_pass(model)[0].prior.event_shape.numel()
    with seeded(run.training.seed, "init", "objective"):
        return run.objective.build(model, Fit(run.training, data_size, latent))


def _load_weights(model: AbstractModel, folder: Path) -> None:
    """Load the best weights of a run into a model.

    Raises:
        CheckpointError: if they are missing or damaged, of another run or model, or not finite.
    """
    best = folder / _BEST
    tensors, _ = read_checkpoint(best, run=_name(folder))
    load_model(model, tensors, best)
    _refuse_not_finite(model, best)


def _refuse_not_finite(model: AbstractModel, path: Path) -> None:
    """Refuse weights with which every number would be wrong; masks may hold infinite buffers."""
    parameters = {name for name, _ in model.named_parameters()}
    for name, tensor in tensors_without_log_norms(model).items():
        if tensor.is_floating_point() and bool(
            (~tensor.isfinite() if name in parameters else tensor.isnan()).any()
        ):
            raise CheckpointError(
                f"expected finite weights in {path}; `{name}` holds NaN or infinity, so every "
                "number of this model would be wrong. Train it again, with a lower "
                "training.lr for example. Nothing was changed."
            )


def _name(folder: Path) -> str:
    return name_of(read_record(folder / "run.json")["identity"])


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
        CheckpointError: if the run was not trained yet, or its checkpoint is damaged, belongs to
            another run or holds weights that are not finite.
    """
    config, spec, _ = read_run(run, code)
    try:
        refuse_too_large(config.model, spec)
        model = config.model.build(spec, seed=config.training.seed)
    except OwnCodeError:
        raise
    except ValueError as error:
        raise RunFolderError(
            f"{Path(run) / 'run.json'} describes a model that cannot be built: {error}"
        ) from error
    _load_weights(model, Path(run))
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
    base_folder = Path(run.model.base_run)
    if not kept.exists() and not (base_folder / _BEST).exists():
        return load(folder, code).untilted  # an earlier version kept no copy of the weights
    model = run.model.base.build(spec, seed=run.training.seed)
    if kept.exists():
        load_model(model, read_checkpoint(kept)[0], kept)
        _refuse_not_finite(model, kept)
    else:
        _load_weights(model, base_folder)
    return model


def save_log_norm(folder: str | Path, model: AbstractModel) -> None:
    """Keep an estimated log normaliser in the run's best checkpoint."""
    best = Path(folder) / _BEST
    name = _name(Path(folder))
    _, state = read_checkpoint(best, run=name)
    write_checkpoint(best, tensors_of(model), state, run=name)
