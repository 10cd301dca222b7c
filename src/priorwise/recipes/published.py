"""Published numbers beside ours."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from priorwise.config.run import DataConfig
from priorwise.recipes.registry import packaged_recipe

__all__ = [
    "PAPER_NOTES",
    "PublishedRow",
    "known_fingerprints",
    "papers",
    "published_beside_ours",
    "unpublished_results",
    "with_runs",
]

PAPER_NOTES: dict[str, tuple[str, ...]] = {
    "dpvae": (
        "Cells: distance of random samples / distance of low-posterior samples / symmetric KL in "
        "nats / NLL. Published distances are FID with Inception. Ours are Frechet distances in the "
        "features that each result names; they are not FID, so compare ours only with ours.",
        "The power of ten in the head of the published NLL columns is lost, and their code prints "
        "a bound summed over a batch, in units of its own. So only their order means something. "
        "Ours are importance-sampled, in nats per image, under a Gaussian whose scale depends on "
        "the objective: compare only the two rows of one objective, with and without the flow.",
        "The published symmetric KL was computed in z0 for the rows with a flow, and in z for the "
        "others; ours is always in z.",
    )
}


@dataclass(frozen=True)
class PublishedRow:
    """One published cell, and our results for it.

    Attributes:
        table: Table of the paper.
        row: Name of the row in the paper.
        dataset: Data set in the paper's words.
        metric: Metric as shown here: a published log-likelihood becomes an NLL, with a positive
            sign.
        published: The published value as the paper prints it, except for that sign.
        quoted: Whether the paper copied it from elsewhere.
        recipe: Our recipe for it; empty if there is none.
        note: A problem with the published number, if there is one.
        ours: Our results, each with its protocol, one for each seed.
    """

    table: str
    row: str
    dataset: str
    metric: str
    published: str
    quoted: bool
    recipe: str
    note: str
    ours: list[dict[str, Any]]


def _results() -> dict[str, list[dict[str, Any]]]:
    """Our committed results by recipe."""
    results: dict[str, list[dict[str, Any]]] = {}
    folder = files("priorwise.recipes") / "results"
    for entry in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda path: path.name):
        if entry.name.endswith(".json"):
            stored = json.loads(entry.read_text(encoding="utf-8"))
            for record in stored if isinstance(stored, list) else [stored]:
                results.setdefault(record["recipe"], []).extend(_seeds(record))
    return results


def known_fingerprints(data: DataConfig) -> set[str]:
    """The fingerprints of the data that recipes name so, from our committed results."""
    return {
        record["data_fingerprint"]
        for recipe, records in _results().items()
        if packaged_recipe(recipe).data == data
        for record in records
    }


def _seeds(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results that a record holds: one, or one for each seed."""
    return record["members"] if "members" in record else [dict(record)]


def _as_nll(metric: str, value: str) -> tuple[str, str]:
    """The one place where a published log-likelihood becomes an NLL."""
    if metric.startswith("LL nats") or metric.startswith("mean LL"):
        return metric.replace("LL", "NLL", 1), value.removeprefix("-") if value.startswith(
            "-"
        ) else f"-{value}"
    return metric, value


def _published() -> list[dict[str, str]]:
    text = (files("priorwise.recipes") / "published.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def papers() -> list[str]:
    """The papers whose tables are stored here."""
    return sorted({row["paper"] for row in _published()})


def published_beside_ours(paper: str) -> list[PublishedRow]:
    """Every stored row of a paper's tables, with our results for it.

    Raises:
        ValueError: for an unknown paper.
    """
    if paper not in papers():
        raise ValueError(f"unknown paper {paper!r}; there are: {', '.join(papers())}.")
    ours = _results()
    rows = []
    for cell in _published():
        if cell["paper"] == paper:
            metric, value = _as_nll(cell["metric"], cell["value"])
            rows.append(
                PublishedRow(
                    table=cell["table"],
                    row=cell["row"],
                    dataset=cell["dataset"],
                    metric=metric,
                    published=value,
                    quoted=cell["own_or_quoted"] == "quoted",
                    recipe=cell["recipe"],
                    note=cell["note"],
                    ours=ours.get(cell["recipe"], []) if cell["recipe"] else [],
                )
            )
    return rows


def unpublished_results(paper: str) -> list[dict[str, Any]]:
    """Our results in the setting of a paper that has no published number to compare with."""
    published = {cell["recipe"] for cell in _published()}
    return [
        record
        for recipe, records in _results().items()
        if recipe not in published
        for record in records
        if record["paper"] == paper
    ]


def with_runs(
    rows: Iterable[PublishedRow],
    extra: Iterable[dict[str, Any]],
    results: Mapping[str, Mapping[str, Any]],
) -> tuple[list[PublishedRow], list[dict[str, Any]]]:
    """A table with further results, each in the row of its recipe.

    A result on other data than those of its recipe has nothing published beside it: it has no row.

    Arguments:
        rows: The rows with a published number.
        extra: Results without one.
        results: Further results by the name of their run, as ``result_of`` returns them.

    Returns:
        tuple: The rows and the results without a row; each further result has its ``run``.
    """
    named = [{**seed, "run": name} for name, result in results.items() for seed in _seeds(result)]
    rows = list(rows)
    recipes = {row.recipe for row in rows}
    comparable = {
        recipe: [seed for seed in named if seed["recipe"] == recipe and not _apart(seed)]
        for recipe in recipes
    }
    filled = [replace(row, ours=[*row.ours, *comparable[row.recipe]]) for row in rows]
    apart = [seed for seed in named if seed["recipe"] not in recipes or _apart(seed)]
    return filled, [*extra, *apart]


def _apart(record: Mapping[str, Any]) -> bool:
    """Whether a result is of other data than those of its recipe."""
    return bool(record.get("other_data"))
