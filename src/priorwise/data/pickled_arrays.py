"""Arrays from a pickle, which is read without executing anything that it names.

A pickle is a program that calls functions by their names. Here a name becomes a stand-in, and a
call of a stand-in is only noted down. What numpy writes for an array is then recognised among these
notes, and everything else is refused. A few bytes of a program can ask for much time or memory, so
only the steps that arrays need are taken, so many of them, and nothing is copied twice.
"""

import functools
import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from priorwise.data.spec import DataError
from priorwise.memory import refuse_beyond_memory
from priorwise.reading import read_plain, reason, shortened

__all__ = ["ForeignNameError", "read_pickled_arrays"]

_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
# What protocols 0 to 4 need for arrays in dictionaries and lists, of the steps of any pickle.
_STEPS = (
    pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE,
    pickle.NEWFALSE, pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG,
    pickle.LONG1, pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.BINBYTES,
    pickle.SHORT_BINBYTES, pickle.BINBYTES8, pickle.UNICODE, pickle.BINUNICODE,
    pickle.SHORT_BINUNICODE, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2,
    pickle.TUPLE3, pickle.EMPTY_LIST, pickle.LIST, pickle.APPEND, pickle.APPENDS,
    pickle.EMPTY_DICT, pickle.DICT, pickle.SETITEM, pickle.SETITEMS, pickle.GLOBAL,
    pickle.STACK_GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.GET, pickle.BINGET,
    pickle.LONG_BINGET, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE,
)  # fmt: skip
_MOST_STEPS = 2**21  # five times those of 10,800 images; a step takes about 100 bytes
_MOST_ARGUMENTS = 3  # of numpy's functions here
_MOST_AXES = 32
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


class ForeignNameError(DataError):
    """A pickle that names a function or a class that no array needs."""


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


class _Steps(dict[int, Callable[[Any], None]]):
    """What each step does; steps that no array needs are refused, and so are too many."""

    def __init__(self) -> None:
        super().__init__({code[0]: pickle._Unpickler.dispatch[code[0]] for code in _STEPS})
        self[pickle.DICT[0]] = _Reader.load_dict
        self[pickle.SETITEM[0]] = _Reader.load_setitem
        self[pickle.SETITEMS[0]] = _Reader.load_setitems
        self[pickle.REDUCE[0]] = _Reader.load_reduce
        self.left = _MOST_STEPS

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        if code not in self:
            raise DataError(f"it takes the step {code:#04x}, which no array needs")
        self.left -= 1
        if self.left < 0:
            raise DataError(f"it takes more than {_MOST_STEPS:,} steps")
        return super().__getitem__(code)


# Python's own unpickler: that in C takes as much memory for its memo as a file asks for.
class _Reader(pickle._Unpickler):
    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.dispatch = _Steps()  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> _StandIn:
        """A stand-in for one of the names that numpy writes; every other name is refused."""
        if (module, name) not in _NAMES:
            raise ForeignNameError(f"it names {shortened(f'{module}.{name}')}, which is no array")
        return _StandIn(name)

    def load_dict(self) -> None:
        """A dictionary of the entries since the last mark."""
        entries = self.pop_mark()
        self.stack.append({})
        self._enter(entries)

    def load_setitem(self) -> None:
        """One entry of a dictionary."""
        entry = self.stack[-2:]
        del self.stack[-2:]
        self._enter(entry)

    def load_setitems(self) -> None:
        """The entries since the last mark."""
        self._enter(self.pop_mark())

    def _enter(self, entries: list[Any]) -> None:
        # A tuple of tuples of tuples is hashed again at every place where it occurs.
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            if not isinstance(key, (bytes, str)):
                raise DataError(f"expected text as a key; got {type(key).__name__}")
            self.stack[-1][key] = value

    def load_reduce(self) -> None:
        """A call, whose arguments are copied."""
        arguments = self.stack.pop()
        if not isinstance(arguments, tuple) or len(arguments) > _MOST_ARGUMENTS:
            raise DataError("it calls a function as no array does")
        self.stack[-1] = self.stack[-1](*arguments)


_Encode = Callable[[str], bytes]


def _bytes(value: Any, encode: _Encode) -> bytes:  # noqa: ANN401 - whatever the pickle holds
    """Bytes as they are, as text, or as Python 3 writes them for Python 2."""
    if isinstance(value, _Call) and value.name == "encode":
        value = value.arguments[0]
    if isinstance(value, str):
        return encode(value)
    if not isinstance(value, bytes):
        raise DataError(f"expected bytes; got {type(value).__name__}")
    return value


def _dtype(call: _Call, encode: _Encode) -> "np.dtype[Any]":
    code, order = _bytes(call.arguments[0], encode), _bytes(call.state[1], encode)
    if call.name != "dtype" or not _NUMBERS.fullmatch(code) or order not in (b"<", b">", b"|"):
        raise DataError(f"expected an array of numbers; got the type {shortened(code)}")
    return np.dtype((order + code).decode())


def _array(call: Any, encode: _Encode) -> np.ndarray:  # noqa: ANN401 - whatever the pickle holds
    """The array that numpy noted down: version, shape, type, order of the axes, values."""
    if not isinstance(call, _Call) or call.name != "_reconstruct" or len(call.state) != 5:
        raise DataError(f"expected an array; got {shortened(call)}")
    _, shape, kind, is_fortran, content = call.state
    dtype, values = _dtype(kind, encode), _bytes(content, encode)
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise DataError(f"expected the shape of an array; got {shortened(shape)}")
    if not all(0 <= size < 2**63 for size in shape) or math.prod(shape) * dtype.itemsize != len(
        values
    ):
        raise DataError(f"expected {shortened(shape)} values; got {len(values):,} bytes")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if is_fortran else "C")


def read_pickled_arrays(path: str | Path) -> dict[str, list[np.ndarray] | np.ndarray]:
    """The lists of arrays in a dictionary that Python 2 or 3 has pickled.

    An array in the place of a list is one of at least two axes, whose entries are meant. Nothing
    that the pickle names is imported or called, so a file from elsewhere cannot run code. Protocols
    0 to 4 are read.

    Raises:
        DataError: if it is no pickle, is damaged, or holds anything else; a ``ForeignNameError`` if
            it names a function that no array needs.
        MemoryLimitError: if the file does not fit into memory.
        UnreadableError: if it is not a plain file.
        FileNotFoundError: if there is none.
    """
    path = Path(path)
    size = path.stat().st_size
    refuse_beyond_memory(size, str(path), "Take a smaller file.", share=0.2)
    reader = _Reader(read_plain(path, at_most=size))
    # Many arrays may refer to one text, which is encoded once.
    encode = functools.cache(functools.partial(str.encode, encoding="latin-1"))
    try:
        return {
            _bytes(name, encode).decode(): [_array(entry, encode) for entry in part]
            if isinstance(part, list)
            else np.atleast_2d(_array(part, encode))
            for name, part in reader.load().items()
        }
    except _DAMAGE as error:
        kind = ForeignNameError if isinstance(error, ForeignNameError) else DataError
        raise kind(
            f"expected a pickle of plain arrays; {path} is not one ({reason(error)})."
        ) from error
