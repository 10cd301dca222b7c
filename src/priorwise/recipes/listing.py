"""What ``priorwise list`` shows: recipes by group, data sets, papers, or details about one."""

import textwrap
from dataclasses import asdict
from typing import Any, get_args

from priorwise.config.models import (
    AbstractPosthocConfig,
    AbstractVAEConfig,
    FittedPriorConfig,
    VAEBySizeConfig,
)
from priorwise.config.run import Run
from priorwise.data.known_sets import State, availability, names, spec_of, state
from priorwise.nearest import suggestion
from priorwise.recipes.family import Family
from priorwise.recipes.published import papers
from priorwise.recipes.registry import FAMILIES

__all__ = ["describe", "details", "details_text", "overview", "overview_text", "topics"]

_WIDTH = 100


def _groups() -> dict[str, list[Family]]:
    """The families of recipes by the part of their names before the slash."""
    groups: dict[str, list[Family]] = {}
    for family in FAMILIES:
        groups.setdefault(family.group, []).append(family)
    return groups


def topics() -> list[str]:
    """The names that have details: groups of recipes, data sets and papers."""
    return list(dict.fromkeys([*_groups(), *names(), *papers()]))


def describe(run: Run) -> dict[str, Any]:
    """What distinguishes runs: networks, latents, prior, objective, data, epochs."""
    model = run.model
    parts: dict[str, Any] = dict.fromkeys(("model", "latents", "prior", "objective"))
    parts["model"] = model.kind
    if isinstance(model, AbstractVAEConfig | VAEBySizeConfig):
        parts |= {
            "latents": model.latent,
            "prior": model.prior.kind,
            "objective": run.objective.kind,
        }
    if isinstance(model, FittedPriorConfig):
        parts["prior"] = model.prior.kind
    data = "--base" if isinstance(model, AbstractPosthocConfig) else run.data.name or "--data"
    return {**parts, "data": data, "epochs": run.training.epochs}


def overview() -> dict[str, Any]:
    """Names and groups of recipes, data sets with their places, and papers."""
    return {
        "recipes": sorted(name for family in FAMILIES for name in family.recipes()),
        "groups": {
            group: [{"names": family.pattern, "about": family.about} for family in families]
            for group, families in _groups().items()
        },
        "data": availability(),
        "papers": papers(),
    }


def overview_text() -> str:
    """The overview as text for one screen."""
    lines = ["Recipes (priorwise train RECIPE --out RUN); take one word from each pair of braces:"]
    for families in _groups().values():
        for family in families:
            lines += [f"  {family.about}", *_folded(family.pattern)]
    lines += ["", "Data sets:"]
    for where in get_args(State):
        lines += _listed(where, [name for name in names() if state(name) == where])
    lines += ["", "Published numbers (priorwise table PAPER):", *_listed("", papers())]
    lines += [
        "",
        "Details about a group of recipes (the word before the slash), a data set or a paper:",
    ]
    return "\n".join([*lines, "  priorwise list NAME"])


def _folded(pattern: str) -> list[str]:
    """The names of a family; a long line breaks before a brace and continues below the slash."""
    pieces = textwrap.wrap(
        pattern.replace("}_{", "} _{"),
        _WIDTH - 4,
        subsequent_indent=" " * (pattern.index("/") + 1),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"    {piece.replace('} _{', '}_{')}" for piece in pieces]


def _listed(title: str, words: list[str]) -> list[str]:
    """Words after a title; no lines if there are no words."""
    indent = f"  {title:<10}" if title else "  "
    text = textwrap.fill(
        ", ".join(words), _WIDTH, initial_indent=indent, subsequent_indent=" " * len(indent)
    )
    return text.splitlines() if words else []


def details(topic: str) -> dict[str, Any]:
    """Details about a name: a group of recipes, a data set, a paper, or several of these.

    Raises:
        ValueError: for another name; the message suggests the nearest ones.
    """
    if topic not in topics():
        hint = suggestion(topic.strip().lower(), topics(), count=3)
        raise ValueError(
            f"expected a group of recipes, a data set or a paper; got {topic!r}.{hint} `priorwise "
            "list` shows them."
        )
    record: dict[str, Any] = {"name": topic}
    if topic in _groups():
        record["recipes"] = {
            name: describe(make())
            for family in _groups()[topic]
            for name, make in family.recipes().items()
        }
    if topic in names():
        record["data"] = asdict(spec_of(topic)) | {"where": availability()[topic]}
    if topic in papers():
        record["table"] = f"priorwise table {topic}"
    return record


def details_text(topic: str) -> str:
    """The details as text.

    Raises:
        ValueError: as for ``details``.
    """
    record = details(topic)
    parts = []
    if "recipes" in record:
        parts.append(_recipes_text(topic, record["recipes"]))
    if "data" in record:
        parts.append(_data_text(record["data"]))
    if "table" in record:
        parts.append(f"Published numbers beside ours: {record['table']}")
    return "\n\n".join(parts)


def _recipes_text(group: str, descriptions: dict[str, dict[str, Any]]) -> str:
    """A table with a line for each recipe; what all of several share stands above it."""
    facts = {
        name: {key: "-" if value is None else str(value) for key, value in description.items()}
        for name, description in descriptions.items()
    }
    shared = set.intersection(*(set(each.items()) for each in facts.values()))
    shared = shared if len(facts) > 1 else set()
    keys = [key for key, value in next(iter(facts.values())).items() if (key, value) not in shared]
    head = ["recipe", *keys]
    rows = [[name, *(each[key] for key in keys)] for name, each in facts.items()]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
    title = f"Recipes of {group} (priorwise train RECIPE; --dry-run prints all settings):"
    words = ", ".join(f"{key} {value}" for key, value in sorted(shared))
    return "\n".join([title, *([f"The same for all: {words}"] if words else []), *lines])


def _data_text(data: dict[str, Any]) -> str:
    """What a data set is, and where its files are."""
    shape = "x".join(map(str, data["shape"]))
    values = "real values" if data["levels"] is None else f"{data['levels']} levels"
    paragraphs = [
        f"{shape}, {values}, {data['likelihood']} likelihood by default",
        data["note"],
        data["citation"],
        _where(data["name"]),
    ]
    lines = [f"Data set {data['name']}:"]
    for paragraph in filter(None, paragraphs):
        lines += textwrap.wrap(
            paragraph,
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _where(name: str) -> str:
    place = availability()[name]
    match state(name):
        case "embedded":
            return "needs no file"
        case "at hand":
            return f"at hand: {place}"
        case "download":
            return "is downloaded when it is first used"
        case "missing":
            return place
