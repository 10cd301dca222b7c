"""Caltech 101 Silhouettes, from the MATLAB file that holds them."""

from pathlib import Path

import numpy as np

from priorwise.data.known_sets import NAMED
from priorwise.data.matlab import read_matrices, upright
from priorwise.data.named import save_named
from priorwise.data.spec import DataError

__all__ = ["caltech_from_mat"]

_FILE = "caltech101_silhouettes_28_split1.mat"
_MATRICES = ("train_data", "val_data", "test_data")


def caltech_from_mat(path: str | Path, out: str | Path | None = None) -> Path:
    """Turn ``caltech101_silhouettes_28_split1.mat`` into ``caltech_silhouettes.npz``.

    You find the file at https://people.cs.umass.edu/~marlin/data. It holds 4,100 training, 2,264
    validation and 2,307 test outlines of 28x28, stored column by column, with ones for the
    background. As in the VampPrior code the images are turned upright and inverted, so an object is
    one on a background of zeros. The split is that of the file.

    References:
        Inductive Principles for Restricted Boltzmann Machine Learning (Marlin et al., 2010),
        section 6. https://proceedings.mlr.press/v9/marlin10a.html

        VAE with a VampPrior (Tomczak & Welling, 2018), section 5. https://arxiv.org/abs/1705.07120

    Arguments:
        path: The file ``caltech101_silhouettes_28_split1.mat``.
        out: The file to write. By default it is ``caltech_silhouettes.npz`` in the cache, where
            ``load("caltech_silhouettes")`` finds it.

    Raises:
        DataError: if the file does not hold these matrices; nothing is written then.
        MemoryLimitError: if the file does not fit into memory.
        MissingExtraError: if scipy is not installed.
    """
    sizes = NAMED["caltech_silhouettes"].sizes
    shapes = {name: (size, 28 * 28) for name, size in zip(_MATRICES, sizes, strict=True)}
    matrices = read_matrices(Path(path), shapes, file=_FILE)
    for name, matrix in matrices.items():
        if not np.isin(matrix, (0, 1)).all():
            raise DataError(f"expected zeros and ones in `{name}` of {path}; got other values.")
    parts = [upright(1 - matrix.astype(np.uint8)) for matrix in matrices.values()]
    return save_named("caltech_silhouettes", parts, out)
