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

from priorwise.reading import UnreadableError, parse_json, read_json, read_plain, shortened
from priorwise.storage import append_line, write_atomically

__all__ = ["GOES_ON", "RunFolder", "RunFolderError", "read_record"]

GOES_ON = "Make room and run the same command again: it goes on from the last checkpoint."
"""What to do when a file of a fit cannot be written to the disk."""


class RunFolderError(ValueError):
    """A folder that cannot take this run."""


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


class RunFolder:
    """The folder of one run.

    Arguments:
        path: The folder; it is created if missing.
        identity: The record that defines the run. A folder with another identity is refused, and
            nothing in it is changed.
        about: Further facts that are recorded but may differ on a resume, such as versions.

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
        self._open(json.loads(json.dumps(identity)), dict(about or {}))

    def _open(self, identity: dict[str, Any], about: dict[str, Any]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"expected a folder for the run; {self.path} is a file.")
        self.path.mkdir(parents=True, exist_ok=True)
        record = self.path / "run.json"
        if record.exists():
            stored = read_record(record)
            self._refuse_other(stored["identity"], identity)
            self._warn_of_changes(stored["about"], about)
            return
        other_files = sorted(
            entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")
        )
        if other_files:
            raise RunFolderError(
                f"expected an empty folder or one of this run; {self.path} holds "
                f"{', '.join(other_files[:3])}. Choose another folder with --out."
            )
        text = json.dumps({"identity": identity, "about": about}, indent=2)
        write_atomically(record, text.encode(), advice=GOES_ON)

    def _refuse_other(self, stored: dict[str, Any], identity: dict[str, Any]) -> None:
        before, now = _flat(stored), _flat(identity)
        fields = sorted(
            name for name in before.keys() | now.keys() if before.get(name) != now.get(name)
        )
        if fields:
            differences = "; ".join(
                f"{name} was {shortened(before.get(name))}, now {shortened(now.get(name))}"
                for name in fields[:4]
            )
            raise RunFolderError(
                f"{self.path} holds another run: {differences}{' ...' if len(fields) > 4 else ''}. "
                "Nothing in it was changed. Choose another folder with --out, or the settings of "
                "the run that is there."
            )

    def _warn_of_changes(self, stored: dict[str, Any], about: dict[str, Any]) -> None:
        differences = [
            f"{name[:40]} was {str(stored[name])[:80]}, now {about.get(name)}"
            for name in stored
            if stored[name] != about.get(name)
        ]
        if differences:
            warnings.warn(
                f"{self.path} was started with other versions or code, or on another machine "
                f"({'; '.join(differences[:8])}): the run goes on, but it equals an unbroken "
                "run bit for bit only with the same versions, code, processor kind and thread "
                "count.",
                stacklevel=5,
            )

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Append one line and flush it to the disk."""
        append_line(self.metrics, json.dumps(line), advice=GOES_ON)

    def metrics_bytes(self) -> int:
        """The length of the metrics file, which each checkpoint stores."""
        return self.metrics.stat().st_size if self.metrics.exists() else 0

    def cut_metrics(self, length: int) -> None:
        """Drop the lines that were written after the checkpoint of a resume.

        The resumed run writes them again.
        """
        if self.metrics_bytes() > length:
            os.truncate(self.metrics, length)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines so far."""
        if not self.metrics.exists():
            return []
        return [parse_json(line, self.metrics) for line in read_plain(self.metrics).splitlines()]


def read_record(path: Path) -> dict[str, Any]:
    """The contents of a ``run.json``.

    Raises:
        RunFolderError: if there is none, or it is damaged.
    """
    if not path.is_file():
        raise RunFolderError(
            f"expected a run folder with run.json; there is none at {path.parent}."
        )
    try:
        record = read_json(path)
    except UnreadableError as error:
        raise RunFolderError(f"{error} Restore it, or choose another folder.") from error
    record = {"about": {}} | record if isinstance(record, dict) else {}
    if not all(isinstance(record.get(name), dict) for name in ("identity", "about")):
        raise RunFolderError(
            f"{path} is damaged (it has no `identity`, or an `about` of another kind). Restore it, "
            "or choose another folder."
        )
    return record
