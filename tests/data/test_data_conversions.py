"""Sets that are made from MATLAB's files of their authors."""

import struct
import tracemalloc
import zlib
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
            "expected the matrices data, testdata in .* got \\['data'\\], without testdata",
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
            r"expected the matrices train_data, val_data, test_data in .* got \['X'\], without",
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
    with pytest.raises(DataError, match=f"expected MATLAB's {file}; .* cannot be read"):
        convert(tmp_path / "a.mat")
    for path in (tmp_path, tmp_path / "nowhere.mat"):
        with pytest.raises(DataError, match=f"expected the file {file}; there is no file at"):
            convert(path)


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def header(number: int, shape: tuple[int, ...], name: bytes) -> bytes:
    """What MATLAB 5 writes before the values of a matrix of this class."""
    sizes = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(6, struct.pack("<II", number, 0)) + sizes + element(1, name)


def packed(*variables: bytes) -> bytes:
    """A file of MATLAB 5 with these variables, compressed."""
    whole = [zlib.compress(element(14, variable), 1) for variable in variables]
    parts = [struct.pack("<II", 15, len(part)) + part for part in whole]
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + b"".join(parts)


DOUBLE, TEXT, CELL = 6, 4, 1
LOGICAL = 2**9
SHAPE = (784, 7)
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "zeros of another variable": (
        lambda: packed(header(DOUBLE, (2**24, 1), b"x") + element(9, bytes(2**27))),
        "it unpacks to more than the 67,",
    ),
    "zeros beyond the shape": (
        lambda: packed(header(DOUBLE, SHAPE, b"data") + element(9, bytes(2**27))),
        "it unpacks to more than the 67,",
    ),
    "a long name": (lambda: packed(header(DOUBLE, SHAPE, bytes(2**27))), "it unpacks to more"),
    "many of them": (
        lambda: packed(*[header(DOUBLE, SHAPE, b"x") + element(9, bytes(2**24))] * 5),
        "it unpacks to more than",
    ),
    "text that is not there": (
        lambda: packed(header(TEXT | LOGICAL, (*SHAPE, 2**20), b"data") + element(1, b"")),
        "expected `data` as a matrix of numbers",
    ),
    "cells that are not there": (
        lambda: packed(header(CELL | LOGICAL, SHAPE, b"data") + bytes(2**20)),
        "expected `data` as a matrix of numbers",
    ),
    "another shape in its header": (
        lambda: packed(header(DOUBLE, (2**30, 2**30), b"data")),
        r"`data` of shape \(784, 7\) in .*; got \(1073741824, 1073741824\)",
    ),
    "MATLAB 4 of a huge shape": (
        lambda: struct.pack("<5i", 0, 2**30, 2**20, 0, 5) + b"data\0",
        r"cannot be read \(\w",
    ),
    "cut short": (lambda: packed(header(DOUBLE, SHAPE, b"data"))[:140], r"cannot be read \(\w"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_of_matlab_takes_no_memory(cache, tmp_path, case):
    """Fault: memory that a small file asks for, or a refusal that gives no reason."""
    pytest.importorskip("scipy.io")
    make, message = HOSTILE[case]
    (tmp_path / "a.mat").write_bytes(make())
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            omniglot_from_mat(tmp_path / "a.mat")
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()
    assert not cache.exists()


@pytest.mark.parametrize("name", MATLAB)
def test_without_scipy_the_error_says_so(monkeypatch, tmp_path, name):
    monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
    convert, file = MATLAB[name]
    with pytest.raises(
        ImportError,
        match=f"reading {file} needs scipy, which is not installed. Run `pip install scipy`",
    ):
        convert(tmp_path / "a.mat")
