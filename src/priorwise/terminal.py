"""Text for a terminal: what came from a file cannot steer it."""

import json
import sys
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

__all__ = ["print_json", "printable", "say", "show"]

_KEPT = "\n\t"
_STEERS = ("Cc", "Cs")  # control characters, and halves of characters
# Characters that reverse the order of those around them.
_REVERSES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""The text with its control characters written out, except for tabs and ends of lines.

    Names and messages may come from a file or a folder of anybody's. An escape code in them would
    recolour a terminal, rename its window, or hide what else is printed.

    Example:
        >>> print(printable("a\x1b[31m\udcff"))
        a\x1b[31m\udcff
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else _written_out(char) for char in text)


def _is_harmless(char: str) -> bool:
    return char in _KEPT or not (unicodedata.category(char) in _STEERS or char in _REVERSES)


def _written_out(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def say(text: str) -> None:
    """Print a message on standard error.

    If that cannot be written, as on a full disk, the work goes on.
    """
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


def show(text: str) -> None:
    """Print a result on standard output."""
    print(printable(text))


def print_json(record: Mapping[str, Any]) -> None:
    """Print plain data as one JSON object on standard output."""
    print(json.dumps(record))
