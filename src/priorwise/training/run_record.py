"""The run that a folder was made from, and a run that builds on it.

Nothing here needs torch, so that a dry run starts at once.
"""

from pathlib import Path
from typing import Any

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.run import EvaluationConfig, Run
from priorwise.data.spec import DataSpec
from priorwise.training.folder import RunFolderError, read_record

__all__ = ["read_run", "resolve_base"]


def read_run(folder: str | Path) -> tuple[Run, DataSpec, dict[str, Any]]:
    """The configuration, data description and identity of a run folder.

    Raises:
        RunFolderError: if there is no run, or it was not made from a recipe.
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
    return Run.model_validate(identity["run"]), DataSpec(**spec), identity


def resolve_base(run: Run, base: str | Path | None) -> Run:
    """A post-hoc run completed from the run that it builds on.

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
    below, _, _ = read_run(source)
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
