"""Pictures as PNG, and samples as a picture file or as arrays."""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from priorwise.data.value_range import in_unit_range, observed_range
from priorwise.storage import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["grid", "is_images", "png_of_figure", "png_of_images", "save_samples"]

_MARGIN = 0.25
_WIDTH = 480  # a smaller grid is enlarged to at least this many pixels


def is_images(x: Tensor) -> bool:
    """Whether these are images ``(N, C, H, W)`` of one or three channels."""
    return x.dim() == 4 and x.shape[1] in (1, 3)


def grid(images: Tensor, columns: int | None = None, *, border: int = 1) -> Tensor:
    """Images ``(N, C, H, W)`` in [0, 1] side by side, white between them, as ``(C, H, W)``."""
    count, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(count)) if columns is None else columns
    rows = math.ceil(count / columns)
    canvas = torch.ones(
        channels, rows * (height + border) + border, columns * (width + border) + border
    )
    for index, image in enumerate(images.detach().cpu().clamp(0, 1)):
        top = border + (index // columns) * (height + border)
        left = border + (index % columns) * (width + border)
        canvas[:, top : top + height, left : left + width] = image
    return canvas


def png_of_images(x: Tensor, columns: int | None = None) -> bytes:
    """Images ``(N, C, H, W)`` in [0, 1] as one grid; each pixel becomes a square of pixels."""
    from PIL import Image

    canvas = (grid(x, columns) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(canvas[0] if len(canvas) == 1 else canvas.transpose(1, 2, 0))
    factor = max(1, math.ceil(_WIDTH / picture.width))
    larger = picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
    buffer = io.BytesIO()
    larger.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def png_of_figure(figure: "Figure") -> bytes:
    """A figure of matplotlib."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save_samples(
    x: Tensor, path: str | Path, *, value_range: tuple[float, float] | None = None
) -> Path:
    """Write images as a .png grid, or any samples as an .npz with the array ``x``; return the path.

    Arguments:
        x: The samples ``(N, *event)``; an .npz holds them as they are.
        path: The file.
        value_range: What a picture shows as black and as white, such as ``Splits.value_range``. If
            None, it is guessed from ``x``: [0, 1] or [-1, 1] if they nearly fit in there, else
            their own range.

    Raises:
        ValueError: for another suffix, or for samples that are not images and a .png.
        WriteError: if the disk refuses; an earlier file at the path is unchanged.
    """
    path, x = Path(path), torch.as_tensor(x)
    if not len(x):
        raise ValueError("expected at least one sample to save; got none.")
    if path.suffix not in (".npz", ".png"):
        raise ValueError(f"expected a file that ends in .png or .npz; got {str(path)!r}.")
    if path.suffix == ".png" and not is_images(x):
        raise ValueError(
            "expected images (N, C, H, W) with 1 or 3 channels for a picture; got shape "
            f"{tuple(x.shape)}. Choose a file that ends in .npz."
        )
    with atomic_file(path) as partial:
        if path.suffix == ".png":
            shown = observed_range(x, margin=_MARGIN) if value_range is None else value_range
            partial.write_bytes(png_of_images(in_unit_range(x, shown)))
        else:
            np.savez_compressed(partial, x=x.detach().cpu().numpy())
    return path
