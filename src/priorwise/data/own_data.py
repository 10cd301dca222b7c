"""Your own data: arrays, files, folders of images."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from priorwise.choices import Likelihood
from priorwise.data.files import array_names, read_arrays
from priorwise.data.images import read_folder
from priorwise.data.spec import DataError, DataSpec
from priorwise.data.splits import SPLIT_NAMES, Splits

__all__ = ["Array", "from_arrays", "from_file", "from_folder"]

Array: TypeAlias = np.ndarray | Tensor


def from_arrays(
    x: Array,
    *,
    validation: Array | float = 0.1,
    test: Array | None = None,
    name: str = "own",
    likelihood: Likelihood | None = None,
    seed: int = 0,
) -> Splits:
    """Splits from arrays of your own.

    What the data are is read from their values, over all splits together: only zeros and ones are
    binary (Bernoulli); integers 0..255 are grey levels (discretised logistic); other numbers are
    real (Gaussian) and stay as they are.

    Arguments:
        x: Training data, numpy or torch: vectors ``(N, D)``, grey images ``(N, H, W)``, or images
            of one or three channels ``(N, C, H, W)`` or ``(N, H, W, C)``. Where both readings are
            possible, channels come first.
        validation: Validation data, or the share of ``x`` that is held out at random.
        test: Test data; without them another such share of ``x`` is held out, a tenth if
            ``validation`` is an array.
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
    given = {"train": _numbers(x, "x")}
    if isinstance(validation, (np.ndarray, Tensor)):
        given["validation"] = _numbers(validation, "validation")
    if test is not None:
        given["test"] = _numbers(test, "test")
    shapes = {key: array.shape[1:] for key, array in given.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        raise DataError(f"expected observations of one shape in all splits; got {found}.")
    share = 0.1 if "validation" in given else float(validation)
    parts = _held_out(_channels_first(_typed(given)), share, seed)
    spec = _spec_for(parts, name).overridden(likelihood=likelihood)
    train, held, tested = (
        torch.from_numpy(np.ascontiguousarray(parts[key])) for key in SPLIT_NAMES
    )
    return Splits(train, held, tested, spec)


def from_file(
    path: str | Path,
    *,
    validation: float = 0.1,
    likelihood: Likelihood | None = None,
    seed: int = 0,
) -> Splits:
    """Splits from an .npy file, or an .npz file with ``x_train`` (and ``x_val``, ``x_test``), or with a single array.

    Arguments:
        path: The file; its stem becomes the name of the set.
        validation: Share that is held out where the file has no ``x_val``.
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
    arrays = read_arrays(path, ("x_train", "x_val", "x_test") if "x_train" in names else None)
    x = arrays["x_train"] if "x_train" in names else arrays[names[0]]
    try:
        return from_arrays(
            x,
            validation=arrays.get("x_val", validation),
            test=arrays.get("x_test"),
            name=path.stem,
            likelihood=likelihood,
            seed=seed,
        )
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

    Images of pure black and white are binary. Grey images among coloured ones become coloured.

    Arguments:
        path: The folder; its name becomes the name of the set.
        validation: Share that is held out for validation, and as much for the test set.
        likelihood: As for ``from_arrays``.
        seed: Seed of the random split.
        show: Whether to show a progress bar on standard error when there are many images.

    Raises:
        DataError: if there are no images, or one cannot be used; the message names it.
    """
    path = Path(path).expanduser()
    images = read_folder(path, show=show)
    try:
        return from_arrays(
            images,
            validation=validation,
            name=path.resolve().name or "own",
            likelihood=likelihood,
            seed=seed,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _numbers(x: Array, name: str) -> np.ndarray:
    """An array of numbers that can be data, else an error that says why not."""
    if isinstance(x, Tensor):
        x = x.detach().cpu()
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
            f"expected finite numbers in `{name}`; got {count} that are NaN, infinite or above "
            "float32."
        )
    return single


def _typed(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All splits as uint8 or all as float32, by the values of all of them."""
    if all(bool(((x == 0) | (x == 1)).all()) for x in given.values()):
        return {key: x.astype(np.uint8) for key, x in given.items()}
    kinds = {x.dtype.kind for x in given.values()}
    if "f" in kinds and kinds != {"f"}:
        found = ", ".join(f"{key} {x.dtype}" for key, x in given.items())
        raise DataError(
            f"expected one kind of numbers in all splits; got {found}. Convert them to one."
        )
    if kinds == {"f"}:
        return given
    low, high = min(int(x.min()) for x in given.values()), max(int(x.max()) for x in given.values())
    if low < 0 or high > 255:
        raise DataError(
            f"expected integers 0..255; got {low} to {high}. Rescale them, or give real numbers if "
            "they are not grey levels."
        )
    return {key: x.astype(np.uint8) for key, x in given.items()}


def _channels_first(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """``(N, D)`` as it is; images as ``(N, C, H, W)``."""
    shape = next(iter(given.values())).shape
    if len(shape) == 2:
        return given
    if len(shape) == 3:
        return {key: x[:, None] for key, x in given.items()}
    if len(shape) == 4 and shape[1] in (1, 3):
        return given
    if len(shape) == 4 and shape[3] in (1, 3):
        return {key: x.transpose(0, 3, 1, 2) for key, x in given.items()}
    raise DataError(
        "expected vectors (N, D), grey images (N, H, W), or images of 1 or 3 channels, (N, C, H, "
        f"W) or (N, H, W, C); got {shape}. Drop an alpha channel, or flatten other data to vectors."
    )


def _held_out(given: dict[str, np.ndarray], share: float, seed: int) -> dict[str, np.ndarray]:
    """All three splits, with those that are missing cut from the training data at random."""
    missing = [key for key in ("validation", "test") if key not in given]
    if not missing:
        return given
    if not 0 < share < 0.5:
        raise DataError(
            f"expected `validation` as a share above 0 and below 0.5, or as an array; got {share}."
        )
    x = given["train"]
    count = max(1, round(share * len(x)))
    if len(x) <= count * len(missing):
        raise DataError(
            f"expected enough data to hold some out for {' and '.join(missing)}; got {len(x)}. "
            "Give more, or give these splits."
        )
    order = np.random.RandomState(seed).permutation(len(x))
    start = len(x) - count * len(missing)
    cut = {
        key: x[order[start + i * count : start + (i + 1) * count]] for i, key in enumerate(missing)
    }
    return {**given, **cut, "train": x[order[:start]]}


def _spec_for(parts: dict[str, np.ndarray], name: str) -> DataSpec:
    """What the values say that the data are."""
    shape, kind = parts["train"].shape[1:], parts["train"].dtype
    if kind == np.uint8 and all(x.max() <= 1 for x in parts.values()):
        return DataSpec(name, shape, 2, "bernoulli", "none", "unit")
    if kind == np.uint8:
        return DataSpec(name, shape, 256, "discretized_logistic", "none", "midpoint")
    grey = all(x.min() >= 0 and x.max() <= 1 for x in parts.values())
    return DataSpec(
        name, shape, None, "gaussian", "none", "none", note="values in [0, 1]" if grey else ""
    )
