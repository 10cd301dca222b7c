"""Where files come from: a folder of the user's, the cache, or a download with a checksum."""

import errno
import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from priorwise.data.spec import DataError, MissingDataError
from priorwise.storage import atomic_file, file_hash

__all__ = [
    "CACHE_VARIABLE",
    "DATA_VARIABLE",
    "Remote",
    "cache_folder",
    "fetch",
    "find",
    "places",
]

DATA_VARIABLE = "PRIORWISE_DATA"
CACHE_VARIABLE = "PRIORWISE_CACHE"
_TIMEOUT = 30  # seconds without an answer
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Arguments:
        url: Its address; http is enough, since the checksum is verified.
        sha256: SHA-256 of the file, after unpacking if it is packed.
        filename: What it is called once unpacked.
        packed: "gzip" if it has to be unpacked, else "none".
    """

    url: str
    sha256: str
    filename: str
    packed: str = "none"

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise ValueError(
                f"expected `sha256` as 64 lower-case hexadecimal digits; got {self.sha256!r}."
            )
        if self.packed not in ("none", "gzip"):
            raise ValueError(f"expected `packed` as 'none' or 'gzip'; got {self.packed!r}.")
        if urlparse(self.url).scheme not in ("http", "https"):
            raise ValueError(f"expected an http or https `url`; got {self.url!r}.")


def cache_folder() -> Path:
    """``$PRIORWISE_CACHE``, or the platform's cache folder; it need not exist."""
    folder = os.environ.get(CACHE_VARIABLE)
    if folder:
        return Path(folder).expanduser()
    # pooch.os_cache calls this too, but importing pooch is slow.
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("priorwise"))


def places(name: str) -> list[Path]:
    """The paths at which the file of a data set is looked for, in this order."""
    data_folder = os.environ.get(DATA_VARIABLE)
    folders = ([Path(data_folder).expanduser()] if data_folder else []) + [cache_folder()]
    return [folder / f"{name}.npz" for folder in folders]


def find(name: str) -> Path | None:
    """The file of a data set; None if it is at none of these paths."""
    return next((path for path in places(name) if path.is_file()), None)


def fetch(remote: Remote, folder: Path, *, show: bool = True) -> Path:
    """Download, unpack and check a file; it appears in the folder only if its checksum is right.

    Arguments:
        remote: The file to download.
        folder: Where to put it.
        show: Whether to show a progress bar on standard error.

    Raises:
        MissingDataError: if it cannot be downloaded.
        DataError: if it does not unpack, or its checksum is not that of ``remote``.
        WriteError: if it cannot be written to the disk.
    """
    target = folder / remote.filename
    with atomic_file(target) as unpacked:
        arrived = unpacked.with_name("arrived") if remote.packed == "gzip" else unpacked
        _download(remote, arrived, show=show)
        if remote.packed == "gzip":
            _gunzip(remote, arrived, unpacked)
        _verify(remote, unpacked)
    return target


def _download(remote: Remote, to: Path, *, show: bool) -> None:
    import pooch

    with _download_bar(remote.filename, show=show) as bar:
        # A server that compresses on the way would change the bytes that the checksum is about.
        headers = {"Accept-Encoding": "identity"}
        download = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT, headers=headers
        )
        try:
            download(remote.url, str(to), None)
        except OSError as error:  # requests' errors are OSErrors
            if error.errno in _DISK_ERRORS:
                raise
            raise MissingDataError(f"could not download {remote.url}: {error}.") from error


def _gunzip(remote: Remote, packed: Path, to: Path) -> None:
    try:
        with gzip.open(packed) as source, to.open("wb") as target:
            while block := source.read(1 << 20):
                target.write(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"expected a gzip file from {remote.url}; it does not unpack ({error}). Try again."
        ) from error


def _verify(remote: Remote, path: Path) -> None:
    sha256 = file_hash(path)
    if sha256 != remote.sha256:
        raise DataError(
            f"expected SHA-256 {remote.sha256} for {remote.filename}; got {sha256} from "
            f"{remote.url}. The file was deleted: try again, or get it from another place."
        )


class _Bar:
    """The progress bar as pooch calls it: a total, and updates, in bytes."""

    def __init__(self, advance: Callable[[int], None], set_total: Callable[[int], None]) -> None:
        self.update = advance
        self._set_total = set_total
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = value
        self._set_total(value)

    def reset(self) -> None:
        self._set_total(self._total)

    def close(self) -> None:
        """Does nothing: the bar closes when its block ends."""


@contextmanager
def _download_bar(name: str, *, show: bool) -> Iterator[_Bar]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not show) as progress:
        task = progress.add_task(name, total=None)
        yield _Bar(
            lambda amount: progress.update(task, advance=amount),
            lambda total: progress.reset(task, total=total or None),
        )
