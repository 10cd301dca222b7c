"""The terminal table of published numbers beside ours."""

import math
from collections.abc import Iterable
from typing import Any

from priorwise.recipes.published import PAPER_NOTES, PublishedRow
from priorwise.terminal import printable
from priorwise.training.spread import Spread, error_words

__all__ = ["print_table"]

_MANY = 4  # so many results with the same departure are counted instead of named
_MEASURED = ("title", "dataset", "data_fingerprint", "images", "samples", "draws_seed")
_NO_DISTANCES = [None, None, None]


def _ours(records: list[dict[str, Any]], unit: str = "", *, parts: bool) -> str:
    """One cell: a line for each setting and run, which combines its seeds."""
    return "\n".join(_line(seeds, unit, parts=parts) for seeds in _settings(records))


def _in_its_unit(row: PublishedRow) -> list[dict[str, Any]]:
    """Our records in the unit of the published number: bits per dimension are nats / (D ln 2)."""
    if row.metric != "bits/dim":
        return row.ours
    records = []
    for record in row.ours:
        nats = record["dimensions"] * math.log(2)
        error = record["stderr_data"]
        numbers = {
            "nll": record["nll"] / nats,
            "stderr_data": None if error is None else error / nats,
        }
        records.append(record | numbers)
    return records


def _settings(records: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The seeds of each setting: of one run, or of ours with the same departures.

    Seeds that were measured on different images or with different draws are settings of their own,
    since their spread would be more than what training leaves to chance.
    """
    settings: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        measured = tuple(record.get(name) for name in _MEASURED)
        key = (record.get("run", ""), record["recipe"], *measured, *record.get("departures", ()))
        settings.setdefault(key, []).append(record)
    return list(settings.values())


def _line(records: list[dict[str, Any]], unit: str = "", *, parts: bool) -> str:
    """A single result with its error over the data, several seeds with their standard deviation.

    Arguments:
        records: A result, or the seeds of one.
        unit: Unit of the NLL, behind it.
        parts: Whether the published cells have the distances too.
    """
    marks = " (!)" if any(record.get("warnings") for record in records) else ""
    marks += " *" if any(record.get("departures") for record in records) else ""
    name = f"{printable(records[0]['run'])}: " if "run" in records[0] else ""
    distances = [_distances(record) for record in records] if parts else []
    if any(distances):
        numbers = [
            [*(three or _NO_DISTANCES), record["nll"]]
            for three, record in zip(distances, records, strict=True)
        ]
    else:
        name += "NLL " if parts else ""
        numbers = [[record["nll"]] for record in records]
    spreads = [Spread(part) for part in zip(*numbers, strict=True)]
    if len(records) == 1 and not any(distances):
        cell = f"{spreads[0].mean_words} ± {error_words(records[0]['stderr_data'])}"
    else:
        cell = " / ".join(_cell(spread, spreads[-1]) for spread in spreads)
    seeds = f" ({spreads[-1].count})" if len(records) > 1 else ""
    return name + cell + unit + seeds + marks


def _distances(record: dict[str, Any]) -> list[float | None]:
    """The numbers before the NLL in a cell of four parts; none if they were not measured."""
    quality = record.get("quality")
    if not quality:
        return []
    parts = quality["random"], quality["low_posterior"], record["symmetric_kl"]
    return [part.get("value") for part in parts]  # a refused number has no value


def _cell(spread: Spread, whole: Spread) -> str:
    """A mean with its spread, and with its seeds where they are others than those of the cell."""
    count = f" ({spread.count})" if spread.known and spread.count != whole.count else ""
    if spread.deviation is None:
        return spread.mean_words + count
    return f"{spread.mean_words} ± {spread.deviation_words}{count}"


def _errors(records: Iterable[dict[str, Any]]) -> list[str]:
    """What ± means: one thing for several seeds, and another one for a single seed."""
    settings = _settings(records)
    if not any(len(seeds) > 1 for seeds in settings):
        return []
    return [
        "± beside several seeds is the standard deviation over the seeds. Beside a number without "
        "a count, which is of 1 seed, it is the standard error over the test images."
    ]


def _divided(records: Iterable[dict[str, Any]]) -> list[str]:
    """The runs whose seeds stand in several lines."""
    lines: dict[str, int] = {}
    for seeds in _settings(records):
        name = seeds[0].get("run", "")
        lines[name] = lines.get(name, 0) + 1
    return [
        f"{printable(name)}: its seeds differ in the images, the draws or the departures of their "
        "evaluation, so they have no common mean."
        for name, count in lines.items()
        if name and count > 1
    ]


def _by_row(records: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The results that share a row without a published number: one recipe, model and data set."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in records:
        key = tuple(record[name] for name in ("recipe", "title", "dataset"))
        groups.setdefault(key, []).append(record)
    return list(groups.values())


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
            stderr = error_words(norm["stderr"], 3)
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


def _once(rows: list[PublishedRow], extra: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All results of a table; one that stands beside several published numbers is there once."""
    records = [*(record for row in rows for record in row.ours), *extra]
    return list({id(record): record for record in records}.values())


def _notes(paper: str, records: list[dict[str, Any]], *, parts: bool) -> list[str]:
    """What stands below a table about our results."""
    return [
        *_errors(records),
        *_divided(records),
        *(_features(records) if parts else []),
        *_doubts(paper, records),
        *_log_norms(records),
        *_departures(records),
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
    parts = paper in PAPER_NOTES
    for row in sorted(rows, key=lambda row: not row.ours):
        quoted = " (quoted)" if row.quoted else ""
        unit = "" if row.metric.startswith("NLL") or parts else f" {row.metric}"
        name = row.recipe.removeprefix(f"{paper}/")
        title = f"{row.table} {row.row}, {row.dataset}"
        ours = _ours(_in_its_unit(row), " bits/dim" * (row.metric == "bits/dim"), parts=parts)
        cell = Text(ours) if row.ours else "not run"
        table.add_row(title, row.published + unit + quoted, cell, name)
        if row.note:
            notes[f"{title}: published {row.note}"] = None
    for records in _by_row(extra):
        title = printable(f"{records[0]['title']}, {records[0]['dataset']}")
        cell = Text(_ours(records, parts=parts))
        table.add_row(Text(title), "-", cell, Text(records[0]["recipe"]))
    notes |= dict.fromkeys(_notes(paper, _once(rows, extra), parts=parts))
    console = Console()
    console.print(table)
    for note in notes:
        console.print(f"* {note}", style="dim", highlight=False)
