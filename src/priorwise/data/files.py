"""Arrays out of .npz and .npy files, never through pickle."""

import lzma
import zipfile
import zlib
from pathlib import Path

import numpy as np

from priorwise.data.errors import DataError

__all__ = ["array_names", "read_arrays"]

_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an archive of nothing
_NPY = b"\x93NUMPY"
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def _damaged(path: Path, error: Exception) -> DataError:
    if "allow_pickle" in str(error):
        return DataError(
            f"expected plain arrays; {path} holds pickled objects, which are refused unread, since reading them would "
            "run code. Save arrays of numbers with numpy.savez_compressed."
        )
    return DataError(
        f"expected a readable .npz or .npy file; {path} is damaged or cut short ({error}). Make or get it anew."
    )


def _check_kind(path: Path) -> bytes:
    """The first bytes of a file that numpy can have written."""
    if not path.exists():
        raise DataError(f"expected a file; there is none at {path}.")
    if not path.is_file():
        raise DataError(f"expected an .npz or .npy file; {path} is not a file.")
    with path.open("rb") as stream:
        head = stream.read(len(_NPY))
    if not head:
        raise DataError(f"expected an .npz or .npy file; {path} is empty.")
    if not head.startswith((*_ZIPS, _NPY)):
        raise DataError(
            f"expected an .npz or .npy file; {path} begins with {head!r}, which is neither. Pickles are refused unread; "
            "save arrays with numpy.savez_compressed."
        )
    return head


def read_arrays(path: str | Path, wanted: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file by name; the one of an .npy file has the name "".

    Arguments:
        path: An .npz or .npy file.
        wanted: Which names to read where they are present, None for all; the others are not unpacked.

    Raises:
        DataError: if it is not such a file, damaged, or pickled.
    """
    path = Path(path)
    head = _check_kind(path)
    try:
        if head.startswith(_NPY):
            return {"": np.load(path, allow_pickle=False)}
        # an open stream: numpy leaves a file that it opened itself open when the archive is damaged
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if wanted is None or name in wanted}
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(f"expected a compression that this Python can read; {path}: {error}.") from error


def array_names(path: str | Path) -> list[str]:
    """The names in an .npz file, unread.

    Raises:
        DataError: as above.
    """
    path = Path(path)
    if not _check_kind(path).startswith(_ZIPS):
        return [""]
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return list(file.files)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
