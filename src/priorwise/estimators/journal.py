"""A file of finished parts, so that a long estimate that was killed goes on where it stopped."""

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Journal", "fingerprint"]


def fingerprint(model: nn.Module, x: Tensor) -> str:
    """A short hash of a model's tensors and of the data: what a number was computed from."""
    digest = sha256()
    for name, tensor in sorted({**model.state_dict(), "x": x}.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class Journal:
    """Lines of JSON: first the identity of the computation, then finished entries, each line on the disk when it is written.

    Arguments:
        path: The file.
        identity: What the entries belong to.

    Raises:
        ValueError: if the file belongs to another computation.
    """

    def __init__(self, path: Path, identity: Mapping[str, str | int]) -> None:
        self.path = path
        self.identity = dict(identity)
        if path.exists() and path.stat().st_size:
            self._check()
        else:
            self._write(self.identity)

    def _check(self) -> None:
        content = self.path.read_bytes()
        if b"\n" not in content and self._line(self.identity).startswith(content):  # killed in the first line
            os.truncate(self.path, 0)
            self._write(self.identity)
            return
        lines = content.split(b"\n")
        try:
            found = json.loads(lines[0])
        except (json.JSONDecodeError, UnicodeDecodeError):
            found = None
        if found != self.identity:
            raise ValueError(
                f"expected {self.path} to hold parts of this computation; it holds another one's (another model, data, "
                "`samples` or `seed`). Remove it, or name another file in `resume`."
            )
        whole = b"\n".join(lines[:-1]) + b"\n" if lines[-1] else b"\n".join(lines)
        if len(whole) < self.path.stat().st_size:  # the last line was cut by a kill
            os.truncate(self.path, len(whole))

    def read(self) -> dict[int, list[float]]:
        """All finished entries."""
        entries: dict[int, list[float]] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines()[1:]:
            entries.update({int(index): values for index, values in json.loads(line).items()})
        return entries

    def append(self, entries: Mapping[int, list[float]]) -> None:
        """Add finished entries."""
        self._write(entries)

    def _line(self, record: Mapping[str, Any] | Mapping[int, Any]) -> bytes:
        return (json.dumps(dict(record)) + "\n").encode()

    def _write(self, record: Mapping[str, Any] | Mapping[int, Any]) -> None:
        with open(self.path, "ab") as file:  # a line is written by one call, so that processes do not mix theirs
            file.write(self._line(record))
            file.flush()
            os.fsync(file.fileno())
