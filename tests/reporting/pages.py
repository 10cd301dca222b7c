"""Reading a report as a browser would: text of the summary table, pictures, tags."""

import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image


class Page(HTMLParser):
    """Cells of all tables (first line of each), sources of all pictures, names of all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.images: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag == "td":
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag == "td" and self._cell is not None:
            self.tables[-1][-1].append(" ".join(part for part in self._cell if part))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())
        if self._cell is not None:
            self._cell.append(data.strip())

    def body(self) -> str:
        """All text, white space squeezed."""
        return re.sub(r"\s+", " ", " ".join(self.text))


def picture(uri: str) -> Image.Image:
    """The picture of a data URI, decoded whole."""
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    image.load()
    return image
