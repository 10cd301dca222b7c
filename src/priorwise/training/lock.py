"""The lock on a run folder: one process writes to it at a time.

The operating system frees the lock when its process ends, however that happens, so a crash never
leaves a folder locked. Reading needs no lock.
"""

import errno
import json
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from priorwise.storage import sweep_partials, write_atomically
from priorwise.training.folder import GROUP, RunFolderError, refuse_strangers

__all__ = ["held", "held_for_run"]

_LOCK, _HOLDER = ".lock", ".lock-holder.json"
_WRITTEN = ("run.json", GROUP, "*.safetensors", "evaluation")
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that has no locks."""
_LONGEST = 200  # characters of a command


@contextmanager
def held(folder: Path, *, alone: bool = True) -> Iterator[None]:
    """Hold the lock of a folder for a block, and remove what killed writes have left there.

    A folder that this process may not write to needs no lock: every write is refused anyway. Where
    the file system has no locks, a warning says so and the block runs.

    Arguments:
        folder: The folder, which must exist.
        alone: Whether to take the lock at all; of several processes that work together, one does.

    Raises:
        RunFolderError: if another process holds it, whose name the message says, or if something
            else than a file is in its place.
    """
    if not alone or not os.access(folder, os.W_OK):
        yield
        return
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(_words(folder)) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _WITHOUT_LOCKS:
            raise RunFolderError(
                f"expected {folder / _LOCK} to be a file that this process may write, or to be "
                f"missing; it cannot be opened ({error.strerror or error}). Remove it, also where "
                "it is a folder or a link, or make it writable: priorwise makes a new one."
            ) from error
        warnings.warn(
            f"could not lock {folder} ({error}): its file system may have no locks, as some "
            "network drives do. Make sure that no other process writes to this run meanwhile.",
            stacklevel=3,
        )
        yield
        return
    holder = folder / _HOLDER
    try:
        sweep_partials(folder, _WRITTEN)
        with suppress(OSError):  # it only names who holds the lock
            write_atomically(holder, json.dumps(_myself()).encode())
        yield
    finally:
        try:
            with suppress(OSError):
                holder.unlink(missing_ok=True)
        finally:
            lock.release()


@contextmanager
def held_for_run(folder: Path, *, alone: bool = True) -> Iterator[None]:
    """Hold the lock of a folder that a run may use; the folder is created if it is missing.

    Raises:
        RunFolderError: as ``held``, and if the folder holds something else.
    """
    refuse_strangers(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder, alone=alone):
        yield


def _myself() -> dict[str, str | int]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "process": os.getpid(),
        "host": platform.node(),
        "command": command[:_LONGEST],
        "since": datetime.now().astimezone().isoformat(" ", "seconds"),
    }


def _words(folder: Path) -> str:
    advice = (
        "Wait until it has ended, or choose another folder. Nothing here was changed; a process "
        "that has ended holds no lock."
    )
    try:
        holder = json.loads((folder / _HOLDER).read_text(encoding="utf-8"))
        who = (
            f"process {holder['process']} on {holder['host']} (`{holder['command']}`, since "
            f"{holder['since']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return f"expected {folder} to be free; {who} is writing to this run. {advice}"
