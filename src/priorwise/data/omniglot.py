"""The OMNIGLOT set of the papers, from the MATLAB file that holds it."""

from pathlib import Path

import numpy as np

from priorwise.data.known_sets import NAMED
from priorwise.data.matlab import read_matrices, upright
from priorwise.data.named import save_named

__all__ = ["omniglot_from_mat"]


def _stored(x: np.ndarray) -> np.ndarray:
    """Multiples of 1/255 as bytes, other values as float32 probabilities: nothing is rounded."""
    grey = x * 255.0
    exact = bool(np.abs(grey - np.rint(grey)).max() < 1e-3)
    return np.ascontiguousarray(np.rint(grey).astype(np.uint8) if exact else x.astype(np.float32))


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
        MemoryLimitError: if the file does not fit into memory.
        MissingExtraError: if scipy is not installed.
    """
    training, validation, test = NAMED["omniglot"].sizes
    shapes = {"data": (28 * 28, training + validation), "testdata": (28 * 28, test)}
    matrices = read_matrices(Path(path), shapes, file="chardata.mat")
    data, testdata = (upright(matrices[name].T) for name in shapes)
    order = np.random.RandomState(seed).permutation(len(data))
    whole = _stored(np.concatenate([data[order], testdata]))
    return save_named("omniglot", np.split(whole, [training, training + validation]), out)
