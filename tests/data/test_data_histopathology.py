"""Histopathology, from a pickle of arrays that is read without executing it."""

import pickle
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from priorwise.data import DataError, histopathology_from_pickle, load, pickled_arrays
from priorwise.data.known_sets import NAMED

SIZES = (5, 2, 3)


@pytest.fixture(autouse=True)
def _small(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of 5, 2 and 3 images."""
    monkeypatch.setitem(NAMED, "histopathology", replace(NAMED["histopathology"], sizes=SIZES))


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
SLOW = b")q\0" + b"h\0h\0\x86q\0" * 24  # tuples in tuples, hashed 2^24 times
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
    "a string cut short": (b"(", r"not one \(EOFError\)"),
    "an array of bytes of 2 GB": (b"\x80\x05\x96" + MEMO + bytes(4) + b".", "the step 0x96"),
    "a set": (b"\x80\x04\x8f.", "the step 0x8f"),
    "a slow key": (b"}" + SLOW + b"K\x01s.", "text as a key; got tuple"),
    "slow keys": (b"}(" + SLOW + b"K\x01u.", "text as a key; got tuple"),
    "a slow dictionary": (b"(" + SLOW + b"K\x01d.", "text as a key; got tuple"),
    "letters for arguments": (b"cnumpy\ndtype\nU\x02abR.", "calls"),
    "many arguments": (b"cnumpy\ndtype\n(NNNNtR.", "calls a function as no array does"),
    "many axes": (node(shape=b"(" + b"K\x01" * 33 + b"t"), "the shape of an array"),
    "bytes for a shape": (node(shape=b"U\x01\x02"), "the shape of an array"),
    "rows without end": (
        node(shape=b"(\x8a\x06" + bytes(5) + b"\x01K\x00t", content=b"U\x00"),
        r"got 1,099,511,627,776 arrays of shape \(0,\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_these_arrays_is_refused(cache, tmp_path, case):
    """Fault: an error of Python's, or memory that a lying file asks for."""
    content, message = REFUSED[case]
    (tmp_path / "h.pkl").write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        histopathology_from_pickle(tmp_path / "h.pkl")
    assert ("If you trust" in str(refusal.value)) == (
        "is not one" in str(refusal.value) and "names" not in str(refusal.value)
    )
    assert not cache.exists()


def test_the_refused_arrays_differ_from_good_ones_in_one_piece(tmp_path):
    """Fault: a case above that is refused for another reason than its name says."""
    (tmp_path / "h.pkl").write_bytes(node())
    with pytest.raises(DataError, match=r"got 1 arrays of shape \(2,\)"):
        histopathology_from_pickle(tmp_path / "h.pkl")


def test_a_pickle_of_many_steps_is_refused(tmp_path, monkeypatch):
    """Fault: memory of many times the size of the file, for what it builds."""
    monkeypatch.setattr(pickled_arrays, "_MOST_STEPS", 1000)
    (tmp_path / "h.pkl").write_bytes(b"}" * 1001)
    with pytest.raises(DataError, match="it takes more than 1,000 steps"):
        histopathology_from_pickle(tmp_path / "h.pkl")


def test_arrays_that_share_a_text_take_it_once(tmp_path):
    """Fault: a text of some bytes that is encoded for every array that refers to it."""
    text = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\0"
    shape = b"(J" + struct.pack("<i", 2**20) + b"t"
    first, *rest = (
        node(shape=shape, content=content).removesuffix(b"s.").partition(b"training")[2]
        for content in (text, *[b"h\0"] * 99)
    )
    (tmp_path / "h.pkl").write_bytes(b"}U\x08training](" + first + b"".join(rest) + b"es.")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"got 100 arrays of shape \(1048576,\)"):
            histopathology_from_pickle(tmp_path / "h.pkl")
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_never_executed(tmp_path, protocol):
    """Fault: a function that the file names is called."""
    content = pickle.dumps(patches() | {"test": _Attack(tmp_path / "here")}, protocol)
    (tmp_path / "h.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"which is no array\)\.$"):
        histopathology_from_pickle(tmp_path / "h.pkl")
    assert not (tmp_path / "here").exists()
    pickle.loads(content)
    assert (tmp_path / "here").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"expected the file histopathology.pkl; there is no file"):
        histopathology_from_pickle(tmp_path)
