"""Lines of JSON that each carry a checksum, so that a damaged or shortened line is noticed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from priorwise.reading import UnreadableError, check_plain_file, parse_json, refuse_large
from priorwise.storage import short_hash

__all__ = ["DamagedLineError", "checked_line", "is_checked", "read_line", "whole_lines"]

_KEY = ', "check": "'
_END = '"}'
_DIGITS = 16


class DamagedLineError(ValueError):
    """A line that is not what was written."""


def checked_line(record: Mapping[Any, Any]) -> str:
    """A record as one line of JSON, whose last entry ``check`` is a hash of all before it.

    Example:
        >>> checked_line({"epoch": 1})
        '{"epoch": 1, "check": "e1c108e267ec34cf"}'
    """
    text = json.dumps(dict(record))
    return f"{text[:-1]}{_KEY}{short_hash(text)}{_END}"


def is_checked(line: bytes) -> bool:
    """Whether a line carries a checksum; those that priorwise 0.1.0 wrote at first have none."""
    return line[-len(_END) - _DIGITS - len(_KEY) :].startswith(_KEY.encode())


def read_line(line: bytes) -> dict[str, Any]:
    """The record of a line, without its checksum.

    Raises:
        DamagedLineError: if the line is not whole, or does not agree with its checksum.
    """
    try:
        record = parse_json(line, "it")
    except UnreadableError:
        raise DamagedLineError("it is cut short or damaged") from None
    if not isinstance(record, dict):
        raise DamagedLineError("it is no record")
    if "check" not in record:
        return record
    text = line[: -len(_END) - _DIGITS - len(_KEY)] + b"}"
    if not is_checked(line) or record.pop("check") != short_hash(text):
        raise DamagedLineError("it does not agree with its checksum")
    return record


def whole_lines(path: Path, length: int | None = None) -> list[bytes]:
    """The lines of a file, or of its first ``length`` bytes; only a line feed ends a line.

    Raises:
        UnreadableError: if it is not a plain file, or too large.
        OSError: if the file cannot be read.
    """
    check_plain_file(path)
    refuse_large(path)
    with path.open("rb") as file:
        lines = file.read(-1 if length is None else length).split(b"\n")
    return lines if lines[-1] else lines[:-1]
