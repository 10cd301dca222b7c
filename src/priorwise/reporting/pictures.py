"""Samples as a picture file or as arrays."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["grid", "save_samples"]


def grid(images: Tensor, columns: int | None = None, *, border: int = 1) -> Tensor:
    """Images ``(N, C, H, W)`` in [0, 1] side by side: ``(C, height, width)``, white between them."""
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


def save_samples(x: Tensor, path: Path) -> Path:
    """Write images as a .png grid, or any samples as an .npz with the array ``x``.

    Raises:
        ValueError: for another ending, or samples that are no images where a picture is wanted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez_compressed(path, x=x.detach().cpu().numpy())
        return path
    if path.suffix != ".png":
        raise ValueError(f"expected a file that ends in .png or .npz; got {path.name}.")
    if x.dim() != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            "expected images (N, C, H, W) with 1 or 3 channels for a picture; got "
            f"{tuple(x.shape)}. Choose a file ending in .npz."
        )
    from PIL import Image

    canvas = (grid(x) * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(canvas[0] if len(canvas) == 1 else canvas.transpose(1, 2, 0))
    small = max(picture.size)
    factor = max(1, 600 // small)
    picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    ).save(path)
    return path
