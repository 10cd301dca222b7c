"""A figure made of bands, one below the other.

A band holds labelled rows of images, or plots of walks in a plane side by side. Sizes are in
inches, and places count from the upper left corner. Letters: ``R`` walks, ``T`` steps, ``N``
points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from torch import Tensor

from priorwise.reporting.drawing import (
    FAINT,
    LEAK,
    draw_images,
    new_figure,
    place,
    plain_axes,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Band", "ImageBand", "Plane", "PlaneBand", "banded_figure"]

# the palette of Okabe and Ito, which colour-blind readers can distinguish, too
WALKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_TITLE = 0.42


@dataclass(frozen=True)
class ImageBand:
    """Rows of images with a label at both ends.

    Attributes:
        title: What it shows.
        images: ``(R, columns, C, H, W)`` in [0, 1].
        left: A label for each row, at its left end.
        right: A label for each row, at its right end.
        top: A label for each column.
        framed: The columns that do not come from the decoder.
    """

    title: str
    images: Tensor
    left: Sequence[str]
    right: Sequence[str]
    top: Sequence[str]
    framed: Sequence[int]

    # left, right, top, bottom
    margins: ClassVar[tuple[float, float, float, float]] = (1.25, 1.15, _TITLE + 0.22, 0.25)

    @property
    def _cell(self) -> tuple[float, float]:
        """Width and height of an image: at least 0.6 inches, larger for many pixels."""
        height, width = self.images.shape[-2:]
        size = min(max(0.6, width / 100), 1.3)
        return size, size * height / width

    @property
    def width(self) -> float:
        """Inches, margins included."""
        return self.margins[0] + self.images.shape[1] * self._cell[0] + self.margins[1]

    @property
    def height(self) -> float:
        """Inches, title and margins included."""
        return self.margins[2] + self.images.shape[0] * self._cell[1] + self.margins[3]

    def draw(self, figure: "Figure", top: float) -> None:
        """Draw the band below ``top``."""
        rows, columns = self.images.shape[:2]
        left, _, above, _ = self.margins
        write(figure, self.title, top + 0.08)
        axes = place(figure, left, top + above, columns * self._cell[0], rows * self._cell[1])
        draw_images(axes, self.images.flatten(0, 1), columns)
        self._frame(axes, rows)
        middle = [row + 0.5 for row in range(rows)]
        axes.set_yticks(middle, self.left, fontsize=8)
        other = axes.secondary_yaxis("right")
        other.set_yticks(middle, self.right, fontsize=8)
        other.spines[:].set_visible(False)
        axes.xaxis.tick_top()
        axes.set_xticks([column + 0.5 for column in range(columns)], self.top, fontsize=8)
        for each in (axes, other):
            each.tick_params(length=0)

    def _frame(self, axes: "Axes", rows: int) -> None:
        from matplotlib.patches import Rectangle

        for column in self.framed:
            for row in range(rows):
                place = (column + 0.03, row + 0.03)
                axes.add_patch(
                    Rectangle(place, 0.94, 0.94, fill=False, edgecolor=WALKS[1], linewidth=1.8)
                )


@dataclass(frozen=True)
class Plane:
    """Walks in a plane, over points for orientation.

    Attributes:
        title: The name of the plane.
        points: The points, ``(N, 2)``.
        walks: The walks, ``(R, T, 2)``.
        others: The walks that are straight in another space, ``(R, T, 2)``, or None.
        axes: Names of the two axes.
    """

    title: str
    points: Tensor
    walks: Tensor
    others: Tensor | None
    axes: tuple[str, str]


@dataclass(frozen=True)
class PlaneBand:
    """The same walks in several planes.

    Attributes:
        title: What it shows.
        planes: From left to right.
        marks: A letter or number for each walk, written where it begins.
        names: What each walk is, for the legend.
        points: What the points are, for the legend.
        walks: What the walks are, for the legend.
        others: What the other walks are, if there are any, for the legend.
        stride: Number of steps of a walk from one dot to the next.
    """

    title: str
    planes: Sequence[Plane]
    marks: Sequence[str]
    names: Sequence[str]
    points: str
    walks: str
    others: str = ""
    stride: int = 1

    side: ClassVar[float] = 3.6
    gap: ClassVar[float] = 0.75
    line: ClassVar[float] = 0.19

    @property
    def _key_columns(self) -> int:
        return int(self.width / 1.5)

    @property
    def _above(self) -> float:
        """Inches of title and legends."""
        key_rows = -(-len(self.names) // self._key_columns)
        return _TITLE + (1 + key_rows) * self.line + 0.32

    @property
    def width(self) -> float:
        """Inches, margins included."""
        return max(len(self.planes) * (self.side + self.gap) + 0.35, 6.5)

    @property
    def height(self) -> float:
        """Inches, title and margins included."""
        return self._above + self.side + 0.6

    def draw(self, figure: "Figure", top: float) -> None:
        """Draw the band below ``top``."""
        write(figure, self.title, top + 0.08)
        for index, plane in enumerate(self.planes):
            left = self.gap + index * (self.side + self.gap)
            axes = plain_axes(place(figure, left, top + self._above, self.side, self.side))
            self._draw_plane(axes, plane)
        self._draw_keys(figure, top + _TITLE - 0.05)

    def _draw_keys(self, figure: "Figure", top: float) -> None:
        """Legends: the kinds of points and lines; below, the mark and colour of each walk."""
        from matplotlib.lines import Line2D

        def line(colour: str, name: str, **style: Any) -> Line2D:  # noqa: ANN401
            return Line2D([], [], color=colour, markersize=3, label=name, **style)

        kinds = [
            line(FAINT, self.points, linestyle="", marker="o"),
            line(LEAK, self.walks, marker="o"),
        ]
        if self.others:
            kinds.append(line(LEAK, self.others, linestyle="--"))
        names = [f"{mark}: {name}" for mark, name in zip(self.marks, self.names, strict=True)]
        columns = self._key_columns
        # matplotlib fills a legend column by column, so the order is changed to read row by row
        in_rows = [row for column in range(columns) for row in range(column, len(names), columns)]
        keys = [line(_colour(row), names[row]) for row in in_rows]
        _write_legend(figure, kinds, columns, top)
        _write_legend(figure, keys, columns, top + self.line)

    def _draw_plane(self, axes: "Axes", plane: Plane) -> None:
        points = plane.points.cpu()
        axes.scatter(points[:, 0], points[:, 1], s=5, color=FAINT, alpha=0.5, linewidths=0)
        for row, walk in enumerate(plane.walks.cpu()):
            if plane.others is not None:
                other = plane.others[row].cpu()
                axes.plot(other[:, 0], other[:, 1], color=_colour(row), linestyle="--", linewidth=1)
            line: dict[str, Any] = {
                "color": _colour(row),
                "linewidth": 1.4,
                "marker": "o",
                "markersize": 3,
            }
            axes.plot(walk[:, 0], walk[:, 1], markevery=self.stride, **line)
            _write_mark(axes, walk[0], self.marks[row], _colour(row))
        axes.set_title(plane.title, fontsize=9)
        axes.set_xlabel(plane.axes[0], fontsize=8)
        axes.set_ylabel(plane.axes[1], fontsize=8, labelpad=1)
        axes.set_aspect("equal", adjustable="datalim")


def _colour(row: int) -> str:
    return WALKS[row % len(WALKS)]


def _write_legend(figure: "Figure", handles: Sequence[Any], columns: int, top: float) -> None:
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.15 / width, 1 - top / height),
        ncols=columns,
        frameon=False,
        fontsize=8,
        borderpad=0,
        borderaxespad=0,
    )


def _write_mark(axes: "Axes", start: Tensor, mark: str, colour: str) -> None:
    """A disc with the mark, where the walk begins."""
    x, y = start.tolist()
    axes.plot(
        x, y, marker="o", markersize=10, markerfacecolor="white", markeredgecolor=colour, zorder=4
    )
    axes.annotate(
        mark,
        (x, y),
        color=colour,
        fontsize=7,
        fontweight="bold",
        ha="center",
        va="center",
        zorder=5,
    )


Band: TypeAlias = ImageBand | PlaneBand


def banded_figure(bands: Sequence[Band]) -> "Figure":
    """All bands, one below the other; the figure is as wide as the widest."""
    figure = new_figure(max(band.width for band in bands), sum(band.height for band in bands))
    top = 0.0
    for band in bands:
        band.draw(figure, top)
        top += band.height
    return figure
