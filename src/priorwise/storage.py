"""Atomic writes, which leave a complete file or none, and hashes of tensors and files."""

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from priorwise.reading import check_plain_file

if TYPE_CHECKING:
    import torch

__all__ = [
    "TRY_AGAIN",
    "WriteError",
    "append_line",
    "atomic_file",
    "content_hash",
    "file_hash",
    "short_hash",
    "sweep_partials",
    "value_bytes",
    "write_atomically",
]

TRY_AGAIN = "Free some space there, or choose another place, and try again."
_PARTIAL = ".partial"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


class WriteError(OSError):
    """The disk refused a file; an earlier file in its place is unharmed."""


# -- hashes ----------------------------------------------------------------------------------------


def value_bytes(tensor: "torch.Tensor") -> memoryview:
    """All bytes of a tensor's values, row by row, for any type, strides and device."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def content_hash(tensors: "Mapping[str, torch.Tensor]") -> str:
    """A hash of named tensors, as 16 hexadecimal digits.

    It depends on their names, shapes, types and every bit of their values, but neither on the order
    of the names nor on the device.

    Arguments:
        tensors: The tensors by name, such as a ``state_dict``.

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


def short_hash(content: bytes | str) -> str:
    """The BLAKE2b hash of a text or of bytes, as 16 hexadecimal digits."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, as ``sha256sum`` prints it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# -- files -----------------------------------------------------------------------------------------


def write_atomically(path: Path, data: bytes, *, advice: str = TRY_AGAIN) -> None:
    """Write ``data`` to ``path`` completely or not at all; an earlier file stays until then.

    The bytes go to a new hidden file beside ``path``, whose name nobody else has, and which is then
    renamed. A link with such a name is never followed. A kill may leave the hidden file behind, see
    ``sweep_partials``.

    Arguments:
        path: The file; its folder must exist.
        data: The complete content.
        advice: What the message tells the user to do if the disk refuses.

    Raises:
        WriteError: if the disk refuses, for example because it is full; the message names the path.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    with _as_write_error(path, advice):
        number = os.open(partial, _NEW, 0o666)
        try:
            with open(number, "wb") as file:
                file.write(data)
            _put_in_place(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def sweep_partials(folder: Path, names: Iterable[str]) -> None:
    """Remove the hidden files that killed writes of certain files left in a folder.

    Call it only where nobody else writes these files: it would remove what is being written.

    Arguments:
        folder: The folder.
        names: Names of the files, or patterns such as ``*.safetensors``.
    """
    for name in names:
        for leftover in folder.glob(f".{name}*{_PARTIAL}"):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path, *, advice: str = TRY_AGAIN) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` if the block succeeds and vanishes otherwise.

    It has the name of ``path`` and a folder of its own, where the block may put other files, too.
    The folder of ``path`` is created if it is missing.

    Raises:
        WriteError: if the disk refuses, in the block or after it; the message names ``path``.
    """
    with _as_write_error(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(_PARTIAL, f".{path.stem}-", path.parent) as folder:
            partial = Path(folder) / path.name
            yield partial
            _put_in_place(partial, path)


def append_line(path: Path, line: str, *, advice: str = TRY_AGAIN) -> None:
    """Add a line to a file and force it to the disk; a missing file is created.

    One call writes the line, so that processes do not mix their lines. After a kill, or if the disk
    refuses, a part of the line may remain.

    Raises:
        WriteError: if the disk refuses; the message names the path.
        UnreadableError: if there is something else than a plain file, such as a pipe.
    """
    check_plain_file(path)
    with _as_write_error(path, advice), open(path, "ab") as file:
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _as_write_error(path: Path, advice: str) -> Iterator[None]:
    """Turn errors of the operating system into a ``WriteError`` with the file and the advice."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(
            f"could not write {path} ({error.strerror or error}); an earlier file in its place is "
            f"unharmed. {advice}"
        ) from error


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename a complete file, and force its content and its name to the disk."""
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
