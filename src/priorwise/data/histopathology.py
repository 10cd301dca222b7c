"""Histopathology: grey patches of tissue, from the pickle that holds them."""

from pathlib import Path

import numpy as np

from priorwise.data.known_sets import NAMED
from priorwise.data.named import save_named
from priorwise.data.pickled_arrays import ForeignNameError, read_pickled_arrays
from priorwise.data.spec import DataError

__all__ = ["histopathology_from_pickle"]

_PARTS = ("training", "validation", "test")
_LEVELS = 256
_BY_YOURSELF = (
    "If you trust the file, open it with pickle yourself, and save "
    'numpy.floor(256 * x).clip(0, 255).astype("uint8") of its three parts as x_train, x_val and '
    "x_test of histopathology.npz, each of shape (N, 28, 28)."
)


def _images(
    content: dict[str, list[np.ndarray] | np.ndarray], name: str, count: int, path: Path
) -> np.ndarray:
    """The grey values of one part, ``(N, 28, 28)`` in [0, 1]."""
    images = content.get(name, [])
    if len(images) != count or any(image.size != 28 * 28 for image in images):
        raise DataError(
            f"expected `{name}` of {count:,} images of 28x28 in {path}; got {len(images):,} "
            f"arrays{f' of shape {images[0].shape}' if len(images) else ''}."
        )
    x = np.stack([image.reshape(28, 28) for image in images])
    if not 0 <= x.min() <= x.max() <= 1:
        raise DataError(
            f"expected `{name}` with values in [0, 1] in {path}; got {x.min():.4g} to "
            f"{x.max():.4g}."
        )
    return x


def _levels(x: np.ndarray) -> np.ndarray:
    """The bin of each value, of 256 in [0, 1]; the value 1 belongs to the last one."""
    return np.floor(x * _LEVELS).clip(0, _LEVELS - 1).astype(np.uint8)


def histopathology_from_pickle(path: str | Path, out: str | Path | None = None) -> Path:
    r"""Turn ``histopathology.pkl`` of the VampPrior paper into ``histopathology.npz``.

    You find it packed as ``histopathology.pkl.tar.gz`` in the folder
    ``datasets/histopathologyGray`` of https://github.com/jmtomczak/vae_householder_flow. It holds
    6,800 training, 2,000 validation and 2,000 test patches of 28x28, with grey values in [0, 1]. It
    is read without executing it.

    A grey value x is stored as its bin among 256:

    .. math:: j = \min(\lfloor 256 x \rfloor, 255)

    The paper's likelihood judges an image only by these bins. The paper clips the values to
    [1/512, 1 - 1/512], the centres of the first and the last bin. This puts the value 1 into the
    last bin, as the formula does, and moves no other value to another bin. Networks that take the
    image, the encoder, and the PixelCNN, whose input is x itself, see (j + 1/2) / 256, at most
    1/512 from the paper's input.

    References:
        Improving Variational Auto-Encoders using Householder Flow (Tomczak & Welling, 2016).
        https://arxiv.org/abs/1611.09630

        VAE with a VampPrior (Tomczak & Welling, 2018), section 5. https://arxiv.org/abs/1705.07120

    Arguments:
        path: The file ``histopathology.pkl``.
        out: The file to write. By default it is ``histopathology.npz`` in the cache, where
            ``load("histopathology")`` finds it.

    Raises:
        DataError: if the file does not hold these images, or holds more than plain arrays; nothing
            is written then. Unless the file names a function that no array needs, the message
            says how to convert it yourself.
        MemoryLimitError: if the file does not fit into memory.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"expected the file histopathology.pkl; there is no file at {path}.")
    try:
        content = read_pickled_arrays(path)
    except ForeignNameError:
        raise  # such a file may do anything if pickle opens it
    except DataError as error:
        raise DataError(f"{error} {_BY_YOURSELF}") from error
    sizes = NAMED["histopathology"].sizes
    parts = [
        _levels(_images(content, name, size, path))
        for name, size in zip(_PARTS, sizes, strict=True)
    ]
    return save_named("histopathology", parts, out)
