"""The model card: the record of a model as Markdown, to put beside its weights."""

from collections.abc import Sequence

from priorwise.reporting.entries import Entry
from priorwise.reporting.tables import glossary, summary_table
from priorwise.reporting.verdicts import all_doubts, headline, sentences

__all__ = ["model_card"]


def model_card(entries: Sequence[Entry]) -> str:
    """The verdict, the numbers with their errors and doubts, and how they were measured.

    Arguments:
        entries: The models to compare, the base first.
    """
    table = summary_table(entries)
    numbers = entries[0].record.numbers
    head = ["", *(_escaped(column["model"]) for column in table["columns"])]
    rows = [
        [row["title"], *(_escaped("; ".join([c["text"], *c["small"]])) for c in row["cells"])]
        for row in table["rows"]
    ]
    doubts = [f"- {_escaped(doubt)}" for doubt in all_doubts(entries)]
    settings = ", ".join(f"{name} {value}" for name, value in numbers["config"].items())
    versions = ", ".join(f"{name} {value}" for name, value in numbers["versions"].items())
    parts = [
        "# Model card",
        f"**{_escaped(headline(entries[0]))}**",
        "\n".join(f"- {_escaped(entry.name)}: {_escaped(entry.about)}" for entry in entries),
        "\n".join(f"- {_escaped(sentence)}" for sentence in sentences(entries)),
        "## The numbers",
        "\n".join(_line(cells) for cells in [head, ["---"] * len(head), *rows]),
        "Densities and divergences are in nats. ± is one standard error. (!) marks a number with a "
        "doubt below.",
        *(["## Reasons for doubt", "\n".join(doubts)] if doubts else []),
        "## What the numbers mean",
        "\n".join(
            f"- **{title}**: {meaning}"
            for title, meaning in glossary([row["title"] for row in table["rows"]]).items()
        ),
        "## How it was measured",
        f"Data: {numbers['subject']['data']} (fingerprint "
        f"{numbers['subject']['data_fingerprint']}).",
        f"Settings: {settings}.",
        f"Versions: {versions}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text that Markdown shows unchanged, because names come from users."""
    for mark in "\\`*_<>|[]#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
