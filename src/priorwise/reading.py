"""Files from elsewhere, read with care: plain files only, and JSON of bounded size and depth."""

import json
import reprlib
import stat
from pathlib import Path
from typing import Any

__all__ = [
    "LARGEST_TEXT",
    "UnreadableError",
    "check_plain_file",
    "parse_json",
    "read_json",
    "read_plain",
    "reason",
    "refuse_large",
    "shortened",
]

LARGEST_TEXT = 2**28
"""Bytes of the largest file of text that is read, 256 MiB."""

_DEEPEST = 100  # brackets within brackets
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


class UnreadableError(ValueError):
    """A file that is not plain, too large, or not what it should be."""


def shortened(value: object, *, characters: int = 120) -> str:
    """The ``repr`` of a value, cut in the middle if it is long.

    Example:
        >>> shortened("a" * 1000, characters=20)
        "'aaaaaa...aaaaaaa'"
    """
    # Long values are cut before their `repr` is made, which might be large.
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = characters
    short.maxlevel, short.maxlist, short.maxtuple, short.maxdict = 3, 5, 5, 5
    text = short.repr(value)
    if len(text) <= characters:
        return text
    half = (characters - 3) // 2
    return f"{text[:half]}...{text[half - characters + 3 :]}"


def reason(error: BaseException) -> str:
    """What an error says, on one short line; its kind if it says nothing.

    Example:
        >>> reason(EOFError())
        'EOFError'
    """
    return shortened(str(error) or type(error).__name__, characters=200)[1:-1]


def check_plain_file(path: Path) -> None:
    """Refuse what is at ``path`` unless it is a plain file; nothing at all is accepted.

    Opening a pipe would wait for its other end, and some devices never end.

    Raises:
        UnreadableError: for a folder, a pipe, a device or a socket.
    """
    if not path.exists() or path.is_file():
        return
    mode = path.stat().st_mode
    kind = next((words for test, words in _KINDS if test(mode)), "something else")
    raise UnreadableError(
        f"expected a plain file at {path}; it is {kind}. Remove it, or choose another file."
    )


def read_plain(path: Path, *, at_most: int = LARGEST_TEXT) -> bytes:
    """The content of a plain file.

    Raises:
        UnreadableError: if it is not a plain file, or has more than ``at_most`` bytes.
        FileNotFoundError: if there is none.
    """
    check_plain_file(path)
    refuse_large(path, at_most=at_most)
    return path.read_bytes()


def refuse_large(path: Path, *, at_most: int = LARGEST_TEXT) -> None:
    """Refuse a file that is larger than any that is read.

    Raises:
        UnreadableError: if it has more than ``at_most`` bytes.
        FileNotFoundError: if there is none.
    """
    size = path.stat().st_size
    if size > at_most:
        raise UnreadableError(
            f"expected at most {at_most / 2**20:,.0f} MiB in {path}; it has {size / 2**20:,.0f}."
        )


def parse_json(content: bytes | str, source: str | Path) -> Any:  # noqa: ANN401 - any JSON value
    """The value that JSON stands for.

    Arguments:
        content: The JSON.
        source: Where it comes from, for the message.

    Raises:
        UnreadableError: if it is not JSON, is nested too deeply, or holds half characters.
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
        value = json.loads(text)
        if _is_deep(value):
            raise RecursionError
        # A lone surrogate is half a character: it could neither be printed nor written again.
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise UnreadableError(f"{source} is damaged (it is nested too deeply).") from error
    except ValueError as error:
        reason = str(error).partition(": '")[0][:200]
        raise UnreadableError(f"{source} is damaged ({reason}).") from error
    return value


def _is_deep(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether brackets are nested more deeply than what walks through records can follow."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            entry
            for holder in level
            if isinstance(holder, (dict, list))
            for entry in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return False
    return True


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """The value in a plain file of JSON.

    Raises:
        UnreadableError: as ``read_plain`` and ``parse_json``.
        FileNotFoundError: if there is no such file.
    """
    return parse_json(read_plain(path), path)
