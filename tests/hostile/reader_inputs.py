"""Hostile files for the readers that only Python calls, damaged, or lying about their sizes."""

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from attack import Case, Maker
from mutations import damaged

from priorwise.data.files import read_idx
from priorwise.data.histopathology import histopathology_from_pickle
from priorwise.data.omniglot import omniglot_from_mat


def _call(reader: Callable[[Path], object], name: str, start: Callable[[Random], bytes]) -> Maker:
    def make(random: Random, work: Path) -> Case:
        path, content = work / name, start(random)
        path.write_bytes(damaged(content, random) if random.random() < 0.7 else content)
        return Case(lambda: reader(path), (name,))

    return make


def _idx(random: Random) -> bytes:
    sizes = random.choice([(12, 4, 4), (2**31, 2**31, 4), (12, 17), (0, 4), (2**32 - 1,) * 4])
    head = b"\0\0\x08" + bytes([len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)
    return head + random.randbytes(192)


def _element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def _bomb(random: Random) -> bytes:
    """A file of MATLAB 5 with variables that unpack to far more than they weigh, or say so."""
    number = random.choice([6, 4, 1, 2, 5, 9, 17]) | random.choice([0, 2**9, 2**11])
    shape = random.choice([(784, 24345), (784, 8070), (2**15, 2**15), (784, 24345, 2**20)])
    name = random.choice([b"data", b"testdata", b"x", b""])
    sizes = _element(5, struct.pack(f"<{len(shape)}i", *shape))
    head = _element(6, struct.pack("<II", number, 0)) + sizes
    place = random.choice(["name", "values", "nowhere"])
    content = head + (b"" if place == "name" else _element(1, name))
    content += struct.pack("<II", random.choice([1, 9, 2, 14]), 2**30)
    engine = zlib.compressobj(1)
    packed = engine.compress(struct.pack("<II", 14, 2**30 + len(content)) + content)
    if place != "nowhere":
        packed += b"".join(engine.compress(bytes(2**24)) for _ in range(64))
    packed += engine.flush()
    variable = struct.pack("<II", 15, len(packed)) + packed
    return b"MATLAB 5.0".ljust(124) + b"\0\1IM" + variable


def _old(random: Random) -> bytes:
    """Files of MATLAB 4 with sizes that are negative or huge."""
    sizes = [random.choice([-1, 22, 2**30, 2**31 - 1, 784, 24345]) for _ in range(2)]
    head = struct.pack("<5i", random.choice([0, 50, 51, 52]), *sizes, 0, 5)
    return head + b"data\0" + random.randbytes(100)


def _matrix(random: Random) -> bytes:
    from scipy.io import savemat

    if random.random() < 0.4:
        return random.choice([_bomb, _bomb, _old])(random)
    stream = io.BytesIO()
    savemat(stream, {"data": np.zeros((784, 3)), "testdata": np.zeros((784, 2))})
    return stream.getvalue()


def _shared(step: bytes, times: int) -> bytes:
    """A pickle of arrays that all refer to one text of 10 MB, in 7 bytes each or fewer."""
    text = b"X" + struct.pack("<I", 10**7) + b"a" * 10**7 + b"q\0"
    return b"}U\x08training](" + text + step * times + b"es."


_ROWS = (  # one array of 2^40 rows of no bytes
    b"}U\x08trainingcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR("
    b"K\x01(\x8a\x06" + bytes(5) + b"\x01K\0tcnumpy\ndtype\n(U\x02u1K\0K\x01tR(K\x03U\x01|NNN"
    b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89U\0tbs."
)
_PICKLES = (
    lambda random: b"\x80\x05\x96" + struct.pack("<Q", random.choice([2, 8]) << 30) + b".",
    lambda _: b"\x80\x04" + b"\x8e" + struct.pack("<Q", 2**40) + b".",
    lambda _: b"\x80\x02})" + b"2\x86" * 40 + b"K\x01s.",
    lambda random: (
        random.choice([b"}", b"}(", b"("]) + b")q\0" + b"h\0h\0\x86q\0" * 40 + b"K\x01"
        + random.choice([b"s.", b"u.", b"d."])
    ),
    lambda _: b"\x80\x04\x8f(" + b")\x94" + b"h\0h\0\x86q\0" * 40 + b"\x90.",
    lambda random: random.choice([b"}", b"]", b"(", b"N"]) * 3 * 10**7,
    lambda _: _shared(b"cnumpy\ndtype\nh\0R", 1000),
    lambda _: _shared(b"c_codecs\nencode\n(h\0U\x06latin1tR", 1000),
    lambda _: _ROWS,
)  # fmt: skip


def _pickle(random: Random) -> bytes:
    """A pickle of arrays, or of something else."""
    if random.random() < 0.4:
        return random.choice(_PICKLES)(random)
    parts = {name: np.zeros((2, 28, 28)) for name in ("training", "validation", "test")}
    content = random.choice([parts, {key: list(x) for key, x in parts.items()}, [np.float64(1)]])
    return pickle.dumps(content, random.randrange(6))


MAKERS: dict[str, Maker] = {
    "idx": _call(read_idx, "x-idx3-ubyte", _idx),
    "MATLAB": _call(
        lambda path: omniglot_from_mat(path, path.with_name("o.npz")), "x.mat", _matrix
    ),
    "pickle": _call(
        lambda path: histopathology_from_pickle(path, path.with_name("h.npz")), "x.pkl", _pickle
    ),
}
