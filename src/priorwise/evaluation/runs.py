"""The records of trained runs; each lies in the folder of its run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.overrides import with_settings
from priorwise.config.own_parts import NamedCode
from priorwise.config.run import EvaluationConfig, Run
from priorwise.data import Splits
from priorwise.estimators.processes import is_first
from priorwise.evaluation.extent import not_smaller
from priorwise.evaluation.measuring import describes, measure
from priorwise.evaluation.record import EvaluationRecord
from priorwise.evaluation.subject import Subject
from priorwise.models import AbstractModel
from priorwise.progress import say
from priorwise.training.folder import RunFolderError
from priorwise.training.lock import held
from priorwise.training.members import refuse_other_members
from priorwise.training.run_data import load_splits
from priorwise.training.run_group import RunGroup, one_run, read_group
from priorwise.training.run_record import read_run
from priorwise.training.runner import load, load_base, save_log_norm

__all__ = [
    "GroupRecords",
    "evaluate_group",
    "evaluate_run",
    "kept_record",
    "record_of_base",
    "record_of_run",
    "seeds_of",
]

_NAME = "evaluation.json"


def evaluate_run(
    folder: str | Path,
    *,
    progress: bool = True,
    code: NamedCode | None = None,
    data: str | Path | None = None,
    again: bool = False,
    **changes: Any,  # noqa: ANN401 - fields of EvaluationConfig
) -> EvaluationRecord:
    """Evaluate the best weights of a run on its test set, and keep the record in its folder.

    Numbers that an earlier record holds for the same weights, data and settings are not measured
    again, and with fewer samples or images they stay as they are. A likelihood that was interrupted
    continues after the last finished image. The log normaliser of a tilted prior is also stored in
    the run's best checkpoint.

    Arguments:
        folder: The run; of a group of runs, the chosen member is measured, or else the first.
        progress: Whether to show progress bars.
        code: Code of your own that may be executed for the run, as for ``priorwise.load``.
        data: Where the data lie now, if they have moved.
        again: Measure everything anew, and replace the earlier record also if that is larger.
        **changes: Fields of ``EvaluationConfig`` that replace the run's own.

    Raises:
        RunFolderError: if there is no such run, its data have changed, or another process writes to
            its folder.
        CheckpointError: as ``priorwise.load``.
        OverrideError: for a setting that does not exist or cannot have that value.
    """
    folder = one_run(folder)
    run, _, _ = read_run(folder, code)
    place = _Place(folder, run, code, data)
    with held(place.folder, alone=is_first()):
        earlier = None if again else EvaluationRecord.read(place.folder / _NAME)
        config = with_settings(run.evaluation, changes)
        return _of_run(place, config, earlier, progress=progress)


@dataclass(frozen=True)
class GroupRecords:
    """The records of several seeds of a run.

    Attributes:
        group: The group.
        records: The record of each member whose fit came to its end, by its name.
    """

    group: RunGroup
    records: dict[str, EvaluationRecord]


def evaluate_group(
    folder: str | Path,
    **options: Any,  # noqa: ANN401 - those of `evaluate_run`
) -> GroupRecords:
    """Evaluate each seed of a run as ``evaluate_run`` does; safe to repeat after an interruption.

    Arguments:
        folder: The group.
        **options: Those of ``evaluate_run``.

    Raises:
        RunFolderError: if the members are no seeds of one run, or none of them was trained, and as
            ``evaluate_run``.
    """
    group = seeds_of(folder)
    members = group.finished.items()
    return GroupRecords(group, {name: evaluate_run(path, **options) for name, path in members})


def seeds_of(folder: str | Path) -> RunGroup:
    """The group of seeds in a folder.

    Raises:
        RunFolderError: if there is none, its members differ in something else than the seed, none
            of them was trained to its end, or another run lies in the folder of one.
        CheckpointError: if the weights of a member are missing or damaged.
    """
    group = read_group(folder)
    if not group.repeats:
        raise RunFolderError(
            f"expected several seeds of a run, whose numbers have a mean; the members of {folder} "
            f"differ in {group.setting}. Name one of them: "
            f"{', '.join(map(str, group.members.values()))}."
        )
    if not group.finished:
        raise RunFolderError(
            f"expected a seed that was trained to its end; {folder} has none: "
            + "; ".join(f"{name} {words}" for name, words in group.missing.items())
        )
    refuse_other_members(group)
    return group


def record_of_run(
    folder: str | Path,
    *,
    progress: bool = True,
    code: NamedCode | None = None,
    data: str | Path | None = None,
    again: bool = False,
    **changes: Any,  # noqa: ANN401 - fields of EvaluationConfig
) -> EvaluationRecord:
    """The record of a run with the settings of its last evaluation; measures only what it lacks.

    Arguments:
        folder: The run.
        progress: Whether to show progress bars.
        code: Code of your own that may be executed for the run, as for ``priorwise.load``.
        data: Where the data lie now, if they have moved.
        again: As for ``evaluate_run``.
        **changes: As for ``evaluate_run``.

    Raises:
        RunFolderError: as ``evaluate_run``.
    """
    folder = one_run(folder)
    run, _, _ = read_run(folder, code)
    place = _Place(folder, run, code, data)
    with held(place.folder, alone=is_first()):
        earlier = EvaluationRecord.read(place.folder / _NAME)
        config = with_settings(run.evaluation if earlier is None else earlier.config, changes)
        return _of_run(place, config, None if again else earlier, progress=progress)


def record_of_base(
    folder: str | Path,
    config: EvaluationConfig,
    *,
    progress: bool = True,
    code: NamedCode | None = None,
    data: str | Path | None = None,
) -> EvaluationRecord:
    """The record of the model underneath a run's own; it is kept in the run's folder ``base``.

    Numbers in the record of the run that trained this model are not measured again, if their
    settings are the same.

    Arguments:
        folder: A run whose prior was fitted over the model of another run.
        config: The settings, such as those of the run's own record.
        progress: Whether to show progress bars.
        code: Code of your own that may be executed for the run, as for ``priorwise.load``.
        data: Where the data lie now, if they have moved.

    Raises:
        RunFolderError: as ``evaluate_run``.
    """
    run, _, _ = read_run(folder, code)
    assert isinstance(run.model, AbstractPosthocConfig)
    base_folder = Path(folder) / "base"
    with held(Path(folder), alone=is_first()):
        earlier = EvaluationRecord.read(base_folder / _NAME)
        if earlier is None:
            earlier = EvaluationRecord.read(Path(run.model.base_run) / _NAME)
        splits = load_splits(folder, code, data=data)
        _tell_data(splits, folder, progress=progress)
        base_folder.mkdir(exist_ok=True)
        model = load_base(folder, code)
        subject = Subject(model, splits, config, journal=base_folder, progress=progress)
        return _measured(subject, run.name, earlier)


def kept_record(
    folder: str | Path, model: AbstractModel, splits: Splits
) -> EvaluationRecord | None:
    """The record of a run if it is of this model and these data; nothing is measured.

    Arguments:
        folder: The run.
        model: Its model, as it was loaded.
        splits: Its data.
    """
    record = EvaluationRecord.read(Path(folder) / _NAME)
    if record is None:
        return None
    subject = Subject(model, splits, record.config, progress=False)
    return record if describes(record, subject) else None


@dataclass(frozen=True)
class _Place:
    """A run folder, the run in it, the code that may be executed, and where the data lie now."""

    folder: Path
    run: Run
    code: NamedCode | None
    data: str | Path | None


def _subject(place: _Place, config: EvaluationConfig, *, progress: bool) -> Subject:
    """The model of a run with its data, which are those that it was trained on."""
    model = load(place.folder, place.code)
    splits = load_splits(place.folder, place.code, data=place.data)
    _tell_data(splits, place.folder, progress=progress)
    return Subject(model, splits, config, journal=place.folder, progress=progress)


def _tell_data(splits: Splits, folder: str | Path, *, progress: bool) -> None:
    say(f"{folder} on {splits.describe()}", show=progress)


def _of_run(
    place: _Place, config: EvaluationConfig, earlier: EvaluationRecord | None, *, progress: bool
) -> EvaluationRecord:
    subject = _subject(place, config, progress=progress)
    before = subject.model.known_log_norm()
    if earlier is not None and describes(earlier, subject):
        subject = replace(subject, config=not_smaller(config, earlier))
    try:
        return _measured(subject, place.run.name, earlier)
    finally:
        # log Z is expensive, so it is stored after an interruption, too
        if subject.model.known_log_norm() != before:
            save_log_norm(place.folder, subject.model)


def _measured(subject: Subject, name: str, earlier: EvaluationRecord | None) -> EvaluationRecord:
    """Measure what the earlier record lacks, and save the record after each quantity.

    A record that lacked nothing is not written again, so it may lie where nobody can write.
    """
    assert subject.journal is not None
    path = subject.journal / _NAME

    def save(record: EvaluationRecord) -> None:
        record.numbers["run"] = name
        record.write(path)

    record = measure(subject, earlier, save=save)
    record.numbers["run"] = name
    if earlier is None or record.numbers != earlier.numbers or not path.exists():
        save(record)
    return record
