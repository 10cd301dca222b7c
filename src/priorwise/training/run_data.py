"""The data of a run: where they lie, and whether they are still those that it was trained on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from priorwise.config.own_parts import NamedCode
from priorwise.config.run import DataConfig, Run
from priorwise.data import Splits
from priorwise.data import load as load_data
from priorwise.data.known_sets import names
from priorwise.training.folder import RunFolderError, read_record
from priorwise.training.run_group import one_run
from priorwise.training.run_record import read_run

__all__ = ["load_splits", "located", "require_same_data", "splits_of"]


def located(run: Run) -> Run:
    """The run with absolute paths of its data and of the run underneath."""
    base_run = getattr(run.model, "base_run", "")
    model = run.model
    if base_run:
        model = run.model.model_copy(update={"base_run": str(Path(base_run).absolute())})
    data = run.data.model_copy(update={"name": _absolute(run.data.name)})
    return run.model_copy(update={"data": data, "model": model})


def _absolute(name: str) -> str:
    """A path as an absolute one; the name of a data set, or of nothing, as it is."""
    path = Path(name).expanduser()
    return str(path.absolute()) if name not in names() and path.exists() else name


def splits_of(data: DataConfig) -> Splits:
    """The data that a configuration names."""
    return load_data(data.name, binarize=data.binarize, likelihood=data.likelihood)


def load_splits(
    folder: str | Path, code: NamedCode | None = None, *, data: str | Path | None = None
) -> Splits:
    """The data of a run, if they are still those that it was trained on.

    Arguments:
        folder: The run folder, or that of a group of runs, as for ``priorwise.load``.
        code: Code of your own that may be executed for the run, as for ``priorwise.load``.
        data: Where the data lie now, if they have moved; None takes the place in ``run.json``.

    Raises:
        RunFolderError: if there is no such run, or the data have changed since it was trained.
        DataError: if there are no data at that place, or they cannot be used.
    """
    folder = one_run(folder, show=False)
    run, spec, _ = read_run(folder, code)
    source = run.data if data is None else run.data.model_copy(update={"name": str(data)})
    if data is None and source.name not in names() and not Path(source.name).exists():
        raise RunFolderError(
            f"expected the data of {folder} at {source.name}; there are none. If they have moved, "
            "name their new place with --data."
        )
    splits = splits_of(source)
    require_same_data(splits, folder)
    return _named_as(splits, spec.name)


def _named_as(splits: Splits, name: str) -> Splits:
    """The data under the name that they had at training: that of a file does not matter."""
    if splits.spec.name in names():
        return splits
    return replace(splits, spec=replace(splits.spec, name=name))


def require_same_data(splits: Splits, folder: str | Path) -> None:
    """Refuse data that are not those of a run.

    Raises:
        RunFolderError: if their fingerprint differs from the one in ``run.json``.
    """
    record = read_record(Path(folder) / "run.json")
    name = record["identity"].get("spec", {}).get("name", splits.spec.name)
    now = _named_as(splits, name).fingerprint()
    expected = record["identity"].get("data_fingerprint", now)
    if now == expected:
        return
    raise RunFolderError(
        f"expected the data that {folder} was trained on; those at {splits.source} are others"
        f"{_change(record.get('about', {}), splits)} (fingerprint {expected} at training, now "
        f"{now}). Put the data back, or name their new place with --data. To use "
        "other data, train another run on them."
    )


def _change(about: dict[str, Any], splits: Splits) -> str:
    """What has changed in the data, in words."""
    before, now = about.get("data"), splits.describe()
    if before is None:
        return f": now {now}"
    if before == now:
        return f": they are again {now}, but with other values"
    return f": they were {before}, and are now {now}"
