"""Files that are whole or not there, and hashes of what tensors and files hold."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = [
    "TRY_AGAIN",
    "WriteError",
    "append_line",
    "atomic_file",
    "content_hash",
    "file_hash",
    "value_bytes",
    "write_atomically",
]

TRY_AGAIN = "Make room there, or name another place, and do the same again."


class WriteError(OSError):
    """A file that the disk refused; what was there before is unharmed."""


# -- hashes ----------------------------------------------------------------------------------------


def value_bytes(tensor: "torch.Tensor") -> memoryview:
    """Every bit of a tensor's values, row by row, whatever its type, strides and device."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def content_hash(tensors: "Mapping[str, torch.Tensor]") -> str:
    """16 hexadecimal digits of named tensors: names, shapes, types and every bit of their values.

    Neither the order of the names nor the device changes it.

    Arguments:
        tensors: By name; a ``state_dict``, for example.

    Example:
        >>> import torch
        >>> content_hash({"x": torch.zeros(2)}) == content_hash({"x": torch.zeros(1, 2)})
        False
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(value_bytes(tensor))
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, as ``sha256sum`` prints it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# -- files -----------------------------------------------------------------------------------------


def write_atomically(path: Path, data: bytes, *, advice: str = TRY_AGAIN) -> None:
    """Put ``data`` at ``path`` completely or not at all; until then what was there stays.

    A kill leaves one hidden file at most, which the next write takes over: for a file that one
    process writes often. Where several may write, take ``atomic_file``.

    Arguments:
        path: The file; its folder is there.
        data: All of it.
        advice: What to do when the disk refuses, for the message.

    Raises:
        WriteError: if the disk refuses (it is full, say); the message names the path.
    """
    partial = path.with_name(f".{path.name}.partial")
    with _refusals_told(path, advice):
        try:
            partial.write_bytes(data)
            _put_in_place(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_file(path: Path, *, advice: str = TRY_AGAIN) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` if the block succeeds and vanishes if not.

    It has the name of ``path``, in a folder of its own, where the block may put other files as
    well. The folder of ``path`` is made where it is missing.

    Raises:
        WriteError: if the disk refuses, in the block or after it; the message names ``path``.
    """
    with _refusals_told(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
            partial = Path(folder) / path.name
            yield partial
            _put_in_place(partial, path)


def append_line(path: Path, line: str, *, advice: str = TRY_AGAIN) -> None:
    """Add a line to a file, made where it is missing, and put it on the disk.

    It is written by one call, so that processes do not mix their lines. A kill, or a disk that
    refuses, may leave a part of the line.

    Raises:
        WriteError: if the disk refuses; the message names the path.
    """
    with _refusals_told(path, advice), open(path, "ab") as file:
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _refusals_told(path: Path, advice: str) -> Iterator[None]:
    """Errors of the operating system as a ``WriteError`` that names the file, and what to do."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(
            f"could not write {path} ({error.strerror or error}); what was there before is "
            f"unharmed. {advice}"
        ) from error


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename a file that is whole, with it and its name on the disk."""
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    if os.name != "posix":
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
