"""The folder of a run: its files, and whether it belongs to the run at hand.

- ``run.json``: the whole configuration of the run, and the versions that it ran with
- ``metrics.jsonl``: one line per validation
- ``last.safetensors``: the last checkpoint of the fit, with model, optimisers and progress
- ``best.safetensors``: the model with the best validation
"""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from priorwise.checked_lines import (
    DamagedLineError,
    checked_line,
    is_checked,
    read_line,
    whole_lines,
)
from priorwise.reading import UnreadableError, read_json
from priorwise.storage import append_line, write_atomically
from priorwise.training.lines import fault_of
from priorwise.training.run_identity import EPOCHS, differences, is_extension, name_of, words_of

__all__ = [
    "GOES_ON",
    "GROUP",
    "RunFolder",
    "RunFolderError",
    "changes_of",
    "read_record",
    "refuse_strangers",
]

GROUP = "group.json"
"""The record of a group of runs, whose folder holds those of its members, see ``run_group``."""

GOES_ON = "Make room and run the same command again: it goes on from the last checkpoint."
"""What to do when a file of a fit cannot be written to the disk."""
_NO_VERSION = ("data", "extended")
"""What ``about`` says besides versions, code and machine."""


class RunFolderError(ValueError):
    """A folder that cannot take this run."""


class RunFolder:
    """The folder of one run.

    Arguments:
        path: The folder; it is created if missing.
        identity: The record that defines the run. A folder with another identity is refused, and
            nothing in it is changed. The same run with more epochs is an extension; ``settle``
            records it.
        about: Further facts that are recorded but may differ on a resume, such as versions;
            ``data`` describes the data in words.

    Attributes:
        name: 16 hexadecimal digits that stand for the run, see ``run_identity.name_of``.
        extended: The epochs of the run so far, and from now on; None if they are the same.

    Raises:
        RunFolderError: if the folder holds another run, or holds files but no run.
    """

    def __init__(
        self, path: str | Path, identity: Mapping[str, Any], about: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(path)
        self.last = self.path / "last.safetensors"
        self.best = self.path / "best.safetensors"
        self.metrics = self.path / "metrics.jsonl"
        self.extended: tuple[int, int] | None = None
        self._record = self.path / "run.json"
        self._unsettled: dict[str, Any] | None = None
        self._open(json.loads(json.dumps(identity)), dict(about or {}))

    def _open(self, identity: dict[str, Any], about: dict[str, Any]) -> None:
        refuse_strangers(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._record.exists():
            self.name = name_of(identity)
            self._write({"identity": identity, "about": about})
            return
        stored = read_record(self._record)
        about_before = stored.get("about", {})
        self.name = name_of(stored["identity"])
        changed = changes_of(self.path, stored, identity, about)
        self._warn_of_changes(about_before, about)
        self.extended = changed.get(EPOCHS)
        # without options that an earlier version did not know: they would change the name
        known = _with_values_of(stored["identity"], identity)
        if known != stored["identity"]:
            self._unsettled = {**stored, "identity": known, "about": about_before}

    def settle(self, step: int) -> None:
        """Record what has changed and may change: more epochs, and where the data lie now.

        Arguments:
            step: The step from which the fit goes on.
        """
        if self._unsettled is None:
            return
        about = self._unsettled["about"]
        if self.extended is not None:
            before, now = self.extended
            extension = {"epochs_before": before, "epochs": now, "from_step": step}
            about = about | {"extended": [*about.get("extended", []), extension]}
        self._write(self._unsettled | {"about": about})
        self._unsettled = None

    def warn_if_lost(self) -> None:
        """Say that somebody removed or moved the folder, or its record, during the fit."""
        if not self._record.is_file():
            warnings.warn(
                f"{self._record} is gone: somebody removed or moved it while this run was trained, "
                "so the folder cannot be read back. Put it back from a backup, or move the files "
                "of this run to where it is now.",
                stacklevel=4,
            )

    def _write(self, record: Mapping[str, Any]) -> None:
        write_atomically(self._record, json.dumps(record, indent=2).encode(), advice=GOES_ON)

    def _warn_of_changes(self, stored: dict[str, Any], about: dict[str, Any]) -> None:
        differing = [
            f"{name[:40]} was {str(stored[name])[:80]}, now {about.get(name)}"
            for name in stored
            if name not in _NO_VERSION and stored[name] != about.get(name)
        ]
        if differing:
            warnings.warn(
                f"{self.path} was started with other versions or code, or on another machine "
                f"({'; '.join(differing[:8])}): the run goes on, but it equals an unbroken run "
                "bit for bit only with the same versions, code, processor kind and thread count.",
                stacklevel=5,
            )

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Append one line and flush it to the disk."""
        append_line(self.metrics, checked_line(line), advice=GOES_ON)

    def metrics_bytes(self) -> int:
        """The length of the metrics file, which each checkpoint stores."""
        return self.metrics.stat().st_size if self.metrics.exists() else 0

    def cut_metrics(self, length: int) -> None:
        """Drop the lines that were written after the checkpoint of a resume.

        The resumed run writes them again.

        Raises:
            RunFolderError: if the lines before the checkpoint are not all there and whole. Nothing
                is changed then.
        """
        if self.metrics_bytes() < length:
            raise RunFolderError(
                f"{self.metrics} is cut short: when the last checkpoint was written it had "
                f"{length} bytes, and it has {self.metrics_bytes()}. {_RESTORE}"
            )
        self.read_metrics(length)
        if self.metrics_bytes() > length:
            os.truncate(self.metrics, length)

    def read_metrics(self, length: int | None = None) -> list[dict[str, Any]]:
        """All lines so far, or those in the first ``length`` bytes.

        Raises:
            RunFolderError: if a line is damaged; the message says which.
        """
        if not self.metrics.exists():
            return []
        try:
            lines = whole_lines(self.metrics, length)
        except UnreadableError as error:
            raise RunFolderError(str(error)) from error
        records = []
        for number, line in enumerate(lines, start=1):
            try:
                records.append(_metrics_in(line))
            except DamagedLineError as error:
                raise RunFolderError(
                    f"line {number} of {self.metrics} is damaged: {error}. {_RESTORE}"
                ) from None
        if not all(map(is_checked, lines)):
            warnings.warn(
                f"{self.metrics} has lines without a checksum, since an earlier version of "
                "priorwise wrote them: damage to their numbers would not be noticed.",
                stacklevel=4,
            )
        return records


_RESTORE = (
    "Nothing was trained. Restore the file from a backup, or start the run again in another "
    "folder; the weights of this one can still be evaluated."
)


def _metrics_in(line: bytes) -> dict[str, Any]:
    """The record of a line of metrics, with the fields that such a line has."""
    record = read_line(line)
    fault = fault_of(record)
    if fault:
        raise DamagedLineError(fault)
    return record


def _with_values_of(stored: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """A nested record with the values of another one, but with its own names."""
    return {
        name: _with_values_of(value, now[name])
        if isinstance(value, Mapping) and isinstance(now.get(name), Mapping)
        else now.get(name, value)
        for name, value in stored.items()
    }


def changes_of(
    path: Path, stored: Mapping[str, Any], identity: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """What an extension changes in the run of a folder; empty if nothing.

    Arguments:
        path: The folder.
        stored: Its record.
        identity: The record that defines the run now.
        about: Its ``data`` describes the data of the run now in words.

    Raises:
        RunFolderError: if it is another run.
    """
    changed = differences(stored["identity"], identity)
    if changed and not is_extension(changed):
        words = words_of(changed, stored["about"].get("data", ""), about.get("data", ""))
        raise RunFolderError(
            f"{path} holds another run: {words}. Nothing in it was changed. Choose "
            "another folder with --out, or the settings of the run that is there."
        )
    return changed


def refuse_strangers(path: Path) -> None:
    """Refuse a folder for a run that holds other files, and a file in its place.

    Raises:
        RunFolderError: in these cases.
    """
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"expected a folder for the run; {path} is a file.")
    if not path.exists() or (path / "run.json").exists():
        return
    if (path / GROUP).exists():
        raise RunFolderError(
            f"expected the folder of a single run; {path} holds a group of runs. Choose another "
            "folder, or one of its members."
        )
    other_files = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if other_files:
        raise RunFolderError(
            f"expected an empty folder or one of this run; {path} holds "
            f"{', '.join(other_files[:3])}. Choose another folder with --out."
        )


def _first_member(group: Path) -> Path:
    """The folder of the first member that has been started, to name it; else any."""
    return min((record.parent for record in group.glob("*/run.json")), default=group / "MEMBER")


def read_record(path: Path) -> dict[str, Any]:
    """The contents of a ``run.json``.

    Raises:
        RunFolderError: if there is none, or it is damaged.
    """
    if not path.is_file():
        group = path.with_name(GROUP).is_file()
        raise RunFolderError(
            f"expected the folder of a single run; {path.parent} holds a group of runs. Name one "
            f"of its members, such as {_first_member(path.parent)}."
            if group
            else f"expected a run folder with run.json; there is none at {path.parent}."
        )
    try:
        record = read_json(path)
    except UnreadableError as error:
        raise RunFolderError(f"{error} Restore it, or choose another folder.") from error
    record = record | {"about": record.get("about", {})} if isinstance(record, dict) else {}
    if not all(isinstance(record.get(name), dict) for name in ("identity", "about")):
        raise RunFolderError(
            f"{path} is damaged (it has no `identity`, or an `about` of another kind). Restore it, "
            "or choose another folder."
        )
    return record
