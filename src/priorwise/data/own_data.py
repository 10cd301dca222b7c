"""Your own data: arrays, files, folders of images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.choices import Likelihood
from priorwise.data.files import array_names, read_arrays
from priorwise.data.image_splits import folder_classes, split_files
from priorwise.data.images import read_images
from priorwise.data.known_sets import ARRAYS
from priorwise.data.labels import LABELS, classes
from priorwise.data.spec import DataError, DataSpec
from priorwise.data.splits import SPLIT_NAMES, Splits
from priorwise.data.value_range import observed_range

__all__ = ["from_arrays", "from_file", "from_folder"]


_BYTES_ABOVE = 127  # whole real numbers below may be anything


def from_arrays(
    x: Array,
    *,
    validation: Array | float = 0.1,
    test: Array | None = None,
    labels: Array | None = None,
    name: str = "own",
    likelihood: Likelihood | None = None,
    seed: int = 0,
) -> Splits:
    """Splits from arrays of your own.

    The kind of the data follows from the values in all splits together. Zeros and ones are binary
    (Bernoulli), integers 0..255 are grey levels (discretised logistic), and other numbers are real
    values (Gaussian), which stay as they are. Real numbers that look like bytes, all whole, from 0
    to 255 and some above 127, are read as bytes.

    Arguments:
        x: Training data, numpy or torch: vectors ``(N, D)``, grey images ``(N, H, W)``, or images
            of one or three channels ``(N, C, H, W)`` or ``(N, H, W, C)``. If both readings are
            possible, channels come first.
        validation: Validation data, or the share of ``x`` that is held out at random.
        test: Test data. By default another such share of ``x`` is held out, or a tenth if
            ``validation`` is an array.
        labels: Classes of ``x``, ``(N,)`` integers. Models never see them.
        name: Name of the set.
        likelihood: The likelihood, instead of the one that follows from the values.
        seed: Seed of the random split.

    Raises:
        DataError: if the arrays cannot be used; the message says why.

    Example:
        >>> import numpy as np
        >>> print(from_arrays(np.eye(20, dtype=np.uint8)).describe())
        own: 16 / 2 / 2 (train / validation / test) of 20, 2 levels, bernoulli
    """
    arrays = {"train": _numbers(x, "x")}
    if isinstance(validation, (np.ndarray, Tensor)):
        arrays["validation"] = _numbers(validation, "validation")
    if test is not None:
        arrays["test"] = _numbers(test, "test")
    shapes = {key: array.shape[1:] for key, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise DataError(f"expected observations of one shape in all splits; got {listed}.")
    share = 0.1 if "validation" in arrays else _share(validation)
    typed = _channels_first(_typed(arrays))
    parts, rows = _held_out(typed, share, seed)
    spec = _spec_for(parts, name).overridden(likelihood=likelihood)
    x_train, x_validation, x_test = (
        torch.from_numpy(np.ascontiguousarray(parts[key])) for key in SPLIT_NAMES
    )
    return Splits(
        x_train,
        x_validation,
        x_test,
        spec,
        labels=None if labels is None else _labels_of(labels, len(arrays["train"]), rows),
        origin=_origin(x, arrays, typed, seed),
    )


def from_file(
    path: str | Path,
    *,
    validation: float = 0.1,
    likelihood: Likelihood | None = None,
    seed: int = 0,
) -> Splits:
    """Splits from an .npy file or an .npz file.

    An .npz file holds ``x_train`` (and possibly ``x_val``, ``x_test`` and the classes ``y_train``),
    or a single array.

    Arguments:
        path: The file; its stem becomes the name of the set.
        validation: Share that is held out if the file has no ``x_val``.
        likelihood: As for ``from_arrays``.
        seed: Seed of the random split.

    Raises:
        DataError: if the file cannot be read or its arrays cannot be used. Pickled files are
            refused unread.
    """
    path = Path(path).expanduser()
    names = array_names(path)
    if "x_train" not in names and len(names) != 1:
        raise DataError(
            f"expected `x_train` (and `x_val`, `x_test`), or a single array, in {path}; got "
            f"{', '.join(names) or 'none'}."
        )
    arrays = read_arrays(path, (*ARRAYS, LABELS) if "x_train" in names else None)
    x = arrays["x_train"] if "x_train" in names else arrays[names[0]]
    labels = classes(arrays[LABELS]) if "x_train" in names and LABELS in names else None
    try:
        splits = from_arrays(
            x,
            validation=arrays.get("x_val", validation),
            test=arrays.get("x_test"),
            labels=labels,
            name=path.stem,
            likelihood=likelihood,
            seed=seed,
        )
        keys = ", ".join(key for key in ARRAYS if key in arrays) or names[0]
        return replace(splits, origin=f"{keys or 'the array'} of {path}: {splits.origin}")
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def from_folder(
    path: str | Path,
    *,
    validation: float = 0.1,
    likelihood: Likelihood | None = None,
    seed: int = 0,
    show: bool = True,
) -> Splits:
    """Splits from the images in a folder and the folders below it, all of one size.

    Folders ``train``, ``val`` (or ``valid``, ``validation``) and ``test`` right below keep your
    splits. Further folders, below these or below the folder itself, are classes: they give the
    labels of the training images. If every pixel is black or white, the images are binary. Grey
    images among coloured ones become coloured.

    Arguments:
        path: The folder; its name becomes the name of the set.
        validation: Share that is held out for validation, and as much for testing, from the
            training images, where there is no folder for them.
        likelihood: As for ``from_arrays``.
        seed: Seed of the random split.
        show: Whether to show a progress bar on standard error when there are many images.

    Raises:
        DataError: if there are no images, or one cannot be used; the message names it. If there
            are folders of splits, but no training images, or images outside of them.
    """
    path = Path(path).expanduser()
    files = split_files(path)
    images = read_images([file for part in files.values() for file in part], show=show)
    ends = np.cumsum([len(part) for part in files.values()])
    arrays = dict(zip(files, np.split(images, ends[:-1]), strict=True))
    try:
        splits = from_arrays(
            arrays["train"],
            validation=arrays.get("validation", validation),
            test=arrays.get("test"),
            labels=folder_classes(files["train"], path),
            name=path.resolve().name or "own",
            likelihood=likelihood,
            seed=seed,
        )
        words = ", ".join(f"{len(part)} {split} images" for split, part in files.items())
        return replace(splits, origin=f"{words} in {path}: {splits.origin}")
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _numbers(x: Array, name: str) -> np.ndarray:
    """The observations as a numpy array; what cannot be data is refused."""
    if isinstance(x, Tensor) and (x.is_meta or x.layout != torch.strided):
        raise DataError(
            f"expected `{name}` as a tensor with values, not sparse; got {x.device}, {x.layout}."
        )
    if not isinstance(x, (np.ndarray, Tensor)):
        raise DataError(f"expected `{name}` as an array or tensor; got {type(x).__name__}.")
    if isinstance(x, Tensor):
        x = x.detach().cpu().resolve_conj().resolve_neg()
        x = (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    if x.dtype.kind not in "buif":
        raise DataError(
            f"expected `{name}` as booleans, integers or real numbers; got {x.dtype}. Convert it "
            "first."
        )
    if x.ndim < 2:
        raise DataError(
            f"expected `{name}` of shape (N, D), (N, H, W) or with channels; got {x.shape}. Add a "
            "dimension."
        )
    if not x.size:
        raise DataError(
            f"expected at least one observation of at least one number in `{name}`; got {x.shape}."
        )
    if x.dtype.kind != "f":
        return x
    with np.errstate(over="ignore"):
        single = x.astype(np.float32)
    if not np.isfinite(single).all():
        count = int((~np.isfinite(single)).sum())
        raise DataError(
            f"expected finite numbers in `{name}`; got {count} that are NaN, infinite or too large "
            "for float32."
        )
    return single


def _typed(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All splits as uint8, or all as float32, depending on the values of all of them."""
    if all(bool(((x == 0) | (x == 1)).all()) for x in arrays.values()):
        return {key: x.astype(np.uint8) for key, x in arrays.items()}
    kinds = {x.dtype.kind for x in arrays.values()}
    if "f" in kinds and kinds != {"f"}:
        listed = ", ".join(f"{key} {x.dtype}" for key, x in arrays.items())
        raise DataError(
            f"expected one kind of numbers in all splits; got {listed}. Convert them to one."
        )
    if kinds == {"f"}:
        # somebody converted bytes
        like_bytes = all(_is_whole_byte(x) for x in arrays.values())
        like_bytes = like_bytes and max(x.max() for x in arrays.values()) > _BYTES_ABOVE
        return {key: x.astype(np.uint8) if like_bytes else x for key, x in arrays.items()}
    low = min(int(x.min()) for x in arrays.values())
    high = max(int(x.max()) for x in arrays.values())
    if low < 0 or high > 255:
        raise DataError(
            f"expected integers 0..255; got {low} to {high}. Rescale them, or convert them to real "
            "numbers if they are not grey levels."
        )
    return {key: x.astype(np.uint8) for key, x in arrays.items()}


def _is_whole_byte(x: np.ndarray) -> bool:
    return bool(x.min() >= 0 and x.max() <= 255 and (x == np.round(x)).all())


def _labels_of(labels: Array, count: int, rows: np.ndarray) -> Tensor:
    """The classes of the observations that stay in the training set."""
    checked = classes(labels)
    if checked is None or len(checked) != count:
        shape = tuple(labels.shape)
        raise DataError(
            f"expected `labels` (y_train) as {count} integers, one for each training observation; "
            f"got {labels.dtype} of shape {shape}. Bring them into the order of the observations, "
            "or leave them out."
        )
    return checked[torch.from_numpy(rows)]


def _origin(
    x: Array, arrays: dict[str, np.ndarray], typed: dict[str, np.ndarray], seed: int
) -> str:
    """What was read, and how it was split, in words."""
    words = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
    real, bits = arrays["train"].dtype.kind == "f", typed["train"].max() <= 1
    if real and typed["train"].dtype == np.uint8 and not bits:
        words += ", whole numbers read as bytes"
    missing = [key for key in ("validation", "test") if key not in arrays]
    if missing:
        words += f"; {' and '.join(missing)} held out at random (seed {seed})"
    return words


def _channels_first(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``(N, D)`` as it is; images as ``(N, C, H, W)``."""
    shape = next(iter(arrays.values())).shape
    if len(shape) == 2:
        return arrays
    if len(shape) == 3:
        return {key: x[:, None] for key, x in arrays.items()}
    if len(shape) == 4 and shape[1] in (1, 3):
        return arrays
    if len(shape) == 4 and shape[3] in (1, 3):
        return {key: x.transpose(0, 3, 1, 2) for key, x in arrays.items()}
    raise DataError(
        "expected vectors (N, D), grey images (N, H, W), or images of 1 or 3 channels, (N, C, H, "
        f"W) or (N, H, W, C); got {shape}. Drop an alpha channel, or flatten other data to vectors."
    )


def _share(validation: object) -> float:
    if not isinstance(validation, int | float | np.floating):
        raise DataError(
            "expected `validation` as an array or a share above 0 and below 0.5; got "
            f"{type(validation).__name__}."
        )
    return float(validation)


def _held_out(
    arrays: dict[str, np.ndarray], share: float, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All three splits, missing ones taken from the training data at random; the rows that stay."""
    missing = [key for key in ("validation", "test") if key not in arrays]
    x = arrays["train"]
    if not missing:
        return arrays, np.arange(len(x))
    if not 0 < share < 0.5:
        raise DataError(
            f"expected `validation` as a share above 0 and below 0.5, or as an array; got {share}."
        )
    count = max(1, round(share * len(x)))
    if len(x) <= count * len(missing):
        raise DataError(
            f"expected enough data to hold some out for {' and '.join(missing)}; got {len(x)} "
            "observations. Give more, or pass these splits yourself."
        )
    order = np.random.RandomState(seed).permutation(len(x))
    start = len(x) - count * len(missing)
    held_out = {
        key: x[order[start + i * count : start + (i + 1) * count]] for i, key in enumerate(missing)
    }
    return {**arrays, **held_out, "train": x[order[:start]]}, order[:start]


def _spec_for(parts: dict[str, np.ndarray], name: str) -> DataSpec:
    """The description that follows from the values."""
    shape, kind = parts["train"].shape[1:], parts["train"].dtype
    if kind == np.uint8 and all(x.max() <= 1 for x in parts.values()):
        return DataSpec(name, shape, 2, "bernoulli", "none", "unit")
    if kind == np.uint8:
        return DataSpec(name, shape, 256, "discretized_logistic", "none", "midpoint")
    value_range = observed_range(torch.from_numpy(parts["train"]))
    return DataSpec(name, shape, None, "gaussian", "none", "none", value_range=value_range)
