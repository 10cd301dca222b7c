"""``priorwise train``: one run, several seeds of it, or candidates of which one is chosen."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorwise.command_options import (
    AsJson,
    Base,
    Code,
    Data,
    DryRun,
    Init,
    Jobs,
    Out,
    Overrides,
    RecipeName,
    Seed,
    Seeds,
    TensorBoardFolder,
)
from priorwise.terminal import print_json, say, show

if TYPE_CHECKING:
    from priorwise.training import GroupResult

__all__ = ["train"]

_LONGEST_NAME = 300  # characters that are shown


def train(
    recipe_name: RecipeName,
    overrides: Overrides = None,
    out: Out = Path("run"),
    data: Data = None,
    base: Base = None,
    init: Init = None,
    seed: Seed = None,
    seeds: Seeds = None,
    jobs: Jobs = None,
    code: Code = None,
    tensorboard: TensorBoardFolder = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe into a folder, or continue there. Safe to repeat after Ctrl-C or a crash."""
    from priorwise.config.overrides import override
    from priorwise.config.own_parts import code_of
    from priorwise.recipes import recipe
    from priorwise.training.decision import outlook
    from priorwise.training.run_group import is_group, read_group
    from priorwise.training.run_record import resolve_base

    named = {"data.name": data, "training.seed": seed}
    values = {path: value for path, value in named.items() if value is not None}
    run = resolve_base(recipe(recipe_name), base, code)
    run = override(run, overrides or [], values)
    choosing = bool(run.candidates.values)
    if choosing and seeds is not None:
        raise ValueError(
            "expected candidates or --seeds; got both. Choose first, then train seeds of what was "
            f"chosen: --seeds {seeds} candidates.values=[] {run.candidates.setting}=VALUE."
        )
    if seeds is None and not choosing and is_group(out):
        seeds = len(read_group(out).values)
    if jobs is not None and seeds is None and not choosing:
        raise ValueError("expected --seeds together with --jobs; got none. Leave --jobs out.")
    if dry_run:
        show(json.dumps(run.model_dump(mode="json"), indent=2))
        say(outlook(run))
        return
    if not run.data.name:
        raise ValueError(f"expected data for {recipe_name}; name them with --data FILE_OR_FOLDER.")
    from priorwise.training import TensorBoard, train_candidates, train_run, train_seeds

    options = "".join(f" --code {file}" for file in code_of(run))
    advice = f"Next: priorwise evaluate {out}{options}"
    say(f"{run.name[:_LONGEST_NAME]} on {run.data.name[:_LONGEST_NAME]} into {out}")
    shared: dict[str, Any] = {"jobs": jobs or 1, "init": init, "tensorboard": tensorboard}
    if choosing:
        _show_choice(train_candidates(run, out, **shared), out, advice, as_json=as_json)
        return
    if seeds is not None:
        group = train_seeds(run, out, seeds=seeds, **shared)
        _show_group(group, out, advice, as_json=as_json)
        return
    callbacks = [] if tensorboard is None else [TensorBoard(tensorboard)]
    result = train_run(run, out, init=init, callbacks=callbacks)
    if as_json:
        print_json({"run": str(out), **result.numbers})
        return
    for doubt in result.warnings:
        show(f"warning: {doubt}")
    show(f"{result.verdict} of {result.epochs} ({result.seconds:.0f} s). {advice}")


def _show_group(result: "GroupResult", out: Path, advice: str, *, as_json: bool) -> None:
    """What the fits of several seeds came to.

    Raises:
        TrainingDivergedError: if one of them diverged, after all is shown.
    """
    from priorwise.training import TrainingDivergedError

    if as_json:
        print_json({"run": str(out), **result.record})
    else:
        for name, numbers in result.numbers.items():
            show(f"{name}: {_best_words(numbers)} of {numbers['epochs']} epochs")
            for doubt in numbers["warnings"]:
                show(f"  warning: {doubt}")
        if result.best is not None:
            show(f"{next(iter(result.numbers.values()))['metric']}: {result.best}. {advice}")
    if result.diverged:
        listed = "; ".join(f"{name} ({words})" for name, words in result.diverged.items())
        raise TrainingDivergedError(
            f"{len(result.diverged)} of {len(result.group.values)} seeds diverged: {listed}"
        )


def _show_choice(result: "GroupResult", out: Path, advice: str, *, as_json: bool) -> None:
    """The bound of each candidate, and which one was chosen."""
    from priorwise.training.candidates import choice_lines

    if as_json:
        choice = vars(result.group.choice)
        print_json({"run": str(out), **result.record, "choice": choice})
        return
    show("\n".join(choice_lines(result.group)))
    for name, numbers in result.numbers.items():
        for doubt in numbers["warnings"]:
            show(f"warning: {name}: {doubt}")
    show(advice)


def _best_words(numbers: dict[str, Any]) -> str:
    if numbers["best"] is None:
        return f"{numbers['metric']} not judged"
    return f"{numbers['metric']} {numbers['best']:.3f} at epoch {numbers['best_epoch']}"
