"""The pictures of a report, each as a data URI, so that a page is one file."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from priorwise.reporting.drawing import (
    ENCODINGS,
    PRIOR,
    draw_latents,
    draw_points,
    new_figure,
    plain_axes,
)
from priorwise.reporting.latents import LatentMap
from priorwise.reporting.pictures import grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves_figure", "images_uri", "latent_figure", "pairs", "points_figure"]


def _uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def images_uri(x: Tensor, columns: int | None = None) -> str:
    """Images ``(N, C, H, W)`` in [0, 1] as one grid, pixels as they are; the page enlarges it."""
    from PIL import Image

    canvas = (grid(x, columns) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(canvas[0] if len(canvas) == 1 else canvas.transpose(1, 2, 0))
    factor = max(1, math.ceil(480 / picture.width))
    larger = picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
    buffer = io.BytesIO()
    larger.save(buffer, format="PNG", optimize=True)
    return _uri(buffer.getvalue())


def pairs(x: Tensor, y: Tensor, columns: int) -> Tensor:
    """Rows of ``x`` and of ``y`` in turn, ``columns`` of each: originals above their reconstructions."""
    rows = [
        part
        for start in range(0, len(x), columns)
        for part in (x[start : start + columns], y[start : start + columns])
    ]
    return torch.cat([part.cpu() for part in rows])


def _figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained")
    return figure, plain_axes(figure.add_subplot())


def _png(figure: "Figure") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _uri(buffer.getvalue())


def latent_figure(found: LatentMap) -> str:
    """Encodings as points on the contours of the prior's draws; pockets and leaks marked."""
    figure, axes = _figure(5.4, 4.6)
    draw_latents(axes, found.plane)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return _png(figure)


def points_figure(data: Tensor, samples: Tensor) -> str:
    """Data and samples in the plane, for observations of two numbers."""
    figure, axes = _figure(5.4, 4.6)
    draw_points(axes, [(data, ENCODINGS, "test data"), (samples, PRIOR, "samples")])
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return _png(figure)


def curves_figure(histories: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> str:
    """The validation number of each fit over its epochs; the start, far above the rest, may lie outside."""
    figure, axes = _figure(5.8, 3.4)
    ends = []
    for index, (name, history) in enumerate(histories.items()):
        judged = [line for line in history if "validation" in line]
        values = [line["validation"][metric] for line in judged]
        axes.plot(
            [line["epoch"] for line in judged], values, label=name, color=f"C{index}", linewidth=1.5
        )
        best = min(range(len(values)), key=values.__getitem__)
        axes.plot(judged[best]["epoch"], values[best], "o", color=f"C{index}", markersize=4)
        ends.append((values[best], values[len(values) // 4]))
    low, high = min(best for best, _ in ends), max(early for _, early in ends)
    margin = max(0.05 * (high - low), 1e-6)
    axes.set(
        xlabel="epoch",
        ylabel=f"validation: {metric.replace('_', ' ')}, nats",
        ylim=(low - margin, high + 2 * margin),
    )
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)
