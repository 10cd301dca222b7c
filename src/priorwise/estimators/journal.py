"""A file of finished parts, so that a long estimate can continue after it was interrupted."""

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from priorwise.checked_lines import (
    DamagedLineError,
    checked_line,
    is_checked,
    read_line,
    whole_lines,
)
from priorwise.reading import check_plain_file, read_plain, shortened
from priorwise.storage import append_line, content_hash, write_atomically
from priorwise.tilts import tensors_without_log_norms

__all__ = ["Journal", "fingerprint"]

_REMOVE = "Remove it, or name another file in `resume`."
_MOST_DIGITS = 20  # of an index
_LARGEST = 1e38  # nats; float32 has none beyond
_WORDS = {"of": "the hash of the model's tensors and the images"}
_ADVICE = "Make room and run it again: it continues after the last finished images."


def fingerprint(model: nn.Module, x: Tensor) -> str:
    """A short hash of what log weights depend on: the data and a model's tensors except log Z."""
    return content_hash({**tensors_without_log_norms(model), "x": x})


class Journal:
    """Lines of JSON: first the identity of the computation, then its finished entries.

    Each line is on the disk as soon as it is written.

    Arguments:
        path: The file.
        identity: The settings that the entries depend on.
        probe: A few of the numbers themselves, computed again at every start. They detect changes
            that no setting names, such as a scale that is not a parameter. They are compared up to
            rounding, so that another processor may continue.
        shape: The number of entries of the whole computation, and of values in each; None takes
            any.

    Raises:
        ValueError: if the file belongs to another computation.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, str | int],
        probe: Sequence[float] = (),
        *,
        shape: tuple[int, int] | None = None,
    ) -> None:
        self.path = path
        self.shape = shape
        self.identity = dict(identity)
        self.probe = [value if math.isfinite(value) else str(value) for value in probe]
        check_plain_file(path)
        if path.exists() and path.stat().st_size:
            self._check()
        else:
            self._write(self._header())

    def _header(self) -> dict[str, Any]:
        return {**self.identity, "probe": self.probe}

    def _check(self) -> None:
        content = read_plain(self.path)
        start = json.dumps(self.identity).encode()[:-1]
        # The process was killed while it wrote the first line.
        if b"\n" not in content and (start.startswith(content) or content.startswith(start)):
            os.truncate(self.path, 0)
            self._write(self._header())
            return
        lines = content.split(b"\n")
        try:
            header = read_line(lines[0])
        except DamagedLineError as error:
            raise ValueError(
                f"expected {self.path} to hold parts of this computation; got a file with "
                f"something else, or whose first line is damaged ({error}). {_REMOVE}"
            ) from None
        self._refuse_other(header)
        whole = b"\n".join(lines[:-1]) + b"\n" if lines[-1] else b"\n".join(lines)
        if len(whole) < self.path.stat().st_size:  # a kill cut off the last line
            os.truncate(self.path, len(whole))
        self._drop_damaged(lines[:-1])

    def _drop_damaged(self, lines: list[bytes]) -> None:
        """Remove damaged lines, with a warning; their entries are then computed again."""
        damaged = [number for number, line in enumerate(lines, start=1) if not self._holds(line)]
        damaged = [number for number in damaged if number > 1]  # the first one is no entry
        good = [line for number, line in enumerate(lines, start=1) if number not in damaged]
        if not all(map(is_checked, good)):
            warnings.warn(
                f"{self.path} has lines without a checksum, since an earlier version of priorwise "
                "wrote them: damage to their numbers would not be noticed.",
                stacklevel=6,
            )
        if not damaged:
            return
        warnings.warn(
            f"{self.path} is damaged in line {', '.join(map(str, damaged))}: those lines are "
            "removed, and what they held is computed again.",
            stacklevel=6,
        )
        write_atomically(self.path, b"".join(line + b"\n" for line in good), advice=_ADVICE)

    def _refuse_other(self, header: Mapping[str, Any]) -> None:
        changed = [
            f"{_WORDS.get(name, name[:40])} was {shortened(header.get(name))}, now "
            f"{self.identity.get(name)!r}"
            for name in sorted(header.keys() | self.identity.keys() - {"probe"})
            if name != "probe" and header.get(name) != self.identity.get(name)
        ]
        if changed:
            raise ValueError(
                f"expected {self.path} to hold parts of this computation; got parts of another "
                f"one: {'; '.join(changed[:8])}. {_REMOVE}"
            )
        if not _close(header.get("probe"), self.probe):
            raise ValueError(
                f"expected {self.path} to hold parts of this computation; the model has the same "
                "tensors but gives other numbers: a setting that is not a parameter differs (a "
                "scale, a function, a switch), or a part of the model draws other random numbers. "
                f"{_REMOVE}"
            )

    def read(self) -> dict[int, list[float]]:
        """All finished entries; of several for one index the first counts."""
        entries: dict[int, list[float]] = {}
        for line in whole_lines(self.path)[1:]:
            entries = {int(index): values for index, values in read_line(line).items()} | entries
        return entries

    def _holds(self, line: bytes) -> bool:
        """Whether a line is whole and holds the values of this computation's images."""
        shape = self.shape
        try:
            entries = read_line(line)
        except DamagedLineError:
            return False
        return all(
            index.isdecimal()
            and len(index) < _MOST_DIGITS
            and isinstance(values, list)
            and all(map(_is_log_weight, values))
            and (shape is None or (int(index) < shape[0] and len(values) == shape[1]))
            for index, values in entries.items()
        )

    def append(self, entries: Mapping[int, list[float]]) -> None:
        """Add finished entries."""
        self._write(entries)

    def _write(self, record: Mapping[str, Any] | Mapping[int, Any]) -> None:
        append_line(self.path, checked_line(record), advice=_ADVICE)


def _is_log_weight(value: object) -> bool:
    """Whether a value can be a logarithm, which is infinite for a probability of 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return not _LARGEST < abs(value) < math.inf


def _close(stored: object, now: Sequence[float | str]) -> bool:
    """Whether two probes have the same numbers up to rounding."""
    if not isinstance(stored, list) or len(stored) != len(now):
        return False
    return all(
        one == other
        if isinstance(one, str) or isinstance(other, str)
        else isinstance(one, (int, float)) and math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-3)
        for one, other in zip(stored, now, strict=True)
    )
