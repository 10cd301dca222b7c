"""Groups of runs: a folder of ordinary run folders that differ in one setting.

- ``group.json``: the run that all of them share, the setting in which they differ, its values, what
  became of each member, and which member was chosen, if one was
- ``seed-14``, ``seed-15``, ...: a run folder for each value, named after setting and value

Several seeds of a run are a group, and so are several sizes of which one is chosen. Each member is
a complete run folder, so every command can read it alone. Nothing here needs torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from priorwise.config.overrides import OverrideError, override, validated
from priorwise.config.own_parts import NamedCode, stored, with_code
from priorwise.config.run import Run
from priorwise.progress import say
from priorwise.reading import UnreadableError, read_json, shortened
from priorwise.storage import write_atomically
from priorwise.training.folder import GOES_ON, GROUP, RunFolderError
from priorwise.training.group_record import Value, check_record, check_values
from priorwise.training.run_identity import EPOCHS, differences, words_of

__all__ = [
    "SEED",
    "Choice",
    "End",
    "RunGroup",
    "is_group",
    "one_run",
    "opened",
    "read_group",
    "refuse_candidates",
    "stands_for_all",
]

SEED = "training.seed"
"""The setting in which the members differ if they are repetitions of one run."""


@dataclass(frozen=True)
class End:
    """What became of a member.

    Attributes:
        state: Whether its fit came to its end, or diverged.
        words: Why it diverged.
        epochs: The epochs that were asked for; None counts as those of the group.
    """

    state: Literal["finished", "diverged"]
    words: str = ""
    epochs: int | None = None


@dataclass(frozen=True)
class Choice:
    """The member that stands for the group.

    Attributes:
        value: Its value of the setting.
        why: The reason, in words.
        numbers: What the choice rests on, as plain data.
    """

    value: Value
    why: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunGroup:
    """The record of a group of runs.

    Attributes:
        folder: Where it lies.
        run: The run that the members share, as it is stored; it has the first value.
        setting: The dotted name of the setting in which the members differ.
        values: Its values, in the order of the members.
        ends: What became of each member so far, by its name.
        choice: The member that stands for the group; None if all of them do.
    """

    folder: Path
    run: dict[str, Any]
    setting: str
    values: tuple[Value, ...]
    ends: Mapping[str, End] = field(default_factory=dict)
    choice: Choice | None = None

    @property
    def members(self) -> dict[str, Path]:
        """The folder of each member, by its name, such as ``seed-14``."""
        return {name: self.folder / name for name in map(self.name_of, self.values)}

    @property
    def repeats(self) -> bool:
        """Whether the members are one run with several seeds, so that their numbers have a mean."""
        return self.setting == SEED

    @property
    def finished(self) -> dict[str, Path]:
        """The members whose fits came to their end, with all epochs, and that are still there."""
        return {name: path for name, path in self.members.items() if not self._lack(name)}

    @property
    def missing(self) -> dict[str, str]:
        """Why each of the other members has no result, in words."""
        return {name: words for name in self.members if (words := self._lack(name))}

    def _lack(self, name: str) -> str:
        """Why a member has no result, in words; empty if it has one."""
        end, now = self.ends.get(name), self.epochs_of(name)
        if end is None:
            return "is not trained to its end; run `priorwise train` again"
        if end.state == "diverged":
            return f"diverged: {end.words}"
        if not self.holds(name):
            return "has no run in its folder any more; run `priorwise train` again"
        if end.epochs not in (None, now):
            return (
                f"was trained for {end.epochs} epochs, and the group has {now} now; run "
                "`priorwise train` again"
            )
        return ""

    def holds(self, name: str) -> bool:
        """Whether the folder of a member holds a run."""
        return (self.folder / name / "run.json").is_file()

    def epochs_of(self, name: str) -> int:
        """The epochs that a member is trained for."""
        if self.setting == EPOCHS:
            return next(int(value) for value in self.values if self.name_of(value) == name)
        return int(self.run["training"]["epochs"])

    def name_of(self, value: Value) -> str:
        """The name of the member with a value of the setting."""
        return f"{self.setting.rpartition('.')[2]}-{value}"

    def run_of(self, value: Value, code: NamedCode | None = None) -> Run:
        """The run of the member with a value of the setting.

        Raises:
            RunFolderError: if the record is damaged, or the value does not fit.
            OwnCodeError: if the run needs code that ``code`` does not name.
        """
        return with_code(self.stored_run_of(value), code, self.folder)

    def stored_run_of(self, value: Value) -> Run:
        """The run of the member with a value of the setting, with its code as it is stored.

        Raises:
            RunFolderError: if the record is damaged, or the value does not fit.
        """
        try:
            return override(validated(self.run), [], {self.setting: value})
        except OverrideError as error:
            raise RunFolderError(f"{self.folder / GROUP} cannot be read: {error}") from error

    def with_end(self, name: str, end: End) -> "RunGroup":
        """The group in which a member came to its end."""
        return replace(self, ends={**self.ends, name: replace(end, epochs=self.epochs_of(name))})

    def write(self) -> None:
        """Write the record into the folder of the group."""
        choice = None if self.choice is None else vars(self.choice)
        record = {
            "run": self.run,
            "setting": self.setting,
            "values": list(self.values),
            "ends": {name: vars(end) for name, end in self.ends.items()},
            "choice": choice,
        }
        content = json.dumps(record, indent=2, default=dict).encode()
        write_atomically(self.folder / GROUP, content, advice=GOES_ON)


def is_group(folder: str | Path) -> bool:
    """Whether a folder holds a group of runs."""
    return (Path(folder) / GROUP).is_file()


def stands_for_all(folder: str | Path) -> bool:
    """Whether a folder holds a group of seeds of which none was chosen: all of them count."""
    if not is_group(folder):
        return False
    group = read_group(folder)
    return group.repeats and group.choice is None


def read_group(folder: str | Path) -> RunGroup:
    """The group of runs in a folder.

    Raises:
        RunFolderError: if there is none, or its record is damaged.
    """
    path = Path(folder) / GROUP
    if not path.is_file():
        raise RunFolderError(f"expected a group of runs with {GROUP}; there is none at {folder}.")
    try:
        record = read_json(path)
        check_record(record)
        group = RunGroup(
            Path(folder),
            record["run"],
            record["setting"],
            tuple(record["values"]),
            {name: End(**end) for name, end in record["ends"].items()},
            None if record["choice"] is None else Choice(**record["choice"]),
        )
        strangers = [name for name in group.ends if name not in group.members]
        if strangers:
            raise ValueError(f"`ends` names {shortened(strangers[0])}, which is no member")
        return group
    except UnreadableError as error:
        raise RunFolderError(f"{error} Restore it, or choose another folder.") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunFolderError(
            f"{path} is damaged ({shortened(str(error))}). Restore it, or choose another folder; "
            "its members can still be used, each alone."
        ) from error


def refuse_candidates(run: Run) -> None:
    """Refuse a run with candidates where all of the runs that are trained count.

    Raises:
        ValueError: for such a run.
    """
    if run.candidates.values:
        raise ValueError(
            "expected a run without `candidates`, of which one would be chosen; got "
            f"{run.candidates.setting} with {_listed(run.candidates.values)}. Call "
            "priorwise.training.train_candidates, or set candidates.values=[]."
        )


def opened(folder: str | Path, run: Run, setting: str, values: Sequence[Value]) -> RunGroup:
    """The group of a folder: a new one, or the one that is there, with more values or epochs.

    Nothing is written. A group that grows has no choice any more, and a member whose folder is gone
    has no end. Whether the members can have these epochs is for them to say, see ``runner.check``.

    Arguments:
        folder: The folder; it may be missing.
        run: The run that the members share, see ``located``.
        setting: The setting in which they differ.
        values: Its values; those of the group that is there must be among them.

    Raises:
        RunFolderError: if the folder holds something else, or a group of other runs.
        OverrideError: if the run has no such setting.
        ValueError: for values that are equal, or that no folder can be named after.
    """
    folder = Path(folder)
    check_values(values)
    runs = {value: stored(override(run, [], {setting: value})) for value in values}
    earlier = read_group(folder) if is_group(folder) else None
    first = values[0] if earlier is None or earlier.values[0] not in runs else earlier.values[0]
    group = RunGroup(folder, runs[first].record(), setting, tuple(values))
    if earlier is None:
        _refuse_others(folder)
        return group
    return _continued(earlier, group)


def _refuse_others(folder: Path) -> None:
    """Refuse a folder for a new group that holds files."""
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"expected a folder for the group of runs; {folder} is a file.")
    entries = sorted(folder.iterdir()) if folder.exists() else []
    others = [entry.name for entry in entries if not entry.name.startswith(".")]
    if others:
        what = "a single run" if "run.json" in others else ", ".join(others[:3])
        raise RunFolderError(
            f"expected an empty folder or one of this group of runs; {folder} holds {what}. Choose "
            "another folder with --out."
        )


def _continued(earlier: RunGroup, group: RunGroup) -> RunGroup:
    """An earlier group with the values and epochs of the same group now."""
    where = f"{earlier.folder} holds another group of runs"
    advice = "Nothing in it was changed. Choose another folder with --out, or the settings of"
    if earlier.setting != group.setting:
        raise RunFolderError(
            f"{where}: they differ in {earlier.setting}, not in {group.setting}. {advice} the "
            "group that is there."
        )
    missing = [value for value in earlier.values if value not in group.values]
    if missing:
        raise RunFolderError(
            f"{where}: its values of {group.setting} are {_listed(earlier.values)}, now "
            f"{_listed(group.values)}. A group may grow but not shrink. {advice} the group that is "
            "there."
        )
    changed = differences({"run": earlier.run}, {"run": group.run})
    if changed and changed.keys() != {EPOCHS}:
        raise RunFolderError(f"{where}: {words_of(changed)}. {advice} the group that is there.")
    more = [value for value in group.values if value not in earlier.values]
    grown = bool(more) or bool(changed)
    return replace(
        group,
        values=(*earlier.values, *more),
        ends={
            name: replace(end, epochs=end.epochs or earlier.epochs_of(name))
            for name, end in earlier.ends.items()
            if earlier.holds(name)
        },
        choice=None if grown else earlier.choice,
    )


def _listed(values: Sequence[Value]) -> str:
    return ", ".join(map(str, values[:10])) + (" ..." if len(values) > 10 else "")


def one_run(folder: str | Path, *, show: bool = True) -> Path:
    """The folder of a single run: of a group, the chosen member, or else the first.

    Arguments:
        folder: A run, or a group of runs.
        show: Whether to say on standard error which member it is.

    Raises:
        RunFolderError: if the group has no member whose fit came to its end, or if its members are
            candidates of which none was chosen yet.
    """
    folder = Path(folder)
    if not is_group(folder):
        return folder
    group = read_group(folder)
    if group.choice is not None:
        member = folder / group.name_of(group.choice.value)
        say(f"{folder} is a group of runs; {member.name} was chosen: {group.choice.why}", show=show)
        return member
    if not group.repeats:
        raise RunFolderError(
            f"expected a group of runs of which one was chosen; the choice in {folder} is not made "
            "yet. Run `priorwise train` again, or name a member: "
            f"{', '.join(map(str, group.members.values()))}."
        )
    if not group.finished:
        raise RunFolderError(
            f"expected a group of runs with a member that was trained; {folder} has none: "
            + "; ".join(f"{name} {words}" for name, words in group.missing.items())
            + "."
        )
    member = next(iter(group.finished.values()))
    others = ", ".join(name for name in group.members if name != member.name)
    rest = f" Name another one for {others}." if others else ""
    say(f"{folder} is a group of runs; this is its first member, {member.name}.{rest}", show=show)
    return member
