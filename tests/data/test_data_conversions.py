"""Sets that are made from MATLAB's files of their authors."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from priorwise.data import (
    DataError,
    caltech_from_mat,
    load,
    omniglot_from_mat,
)
from priorwise.data.known_sets import NAMED

SIZES = (5, 2, 3)
MATLAB = {
    "omniglot": (omniglot_from_mat, "chardata.mat"),
    "caltech_silhouettes": (caltech_from_mat, "caltech101_silhouettes_28_split1.mat"),
}


@pytest.fixture(autouse=True)
def _small(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of 5, 2 and 3 images."""
    for name in MATLAB:
        monkeypatch.setitem(NAMED, name, replace(NAMED[name], sizes=SIZES))


@pytest.fixture
def matlab(tmp_path: Path) -> Callable[..., Path]:
    """``matlab(name=matrix)`` writes a file of MATLAB; returns its path."""
    io = pytest.importorskip("scipy.io")

    def write(**matrices: np.ndarray) -> Path:
        io.savemat(tmp_path / "a.mat", matrices)
        return tmp_path / "a.mat"

    return write


def grey(n: int) -> np.ndarray:
    return np.random.RandomState(n).randint(0, 256, (n, 28, 28)).astype(np.uint8)


# -- omniglot --------------------------------------------------------------------------------------


def stored(images: np.ndarray) -> np.ndarray:
    """Each image column by column, one a column, in [0, 1]: the layout of chardata.mat."""
    return np.stack([image.flatten(order="F") for image in images], axis=1) / 255.0


def test_omniglot_is_turned_upright_split_and_found(cache, matlab):
    train, test = grey(7), grey(3)
    target = omniglot_from_mat(matlab(data=stored(train), testdata=stored(test)), seed=4)
    assert target == cache / "omniglot.npz"
    data = load("omniglot")
    order = np.random.RandomState(4).permutation(7)
    assert (data.train[:, 0].numpy() == train[order[:5]]).all()
    assert (data.validation[:, 0].numpy() == train[order[5:]]).all()
    assert (data.test[:, 0].numpy() == test).all()
    assert data.spec.levels == 256


def test_omniglot_of_other_greys_is_not_rounded(matlab):
    train = np.random.RandomState(0).rand(7, 28, 28)
    matrix = np.stack([image.flatten(order="F") for image in train], axis=1)
    omniglot_from_mat(matlab(data=matrix, testdata=stored(grey(3))))
    data = load("omniglot")
    order = np.random.RandomState(0).permutation(7)
    assert (data.train[:, 0].numpy() == train[order[:5]].astype(np.float32)).all()
    assert (data.spec.levels, data.spec.binarize, data.spec.likelihood) == (
        None,
        "dynamic",
        "bernoulli",
    )
    drawn = np.random.RandomState(777).binomial(1, data.validation.numpy())
    assert (data.evaluation("validation").numpy() == drawn).all()


# -- caltech ---------------------------------------------------------------------------------------


def silhouettes() -> dict[str, np.ndarray]:
    """The matrices of Marlin's file: an image a row, zeros on ones, column by column."""
    random = np.random.RandomState(1)
    names = ("train_data", "val_data", "test_data")
    return {n: random.randint(0, 2, (k, 784)).astype("u1") for n, k in zip(names, SIZES)}  # noqa: B905


def as_in_the_vampprior_code(matrix: np.ndarray) -> np.ndarray:
    """Inverted, and reshaped in Fortran's order over the whole array."""
    rows = matrix.astype("float32").reshape((-1, 28, 28)).reshape((-1, 28 * 28), order="F")
    return (1.0 - rows).reshape(-1, 1, 28, 28)


def test_caltech_is_turned_upright_inverted_and_found(cache, matlab):
    """Fault: images on their side, ones for the background, a split of our own."""
    matrices = silhouettes()
    matrices["train_data"][0] = 1
    matrices["train_data"][0, 2 * 28 + 5] = 0  # the pixel in row 5 of column 2
    names = np.array([["accordion"]], dtype=object)
    target = caltech_from_mat(matlab(classnames=names, **matrices))
    assert target == cache / "caltech_silhouettes.npz"
    data = load("caltech_silhouettes")
    for part, matrix in zip(
        (data.train, data.validation, data.test), matrices.values(), strict=True
    ):
        assert (part.numpy() == as_in_the_vampprior_code(matrix)).all()
    assert data.train[0, 0].nonzero().tolist() == [[5, 2]]
    assert (data.evaluation("test") == data.test).all()


# -- MATLAB ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "matrices", "message"),
    [
        (
            "omniglot",
            {"data": np.zeros((784, 7))},
            "expected the matrices data, testdata in .* got data, without testdata",
        ),
        (
            "omniglot",
            {"data": np.zeros((784, 6)), "testdata": np.zeros((784, 3))},
            r"expected `data` of shape \(784, 7\)",
        ),
        (
            "omniglot",
            {"data": np.zeros((784, 7)), "testdata": np.full((784, 3), 2.0)},
            r"expected `testdata` with values in \[0, 1\]",
        ),
        (
            "caltech_silhouettes",
            {"X": np.zeros((4, 4))},
            "expected the matrices train_data, val_data, test_data in .* got X, without train_data",
        ),
        (
            "caltech_silhouettes",
            silhouettes() | {"val_data": np.zeros((2, 256))},
            r"expected `val_data` of shape \(2, 784\) in .*; got \(2, 256\)",
        ),
        (
            "caltech_silhouettes",
            silhouettes() | {"val_data": np.full((2, 784), 0.5)},
            "expected zeros and ones in `val_data`",
        ),
        (
            "caltech_silhouettes",
            silhouettes() | {"val_data": np.full((2, 784), "a", dtype=object)},
            "expected `val_data` as a matrix of numbers",
        ),
    ],
)
def test_another_matlab_file_is_refused_and_nothing_is_written(
    cache, matlab, name, matrices, message
):
    with pytest.raises(DataError, match=message):
        MATLAB[name][0](matlab(**matrices))
    assert not cache.exists()


@pytest.mark.parametrize("name", MATLAB)
def test_a_file_that_is_not_matlabs_is_refused(tmp_path, name):
    pytest.importorskip("scipy.io")
    convert, file = MATLAB[name]
    (tmp_path / "a.mat").write_bytes(b"not a matrix" * 20)
    for path in (tmp_path / "a.mat", tmp_path / "nowhere.mat"):
        with pytest.raises(DataError, match=f"expected MATLAB's {file}; .* cannot be read"):
            convert(path)


@pytest.mark.parametrize("name", MATLAB)
def test_without_scipy_the_error_says_so(monkeypatch, tmp_path, name):
    monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
    convert, file = MATLAB[name]
    with pytest.raises(
        ImportError,
        match=f"reading {file} needs scipy, which is not installed. Run `pip install scipy`",
    ):
        convert(tmp_path / "a.mat")
