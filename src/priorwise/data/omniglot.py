"""The OMNIGLOT set of the papers, from the MATLAB file that holds it."""

import zlib
from pathlib import Path

import numpy as np

from priorwise.data.sources import cache_folder
from priorwise.data.spec import DataError
from priorwise.refusals import MissingExtraError
from priorwise.storage import atomic_file

__all__ = ["omniglot_from_mat"]

_TRAIN, _VALIDATION, _TEST = 23_000, 1_345, 8_070
_PIXELS = 28 * 28


def _images(matrix: np.ndarray) -> np.ndarray:
    """Columns of 784 values, each image column by column, to ``(N, 28, 28)`` upright."""
    return matrix.T.reshape(-1, 28, 28).transpose(0, 2, 1)


def _stored(x: np.ndarray) -> np.ndarray:
    """Multiples of 1/255 as bytes, other values as float32 probabilities: nothing is rounded."""
    grey = x * 255.0
    exact = bool(np.abs(grey - np.rint(grey)).max() < 1e-3)
    return np.ascontiguousarray(np.rint(grey).astype(np.uint8) if exact else x.astype(np.float32))


# What scipy raises at a damaged file.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    NotImplementedError,
    MemoryError,
    zlib.error,
)


def _matrices(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        from scipy.io import loadmat  # type: ignore[import-untyped]
        from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError(
            "reading chardata.mat needs scipy, which is not installed. Run `pip install scipy`."
        ) from error
    try:
        content = loadmat(path)
    except (MatReadError, *_DAMAGE) as error:
        raise DataError(
            f"expected MATLAB's chardata.mat; {path} cannot be read ({str(error)[:200]})."
        ) from error
    for name, count in (("data", _TRAIN + _VALIDATION), ("testdata", _TEST)):
        if name not in content:
            present = ", ".join(key for key in content if not key.startswith("__")) or "nothing"
            raise DataError(f"expected the matrices data and testdata in {path}; got {present}.")
        if content[name].shape != (_PIXELS, count):
            raise DataError(
                f"expected `{name}` of shape ({_PIXELS}, {count}) in {path}; got "
                f"{content[name].shape}."
            )
        if not 0 <= content[name].min() <= content[name].max() <= 1:
            raise DataError(
                f"expected `{name}` with values in [0, 1] in {path}; got "
                f"{content[name].min():.4g} to {content[name].max():.4g}."
            )
    return content["data"], content["testdata"]


def omniglot_from_mat(path: str | Path, out: str | Path | None = None, *, seed: int = 0) -> Path:
    """Turn ``chardata.mat``, the OMNIGLOT of the IWAE and VampPrior papers, into ``omniglot.npz``.

    You find the file in the ``datasets/OMNIGLOT`` folder of the IWAE paper's repository
    (https://github.com/yburda/iwae). It holds 24,345 training and 8,070 test images of 28x28,
    stored column by column, with values in [0, 1]. The papers hold out 1,345 of the training images
    for validation, drawn without a seed. Here ``numpy.random.RandomState(seed).permutation`` orders
    the training images: the first 23,000 are for training and the rest for validation.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), section 5.
        https://arxiv.org/abs/1509.00519

        VAE with a VampPrior (Tomczak & Welling, 2018), section 5. https://arxiv.org/abs/1705.07120

    Arguments:
        path: The file ``chardata.mat``.
        out: The file to write. By default it is ``omniglot.npz`` in the cache, where
            ``load("omniglot")`` finds it.
        seed: Seed of the split.

    Raises:
        DataError: if the file does not hold these matrices; nothing is written then.
        MissingExtraError: if scipy is not installed.
    """
    data, testdata = (_images(matrix) for matrix in _matrices(Path(path)))
    order = np.random.RandomState(seed).permutation(len(data))
    whole = _stored(np.concatenate([data[order], testdata]))
    parts = np.split(whole, [_TRAIN, _TRAIN + _VALIDATION])
    target = cache_folder() / "omniglot.npz" if out is None else Path(out)
    with atomic_file(target) as partial:
        np.savez_compressed(partial, x_train=parts[0], x_val=parts[1], x_test=parts[2])
    return target
