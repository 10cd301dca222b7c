"""How the command ends when it cannot go on: one message, and never a traceback unasked."""

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from priorwise.interrupts import INTERRUPTED
from priorwise.reading import shortened
from priorwise.terminal import say

__all__ = ["TRACEBACK", "Interruptible", "ends_in_words"]

TRACEBACK = "PRIORWISE_TRACEBACK"
"""If this variable is set, errors of the library itself end with Python's traceback."""

_FULL = (
    "the memory is full. Take smaller data, a smaller model, smaller batches "
    "(training.batch_size), or fewer samples, draws or steps (--count, --draws, --proposals)."
)
_LONGEST = 2000  # characters of a message
_RESUMABLE = ("demo", "train", "evaluate", "report")
"""The commands that go on where they were; the others start over."""


class Interruptible(typer.core.TyperGroup):
    """Commands that say something when Ctrl-C ends them; typer's own end silently."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer keeps its types to itself
        """Run a command.

        Raises:
            Exit: with 130, if Ctrl-C ended it.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            goes_on = ctx.invoked_subcommand in _RESUMABLE
            say(f"stopped; run the same command again{' to continue' if goes_on else ''}.")
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def ends_in_words() -> Iterator[None]:
    """Turn what the block raises into a message on standard error and an exit code.

    A user's mistake ends with 2, an interruption with 130. Any other error is a bug of priorwise:
    it ends with 1, and the message says how to report it.
    """
    for stream in (sys.stdout, sys.stderr):
        _take_any_character(stream)
    with _warnings_in_one_line():
        try:
            yield
        except (ValueError, TypeError, ArithmeticError, OSError, ImportError) as error:
            _refuse(error)
        except MemoryError as error:
            _refuse(error, _FULL)
        except KeyboardInterrupt:
            say("stopped; run the same command again.")
            sys.exit(INTERRUPTED)
        except Exception as error:  # the last line of defence: each case that comes here is a bug
            if isinstance(error, RuntimeError) and "allocate" in str(error):  # torch's words
                _refuse(error, _FULL)
            if os.environ.get(TRACEBACK):
                raise
            say(
                f"error: {type(error).__name__}: {shortened(str(error), characters=300)}\n"
                f"This is a bug of priorwise. Please report it with what {TRACEBACK}=1 prints "
                "before the same command."
            )
            sys.exit(1)


def _take_any_character(stream: object) -> None:
    """Write out what the encoding of the terminal lacks, instead of failing at it."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _refuse(error: BaseException, words: str = "") -> None:
    from priorwise.config.own_code import where_in_own_code

    where = where_in_own_code(error)
    text = words or str(error)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    say(f"error: {text}" + (f"\nin your own code:\n{where}" if where else ""))
    sys.exit(2)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Warnings without the path and the line of the library's code."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: object = None,
        line: str | None = None,
    ) -> None:
        say(f"warning: {str(message)[:_LONGEST]}")

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
