"""The terminal table of published numbers beside ours."""

import math
from collections.abc import Iterable
from typing import Any

from priorwise.recipes.published import PAPER_NOTES, PublishedRow
from priorwise.terminal import printable
from priorwise.training.spread import Spread

__all__ = ["print_table"]

_MANY = 4  # so many results with the same departure are counted instead of named


def _numbers(record: dict[str, Any]) -> list[float]:
    """The numbers in the cell of a record: the NLL, after the distances if they were measured."""
    quality = record.get("quality")
    if not quality:
        return [record["nll"]]
    parts = quality["random"], quality["low_posterior"], record["symmetric_kl"]
    # a refused number has no value and becomes NaN
    return [*(part.get("value", float("nan")) for part in parts), record["nll"]]


def _ours(records: list[dict[str, Any]]) -> str:
    """One cell: a line for each setting and run, which combines its seeds."""
    return "\n".join(_line(seeds) for seeds in _settings(records))


def _in_its_unit(row: PublishedRow) -> list[dict[str, Any]]:
    """Our records in the unit of the published number: bits per dimension are nats / (D ln 2)."""
    if row.metric != "bits/dim":
        return row.ours
    records = []
    for record in row.ours:
        nats = record["dimensions"] * math.log(2)
        numbers = {name: record[name] / nats for name in ("nll", "stderr_data")}
        records.append(record | numbers)
    return records


def _settings(records: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The seeds of each setting: of one run, or of ours with the same departures."""
    settings: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        key = (record.get("run", ""), record["recipe"], *record.get("departures", ()))
        settings.setdefault(key, []).append(record)
    return list(settings.values())


def _line(records: list[dict[str, Any]]) -> str:
    """A single result with its error over the data, several seeds with their standard deviation."""
    marks = " (!)" if any(record.get("warnings") for record in records) else ""
    marks += " *" if any(record.get("departures") for record in records) else ""
    name = f"{printable(records[0]['run'])}: " if "run" in records[0] else ""
    if len(records) == 1 and not records[0].get("quality"):
        return f"{name}{records[0]['nll']:.2f} ± {records[0]['stderr_data']:.2f}{marks}"
    spreads = [Spread(part) for part in zip(*map(_numbers, records), strict=True)]
    seeds = f" ({spreads[0].count})" if len(records) > 1 else ""
    return name + " / ".join(map(_cell, spreads)) + seeds + marks


def _cell(spread: Spread) -> str:
    if spread.deviation is None:
        return spread.mean_words
    return f"{spread.mean_words} ± {spread.deviation_words}"


def _errors(records: Iterable[dict[str, Any]]) -> list[str]:
    """What ± means: one thing for several seeds, and another one for a single seed."""
    settings = _settings(records)
    if not any(len(seeds) > 1 for seeds in settings):
        return []
    return [
        "± beside several seeds is the standard deviation over the seeds. Beside a number without "
        "a count, which is of 1 seed, it is the standard error over the test images."
    ]


def _by_recipe(records: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(record["recipe"], []).append(record)
    return groups


def _features(records: Iterable[dict[str, Any]]) -> list[str]:
    """The features in which the distances were computed."""
    protocols = [record["quality"]["protocol"] for record in records if record.get("quality")]
    extractors = sorted(
        {f"{protocol['extractor']} (weights {protocol['weights']})" for protocol in protocols}
    )
    return [f"Features of our distances: {', '.join(extractors)}."] if extractors else []


def _log_norms(records: Iterable[dict[str, Any]]) -> list[str]:
    """The log Z behind each result with a tilted prior: value, error, both ends and doubts."""
    notes = []
    for record in records:
        norm = record.get("log_norm")
        if norm:
            ends = norm["diagnostics"]
            between = (
                f", between {ends['lower']:.3f} and {ends['upper']:.3f}" if "lower" in ends else ""
            )
            stderr = "unknown" if norm["stderr"] is None else f"{norm['stderr']:.3f}"
            doubts = "".join(f" ({warning})" for warning in norm["warnings"])
            notes.append(
                f"{record['title']}: log Z is {norm['value']:.3f} ± {stderr}{between}; this error "
                f"is part of the error of the NLL.{doubts}"
            )
    return notes


def _doubts(paper: str, records: Iterable[dict[str, Any]]) -> list[str]:
    """Where the doubts about our NLLs stand in full; they differ from result to result."""
    doubtful = sum(bool(record.get("warnings")) for record in records)
    if not doubtful:
        return []
    return [
        f"(!) marks an NLL with a reason for doubt ({doubtful} of ours), which "
        f"`priorwise table {paper} --json` shows in full."
    ]


def _departures(records: Iterable[dict[str, Any]]) -> list[str]:
    """Each departure once, with the results that it applies to."""
    titles_by_note: dict[str, dict[str, None]] = {}
    for record in records:
        for note in record.get("departures", []):
            titles_by_note.setdefault(note, {})[record["title"]] = None
    return [
        f"{', '.join(titles) if len(titles) < _MANY else f'{len(titles)} of ours'}: {note}"
        for note, titles in titles_by_note.items()
    ]


def print_table(paper: str, rows: list[PublishedRow], extra: list[dict[str, Any]]) -> None:
    """Print one table on standard output, and below it our departures from the protocol."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{paper}: published beside ours (NLL in nats unless a unit is given)")
    table.add_column("row")
    table.add_column("published", justify="right")
    table.add_column("ours", justify="right")
    table.add_column("recipe", no_wrap=True)
    notes: dict[str, None] = dict.fromkeys(PAPER_NOTES.get(paper, ()))
    for row in sorted(rows, key=lambda row: not row.ours):
        quoted = " (quoted)" if row.quoted else ""
        unit = "" if row.metric.startswith("NLL") or paper in PAPER_NOTES else f" {row.metric}"
        name = row.recipe.removeprefix(f"{paper}/")
        title = f"{row.table} {row.row}, {row.dataset}"
        cell = Text(_ours(_in_its_unit(row))) if row.ours else "not run"
        table.add_row(title, row.published + unit + quoted, cell, name)
        if row.note:
            notes[f"{title}: published {row.note}"] = None
    for recipe, records in _by_recipe(extra).items():
        title = printable(f"{records[0]['title']}, {records[0]['dataset']}")
        table.add_row(Text(title), "-", Text(_ours(records)), Text(recipe))
    ours = [*(record for row in rows for record in row.ours), *extra]
    notes |= dict.fromkeys(
        _errors(ours)
        + _features(ours)
        + _doubts(paper, ours)
        + _log_norms(ours)
        + _departures(ours)
    )
    console = Console()
    console.print(table)
    for note in notes:
        console.print(f"* {note}", style="dim", highlight=False)
