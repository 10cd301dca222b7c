"""The run that is recorded in a folder, and a run that builds on it.

Nothing here needs torch, so a dry run starts at once.
"""

from pathlib import Path
from typing import Any

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.overrides import OverrideError, described_data, validated
from priorwise.config.own_parts import NamedCode, with_code
from priorwise.config.run import EvaluationConfig, Run
from priorwise.data.spec import DataError, DataSpec
from priorwise.training.folder import RunFolderError, read_record
from priorwise.training.run_group import is_group, one_run, read_group

__all__ = ["read_run", "resolve_base", "stored_run"]


def read_run(
    folder: str | Path, code: NamedCode | None = None
) -> tuple[Run, DataSpec, dict[str, Any]]:
    """The configuration, data description and identity of a run folder.

    A run may need code of its user's, a prior for example. The folder may come from anywhere, so it
    does not decide what is executed: only the files that you name in ``code`` are.

    Arguments:
        folder: The run folder.
        code: Python files or modules that may be executed for the run, such as "recipes.py".

    Raises:
        RunFolderError: if there is no run, or it was not made from a recipe, or is not valid.
        OwnCodeError: if the run needs code that ``code`` does not name.
    """
    run, spec, identity = stored_run(folder)
    return with_code(run, code, folder), spec, identity


def stored_run(folder: str | Path) -> tuple[Run, DataSpec, dict[str, Any]]:
    """As ``read_run``, with the names of code as they are stored: nothing of it can be executed.

    Raises:
        RunFolderError: as ``read_run``.
    """
    identity = read_record(Path(folder) / "run.json")["identity"]
    if "run" not in identity:
        raise RunFolderError(
            f"expected a run of a recipe; {folder} was made by priorwise.fit with a model of your "
            "own. Build that model and call fit with the same `out`, or load best.safetensors "
            "into it."
        )
    try:
        run = validated(identity["run"])
        spec = described_data(identity.get("spec"))
    except (OverrideError, DataError) as error:
        raise RunFolderError(f"{Path(folder) / 'run.json'} cannot be read: {error}") from error
    return run, spec, identity


def resolve_base(run: Run, base: str | Path | None, code: NamedCode | None = None) -> Run:
    """A post-hoc run, completed from the run that it builds on.

    Arguments:
        run: The run to complete.
        base: The folder of the run underneath, or of a group of which one member was chosen.
        code: Python files or modules that may be executed for the run underneath.

    Raises:
        RunFolderError: if the run underneath is missing, or is one that this run cannot build on.
    """
    if not isinstance(run.model, AbstractPosthocConfig):
        if base is not None:
            raise RunFolderError(
                f"expected a recipe that builds on another run for `--base`; {run.name} does not. "
                "Leave `--base` out."
            )
        return run
    source = base if base is not None else run.model.base_run
    if not source:
        raise RunFolderError(
            f"expected the run that {run.name} builds on; got none. Give it with --base RUN."
        )
    if is_group(source) and read_group(source).choice is not None:
        source = one_run(source)
    base_run, _, _ = read_run(source, code)
    if isinstance(base_run.model, AbstractPosthocConfig) and not run.model.builds_on_fitted(
        base_run.model
    ):
        raise RunFolderError(
            f"expected a run that {run.name} can build on; the prior of {source} "
            f"was fitted afterwards already ({base_run.model.title}). Use the run that it builds "
            f"on: --base {base_run.model.base_run}."
        )
    model = run.model.model_copy(update={"base": base_run.model, "base_run": str(source)})
    changes: dict[str, Any] = {"data": base_run.data, "model": model}
    # By default both are measured in the same way, so that their numbers can be compared.
    if run.evaluation == EvaluationConfig():
        changes["evaluation"] = base_run.evaluation
    return run.model_copy(update=changes)
