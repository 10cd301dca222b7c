"""Progress on standard error, as a bar, lines or words; it can be switched off."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

from priorwise import terminal

__all__ = ["Advance", "progress_bar", "sampling_watched", "say", "tell", "tell_sampling"]


_SAMPLING: ContextVar[Callable[[float], None] | None] = ContextVar("sampling", default=None)
_SECONDS = 30.0
"""Where there is no terminal: seconds after which a line says how far a loop has come."""


@runtime_checkable
class Advance(Protocol):
    """The call that moves a bar."""

    def __call__(
        self, amount: int | float = 1, *, status: str | None = None, milestone: bool = False
    ) -> None:
        """Move the bar on.

        Arguments:
            amount: By how much.
            status: Replaces the text at the end of the bar.
            milestone: Whether the status deserves a line where there is no terminal.
        """


def tell(report: Callable[[int], None] | None, count: int) -> None:
    """Report how many were just finished, if anybody asked."""
    if report is not None:
        report(count)


def say(text: str, *, show: bool = True) -> None:
    """Say something on standard error."""
    if show:
        terminal.say(text)


@contextmanager
def progress_bar(
    description: str,
    total: int | float,
    *,
    done: int | float = 0,
    unit: str = "",
    show: bool = True,
) -> Iterator[Advance]:
    """A bar with speed and time left; lines where standard error is no terminal.

    There, each milestone is a line, and after 30 seconds without one a line says how far the loop
    has come.

    Arguments:
        description: The text at the start of the bar.
        total: The amount at the end of the bar.
        done: The amount that an earlier, interrupted run has done.
        unit: The unit of the speed; without it, no speed is shown.
        show: Whether to show anything at all.
    """
    if not show:
        yield lambda amount=1, *, status=None, milestone=False: None
    elif _draws_bars():
        with _bar(description, total, done, unit) as advance:
            yield advance
    else:
        yield _Lines(description, total, done, unit)


def _draws_bars() -> bool:
    """Whether standard error is a terminal that can redraw a line, or we are in a notebook."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_jupyter or (sys.stderr.isatty() and not console.is_dumb_terminal)


class _Lines:
    """Progress as lines on standard error, for log files."""

    def __init__(self, description: str, total: int | float, done: int | float, unit: str) -> None:
        self.description = description
        self.total = total
        self.done = self.start = done
        self.unit = unit
        self.status = ""
        self.started = self.said = time.monotonic()

    def __call__(
        self, amount: int | float = 1, *, status: str | None = None, milestone: bool = False
    ) -> None:
        self.done += amount
        self.status = self.status if status is None else status
        now = time.monotonic()
        if milestone or now - self.said >= _SECONDS:
            self.said = now
            say(f"{self.description}: {self._words(now, milestone)}")

    def _words(self, now: float, milestone: bool) -> str:  # noqa: FBT001 - a private helper
        amount = f"{self.done:,.0f} of {self.total:,.0f} {self.unit}".rstrip()
        parts = [self.status] if milestone else [amount, self.status]
        if self.start < self.done < self.total:
            left = (now - self.started) * (self.total - self.done) / (self.done - self.start)
            parts.append(f"about {left:.0f} s left")
        return "; ".join(part for part in parts if part)


@contextmanager
def _bar(description: str, total: int | float, done: int | float, unit: str) -> Iterator[Advance]:
    """The bar of a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f} {unit}/s" if unit and task.speed else "", style="cyan")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%"),
        Speed(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", style="dim", table_column=Column(no_wrap=True)),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task(description, total=total, status="")
        bar.update(task, completed=done)

        def advance(
            amount: int | float = 1, *, status: str | None = None, milestone: bool = False
        ) -> None:
            if status is None:
                bar.update(task, advance=amount)
            else:
                bar.update(task, advance=amount, status=status)

        yield advance


@contextmanager
def sampling_watched(report: Callable[[float], None]) -> Iterator[None]:
    """Report how much of its work each call of a sampler has done: parts that add up to 1.

    Arguments:
        report: Called with each part.
    """
    token = _SAMPLING.set(report)
    try:
        yield
    finally:
        _SAMPLING.reset(token)


def tell_sampling(part: float) -> None:
    """Report the part of a sampler's call that was just done, if anybody watches."""
    report = _SAMPLING.get()
    if report is not None:
        report(part)
