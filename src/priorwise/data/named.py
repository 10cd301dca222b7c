"""Data sets of the papers, each from one .npz file of known layout."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from priorwise.data.files import array_names, read_arrays, read_idx
from priorwise.data.sources import (
    CACHE_VARIABLE,
    DATA_VARIABLE,
    Remote,
    cache_folder,
    fetch,
    find,
    places,
)
from priorwise.data.spec import DataError, DataSpec, MissingDataError
from priorwise.data.splits import Splits
from priorwise.storage import atomic_file

__all__ = ["ARRAYS", "NAMED", "NamedSet", "load_named", "missing_message"]

ARRAYS = ("x_train", "x_val", "x_test")


@dataclass(frozen=True)
class NamedSet:
    """One published data set.

    Attributes:
        spec: What its data are.
        sizes: Number of training, validation and test images.
        how: How to get the file, for the error when it is missing.
        remotes: Training and test images as idx files, if they can be downloaded; else nothing.
        probabilities: Whether the file may hold float32 values in [0, 1] instead of bytes.
    """

    spec: DataSpec
    sizes: tuple[int, int, int]
    how: str
    remotes: tuple[Remote, ...] = ()
    probabilities: bool = False

    @property
    def layout(self) -> str:
        """The arrays that the file has to hold."""
        height, width = self.spec.shape[1:]
        arrays = ", ".join(
            f"{key} ({n}, {height}, {width})" for key, n in zip(ARRAYS, self.sizes, strict=True)
        )
        values = "0 and 1" if self.spec.levels == 2 else "0..255"
        return f"uint8 arrays {arrays} with values {values}"


_MNIST_CITATION = (
    "LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, 1998"
)
_OMNIGLOT_CITATION = "Lake, Salakhutdinov & Tenenbaum, Human-level concept learning through probabilistic program induction, 2015"
_MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist"
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_IDX_SPLIT = "the last 10,000 of the 60,000 training images are for validation"


def _idx_images(url: str, train: str, test: str) -> tuple[Remote, Remote]:
    stems = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
    first, second = (
        Remote(f"{url}/{stem}.gz", sha256, stem, "gzip")
        for stem, sha256 in zip(stems, (train, test), strict=True)
    )
    return first, second


_SETS = (
    NamedSet(
        DataSpec(
            "mnist", (1, 28, 28), 256, "bernoulli", "dynamic", "unit", _MNIST_CITATION,
            f"{_IDX_SPLIT}; validation and test set binarised once, as in the VampPrior code",
        ),
        (50_000, 10_000, 10_000),
        "It is made from the official images by a download; offline, make it from their idx files",
        _idx_images(
            _MNIST_URL,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
    ),
    NamedSet(
        DataSpec(
            "mnist_static", (1, 28, 28), 2, "bernoulli", "none", "unit",
            "Larochelle & Murray, The Neural Autoregressive Distribution Estimator, 2011",
            "one fixed binarisation; the test images are sorted by digit: shuffle before taking "
            "the first ones",
        ),
        (50_000, 10_000, 10_000),
        "Its source is Larochelle's binarized_mnist_{train,valid,test}.amat (www.cs.toronto.edu/~larocheh/public/"
        'datasets/binarized_mnist): numpy.loadtxt(file).reshape(-1, 28, 28).astype("uint8") for each of the three',
    ),
    NamedSet(
        DataSpec(
            "fashion_mnist", (1, 28, 28), 256, "discretized_logistic", "none", "midpoint",
            "Xiao, Rasul & Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking "
            "Machine Learning, 2017",
            _IDX_SPLIT,
        ),
        (50_000, 10_000, 10_000),
        "It is made from the official images by a download; offline, make it from their idx files",
        _idx_images(
            _FASHION_URL,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
    ),
    NamedSet(
        DataSpec(
            "omniglot", (1, 28, 28), 256, "bernoulli", "dynamic", "unit",
            _OMNIGLOT_CITATION,
            "the 24,345 + 8,070 images of the papers; which 1,345 they held out is not published",
        ),
        (23_000, 1_345, 8_070),
        "Get chardata.mat from the IWAE paper's repository (github.com/yburda/iwae) and call "
        'priorwise.data.omniglot_from_mat("chardata.mat")',
        probabilities=True,
    ),
    NamedSet(
        DataSpec(
            "omniglot_part", (1, 28, 28), 256, "bernoulli", "dynamic", "unit",
            _OMNIGLOT_CITATION,
            "30 of the 50 alphabets, scaled down by box averages: not the papers' set, numbers "
            "cannot be compared",
        ),
        (11_937, 698, 4_198),
        "Make it from the images of 105x105: box averages of ink, drawers 16-20 for the test set",
    ),
    NamedSet(
        DataSpec(
            "freyfaces", (1, 28, 20), 256, "discretized_logistic", "none", "midpoint",
            "Roweis, Saul & Hinton, Global Coordination of Local Linear Models, 2002",
            "split at random, as the papers do without a seed; neighbouring frames fall on both "
            "sides",
        ),
        (1_565, 200, 200),
        "Its source is the set of 1,965 frames of 20 wide by 28 high, as in the VampPrior code "
        "(github.com/jmtomczak/vae_vampprior)",
    ),
)  # fmt: skip
NAMED: dict[str, NamedSet] = {entry.spec.name: entry for entry in _SETS}


def missing_message(entry: NamedSet) -> str:
    """Which file is wanted, where it was looked for, and how to get it."""
    name = entry.spec.name
    looked = ", ".join(str(path) for path in places(name))
    return (
        f"expected {name}.npz with {entry.layout}; it is not at {looked}. {entry.how}. Put the "
        f"file into a folder and set {DATA_VARIABLE} to it, or into the cache ({CACHE_VARIABLE})."
    )


def load_named(name: str, *, show: bool = True) -> Splits:
    """A published data set from its file, downloaded if that is possible and needed.

    Raises:
        MissingDataError: if it is nowhere, and no download is known or possible.
        DataError: if the file is not what it should be.
    """
    entry = NAMED[name]
    path = find(name)
    if path is None and not entry.remotes:
        raise MissingDataError(missing_message(entry))
    if path is None:
        path = _download(entry, show=show)
    return _read(entry, path)


def _download(entry: NamedSet, *, show: bool) -> Path:
    """The set's .npz in the cache, made from its idx files."""
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
    arrays = read_arrays(path, ARRAYS)
    if missing := [key for key in ARRAYS if key not in arrays]:
        raise DataError(
            f"expected {entry.layout} in {path}; {', '.join(missing)} missing, there are: "
            f"{', '.join(array_names(path)) or 'none'}. {entry.how}."
        )
    for key, size in zip(ARRAYS, entry.sizes, strict=True):
        _check(entry, path, key, arrays[key], (size, *entry.spec.shape[1:]))
    floats = arrays["x_train"].dtype == np.float32
    spec = replace(entry.spec, levels=None, scaling="none") if floats else entry.spec
    train, validation, test = (torch.from_numpy(arrays[key][:, None]) for key in ARRAYS)
    try:
        return Splits(train, validation, test, spec)
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
