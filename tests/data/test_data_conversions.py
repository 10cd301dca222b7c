"""Sets that are made from their authors' files: MATLAB's matrices, and a pickle of arrays."""

import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from priorwise.data import (
    DataError,
    caltech_from_mat,
    histopathology_from_pickle,
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
    for name in (*MATLAB, "histopathology"):
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


# -- histopathology --------------------------------------------------------------------------------


def patches() -> dict[str, np.ndarray]:
    random = np.random.RandomState(2)
    names = ("training", "validation", "test")
    return {name: random.rand(k, 28, 28) for name, k in zip(names, SIZES, strict=True)}


def python2(arrays: dict[str, np.ndarray]) -> bytes:
    """What Python 2 and numpy write by default, protocol 0 with bytes as text, each array apart."""

    def text(content: bytes) -> str:
        return "S'" + "".join(f"\\x{byte:02x}" for byte in content) + "'\n"

    def array(x: np.ndarray) -> str:
        shape = "(" + "".join(f"I{size}\n" for size in x.shape) + "t"
        dtype = "cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        start = "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        return f"{start}(I1\n{shape}{dtype}I00\n{text(x.tobytes())}tb"

    parts = "".join(
        f"S'{name}'\n(l{''.join(array(x) + 'a' for x in part)}s" for name, part in arrays.items()
    )
    return f"(d{parts}.".encode()


FORMS: dict[str, Callable[[dict[str, np.ndarray]], bytes]] = {
    "Python 2, lists of arrays": python2,
    **{
        f"protocol {protocol}": lambda x, protocol=protocol: pickle.dumps(x, protocol)
        for protocol in range(5)
    },
    "flat rows": lambda x: pickle.dumps({k: list(v.reshape(-1, 784)) for k, v in x.items()}, 2),
    "columns first": lambda x: pickle.dumps({k: v.T.copy().T for k, v in x.items()}, 2),
    "the other order of bytes": lambda x: pickle.dumps(
        {k: v.astype(">f8") for k, v in x.items()}, 2
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_histopathology_is_read_from_every_form_of_pickle(cache, tmp_path, form):
    """Fault: other values than what pickle itself reads."""
    content = FORMS[form](patches())
    (tmp_path / "h.pkl").write_bytes(content)
    theirs = {
        (name if isinstance(name, str) else name.decode()): np.asarray(x).reshape(-1, 28, 28)
        for name, x in pickle.loads(content, encoding="bytes").items()
    }
    target = histopathology_from_pickle(tmp_path / "h.pkl")
    assert target == cache / "histopathology.npz"
    data = load("histopathology")
    for part, name in zip((data.train, data.validation, data.test), theirs, strict=True):
        assert (theirs[name] == patches()[name]).all()
        assert (part[:, 0].numpy() == (theirs[name] * 256).astype(int)).all()
    assert (data.spec.likelihood, data.spec.scaling) == ("discretized_logistic", "midpoint")


def test_clipping_moves_no_value_to_another_bin(tmp_path):
    """Fault: bins that are not those of the paper's likelihood, floor(x / b) after its clipping."""
    values = np.concatenate(
        [np.linspace(0, 1, 1024), np.arange(256) / 255, np.arange(257) / 256, [1e-9, 1 - 1e-9]]
    )
    x = patches()
    x["training"].reshape(-1)[: len(values)] = values
    (tmp_path / "h.pkl").write_bytes(pickle.dumps(x, 2))
    histopathology_from_pickle(tmp_path / "h.pkl")
    data = load("histopathology")
    clipped = np.clip(values, 1 / 512, 1 - 1 / 512)
    assert (data.train.reshape(-1)[: len(values)].numpy() == np.floor(clipped * 256)).all()
    seen = data.prepare(data.train).reshape(-1)[: len(values)].numpy()
    assert np.abs(seen - clipped).max() <= 1 / 512 + 1e-6
    whole = np.arange(256) / 255  # bytes divided by 255 come back as they were
    assert (np.clip(np.floor(whole * 256), 0, 255) == np.arange(256)).all()


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def node(**changes: bytes) -> bytes:
    """A pickle of one array of two bytes, with other pieces in the place of some of its own."""
    pieces = {
        "shape": b"(K\x02t",
        "code": b"U\x02u1",
        "content": b"U\x02ab",
    } | changes
    dtype = b"cnumpy\ndtype\n(" + pieces["code"] + b"K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    return (
        b"}U\x08trainingcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR("
        b"K\x01" + pieces["shape"] + dtype + b"J\xff\xff\xff\xffK\x00tb\x89" + pieces["content"]
        + b"tbs."
    )  # fmt: skip


def list_in_itself() -> bytes:
    x: list = []
    x.append(x)
    return pickle.dumps({"training": x}, 2)


MEMO = struct.pack("<I", 2**31)
REFUSED = {
    "an empty file": (b"", "not one"),
    "no pickle": (b"training" * 9, "not one"),
    "cut short": (pickle.dumps(patches(), 2)[:-100], "not one"),
    "no dictionary": (pickle.dumps([np.zeros(3)], 2), "not one"),
    "other names": (pickle.dumps({"x": np.zeros((5, 28, 28))}, 2), "`training` of 5 images"),
    "a part too few": (
        pickle.dumps(patches() | {"test": np.zeros((2, 28, 28))}, 2),
        r"`test` of 3 images of 28x28 in .*; got 2 arrays of shape \(28, 28\)",
    ),
    "other images": (
        pickle.dumps(patches() | {"test": np.zeros((3, 28, 20))}, 2),
        r"got 3 arrays of shape \(28, 20\)",
    ),
    "bytes": (pickle.dumps({k: v * 255 for k, v in patches().items()}, 2), r"values in \[0, 1\]"),
    "not a number": (pickle.dumps(patches() | {"test": np.full((3, 28, 28), np.nan)}, 2), "nan"),
    "objects": (pickle.dumps({"training": np.array([[], {}], dtype=object)}, 2), "of numbers; got"),
    "text": (pickle.dumps({"training": ["a", "b"]}, 2), "expected an array; got 'a'"),
    "a list in itself": (list_in_itself(), "expected an array"),
    "a function of numpy": (b"cnumpy\nload\n(U\x01atR.", "names 'numpy.load', which is no array"),
    "a shape that lies": (node(shape=b"(K\xfft"), r"expected \(255,\) values; got 2 bytes"),
    "a negative shape": (
        node(shape=b"(J\xff\xff\xff\xffJ\xfe\xff\xff\xfft"),
        r"expected \(-1, -2\)",
    ),
    "a number for bytes": (node(content=b"\x8a\x08" + b"\xff" * 7 + b"\x00"), "bytes; got int"),
    "a frame cut short": (b"\x80\x04\x95\x00", "not one"),
    "a memo of 2 GB": (b"]r" + MEMO + b".", "not one"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_these_arrays_is_refused(cache, tmp_path, case):
    """Fault: an error of Python's, or memory that a lying file asks for."""
    content, message = REFUSED[case]
    (tmp_path / "h.pkl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        histopathology_from_pickle(tmp_path / "h.pkl")
    assert not cache.exists()


def test_the_refused_arrays_differ_from_good_ones_in_one_piece(tmp_path):
    """Fault: a case above that is refused for another reason than its name says."""
    (tmp_path / "h.pkl").write_bytes(node())
    with pytest.raises(DataError, match=r"got 1 arrays of shape \(2,\)"):
        histopathology_from_pickle(tmp_path / "h.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_never_executed(tmp_path, protocol):
    """Fault: a function that the file names is called."""
    content = pickle.dumps(patches() | {"test": _Attack(tmp_path / "here")}, protocol)
    (tmp_path / "h.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"which is no array.*If you trust the file"):
        histopathology_from_pickle(tmp_path / "h.pkl")
    assert not (tmp_path / "here").exists()
    pickle.loads(content)
    assert (tmp_path / "here").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"expected the file histopathology.pkl; there is no file"):
        histopathology_from_pickle(tmp_path)
