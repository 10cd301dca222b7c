"""Training a group of runs into a folder, such as several seeds of one run."""

import os
import warnings
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from priorwise.config.own_parts import code_of
from priorwise.config.run import Run
from priorwise.progress import say
from priorwise.training.folder import RunFolderError, refuse_strangers
from priorwise.training.lock import held
from priorwise.training.member_process import MemberFit, Outcome, fitted_at_once
from priorwise.training.run_data import located, splits_of
from priorwise.training.run_group import SEED, RunGroup, opened, refuse_candidates
from priorwise.training.runner import check
from priorwise.training.spread import Spread

__all__ = ["GroupResult", "train_group", "train_seeds"]


@dataclass(frozen=True)
class GroupResult:
    """What the fits of a group of runs came to.

    Attributes:
        group: The group, with its folder and the names of its members.
        numbers: ``FitResult.numbers`` of each member that came to its end, by its name.
        diverged: Why each of the others diverged, by its name.
    """

    group: RunGroup
    numbers: dict[str, dict[str, Any]]
    diverged: dict[str, str]

    @property
    def best(self) -> Spread | None:
        """The best validation over the seeds; None if there is none, or members are no seeds."""
        values = [numbers["best"] for numbers in self.numbers.values()]
        if not self.group.repeats or not values or None in values:
            return None
        return Spread(tuple(values))

    @property
    def record(self) -> dict[str, Any]:
        """What a program wants to know, as plain data."""
        best = None if self.best is None else self.best.numbers
        return {"members": self.numbers, "diverged": self.diverged, "best": best}


def train_seeds(
    run: Run,
    out: str | Path,
    *,
    seeds: int,
    jobs: int = 1,
    **options: Any,  # noqa: ANN401
) -> GroupResult:
    """Train one run with several seeds into a folder, or continue there; safe to repeat.

    The first seed is that of the run, and the others count on from it. Each has a run folder of its
    own in ``out``, such as ``seed-14``. More seeds or more epochs extend a group that is there.

    Arguments:
        run: The run.
        out: The folder of the group.
        seeds: Their number.
        jobs: How many are trained at once.
        **options: Those of ``train_group``: ``init``, ``tensorboard``, ``progress``.

    Raises:
        ValueError: if a number is not positive, and as ``train_group``.
    """
    if seeds < 1:
        raise ValueError(f"expected `seeds` of at least 1; got {seeds}.")
    values = range(run.training.seed, run.training.seed + seeds)
    return train_group(run, out, setting=SEED, values=values, jobs=jobs, **options)


def train_group(
    run: Run,
    out: str | Path,
    *,
    setting: str,
    values: Sequence[str | int],
    jobs: int = 1,
    init: str | Path | None = None,
    tensorboard: str | Path | None = None,
    progress: bool = True,
) -> GroupResult:
    """Train runs that differ in one setting into a folder, or continue there; safe to repeat.

    One comes after the other, or ``jobs`` at once, each in a process of its own with its share of
    the threads. If one diverges, the others go on.

    Arguments:
        run: The run that they share.
        out: The folder of the group; each member has a run folder in it.
        setting: The setting in which they differ, such as ``"training.seed"``.
        values: Its values, one for each member. Those of a group that is there must be among them.
        jobs: How many are trained at once.
        init: As for ``train_run``, the same for all of them.
        tensorboard: Where to write curves for TensorBoard, each member into a folder of its name.
        progress: Whether to show progress.

    Raises:
        RunFolderError: if the folder holds something else, a group of other runs, or a member of
            other data.
        OverrideError: if the run has no such setting, or it cannot have such a value.
        ValueError: if ``jobs`` is not positive, or a member cannot be trained.
        KeyboardInterrupt: on Ctrl-C, after the fits that were running wrote their checkpoints.
    """
    if jobs < 1:
        raise ValueError(f"expected `jobs` of at least 1; got {jobs}.")
    _refuse_torchrun()
    refuse_candidates(run)
    run, folder, values = located(run), Path(out), list(values)
    _check_members(opened(folder, run, setting, values), code_of(run), init)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        group = opened(folder, run, setting, values)
        group.write()
        fits = [
            MemberFit(
                str(folder),
                name,
                code=tuple(code_of(run)),
                init=None if init is None else str(init),
                tensorboard=None if tensorboard is None else str(Path(tensorboard) / name),
                progress=progress,
            )
            for name in group.members
        ]
        return _trained(group, fits, min(jobs, len(fits)))


def _check_members(group: RunGroup, code: Sequence[str], init: str | Path | None) -> None:
    """Refuse a group with a member that cannot be trained, or go on, before anything is written.

    Of seeds that were not begun the first speaks for all. What its fit warns of is not said here.

    Raises:
        ValueError: for such a group.
    """
    data, splits = None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in group.values:
            name = group.name_of(value)
            if splits is not None and group.repeats and not group.holds(name):
                refuse_strangers(group.members[name])
                continue
            run = group.run_of(value, code)
            if splits is None or run.data != data:
                data, splits = run.data, splits_of(run.data)
            check(run, splits, group.members[name], init=init)


def _refuse_torchrun() -> None:
    """Refuse the processes of torchrun, which would all train all members.

    Raises:
        RunFolderError: if there are several.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes not in ("", "1"):
        raise RunFolderError(
            f"expected one process for a group of runs; torchrun started {processes}. Leave "
            "torchrun out, and train several members at once with --jobs."
        )


def _trained(group: RunGroup, fits: Sequence[MemberFit], jobs: int) -> GroupResult:
    """Train the members, and record what became of each as soon as it is known."""
    numbers: dict[str, dict[str, Any]] = {}
    with closing(_at_once(fits, jobs) if jobs > 1 else _in_turn(fits)) as outcomes:
        for name, outcome in outcomes:
            group = group.with_end(name, outcome.end)
            group.write()
            if outcome.end.state == "finished":
                numbers[name] = outcome.numbers
    ordered = {name: numbers[name] for name in group.members if name in numbers}
    diverged = {name: end.words for name, end in group.ends.items() if end.state == "diverged"}
    return GroupResult(group, ordered, diverged)


def _in_turn(fits: Iterable[MemberFit]) -> Generator[tuple[str, Outcome]]:
    for fit in fits:
        say(f"{fit.name}:", show=fit.progress)
        yield fit.name, fit.run()


def _at_once(fits: Sequence[MemberFit], jobs: int) -> Generator[tuple[str, Outcome]]:
    """Train several members at once, which share the threads of this process."""
    total = torch.get_num_threads()
    threads = max(1, total // jobs)
    say(
        f"{jobs} runs at once, each with {threads} of {total} threads. The number of threads may "
        "change the last digits of the results.",
        show=fits[0].progress,
    )
    return fitted_at_once(fits, jobs, threads=threads)
