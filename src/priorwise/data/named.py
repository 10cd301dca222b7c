"""The papers' data sets, each read from an .npz file of fixed layout, or made from a download."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from priorwise.data.files import array_names, read_arrays, read_idx
from priorwise.data.known_sets import ARRAYS, NAMED, NamedSet, missing_message
from priorwise.data.labels import LABELS, classes
from priorwise.data.sources import cache_folder, fetch, find
from priorwise.data.spec import DataError, MissingDataError
from priorwise.data.splits import Splits
from priorwise.storage import atomic_file

__all__ = ["load_named", "save_named"]


def load_named(name: str, *, show: bool = True) -> Splits:
    """A published data set from its file, downloaded if it is not on this machine.

    Raises:
        MissingDataError: if there is no file, and it cannot be downloaded.
        DataError: if the arrays in the file are not those of the set.
    """
    entry = NAMED[name]
    path = find(name)
    if path is None and not entry.remotes:
        raise MissingDataError(missing_message(entry))
    if path is None:
        path = _download(entry, show=show)
    return _read(entry, path)


def save_named(name: str, parts: Sequence[np.ndarray], out: str | Path | None = None) -> Path:
    """Write the file of a published data set.

    Arguments:
        name: The name of the set.
        parts: Training, validation and test images.
        out: The file to write. By default it is in the cache, where ``load(name)`` finds it.
    """
    target = cache_folder() / f"{name}.npz" if out is None else Path(out)
    with atomic_file(target) as partial:
        np.savez_compressed(partial, **dict(zip(ARRAYS, parts, strict=True)))  # type: ignore[arg-type]
    return target


def _download(entry: NamedSet, *, show: bool) -> Path:
    """The .npz file of the set in the cache, made from its idx files."""
    folder = cache_folder()
    target = folder / f"{entry.spec.name}.npz"
    with atomic_file(target) as partial:
        try:
            whole, test = (
                read_idx(fetch(remote, partial.parent, show=show)) for remote in entry.remotes
            )
        except MissingDataError as error:
            raise MissingDataError(f"{missing_message(entry)} ({error})") from error
        cut = entry.sizes[0]
        np.savez_compressed(partial, x_train=whole[:cut], x_val=whole[cut:], x_test=test)
    return target


def _read(entry: NamedSet, path: Path) -> Splits:
    arrays = read_arrays(path, (*ARRAYS, LABELS))
    if missing := [key for key in ARRAYS if key not in arrays]:
        raise DataError(
            f"expected {entry.layout} in {path}; got {', '.join(array_names(path)) or 'none'}, "
            f"without {', '.join(missing)}. {entry.how}."
        )
    for key, size in zip(ARRAYS, entry.sizes, strict=True):
        _check(entry, path, key, arrays[key], (size, *entry.spec.shape[1:]))
    floats = arrays["x_train"].dtype == np.float32
    spec = replace(entry.spec, levels=None, scaling="none") if floats else entry.spec
    train, validation, test = (torch.from_numpy(arrays[key][:, None]) for key in ARRAYS)
    labels = classes(arrays[LABELS]) if LABELS in arrays else None
    origin = f"{', '.join(ARRAYS)} of {path}"
    try:
        return Splits(train, validation, test, spec, labels=labels, origin=origin)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _check(
    entry: NamedSet, path: Path, key: str, array: np.ndarray, shape: tuple[int, ...]
) -> None:
    types = ("uint8", "float32") if entry.probabilities else ("uint8",)
    if array.shape != shape or array.dtype.name not in types:
        raise DataError(
            f"expected {entry.layout} in {path}; {key} is {array.dtype.name} {array.shape}. "
            f"{entry.how}, or load the file by its path, under a name of its own."
        )
