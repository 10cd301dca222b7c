"""The pictures of a report, each as a data URI, so that the page is one file."""

import base64
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
from priorwise.reporting.pictures import png_of_figure, png_of_images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves_figure", "images_uri", "latent_figure", "pairs", "points_figure"]


def _uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def images_uri(x: Tensor, columns: int | None = None) -> str:
    """Images ``(N, C, H, W)`` in [0, 1] as one grid; the page enlarges its pixels."""
    return _uri(png_of_images(x, columns))


def pairs(x: Tensor, y: Tensor, columns: int) -> Tensor:
    """Rows of ``columns`` images from ``x``, and below each row the images of ``y`` for it."""
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


def latent_figure(latents: LatentMap) -> str:
    """Encodings as points on the contours of the prior's draws, with pockets and leaks marked."""
    figure, axes = _figure(5.4, 4.6)
    draw_latents(axes, latents.plane)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return _uri(png_of_figure(figure))


def points_figure(data: Tensor, samples: Tensor) -> str:
    """Data and samples in the plane, for observations of two numbers."""
    figure, axes = _figure(5.4, 4.6)
    draw_points(axes, [(data, ENCODINGS, "test data"), (samples, PRIOR, "samples")])
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return _uri(png_of_figure(figure))


def curves_figure(histories: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> str:
    """The validation metric of each fit over its epochs.

    The first values, which are far above the rest, may be outside the picture.
    """
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
    return _uri(png_of_figure(figure))
