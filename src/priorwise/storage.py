"""Files that are whole or not there, and hashes of what tensors hold."""

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["WriteError", "content_hash", "write_atomically"]


class WriteError(OSError):
    """A file that the disk refused; what was there before is unharmed."""


def content_hash(tensors: "Mapping[str, torch.Tensor]") -> str:
    """16 hexadecimal digits of named tensors: their names, shapes, types and every bit of their values.

    Neither the order of the names nor the device changes it.

    Arguments:
        tensors: By name; a ``state_dict``, for example.

    Example:
        >>> import torch
        >>> content_hash({"x": torch.zeros(2)}) == content_hash({"x": torch.zeros(1, 2)})
        False
    """
    import torch

    digest = blake2b(digest_size=8)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` completely or not at all; what was there stays until the new file is whole.

    Raises:
        WriteError: if the disk refuses (it is full, say); the message names the path.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WriteError(
            f"could not write {path} ({error.strerror}); what was there before is unharmed. Make "
            "room and run the same command again: it goes on from the last checkpoint."
        ) from error
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
