"""Progress bars on standard error, which can be switched off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

__all__ = ["Advance", "progress_bar", "sampling_watched", "tell", "tell_sampling"]

_SAMPLING: ContextVar[Callable[[float], None] | None] = ContextVar("sampling", default=None)


@runtime_checkable
class Advance(Protocol):
    """The call that moves a bar."""

    def __call__(self, amount: int | float = 1, *, status: str | None = None) -> None:
        """Move the bar on by ``amount``; ``status`` replaces the text at its end."""


def tell(report: Callable[[int], None] | None, count: int) -> None:
    """Report how many were just finished, if anybody asked."""
    if report is not None:
        report(count)


@contextmanager
def progress_bar(
    description: str,
    total: int | float,
    *,
    done: int | float = 0,
    unit: str = "",
    show: bool = True,
) -> Iterator[Advance]:
    """A bar with speed and time left.

    Arguments:
        description: The text at the start of the bar.
        total: The amount at the end of the bar.
        done: The amount that an earlier, interrupted run has done.
        unit: The unit of the speed; without it, no speed is shown.
        show: Whether to show the bar at all.
    """
    if not show:
        yield lambda amount=1, *, status=None: None
        return
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

        def advance(amount: int | float = 1, *, status: str | None = None) -> None:
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
