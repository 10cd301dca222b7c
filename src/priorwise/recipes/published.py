"""Published numbers beside ours."""

import csv
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

__all__ = ["PAPER_NOTES", "PublishedRow", "papers", "published_beside_ours", "unpublished_results"]

PAPER_NOTES: dict[str, tuple[str, ...]] = {
    "dpvae": (
        "Cells: distance of random samples / of low-posterior samples / symmetric KL in nats / "
        "NLL. Published distances are FID with Inception; ours are Frechet distances of the "
        "features that each result names, which is not FID: compare ours with ours alone.",
        "The power of ten in the head of the published NLL columns is lost, and the code behind "
        "them prints a bound summed over a batch in units of its own: only their order can be "
        "read. Ours are importance-sampled, in nats an image, under a Gaussian whose scale goes "
        "with the objective: compare a row with its twin, with and without the flow.",
        "The published symmetric KL of the rows with a flow was taken in z0, of the others in z; "
        "ours all in z.",
    )
}


@dataclass(frozen=True)
class PublishedRow:
    """One published cell, and our results for it.

    Attributes:
        table: Table of the paper.
        row: Name of the row in the paper.
        dataset: Data set in the paper's words.
        metric: Metric as it is shown here: log-likelihoods of the papers are shown as NLL,
            positive.
        published: The published value, in the words of the paper but for that sign.
        quoted: Whether the paper copied it from elsewhere.
        recipe: Our recipe for it, empty if there is none.
        note: What is odd about the published number.
        ours: Our results, each with its protocol.
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
    found: dict[str, list[dict[str, Any]]] = {}
    folder = files("priorwise.recipes") / "results"
    for entry in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda path: path.name):
        if entry.name.endswith(".json"):
            stored = json.loads(entry.read_text(encoding="utf-8"))
            for record in stored if isinstance(stored, list) else [stored]:
                found.setdefault(record["recipe"], []).append(record)
    return found


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
    """The papers whose tables are known."""
    return sorted({row["paper"] for row in _published()})


def published_beside_ours(paper: str) -> list[PublishedRow]:
    """Every published row of a paper that is printed in it, with our results for it.

    Raises:
        ValueError: for a paper that is not known.
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
    """Our results in the setting of a paper that have no published counterpart."""
    published = {cell["recipe"] for cell in _published()}
    return [
        record
        for recipe, records in _results().items()
        if recipe not in published
        for record in records
        if record["paper"] == paper
    ]
