"""The rows of the report, its table and its JSON."""

import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.children import Cost
from benchmarks.timing import Figure

__all__ = ["Row", "machine", "memory_rows", "plain_row", "print_table", "row_of", "to_json"]

_FLAT = 1.1  # the largest ratio of two peaks that still counts as flat
_PRINTED_WIDTH = 160  # columns where the output is no terminal


@dataclass(frozen=True)
class Row:
    """One line of the report.

    Attributes:
        subject: The file that measured it.
        what: What was measured.
        value: The number; None where it could not be measured.
        unit: For example ``"images/s"``, or ``"x"`` for a ratio.
        low: The smallest value over the rounds.
        high: The largest value over the rounds.
        cpu: The same number by CPU time instead of wall time.
        clock: By which clock ``value`` is: ``"wall"``, or ``"cpu"`` where other processes disturbed
            the measurement.
        target: What it should reach, in words.
        met: Whether it does.
        note: What a reader has to know.
    """

    subject: str
    what: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    cpu: float | None = None
    clock: str | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


def row_of(
    subject: str,
    what: str,
    figure: Figure,
    unit: str,
    *,
    at_least: float | None = None,
    note: str = "",
) -> Row:
    """A row of a timed figure, held against a target by the clock that can be trusted."""
    trusted = figure.trusted
    return Row(
        subject,
        what,
        trusted.median,
        unit,
        low=trusted.low,
        high=trusted.high,
        cpu=figure.cpu.median,
        clock=figure.clock,
        target="" if at_least is None else f">= {at_least:g}",
        met=None if at_least is None else trusted.median >= at_least,
        note=note,
    )


def memory_rows(subject: str, title: str, unit: str, costs: Mapping[int, Cost]) -> list[Row]:
    """The peak memory at each count, and the ratio of the last to the first, which should be 1."""
    rows = [
        plain_row(
            subject,
            f"{title}, {count:,} {unit}",
            cost.peak,
            "MB",
            note=f"{cost.own:.0f} MB above torch and the model",
        )
        for count, cost in costs.items()
    ]
    if len(costs) < 2:
        return rows
    fewest, most = min(costs), max(costs)
    growth = costs[most].peak / costs[fewest].peak
    what = f"{title}, {most:,} / {fewest:,} {unit}"
    target = f"flat (<= {_FLAT:g})"
    return [*rows, plain_row(subject, what, growth, "x", target=target, met=growth <= _FLAT)]


def plain_row(subject: str, what: str, value: float | None, unit: str, **rest: Any) -> Row:  # noqa: ANN401 - Row's fields
    """A row that no clock measured."""
    return Row(subject, what, value, unit, **rest)


def machine() -> dict[str, str | int | float | list[float] | None]:
    """What the figures depend on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()]
        if hasattr(os, "getloadavg")
        else None,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def to_json(rows: Iterable[Row], **header: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON holds
    """One object that holds everything; numbers that are not finite become null."""
    return {
        **header,
        "rows": [{key: _finite(value) for key, value in asdict(row).items()} for row in rows],
    }


def _finite(value: Any) -> Any:  # noqa: ANN401 - a field of a row
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def _cells(row: Row) -> list[str]:
    verdict = {True: " [green]met[/]", False: " [red]missed[/]", None: ""}[row.met]
    return [
        row.what,
        "-" if row.value is None else f"{_number(row.value)} {row.unit}",
        "" if row.low is None else f"{_number(row.low)} - {_number(row.high)}",
        row.clock or "",
        _number(row.cpu),
        row.target + verdict,
        row.note,
    ]


def print_table(rows: Iterable[Row], header: dict[str, Any]) -> None:
    """The report as one table on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else _PRINTED_WIDTH)
    table = Table(title="priorwise benchmarks", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("range", justify="right", no_wrap=True, style="dim")
    table.add_column("clock")
    table.add_column("by CPU time", justify="right", style="dim")
    table.add_column("target")
    table.add_column("note", style="dim")
    before = ""
    for row in rows:
        if row.subject != before:
            table.add_section()
            table.add_row(f"[bold]{row.subject}[/]")
        table.add_row(*_cells(row))
        before = row.subject
    console.print(table)
    console.print(
        "Medians and ranges over rounds. clock: wall time, or this process's CPU time (all "
        "threads together) where others used the machine.",
        style="dim",
    )
    for name, value in header.items():
        console.print(f"{name}: {value}", style="dim", highlight=False)
