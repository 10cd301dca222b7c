"""The pictures of a report, each as a data URI, so that a page is one file."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from priorwise.reporting.latents import LatentMap
from priorwise.reporting.pictures import grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves_figure", "images_uri", "latent_figure", "pairs", "points_figure"]

ENCODINGS, PRIOR, POCKET, LEAK = "#0b5fa5", "#e08214", "#b2182b", "#1a1a1a"  # told apart by the colour-blind as well
_CONTOUR_GRID = 80
_MASSES = (0.9, 0.6, 0.3)


def _uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def images_uri(x: Tensor, columns: int | None = None) -> str:
    """Images ``(N, C, H, W)`` in [0, 1] as one grid, pixels as they are; the page enlarges it."""
    from PIL import Image

    canvas = (grid(x, columns) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(canvas[0] if len(canvas) == 1 else canvas.transpose(1, 2, 0))
    factor = max(1, math.ceil(480 / picture.width))
    larger = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    larger.save(buffer, format="PNG", optimize=True)
    return _uri(buffer.getvalue())


def pairs(x: Tensor, y: Tensor, columns: int) -> Tensor:
    """Rows of ``x`` and of ``y`` in turn, ``columns`` of each: originals above their reconstructions."""
    rows = [
        part for start in range(0, len(x), columns) for part in (x[start : start + columns], y[start : start + columns])
    ]
    return torch.cat([part.cpu() for part in rows])


def _figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: "Figure") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return _uri(buffer.getvalue())


def _density(points: np.ndarray, limits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Gaussian kernel density of ``(M, 2)`` points on a grid, Scott's bandwidth along each axis."""
    bandwidth = np.maximum(points.std(0), 1e-6) * len(points) ** (-1 / 6)
    x, y = (np.linspace(low, high, _CONTOUR_GRID) for low, high in limits)
    along_x = np.exp(-0.5 * ((x[:, None] - points[:, 0]) / bandwidth[0]) ** 2)
    along_y = np.exp(-0.5 * ((y[:, None] - points[:, 1]) / bandwidth[1]) ** 2)
    return x, y, along_y @ along_x.T / len(points)


def _levels(density: np.ndarray) -> list[float]:
    """The heights above which the densest 90, 60 and 30 per cent lie."""
    ordered = np.sort(density.ravel())[::-1]
    mass = np.cumsum(ordered) / ordered.sum()
    heights = [float(ordered[np.searchsorted(mass, share)]) for share in _MASSES]
    return sorted(set(heights))


def latent_figure(found: LatentMap) -> str:
    """Encodings as points on the contours of the prior's draws; pockets and leaks marked."""
    figure, axes = _figure(5.4, 4.6)
    encodings, prior = found.encodings.double().numpy(), found.prior.double().numpy()
    both = np.concatenate([encodings, prior])
    low, high = both.min(0), both.max(0)
    margin = 0.08 * np.maximum(high - low, 1e-6)
    limits = np.stack([low - margin, high + margin], 1)
    x, y, density = _density(prior, limits)
    levels = _levels(density)
    axes.contourf(x, y, density, levels=[*levels, float(density.max()) * 1.01], colors=[PRIOR], alpha=0.16)
    axes.contour(x, y, density, levels=levels, colors=[PRIOR], linewidths=1.2)
    axes.plot([], [], color=PRIOR, label="prior: 30, 60, 90 % of its draws")
    axes.scatter(
        encodings[:, 0],
        encodings[:, 1],
        s=9,
        color=ENCODINGS,
        alpha=0.65,
        linewidths=0,
        label="encodings of test images",
    )
    if len(found.pockets):
        pockets = prior[found.pockets.numpy()]
        axes.scatter(pockets[:, 0], pockets[:, 1], s=46, color=POCKET, marker="x", label="pockets")
    if len(found.leaks):
        leaks = encodings[found.leaks.numpy()]
        axes.scatter(leaks[:, 0], leaks[:, 1], s=46, facecolors="none", edgecolors=LEAK, label="leaks")
    names = ("z 1", "z 2") if found.dimensions <= 2 else ("principal component 1", "principal component 2")
    axes.set(xlabel=names[0], ylabel=names[1], xlim=limits[0], ylim=limits[1])
    axes.set_aspect("equal", adjustable="box")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return _png(figure)


def points_figure(data: Tensor, samples: Tensor) -> str:
    """Data and samples in the plane, for observations of two numbers."""
    figure, axes = _figure(5.4, 4.6)
    axes.scatter(data.cpu()[:, 0], data.cpu()[:, 1], s=8, color=ENCODINGS, alpha=0.6, linewidths=0, label="test data")
    axes.scatter(samples.cpu()[:, 0], samples.cpu()[:, 1], s=8, color=PRIOR, alpha=0.6, linewidths=0, label="samples")
    axes.set_aspect("equal", adjustable="box")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return _png(figure)


def curves_figure(histories: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> str:
    """The validation number of each fit over its epochs; the start, far above the rest, may lie outside."""
    figure, axes = _figure(5.8, 3.4)
    ends = []
    for index, (name, history) in enumerate(histories.items()):
        values = [line["validation"][metric] for line in history]
        axes.plot([line["epoch"] for line in history], values, label=name, color=f"C{index}", linewidth=1.5)
        best = min(range(len(values)), key=values.__getitem__)
        axes.plot(history[best]["epoch"], values[best], "o", color=f"C{index}", markersize=4)
        ends.append((values[best], values[len(values) // 4]))
    low, high = min(best for best, _ in ends), max(early for _, early in ends)
    margin = max(0.05 * (high - low), 1e-6)
    axes.set(
        xlabel="epoch", ylabel=f"validation: {metric.replace('_', ' ')}, nats", ylim=(low - margin, high + 2 * margin)
    )
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)
