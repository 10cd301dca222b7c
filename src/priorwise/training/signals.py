"""Ctrl-C and termination requests, which take effect between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["catch_signals"]


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Let a step finish before Ctrl-C or a termination request takes effect.

    A second one takes effect at once.
    """
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # only the main thread may set handlers; here they stay as they are
        before = {}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
