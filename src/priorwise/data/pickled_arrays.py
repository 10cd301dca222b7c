"""Arrays from a pickle, which is read without executing anything that it names.

A pickle is a program that calls functions by their names. Here a name becomes a stand-in, and a
call of a stand-in is only noted down. What numpy writes for an array is then recognised among these
notes, and everything else is refused.
"""

import io
import math
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from priorwise.data.spec import DataError
from priorwise.memory import refuse_beyond_memory
from priorwise.reading import read_plain, shortened

__all__ = ["read_pickled_arrays"]

_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
_NUMBERS = re.compile(rb"b1|[iu][1248]|f[248]")
_DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    struct.error,
)


class _Call:
    """A call that a pickle asks for: the name of the function, and its arguments."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the pickle holds
        self.state = state


class _StandIn:
    """What stands for a function of numpy; calling it notes the call."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> _Call:  # noqa: ANN401 - whatever the pickle holds
        return _Call(self.name, arguments)


# Python's own unpickler: that in C takes as much memory for its memo as a file asks for.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> _StandIn:
        """A stand-in for one of the names that numpy writes; every other name is refused."""
        if (module, name) not in _NAMES:
            raise DataError(f"it names {shortened(f'{module}.{name}')}, which is no array")
        return _StandIn(name)


def _bytes(value: Any) -> bytes:  # noqa: ANN401 - whatever the pickle holds
    """Bytes as they are, as text, or as Python 3 writes them for Python 2."""
    if isinstance(value, _Call) and value.name == "encode":
        value = value.arguments[0]
    if isinstance(value, str):
        return value.encode("latin-1")
    if not isinstance(value, bytes):
        raise DataError(f"expected bytes; got {type(value).__name__}")
    return value


def _dtype(call: _Call) -> "np.dtype[Any]":
    code, order = _bytes(call.arguments[0]), _bytes(call.state[1])
    if call.name != "dtype" or not _NUMBERS.fullmatch(code) or order not in (b"<", b">", b"|"):
        raise DataError(f"expected an array of numbers; got the type {shortened(code)}")
    return np.dtype((order + code).decode())


def _array(call: Any) -> np.ndarray:  # noqa: ANN401 - whatever the pickle holds
    """The array that numpy noted down: version, shape, type, order of the axes, values."""
    if not isinstance(call, _Call) or call.name != "_reconstruct" or len(call.state) != 5:
        raise DataError(f"expected an array; got {shortened(call)}")
    _, shape, kind, is_fortran, content = call.state
    dtype, values = _dtype(kind), _bytes(content)
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(values):
        raise DataError(f"expected {shortened(shape)} values; got {len(values):,} bytes")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if is_fortran else "C")


def read_pickled_arrays(path: str | Path) -> dict[str, list[np.ndarray]]:
    """The lists of arrays in a dictionary that Python 2 or 3 has pickled.

    An array in the place of a list is the list of its entries. Nothing that the pickle names is
    imported or called, so a file from elsewhere cannot run code. Protocols 0 to 4 are read.

    Raises:
        DataError: if it is no pickle, is damaged, or holds anything else.
        MemoryLimitError: if the file does not fit into memory.
        UnreadableError: if it is not a plain file.
        FileNotFoundError: if there is none.
    """
    path = Path(path)
    size = path.stat().st_size
    refuse_beyond_memory(size, str(path), "Take a smaller file.", share=0.2)
    stream = io.BytesIO(read_plain(path, at_most=size))
    try:
        return {
            _bytes(name).decode(): [_array(entry) for entry in part]
            if isinstance(part, list)
            else list(np.atleast_2d(_array(part)))
            for name, part in _Reader(stream, encoding="bytes").load().items()
        }
    except _DAMAGE as error:
        raise DataError(
            f"expected a pickle of plain arrays; {path} is not one ({str(error)[:200]})."
        ) from error
