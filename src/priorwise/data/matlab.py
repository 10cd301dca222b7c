"""Matrices of images from the MATLAB files of published sets."""

import zlib
from pathlib import Path

import numpy as np

from priorwise.data.spec import DataError
from priorwise.refusals import MissingExtraError

__all__ = ["read_matrices", "upright"]

# What scipy raises at a damaged file.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    MemoryError,
    zlib.error,
)


def upright(rows: np.ndarray) -> np.ndarray:
    """Images of 28x28 stored column by column, ``(N, 784)``, as ``(N, 28, 28)`` upright."""
    return rows.reshape(-1, 28, 28).transpose(0, 2, 1)


def read_matrices(
    path: Path, shapes: dict[str, tuple[int, int]], *, file: str
) -> dict[str, np.ndarray]:
    """The matrices of a MATLAB file by name, with values in [0, 1].

    Arguments:
        path: The file.
        shapes: The shape of each matrix that is read.
        file: What the file is called where it comes from, for the messages.

    Raises:
        DataError: if it is no such file, or its matrices are not these.
        MissingExtraError: if scipy is not installed.
    """
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped]
        from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            f"reading {file} needs scipy, which is not installed. Run `pip install scipy`."
        ) from error
    try:
        content = loadmat(path)
    except (MatReadError, *_DAMAGE) as error:
        raise DataError(
            f"expected MATLAB's {file}; {path} cannot be read ({str(error)[:200]})."
        ) from error
    if missing := [name for name in shapes if name not in content]:
        present = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise DataError(
            f"expected the matrices {', '.join(shapes)} in {path}; got {present}, without "
            f"{', '.join(missing)}."
        )
    for name, shape in shapes.items():
        _check(content[name], name, shape, path)
    return {name: content[name] for name in shapes}


def _check(matrix: object, name: str, shape: tuple[int, int], path: Path) -> None:
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind not in "buif":
        raise DataError(f"expected `{name}` as a matrix of numbers in {path}.")
    if matrix.shape != shape:
        raise DataError(f"expected `{name}` of shape {shape} in {path}; got {matrix.shape}.")
    if not 0 <= matrix.min() <= matrix.max() <= 1:
        raise DataError(
            f"expected `{name}` with values in [0, 1] in {path}; got {matrix.min():.4g} to "
            f"{matrix.max():.4g}."
        )
