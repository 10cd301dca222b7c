"""The tables of a report as plain data, and as text in a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from priorwise.evaluation import QUANTITIES, Cell, EvaluationRecord
from priorwise.evaluation.quantity import error_words, number_words
from priorwise.reporting.entries import Entry
from priorwise.terminal import printable

__all__ = [
    "contrast_table",
    "glossary",
    "plain_cell",
    "print_table",
    "record_lines",
    "summary_table",
]

_GAIN = (
    "How many nats the NLL is lower than that of the first model; positive is better. The two are "
    "compared image by image, so it is usually far more certain than either NLL."
)


def glossary(titles: Sequence[str]) -> dict[str, str]:
    """The meaning of each row of a table, by its title."""
    meanings: dict[str, str] = {"gain": _GAIN}
    for quantity in QUANTITIES:
        meanings |= quantity.meanings
    return {title: meanings[title] for title in titles}


def summary_table(entries: Sequence[Entry]) -> dict[str, Any]:
    """One row for each number, one column for each model: ``columns`` and ``rows`` of cells."""
    columns = [entry.cells() for entry in entries]
    order = [title for quantity in QUANTITIES for title in quantity.meanings]
    order.insert(order.index("NLL") + 1, "gain")
    compared = len(entries) > 1
    titles = [
        title
        for title in order
        if any(title in cells for cells in columns) and (compared or title != "gain")
    ]
    return {
        "columns": [{"model": entry.name, "about": entry.about} for entry in entries],
        "rows": [
            {
                "title": title,
                "cells": [plain_cell(cells.get(title, Cell("-"))) for cells in columns],
            }
            for title in titles
        ],
    }


def plain_cell(cell: Cell) -> dict[str, Any]:
    """A cell as plain data, with the mark of its doubts."""
    return asdict(cell) | {
        "text": cell.marked,
        "small": list(cell.small),
        "doubts": list(cell.doubts),
    }


_CONTRAST_TITLES = ("BCE (sum)", "BCE (mean)", "JSD", "E_p[r]", "ESS of SIR")


def contrast_table(entries: Sequence[Entry]) -> dict[str, Any]:
    """The results of the classifiers, one column for each model and latent group."""
    columns, cells = [], []
    for entry in entries:
        groups, about = entry.number("contrast"), "the NCP's own classifier"
        if groups is None:
            groups, about = entry.number("hole"), "a classifier fitted for this report"
        for group in groups or []:
            columns.append({"model": f"{entry.name}, group {group['group']}", "about": about})
            cells.append(_contrast_cells(group))
    rows = [
        {"title": title, "cells": [plain_cell(column[place]) for column in cells]}
        for place, title in enumerate(_CONTRAST_TITLES)
    ]
    return {"columns": columns, "rows": rows if columns else []}


def _contrast_cells(group: Mapping[str, Any]) -> list[Cell]:
    half = None if group["bce_stderr"] is None else group["bce_stderr"] / 2
    sizes = ", ".join(
        f"{number_words(size, 0)} of {proposals}" for proposals, size in group["ess"].items()
    )
    return [
        Cell(number_words(group["bce"], 3), (error_words(group["bce_stderr"], 3),)),
        Cell(number_words(group["bce_mean"], 3), (error_words(half, 3),)),
        Cell(number_words(group["jsd"], 3), (error_words(half, 3),)),
        Cell(number_words(group["calibration"]), (error_words(group["calibration_stderr"]),)),
        Cell(sizes),
    ]


def record_lines(record: EvaluationRecord) -> list[str]:
    """One line per number of a record: its errors in brackets, its doubts on the lines below."""
    lines = []
    for title, cell in record.cells().items():
        if cell.refused:
            lines.append(f"{title}: {cell.small[0]}")
            continue
        small = f" ({'; '.join(cell.small)})" if cell.small else ""
        lines.append(f"{title}: {cell.marked}{small}")
        lines += [f"  warning: {doubt}" for doubt in cell.doubts]
    return lines


def _with_error(cell: Mapping[str, Any]) -> str:
    errors = [small for small in cell["small"][:1] if small.startswith("±")]
    return " ".join([cell["text"], *errors])


def print_table(table: Mapping[str, Any], *, title: str | None = None, stderr: bool = True) -> None:
    """Print a table of plain data in the terminal, on standard error unless told otherwise."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
    grid.add_column("", no_wrap=True)
    for column in table["columns"]:
        grid.add_column(Text(printable(column["model"])), justify="right")
    for row in table["rows"]:
        grid.add_row(
            Text(row["title"]), *(Text(printable(_with_error(cell))) for cell in row["cells"])
        )
    Console(stderr=stderr).print(grid)
