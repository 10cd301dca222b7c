"""Ctrl-C while somebody else's code runs: packages that are imported, and those that swallow it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["INTERRUPTED", "interruptible_imports", "kept_interrupts"]

INTERRUPTED = 130
"""What a command returns that was ended by Ctrl-C."""


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` at the end of the block if the block swallowed one.

    scikit-learn's networks, for example, catch it, warn, and return what they have until then,
    which would be taken for the result.
    """
    before = signal.getsignal(signal.SIGINT)
    raised: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        assert callable(before)
        try:
            before(number, frame)
        except KeyboardInterrupt:
            raised.append(number)
            raise

    if not callable(before) or not _set(note):
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if raised:
        raise KeyboardInterrupt


@contextmanager
def interruptible_imports() -> Iterator[None]:
    """Let Ctrl-C end this process quietly wherever the block imports a package.

    An exception would come out of a half-imported package with a long traceback, or be lost there:
    importing torch takes seconds and catches some of them. Elsewhere Ctrl-C raises
    ``KeyboardInterrupt`` as always.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or not _set(_leave_imports):
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave_imports(number: int, frame: FrameType | None) -> None:
    outer = frame
    while outer is not None:
        if outer.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(INTERRUPTED)
        outer = outer.f_back
    signal.default_int_handler(number, frame)


def _set(handler: "signal._HANDLER") -> bool:
    """Set the handler of Ctrl-C; only the main thread may, and only it sees the exception."""
    try:
        signal.signal(signal.SIGINT, handler)
    except ValueError:
        return False
    return True
