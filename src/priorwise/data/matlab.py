"""Matrices of images from the MATLAB files of published sets.

A file of MATLAB 5 says little about what it unpacks to. So its size is measured first, piece by
piece, and only matrices of numbers of the expected shapes are read.
"""

import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from priorwise.data.spec import DataError
from priorwise.memory import refuse_beyond_memory
from priorwise.reading import read_plain, reason, shortened
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
    struct.error,
    zlib.error,
)
_HEADER = 128  # bytes before the first variable of a file of MATLAB 5
_COMPRESSED = 15  # the type of a variable that is compressed
_NUMBERS = range(6, 16)  # the classes of double, single and the integers
_OTHERS = 2**26  # bytes to which labels and the like may unpack
_PIECE = 2**16


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
        DataError: if there is no file, or its matrices are not these.
        MemoryLimitError: if the file does not fit into memory.
        MissingExtraError: if scipy is not installed.
    """
    try:
        from scipy.io import loadmat, matlab, whosmat  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            f"reading {file} needs scipy, which is not installed. Run `pip install scipy`."
        ) from error
    if not path.is_file():
        raise DataError(f"expected the file {file}; there is no file at {path}.")
    size = path.stat().st_size
    refuse_beyond_memory(size, str(path), "Take a smaller file.", share=0.1)
    try:
        stream = io.BytesIO(read_plain(path, at_most=size))
        if matlab.matfile_version(stream)[0] == 1:
            classes = _classes(stream.getvalue(), room=_room(shapes))
            listed = whosmat(stream, chars_as_strings=False)
            for (name, shape, _), number in zip(listed, classes, strict=True):
                if name in shapes:
                    _check_header(name, shape, shapes[name], path, is_numeric=number in _NUMBERS)
            content = loadmat(stream, variable_names=list(shapes))
            present = [name for name, *_ in listed]
        else:  # MATLAB 4 compresses nothing
            content = loadmat(stream)
            present = [name for name in content if not name.startswith("__")]
    except DataError:
        raise
    except (matlab.MatReadError, *_DAMAGE) as error:
        raise DataError(
            f"expected MATLAB's {file}; {path} cannot be read ({reason(error)})."
        ) from error
    if missing := [name for name in shapes if name not in content]:
        raise DataError(
            f"expected the matrices {', '.join(shapes)} in {path}; got {shortened(present)}, "
            f"without {', '.join(missing)}."
        )
    for name, shape in shapes.items():
        _check(content[name], name, shape, path)
    return {name: content[name] for name in shapes}


def _room(shapes: dict[str, tuple[int, int]]) -> int:
    """Bytes to which a file may unpack: the matrices, complex at most, and others."""
    return 16 * sum(map(math.prod, shapes.values())) + _OTHERS


def _classes(content: bytes, *, room: int) -> list[int]:
    """MATLAB's number for the class of each variable, in a file that unpacks to so many bytes.

    Raises:
        ValueError: if it unpacks to more.
    """
    order = "<" if content[126:128] == b"IM" else ">"
    classes, place = [], _HEADER
    while place < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        end = place + 8 + size
        head = content[place : place + 20]
        if kind == _COMPRESSED:
            head, unpacked = _unpacked(memoryview(content)[place + 8 : end], room=room)
            room -= unpacked
        classes.append(struct.unpack_from(f"{order}I", head, 16)[0] & 0xFF)
        place = end
    return classes


def _unpacked(packed: memoryview, *, room: int) -> tuple[bytes, int]:
    """The first 20 bytes to which this unpacks, and how many there are."""
    engine = zlib.decompressobj()
    head, size = b"", 0
    for start in range(0, len(packed), _PIECE):
        rest: bytes | memoryview = packed[start : start + _PIECE]
        while rest and not engine.eof:
            piece = engine.decompress(rest, 16 * _PIECE)
            rest = engine.unconsumed_tail
            head, size = (head + piece[:20])[:20], size + len(piece)
            if size > room:
                raise ValueError(f"it unpacks to more than the {room:,} bytes that are left")
    return head, size


def _check_header(
    name: str, shape: tuple[int, ...], expected: tuple[int, int], path: Path, *, is_numeric: bool
) -> None:
    if not is_numeric:
        raise DataError(f"expected `{name}` as a matrix of numbers in {path}.")
    if shape != expected:
        raise DataError(f"expected `{name}` of shape {expected} in {path}; got {shape}.")


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
