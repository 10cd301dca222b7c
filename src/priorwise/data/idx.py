"""The idx format, in which MNIST and its followers are published."""

import struct
from pathlib import Path

import numpy as np

from priorwise.data.errors import DataError

__all__ = ["read_idx"]

_BYTES = 0x08  # the code of unsigned bytes


def read_idx(path: str | Path) -> np.ndarray:
    """An array of unsigned bytes from an unpacked idx file.

    Such a file is two zero bytes, the type, the number of dimensions, their sizes as 32-bit big-endian integers, and
    the values.

    Raises:
        DataError: if the file is not one, or its size is not the one that it states.
    """
    content = Path(path).read_bytes()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _BYTES:
        raise DataError(f"expected an idx file of unsigned bytes; {path} begins with {content[:4]!r}.")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"expected an idx file; {path} ends within its header.")
    sizes = struct.unpack(f">{content[3]}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != np.prod(sizes, dtype=np.int64):
        raise DataError(f"expected {sizes} values in {path}; got {values.size}. The file is cut short or too long.")
    return values.reshape(sizes).copy()
