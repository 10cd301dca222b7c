"""Folders of images."""

import struct
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from priorwise.data.spec import DataError
from priorwise.memory import refuse_beyond_memory

__all__ = ["image_files", "read_images"]

_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm"}
)
# Pillow reads many more formats; one of them (PostScript) starts another program.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_MOST_PIXELS = 2**26  # of one image, 8192 x 8192
_ADVICE = "Take fewer or smaller images."
_MANY = 500  # reading more files than this takes seconds, so a progress bar is shown


# What Pillow raises at a damaged file.
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    MemoryError,
    struct.error,
    zlib.error,
)


def image_files(folder: Path) -> list[Path]:
    """All images in a folder and in the folders below it, in the order of their paths.

    Raises:
        DataError: if there is no such folder, or no image.
    """
    if not folder.is_dir():
        raise DataError(
            f"expected a folder of images; {folder} is "
            f"{'not a folder' if folder.exists() else 'not there'}."
        )
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()
    )
    if not files:
        raise DataError(
            f"expected images ({' '.join(sorted(_SUFFIXES))}) in {folder} or below it; there are "
            "none."
        )
    return files


def _opaque(image: Any, path: Path) -> Any:  # noqa: ANN401 - a Pillow image
    """The image without its alpha channel; an image that is transparent anywhere is refused."""
    alpha = image.convert("RGBA").getchannel("A")
    if alpha.getextrema()[0] < 255:
        raise DataError(
            f"expected images without transparency; {path} has some. Save it on a background."
        )
    return image.convert("L" if image.mode == "LA" else "RGB")


def _pixels(path: Path) -> np.ndarray:
    """``(H, W)`` for a grey image, ``(H, W, 3)`` for a coloured one."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow's own limit on pixels is higher than ours, which is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path, formats=_FORMATS)
        with opened as image:
            if image.width * image.height > _MOST_PIXELS:
                raise _too_large(path, f"{image.width}x{image.height}")
            image.load()
            if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
                return np.asarray(_opaque(image, path))
            if image.mode in ("1", "L"):
                return np.asarray(image.convert("L"))
            if image.mode in ("RGB", "P", "CMYK", "YCbCr"):
                return np.asarray(image.convert("RGB"))
            raise DataError(
                f"expected images of 8 bits per channel, grey or coloured; {path} has mode "
                f"{image.mode}."
            )
    except Image.DecompressionBombError as error:
        raise _too_large(path, "more than twice as many") from error
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"expected an image; {path} cannot be read (it is none of {', '.join(_FORMATS)})."
        ) from error
    except _DAMAGE as error:
        raise DataError(
            f"expected an image; {path} cannot be read ({str(error)[:200]})."
        ) from error


def _too_large(path: Path, size: str) -> DataError:
    return DataError(
        f"expected images of at most {_MOST_PIXELS:,} pixels; {path} has {size}. Make it smaller "
        "or remove it."
    )


def _tracked(files: list[Path], *, show: bool) -> Iterable[Path]:
    if not show or len(files) <= _MANY:
        return files
    from rich.console import Console
    from rich.progress import track

    return track(files, description="reading images", console=Console(stderr=True))


def read_images(files: list[Path], *, show: bool = True) -> np.ndarray:
    """The images of some files, at least one.

    Arguments:
        files: The files.
        show: Whether to show a progress bar on standard error when there are many images.

    Returns:
        uint8 ``(N, H, W)`` or ``(N, H, W, 3)``; zeros and ones if every pixel is black or white.

    Raises:
        DataError: if an image cannot be read or differs in size from the first. The message names
            it.
    """
    images: list[np.ndarray] = []
    for path in _tracked(files, show=show):
        image = _pixels(path)
        if images and image.shape[:2] != images[0].shape[:2]:
            height, width = images[0].shape[:2]
            raise DataError(
                f"expected images of one size, {width}x{height} as {files[0]}; {path} is "
                f"{image.shape[1]}x{image.shape[0]}. Resize or remove it."
            )
        images.append(image)
        if len(images) == 1:
            refuse_beyond_memory(
                len(files) * image.size, f"the images of {files[0].parent}", _ADVICE
            )
    return _stacked(images)


def _stacked(images: list[np.ndarray]) -> np.ndarray:
    if any(image.ndim == 3 for image in images):
        images = [
            image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
            for image in images
        ]
    stack = np.stack(images)
    pure = bool(((stack == 0) | (stack == 255)).all())
    return stack // 255 if pure else stack
