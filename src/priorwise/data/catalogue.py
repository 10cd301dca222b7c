"""Data by the name of a set, or by the path of a file or folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from priorwise.choices import Binarize, Likelihood
from priorwise.data.embedded import load_embedded
from priorwise.data.examples import is_dataset
from priorwise.data.known_sets import EMBEDDED, NAMED, names
from priorwise.data.named import load_named
from priorwise.data.own_data import from_arrays, from_file, from_folder
from priorwise.data.spec import DataError
from priorwise.data.splits import Splits
from priorwise.data.stream import Stream, from_dataset
from priorwise.nearest import suggestion

__all__ = ["as_splits", "as_training_data", "load"]


def load(
    name_or_path: str | Path,
    *,
    binarize: Binarize | None = None,
    likelihood: Likelihood | None = None,
) -> Splits:
    """A data set by its name, or from an .npz or .npy file or a folder of images.

    A named set is read from ``$PRIORWISE_DATA/NAME.npz``. If there is no such file, it is read from
    the cache (``$PRIORWISE_CACHE``, or the platform's cache folder), and otherwise downloaded if
    its checksum is known.

    Arguments:
        name_or_path: A name of ``names()``, or a path. If a folder has the name of a set, the name
            stands for the set.
        binarize: "none", "dynamic" or "threshold", instead of the default of the set.
        likelihood: "bernoulli", "gaussian" or "discretized_logistic", instead of the default of the
            set.

    Raises:
        DataError: if the name is unknown, or the data cannot be used.
        MissingDataError: if the set is not on this machine and cannot be downloaded; the message
            says how to get it.

    Example:
        >>> print(load("digits").describe())
        digits: 1,297 / 200 / 300 (train / validation / test) of 1x8x8, 17 levels, gaussian
    """
    splits = _as_described(name_or_path).overridden(binarize=binarize, likelihood=likelihood)
    spec = splits.spec
    if spec.levels is None:
        spec = replace(spec, value_range=splits.value_range)
    return replace(splits, spec=spec, source=str(name_or_path))


def _as_described(name_or_path: str | Path) -> Splits:
    """The data with the binarisation and likelihood of their own description."""
    if not str(name_or_path):
        raise DataError(
            "expected the name of a data set or a path; got nothing. `priorwise list` shows the "
            "names."
        )
    if isinstance(name_or_path, str) and name_or_path in EMBEDDED:
        return load_embedded(name_or_path)
    if isinstance(name_or_path, str) and name_or_path in NAMED:
        return load_named(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return from_folder(path)
    if path.exists() or isinstance(name_or_path, Path) or path.suffix or len(path.parts) > 1:
        return from_file(path)
    raise DataError(_unknown(str(name_or_path)))


def _unknown(name: str) -> str:
    plain = name.lower().replace("-", "_").replace(" ", "_")
    hint = suggestion(plain, names(), count=2)
    return (
        f"unknown data set {name!r}, and no file or folder of that name.{hint} There are: "
        f"{', '.join(names())}."
    )


def as_training_data(data: Any) -> Splits | Stream:  # noqa: ANN401 - of many kinds
    """What a fit trains on: a ``Stream`` of a data set or loader of torch, else ``as_splits``."""
    if isinstance(data, Stream):
        return data
    return Stream(data) if is_dataset(data) else as_splits(data)


def as_splits(data: Any) -> Splits:  # noqa: ANN401 - of many kinds
    """Splits as they are; arrays through ``from_arrays``; names and paths through ``load``.

    A data set or loader of torch, or a ``Stream`` of one, is drawn once (``from_dataset``).

    Raises:
        TypeError: if ``data`` is none of these.
        DataError: as ``from_arrays`` and ``load``.
    """
    if isinstance(data, Splits):
        return data
    if isinstance(data, Stream):
        return data.materialised()
    if is_dataset(data):
        return from_dataset(data)
    if isinstance(data, (np.ndarray, Tensor)):
        return from_arrays(data)
    if isinstance(data, (str, Path)):
        return load(data)
    raise TypeError(
        f"expected data as Splits, an array, a data set of torch, a name or a path; got "
        f"{type(data).__name__}. See priorwise.data.from_arrays."
    )
