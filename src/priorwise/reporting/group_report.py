"""The report of several seeds of a run: means and spreads on one page, which links each seed's."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from priorwise.config.own_parts import NamedCode
from priorwise.evaluation import EvaluationRecord, GroupRecords, record_of_run, seeds_of
from priorwise.evaluation.record import plain
from priorwise.reporting.entries import side_by_side
from priorwise.reporting.group_summary import ERRORS, GroupSummary
from priorwise.reporting.page import render_page
from priorwise.reporting.prior_hole import checked_page, report_runs
from priorwise.reporting.tables import glossary, plain_cell
from priorwise.reporting.verdicts import all_doubts, headline
from priorwise.storage import write_atomically

__all__ = ["report_group"]

_PAGE = "report.html"


def report_group(
    folder: str | Path,
    path: str | Path,
    *,
    code: NamedCode | None = None,
    data: str | Path | None = None,
    **options: Any,  # noqa: ANN401 - those of `report_runs`
) -> Path:
    """The report of several seeds of a run, and that of each seed in its own folder.

    The page shows the mean of each number and its spread over the seeds, beside the number of each
    seed with its errors and doubts. Only what the records lack is measured.

    Arguments:
        folder: The group of runs.
        path: The page; its name ends in .html. Every number is beside it as JSON.
        code: Code of your own that may be executed for the runs, as for ``priorwise.load``.
        data: Where the data lie now, if they have moved.
        **options: Those of ``report_runs``: ``progress``, ``again``, fields of
            ``EvaluationConfig``.

    Returns:
        Path: The page.

    Raises:
        ValueError: as ``report_runs``, and if the folder holds no seeds that were trained.
    """
    path = checked_page(path)
    group = seeds_of(folder)
    pages = {
        name: report_runs({name: member}, member / _PAGE, code=code, data=data, **options)
        for name, member in group.finished.items()
    }
    records = {
        name: record_of_run(group.members[name], code=code, data=data, progress=False)
        for name in pages
    }
    content = _content(GroupSummary(GroupRecords(group, records)), records)
    links = {name: os.path.relpath(page, path.parent) for name, page in pages.items()}
    for column in content["table"]["columns"][1:]:
        column["link"] = Path(links[column["model"]]).as_posix()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".json")
    write_atomically(beside, json.dumps(plain(content), indent=2, allow_nan=False).encode())
    write_atomically(path, render_page(content, [], json_name=beside.name).encode())
    return path


def _content(summary: GroupSummary, records: Mapping[str, EvaluationRecord]) -> dict[str, Any]:
    """Everything that the page says, as plain data."""
    entries = side_by_side(records)
    means = {row.title: row.mean for row in summary.rows}
    numbers = entries[0].record.numbers
    lacking = [f"{words}; it is in no mean." for words in summary.missing]
    return {
        "title": f"Prior-hole report of several seeds: {numbers['subject']['data']}",
        "verdict": f"NLL {means['NLL'].marked}; {means['NLL'].small[0]}.",
        "findings": [*lacking, *(headline(entry) for entry in entries), ERRORS],
        "table": {
            "columns": [
                {"model": "mean", "about": "and standard deviation over the seeds"},
                *({"model": entry.name, "about": entry.about} for entry in entries),
            ],
            "rows": [
                {
                    "title": row.title,
                    "cells": [plain_cell(cell) for cell in (row.mean, *row.cells.values())],
                }
                for row in summary.rows
            ],
        },
        "contrast": {"columns": [], "rows": []},
        "warnings": [
            *(f"mean, {title}: {doubt}." for title, cell in means.items() for doubt in cell.doubts),
            *all_doubts(entries),
        ],
        "glossary": glossary([row.title for row in summary.rows]),
        "protocol": {
            "data_fingerprint": numbers["subject"]["data_fingerprint"],
            **{name: str(value) for name, value in numbers["config"].items()},
            "versions": ", ".join(f"{name} {value}" for name, value in numbers["versions"].items()),
        },
        **summary.numbers,
    }
