"""The records of trained runs; each lies in the folder of its run."""

from pathlib import Path
from typing import Any

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.overrides import with_settings
from priorwise.config.own_parts import NamedCode
from priorwise.config.run import EvaluationConfig, Run
from priorwise.data import Splits
from priorwise.evaluation.measuring import describes, measure
from priorwise.evaluation.record import EvaluationRecord
from priorwise.evaluation.subject import Subject
from priorwise.models import AbstractModel
from priorwise.progress import say
from priorwise.training.run_record import read_run
from priorwise.training.runner import load, load_base, load_splits, save_log_norm

__all__ = ["evaluate_run", "kept_record", "record_of_base", "record_of_run"]

_NAME = "evaluation.json"


def evaluate_run(
    folder: str | Path,
    *,
    progress: bool = True,
    code: NamedCode | None = None,
    **changes: Any,  # noqa: ANN401 - fields of EvaluationConfig
) -> EvaluationRecord:
    """Evaluate the best weights of a run on its test set, and keep the record in its folder.

    Numbers that an earlier record holds for the same weights, data and settings are not measured
    again. A likelihood that was interrupted continues after the last finished image. The log
    normaliser of a tilted prior is also stored in the run's best checkpoint.

    Arguments:
        folder: The run.
        progress: Whether to show progress bars.
        code: Code of your own that may be executed for the run, as for ``priorwise.load``.
        **changes: Fields of ``EvaluationConfig`` that replace the run's own.

    Raises:
        RunFolderError: if there is no such run.
        OverrideError: for a setting that does not exist or cannot have that value.
    """
    run, _, _ = read_run(folder, code)
    return _of_run(
        Path(folder), run, with_settings(run.evaluation, changes), progress=progress, code=code
    )


def record_of_run(
    folder: str | Path,
    *,
    progress: bool = True,
    code: NamedCode | None = None,
    **changes: Any,  # noqa: ANN401 - fields of EvaluationConfig
) -> EvaluationRecord:
    """The record of a run with the settings of its last evaluation; measures only what it lacks.

    Arguments:
        folder: The run.
        progress: Whether to show progress bars.
        code: Code of your own that may be executed for the run, as for ``priorwise.load``.
        **changes: As for ``evaluate_run``.
    """
    run, _, _ = read_run(folder, code)
    earlier = EvaluationRecord.read(Path(folder) / _NAME)
    config = run.evaluation if earlier is None else earlier.config
    return _of_run(Path(folder), run, with_settings(config, changes), progress=progress, code=code)


def record_of_base(
    folder: str | Path,
    config: EvaluationConfig,
    *,
    progress: bool = True,
    code: NamedCode | None = None,
) -> EvaluationRecord:
    """The record of the model underneath a run's own; it is kept in the run's folder ``base``.

    Numbers in the record of the run that trained this model are not measured again, if their
    settings are the same.

    Arguments:
        folder: A run whose prior was fitted over the model of another run.
        config: The settings, such as those of the run's own record.
        progress: Whether to show progress bars.
        code: Code of your own that may be executed for the run, as for ``priorwise.load``.
    """
    run, _, _ = read_run(folder, code)
    assert isinstance(run.model, AbstractPosthocConfig)
    base_folder = Path(folder) / "base"
    earlier = EvaluationRecord.read(base_folder / _NAME)
    if earlier is None:
        earlier = EvaluationRecord.read(Path(run.model.base_run) / _NAME)
    base_folder.mkdir(exist_ok=True)
    model = load_base(folder, code)
    return _measured(model, run, config, base_folder, earlier, progress=progress)


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


def _of_run(
    folder: Path,
    run: Run,
    config: EvaluationConfig,
    *,
    progress: bool,
    code: NamedCode | None,
) -> EvaluationRecord:
    model = load(folder, code)
    before = model.known_log_norm()
    earlier = EvaluationRecord.read(folder / _NAME)
    try:
        return _measured(model, run, config, folder, earlier, progress=progress)
    finally:
        # log Z is expensive, so it is stored after an interruption, too
        if model.known_log_norm() != before:
            save_log_norm(folder, model)


def _measured(
    model: AbstractModel,
    run: Run,
    config: EvaluationConfig,
    folder: Path,
    earlier: EvaluationRecord | None,
    *,
    progress: bool,
) -> EvaluationRecord:
    """Measure what the earlier record lacks, and save the record after each quantity."""
    splits = load_splits(run)
    say(f"{folder} on {splits.describe()}", show=progress)
    subject = Subject(model, splits, config, journal=folder, progress=progress)

    def save(record: EvaluationRecord) -> None:
        record.numbers["run"] = run.name
        record.write(folder / _NAME)

    record = measure(subject, earlier, save=save)
    save(record)
    return record
