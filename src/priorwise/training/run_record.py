"""The run that a folder was made from, and a run that builds on it.

Nothing here needs torch, so that a dry run starts at once.
"""

from pathlib import Path
from typing import Any

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.overrides import OverrideError, validated
from priorwise.config.own_parts import NamedCode, with_code
from priorwise.config.run import EvaluationConfig, Run
from priorwise.data.spec import DataSpec
from priorwise.training.folder import RunFolderError, read_record

__all__ = ["read_run", "resolve_base"]


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
