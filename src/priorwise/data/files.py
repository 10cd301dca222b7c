"""Arrays from .npz and .npy files, never through pickle, and from the idx files of MNIST."""

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from priorwise.data.headers import check_member, check_npy
from priorwise.data.spec import DataError
from priorwise.memory import MemoryLimitError, refuse_beyond_memory
from priorwise.reading import UnreadableError, check_plain_file, shortened

__all__ = ["array_names", "read_arrays", "read_idx"]

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an empty archive
_IDX_BYTES = 0x08  # the code of unsigned bytes in an idx file
_NPY = b"\x93NUMPY"
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    SyntaxError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
    MemoryError,  # numpy and Python's parser say so of a header that is nested too deeply
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def _damaged(path: Path, error: Exception) -> DataError:
    if "allow_pickle" in str(error):
        return DataError(
            f"expected plain arrays; {path} holds pickled objects, which are refused unread "
            "because reading them would run code. Save arrays of numbers with "
            "numpy.savez_compressed."
        )
    return DataError(
        f"expected a readable .npz or .npy file; {path} is damaged or cut short "
        f"({str(error)[:200]}). Make or download it again."
    )


def _check_kind(path: Path) -> bytes:
    """The first bytes of a file, which is refused if numpy cannot have written it."""
    try:
        check_plain_file(path)
    except UnreadableError as error:
        raise DataError(f"expected an .npz or .npy file. {error}") from error
    if not path.exists():
        raise DataError(f"expected a file; there is none at {path}.")
    with path.open("rb") as stream:
        head = stream.read(len(_NPY))
    if not head:
        raise DataError(f"expected an .npz or .npy file; {path} is empty.")
    if not head.startswith((*_ZIPS, _NPY)):
        raise DataError(
            f"expected an .npz or .npy file; {path} begins with {head!r}, which is neither. "
            "Pickles are refused unread; save arrays with numpy.savez_compressed."
        )
    return head


def read_arrays(path: str | Path, wanted: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file by name; the array of an .npy file has the name "".

    Arguments:
        path: An .npz or .npy file.
        wanted: Names to read if the file has them; None reads all. Other arrays are not unpacked.

    Raises:
        DataError: if it is no such file, or is damaged or pickled.
    """
    path = Path(path)
    head = _check_kind(path)
    try:
        if head.startswith(_NPY):
            check_npy(path)
            return {"": np.load(path, allow_pickle=False)}
        # We open the file ourselves: if the archive is damaged, numpy leaves its own handle open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            assert isinstance(file, np.lib.npyio.NpzFile)
            names = [name for name in file.files if wanted is None or name in wanted]
            assert file.zip is not None
            for entry in file.zip.infolist():
                if entry.filename.removesuffix(".npy") in names:
                    check_member(file.zip, entry, path)
            return {name: file[name] for name in names}
    except (DataError, MemoryLimitError):
        raise
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"expected a compression that this Python can read; {path}: {error}."
        ) from error


def array_names(path: str | Path) -> list[str]:
    """The names of the arrays in an .npz file, without reading them.

    Raises:
        DataError: as ``read_arrays``.
    """
    path = Path(path)
    if not _check_kind(path).startswith(_ZIPS):
        return [""]
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return list(file.files)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(f"expected a zip file that Python can read; {path}: {error}.") from error


def read_idx(path: str | Path) -> np.ndarray:
    """An array of unsigned bytes from an unpacked idx file.

    Such a file holds two zero bytes, the type, the number of dimensions, their sizes as 32-bit
    big-endian integers, and the values.

    Raises:
        DataError: if it is no such file, or its length contradicts the sizes in its header.
    """
    refuse_beyond_memory(Path(path).stat().st_size, str(path), "Take a smaller file.")
    content = Path(path).read_bytes()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _IDX_BYTES:
        raise DataError(
            f"expected an idx file of unsigned bytes; {path} begins with {content[:4]!r}."
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"expected an idx file; {path} ends within its header.")
    sizes = struct.unpack(f">{content[3]}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != math.prod(sizes) or len(sizes) > 32:
        raise DataError(
            f"expected {shortened(sizes)} values in {path}; got {values.size}. The file is cut "
            "short or too long."
        )
    return values.reshape(sizes).copy()
