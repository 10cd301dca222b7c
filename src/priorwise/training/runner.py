"""Training a run into a folder, and loading its model from there."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
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
from priorwise.progress import say
from priorwise.randomness import seeded
from priorwise.storage import content_hash
from priorwise.tilts import lost_tensors, tensors_without_log_norms
from priorwise.training.callbacks import AbstractCallback, Moment, as_callbacks
from priorwise.training.checkpoint import (
    CheckpointError,
    load_model,
    read_checkpoint,
    write_checkpoint,
)
from priorwise.training.checkpoint import model_tensors as tensors_of
from priorwise.training.decision import decided, decision_words
from priorwise.training.folder import RunFolderError, changes_of, read_record, refuse_strangers
from priorwise.training.loop import FitResult, fit
from priorwise.training.model_size import refuse_too_large
from priorwise.training.run_data import load_splits, located, require_same_data, splits_of
from priorwise.training.run_group import one_run, refuse_candidates
from priorwise.training.run_identity import name_of
from priorwise.training.run_record import read_run

__all__ = ["check", "load", "load_base", "load_splits", "save_log_norm", "train_run"]

_BEST = "best.safetensors"
_PRIOR = "prior."


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
        ValueError: if the run has ``candidates``, which ``train_candidates`` trains.
        OwnCodeError: if your own code is not found, or fails.
        RunFolderError: if the folder holds another run, another process writes to it, or the data
            of the run underneath have changed.
        CheckpointError: if a checkpoint is damaged, or ``init`` is a run of another model or over
            another base.
    """
    refuse_candidates(run)
    run = located(run)
    splits = splits_of(run.data)
    words = decision_words(run, splits.spec)
    begin = _begin(run, splits, init)
    run, base, model = begin.run, begin.base, begin.model
    objective = _objective(run, model, len(splits.train), from_codes=init is None)
    return fit(
        model,
        splits,
        objective,
        out=out,
        progress=progress,
        callbacks=[*_said(words, show=progress), *_keepers(run, base), *as_callbacks(callbacks)],
        identity=begin.identity,
        about=code_hashes(run),
        **run.training.model_dump(),
    )


def check(run: Run, splits: Splits, out: Path, *, init: str | Path | None = None) -> None:
    """Refuse what ``train_run`` would refuse before it opens the folder; nothing is written.

    Arguments:
        run: The run.
        splits: Its data.
        out: Its folder; it may be missing.
        init: As for ``train_run``.

    Raises:
        ValueError: as ``train_run``.
    """
    refuse_strangers(out)
    identity = _begin(located(run), splits, init).identity
    if not (out / "run.json").exists():
        return
    identity["data_fingerprint"] = splits.fingerprint()
    record = read_record(out / "run.json")
    before = {name: record["identity"].get(name, {}) for name in (*identity, "init")}
    now = json.loads(json.dumps({"init": {}, **identity}))
    changes_of(out, {**record, "identity": before}, now, {"data": splits.describe()})


@dataclass(frozen=True)
class _Begin:
    """What a fit begins with: the run that its data decided on, its models, and what defines it."""

    run: Run
    base: AbstractModel | None
    model: AbstractModel
    identity: dict[str, Any]


def _begin(run: Run, splits: Splits, init: str | Path | None) -> _Begin:
    """The beginning of the fit of a run on its data, from the weights of another one if named."""
    run = decided(run, splits.spec)
    refuse_too_large(run.model, splits.spec)
    base = _base_of(run, splits)
    model = _built(run, splits, base)
    identity = {"run": stored(run).record(), "spec": asdict(splits.spec)}
    if init is not None:
        _start_from(model, Path(init), run)
        weights = content_hash(tensors_without_log_norms(model))
        identity["init"] = {"weights": weights, "run": str(Path(init).absolute())}
    return _Begin(run, base, model, identity)


def _base_of(run: Run, splits: Splits) -> AbstractModel | None:
    """The trained model underneath; None if the run builds on no other."""
    if not isinstance(run.model, AbstractPosthocConfig):
        return None
    folder = Path(run.model.base_run)
    require_same_data(splits, folder)
    base = run.model.base.build(splits.spec, **_start(run, splits))
    _load_weights(base, folder)
    warn_of_changed_code(run.model.base, _about(folder), folder)
    return base


def _built(run: Run, splits: Splits, base: AbstractModel | None) -> AbstractModel:
    """The model with its initial weights, over the base if it builds on a run."""
    if base is None:
        return run.model.build(splits.spec, **_start(run, splits))
    assert isinstance(run.model, AbstractPosthocConfig)
    return run.model.over(base, splits.spec, **_start(run, splits))


def _start(run: Run, splits: Splits) -> dict[str, Any]:
    return {"seed": run.training.seed, "x": pseudo_input_data(splits)}


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


class _Saying(AbstractCallback):
    """Says what the data decided, once, in the first of several processes."""

    def __init__(self, words: str) -> None:
        self.words = words

    def on_start(self, moment: Moment, history: list[dict[str, Any]]) -> None:
        say(self.words)

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        return


def _said(words: str, *, show: bool) -> list[AbstractCallback]:
    """What says these words when the fit starts; nothing if there are none."""
    return [_Saying(words)] if words and show else []


class _KeptBase(AbstractCallback):
    """Keeps the weights of the model underneath, so that the folder of the run can be moved alone.

    They are those that the model was built over, whatever becomes of the run underneath meanwhile.
    """

    def __init__(self, base: AbstractModel, run: str) -> None:
        self.base, self.run = base, run

    def on_start(self, moment: Moment, history: list[dict[str, Any]]) -> None:
        assert moment.folder is not None
        kept = moment.folder / "base" / _BEST
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            write_checkpoint(kept, tensors_of(self.base), {}, run=self.run)

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        return


def _keepers(run: Run, base: AbstractModel | None) -> list[AbstractCallback]:
    """What keeps the base beside a run that builds on one."""
    if base is None:
        return []
    assert isinstance(run.model, AbstractPosthocConfig)
    return [_KeptBase(base, _name(Path(run.model.base_run)))]


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
    lost = lost_tensors(model)
    if lost:
        raise CheckpointError(
            f"expected finite weights in {path}; `{lost[0]}` holds NaN or infinity, so every "
            "number of this model would be wrong. Train it again, with a lower training.lr for "
            "example. Nothing was changed."
        )


def _name(folder: Path) -> str:
    return name_of(read_record(folder / "run.json")["identity"])


def _about(folder: Path) -> dict[str, Any]:
    """What a run folder records besides the identity of the run."""
    return read_record(folder / "run.json").get("about", {})


def load(run: str | Path, code: NamedCode | None = None) -> AbstractModel:
    """The trained model of a run folder, with the weights of its best validation.

    Arguments:
        run: The folder; of a group of runs, the chosen member is loaded, or else the first.
        code: Python files or modules of your own that may be executed, if the run needs them. The
            folder does not decide what is executed.

    Raises:
        RunFolderError: if there is no such run.
        OwnCodeError: if the run needs code that ``code`` does not name.
        CheckpointError: if the run was not trained yet, or its checkpoint is damaged, belongs to
            another run or holds weights that are not finite.
    """
    run = one_run(run)
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
        CheckpointError: if the weights that were kept are not those under the prior of the run.
    """
    run, spec, _ = read_run(folder, code)
    if not isinstance(run.model, AbstractPosthocConfig):
        raise RunFolderError(f"expected a run that builds on another; {folder} does not.")
    over = load(folder, code)
    if over.untilted is not over:
        return over.untilted  # a tilt keeps the whole model underneath
    kept = Path(folder) / "base" / _BEST
    model = run.model.base.build(spec, seed=run.training.seed)
    if kept.exists():
        load_model(model, read_checkpoint(kept)[0], kept)
        _refuse_not_finite(model, kept)
    else:
        again = Path(run.model.base_run) / _BEST
        if not again.exists():
            raise CheckpointError(
                f"expected the model underneath in {kept} or {again}; there is none in either "
                "place. Restore one from a backup. The run itself can be evaluated without it."
            )
        kept = again
        _load_weights(model, kept.parent)
    _refuse_other_base(model, over, kept, Path(folder))
    return model


def _refuse_other_base(base: AbstractModel, over: AbstractModel, path: Path, folder: Path) -> None:
    """Refuse a base whose tensors besides the prior are not those under the fitted prior."""
    tensors = over.state_dict()
    shared = {name: each for name, each in base.state_dict().items() if name in tensors}
    differing = [
        name
        for name, tensor in shared.items()
        if not name.startswith(_PRIOR) and not torch.equal(tensor, tensors[name])
    ]
    if differing:
        raise CheckpointError(
            f"expected in {path} the model that the prior of {folder} was fitted over; got another "
            f"one, trained again or elsewhere: {len(differing)} tensors differ, the first is "
            f"`{differing[0][:200]}`. Restore the file from a backup. The run itself can be "
            "evaluated without it."
        )


def save_log_norm(folder: str | Path, model: AbstractModel) -> None:
    """Keep an estimated log normaliser in the run's best checkpoint."""
    best = Path(folder) / _BEST
    name = _name(Path(folder))
    _, state = read_checkpoint(best, run=name)
    write_checkpoint(best, tensors_of(model), state, run=name)
