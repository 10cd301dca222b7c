"""Groups of runs: a folder of ordinary run folders that differ in one setting.

- ``group.json``: the run that all of them share, the setting in which they differ, its values, what
  became of each member, and which member was chosen, if one was
- ``seed-14``, ``seed-15``, ...: a run folder for each value, named after setting and value

Several seeds of a run are a group, and so are several sizes of which one is chosen. Each member is
a complete run folder, so every command can read it alone. Nothing here needs torch.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from priorwise.config.overrides import OverrideError, override, validated
from priorwise.config.own_parts import NamedCode, stored, with_code
from priorwise.config.run import Run
from priorwise.progress import say
from priorwise.reading import UnreadableError, read_json, shortened
from priorwise.storage import write_atomically
from priorwise.training.folder import GOES_ON, GROUP, RunFolderError
from priorwise.training.run_identity import differences, is_extension, words_of

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
Value: TypeAlias = str | int
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_SETTING = re.compile(r"\w+(\.\w+)*")


@dataclass(frozen=True)
class End:
    """What became of a member.

    Attributes:
        state: Whether its fit came to its end, or diverged.
        words: Why it diverged.
    """

    state: Literal["finished", "diverged"]
    words: str = ""


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
        """The members whose fits came to their end."""
        return {name: path for name, path in self.members.items() if self._is(name, "finished")}

    @property
    def missing(self) -> dict[str, str]:
        """Why each of the other members has no result, in words."""
        return {
            name: f"diverged: {self.ends[name].words}"
            if self._is(name, "diverged")
            else "is not trained to its end; run `priorwise train` again"
            for name in self.members
            if not self._is(name, "finished")
        }

    def _is(self, name: str, state: str) -> bool:
        return name in self.ends and self.ends[name].state == state

    def name_of(self, value: Value) -> str:
        """The name of the member with a value of the setting."""
        return f"{self.setting.rpartition('.')[2]}-{value}"

    def run_of(self, value: Value, code: NamedCode | None = None) -> Run:
        """The run of the member with a value of the setting.

        Raises:
            RunFolderError: if the record is damaged, or the value does not fit.
            OwnCodeError: if the run needs code that ``code`` does not name.
        """
        try:
            run = override(validated(self.run), [], {self.setting: value})
        except OverrideError as error:
            raise RunFolderError(f"{self.folder / GROUP} cannot be read: {error}") from error
        return with_code(run, code, self.folder)

    def with_end(self, name: str, end: End) -> "RunGroup":
        """The group in which a member came to its end."""
        return replace(self, ends={**self.ends, name: end})

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
        _check(record)
        return RunGroup(
            Path(folder),
            record["run"],
            record["setting"],
            tuple(record["values"]),
            {name: End(**end) for name, end in record["ends"].items()},
            None if record["choice"] is None else Choice(**record["choice"]),
        )
    except UnreadableError as error:
        raise RunFolderError(f"{error} Restore it, or choose another folder.") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunFolderError(
            f"{path} is damaged ({shortened(str(error))}). Restore it, or choose another folder; "
            "its members can still be used, each alone."
        ) from error


def _check(record: Mapping[str, Any]) -> None:
    """Refuse a record that is not of the kinds that are written.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: for such a record.
    """
    _check_values(record["values"])
    if not isinstance(record["run"], dict) or not _SETTING.fullmatch(record["setting"]):
        raise ValueError("`run` or `setting` is of another kind")
    for end in record["ends"].values():
        if end["state"] not in ("finished", "diverged") or not isinstance(end["words"], str):
            raise ValueError("`ends` is of another kind")
    choice = record["choice"]
    if choice is None:
        return
    if choice["value"] not in record["values"] or not isinstance(choice["why"], str):
        raise ValueError("`choice` is no member")
    if not isinstance(choice["numbers"], dict):
        raise ValueError("the numbers of `choice` are of another kind")


def _check_values(values: Sequence[Value]) -> None:
    """Refuse values that are equal, or that no folder can be named after.

    Raises:
        ValueError: for such values.
    """
    for value in values:
        plain = isinstance(value, str | int) and not isinstance(value, bool)
        if not plain or not _PLAIN.fullmatch(str(value)):
            raise ValueError(
                "expected `values` as numbers or plain words, since folders are named after them; "
                f"got {shortened(value)}."
            )
    if not values or len(set(map(str, values))) < len(values):
        raise ValueError(f"expected `values` that differ, at least one; got {shortened(values)}.")


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

    Nothing is written. A group that grows has no choice any more, and with more epochs none of its
    members is at its end.

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
    _check_values(values)
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
    extended = is_extension(changed)
    if changed and not extended:
        raise RunFolderError(f"{where}: {words_of(changed)}. {advice} the group that is there.")
    more = [value for value in group.values if value not in earlier.values]
    grown = bool(more) or extended
    return replace(
        group,
        values=(*earlier.values, *more),
        ends={} if extended else earlier.ends,
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
