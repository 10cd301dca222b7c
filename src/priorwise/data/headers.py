"""What .npy and .npz files say of their arrays, checked before any memory is taken for them."""

import io
import math
import os
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from priorwise.data.spec import DataError
from priorwise.memory import refuse_beyond_memory
from priorwise.reading import shortened

__all__ = ["check_member", "check_npy"]

_SMALL = 2**28  # bytes that may be packed as tightly as they like
_TIGHTEST = 500  # times that a larger array may shrink when it is packed; zeros shrink 1,030 times
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_ADVICE = "Take fewer or smaller observations, or save them as bytes (uint8)."


def _values(stream: IO[bytes] | io.BufferedIOBase, name: str) -> int:
    """The number of bytes of values that the header of an array announces."""
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise DataError(f"expected version 1 or 2 of the .npy format in {name}; got {version}.")
    shape, _, kind = _READERS[version](stream)
    if any(size < 0 for size in shape) or len(shape) > 32:
        raise DataError(f"expected an array of 32 sizes at most in {name}; got {shortened(shape)}.")
    if kind.hasobject:
        raise DataError(
            f"expected plain arrays; {name} holds pickled objects, which are refused unread "
            "because reading them would run code. Save arrays of numbers with "
            "numpy.savez_compressed."
        )
    return math.prod(map(int, shape)) * kind.itemsize


def _check_size(announced: int, there: int, name: str) -> None:
    if announced > there:
        raise DataError(
            f"expected {announced:,} bytes of values in {name}, as its header says; it has at most "
            f"{there:,}. It is damaged or cut short: make or download it again."
        )
    refuse_beyond_memory(announced, name, _ADVICE)


def check_npy(path: Path) -> None:
    """Refuse an .npy file that is shorter than its header says, or too large for the memory.

    Raises:
        DataError: for a header that lies or that numpy cannot read.
        MemoryLimitError: for an array that does not fit.
    """
    with path.open("rb") as stream:
        announced = _values(stream, str(path))
        _check_size(announced, os.fstat(stream.fileno()).st_size - stream.tell(), str(path))


def check_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an array of an .npz file for the same reasons, or if it is packed too tightly.

    An archive of some kilobytes can unpack to gigabytes.

    Raises:
        DataError: for a header that lies or that numpy cannot read, and for such an archive.
        MemoryLimitError: for an array that does not fit.
    """
    name = f"{shortened(entry.filename)} of {path}"
    if entry.file_size > max(_SMALL, _TIGHTEST * entry.compress_size):
        raise DataError(
            f"expected an array that shrinks at most {_TIGHTEST} times when it is packed; {name} "
            f"would grow from {entry.compress_size:,} to {entry.file_size:,} bytes. If it is "
            "yours, save it with numpy.savez, which does not pack."
        )
    with archive.open(entry) as stream:
        announced = _values(stream, name)
        _check_size(announced, entry.file_size, name)
