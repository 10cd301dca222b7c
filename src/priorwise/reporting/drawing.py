"""Drawing on axes, as reports, traversals and comparisons need it.

Colour-blind readers can distinguish the colours, too.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from priorwise.reporting.latents import LatentPlane
from priorwise.reporting.pictures import grid, png_of_figure
from priorwise.storage import atomic_file
from priorwise.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "draw_images",
    "draw_latents",
    "draw_points",
    "new_figure",
    "picture_path",
    "place",
    "plain_axes",
    "save_figure",
    "write",
]

ENCODINGS, PRIOR, POCKET, LEAK, FAINT = "#0b5fa5", "#e08214", "#b2182b", "#1a1a1a", "#9a9a9a"
DPI = 130
_CONTOUR_GRID = 80
_MASSES = (0.9, 0.6, 0.3)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure with a size in inches; the caller places the axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI)


def place(figure: "Figure", left: float, top: float, width: float, height: float) -> "Axes":
    """Axes in a figure, in inches from its upper left corner."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    return figure.add_axes(
        (left / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
    )


def write(
    figure: "Figure", text: str, top: float, *, size: int = 10, weight: str = "normal"
) -> None:
    """A line of text at the left edge of a figure, ``top`` inches from above."""
    width, height = figure.get_size_inches()
    figure.text(
        0.15 / width,
        1 - top / height,
        printable(text),
        va="top",
        fontsize=size,
        fontweight=weight,
        parse_math=False,  # a name may have dollar signs
    )


def picture_path(path: str | Path) -> Path:
    """The path of a picture.

    Raises:
        ValueError: if it does not end in .png.
    """
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"expected `path` as a picture that ends in .png; got {path.name!r}.")
    return path


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as a .png, with its folder."""
    with atomic_file(path) as partial:
        partial.write_bytes(png_of_figure(figure))


def plain_axes(axes: "Axes") -> "Axes":
    """The axes without the upper and right edge of their frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return axes


def _density(points: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian kernel density of ``(M, 2)`` points on a grid, with Scott's bandwidth per axis."""
    bandwidth = np.maximum(points.std(0), 1e-6) * len(points) ** (-1 / 6)
    x, y = (np.linspace(low, high, _CONTOUR_GRID) for low, high in limits)
    along_x = np.exp(-0.5 * ((x[:, None] - points[:, 0]) / bandwidth[0]) ** 2)
    along_y = np.exp(-0.5 * ((y[:, None] - points[:, 1]) / bandwidth[1]) ** 2)
    return x, y, along_y @ along_x.T / len(points)


def _levels(density: np.ndarray) -> list[float]:
    """The density levels that enclose the densest 90, 60 and 30 per cent."""
    ordered = np.sort(density.ravel())[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    heights = [float(ordered[np.searchsorted(mass, share)]) for share in _MASSES]
    return sorted(set(heights))


def _limits(points: np.ndarray) -> np.ndarray:
    low, high = points.min(0), points.max(0)
    margin = 0.08 * np.maximum(high - low, 1e-6)
    return np.stack([low - margin, high + margin], 1)


def draw_latents(axes: "Axes", plane: LatentPlane, *, mark: int = 46) -> None:
    """Encodings as points on the contours of the prior's draws, with pockets and leaks marked.

    ``mark`` is the area of the marks in square points.
    """
    encodings, prior, pockets, leaks = (
        part.double().numpy() for part in (plane.encodings, plane.prior, plane.pockets, plane.leaks)
    )
    limits = _limits(np.concatenate([encodings, prior, pockets, leaks]))
    x, y, density = _density(prior, limits)
    levels = _levels(density)
    axes.contourf(
        x, y, density, levels=[*levels, float(density.max()) * 1.01], colors=[PRIOR], alpha=0.16
    )
    axes.contour(x, y, density, levels=levels, colors=[PRIOR], linewidths=1.2)
    axes.plot([], [], color=PRIOR, label="prior: 30, 60, 90 % of its draws")
    style: dict[str, Any] = {"s": 9, "color": ENCODINGS, "alpha": 0.65, "linewidths": 0}
    axes.scatter(encodings[:, 0], encodings[:, 1], label="encodings of test data", **style)
    if len(pockets):
        axes.scatter(
            pockets[:, 0], pockets[:, 1], s=mark, color=POCKET, marker="x", label="pockets"
        )
    if len(leaks):
        axes.scatter(
            leaks[:, 0], leaks[:, 1], s=mark, facecolors="none", edgecolors=LEAK, label="leaks"
        )
    axes.set(xlabel=plane.axes[0], ylabel=plane.axes[1], xlim=limits[0], ylim=limits[1])
    axes.set_aspect("equal", adjustable="box")


def draw_points(axes: "Axes", groups: Iterable[tuple[Tensor, str, str]]) -> None:
    """Sets of points in the plane, each with its colour and name."""
    for points, colour, name in groups:
        plane = points.flatten(1).cpu()
        axes.scatter(
            plane[:, 0], plane[:, 1], s=8, color=colour, alpha=0.6, linewidths=0, label=name
        )
    axes.set_aspect("equal", adjustable="box")


def draw_images(axes: "Axes", images: Tensor, columns: int) -> None:
    """Images ``(N, C, H, W)`` in [0, 1], row by row, with white lines between them.

    Each image fills one unit square of the axes.
    """
    canvas = grid(images, columns, border=0).permute(1, 2, 0).numpy()
    rows = -(-len(images) // columns)
    shades: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if canvas.shape[2] == 1 else {}
    shown = canvas[..., 0] if canvas.shape[2] == 1 else canvas
    axes.imshow(
        shown, extent=(0, columns, rows, 0), aspect="auto", interpolation="nearest", **shades
    )
    axes.vlines(range(1, columns), 0, rows, colors="white", linewidths=1.2)
    axes.hlines(range(1, rows), 0, columns, colors="white", linewidths=1.2)
    axes.set(xticks=[], yticks=[], xlim=(0, columns), ylim=(rows, 0))
    axes.spines[:].set_visible(False)
