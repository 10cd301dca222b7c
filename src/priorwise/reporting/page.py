"""The report as one self-contained HTML page: no network, no scripts, pictures inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

__all__ = ["Picture", "Section", "render_page"]


@dataclass(frozen=True)
class Picture:
    """One picture on the page.

    Attributes:
        title: What it shows, usually the name of a model.
        uri: The picture as a data URI.
        caption: The text below it.
        pixels: Whether to enlarge its pixels as squares.
        parts: Smaller pictures below it.
    """

    title: str
    uri: str
    caption: str = ""
    pixels: bool = False
    parts: Sequence["Picture"] = ()


@dataclass(frozen=True)
class Section:
    """A heading, a text and pictures side by side."""

    title: str
    text: str
    figures: list[Picture] = field(default_factory=list)
    tight: bool = False


def render_page(
    record: Mapping[str, Any], sections: Sequence[Section], *, json_name: str = "report.json"
) -> str:
    """The page of a record. All text is escaped, because names come from users.

    Arguments:
        record: The content of the report, as plain data.
        sections: The pictures.
        json_name: Name of the file beside the page that holds the record.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        (files("priorwise.reporting") / "page.html").read_text(encoding="utf-8")
    )
    return template.render(record=record, sections=sections, json_name=json_name)
