"""Hostile data: arrays, archives and images, damaged, or lying about their sizes."""

import io
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from random import Random

import numpy as np
from attack import Case, Maker
from mutations import damaged, nasty_word
from targets import SMALL

from priorwise.data import load

_DTYPES = [
    "u1",
    "i1",
    "<f4",
    ">f8",
    "f2",
    "?",
    "i8",
    "u8",
    "c8",
    "S3",
    "U3",
    "O",
    "M8[s]",
    "V4",
    "g",
]
_SHAPES = [(0,), (), (5,), (0, 4), (4, 0), (1, 4), (2, 4), (12, 4), (3, 2, 2), (12, 4, 4)]
_SHAPES += [(12, 3, 4, 4), (12, 4, 4, 3), (12, 4, 4, 4), (1, 1, 1, 1), (12, 2, 2, 2, 2), (12, 1)]


class _Payload:
    """Executes something when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple:
        return open, (self.canary, "w")


def train_on(path: Path, work: Path) -> Case:
    names = (path.name, str(path.relative_to(work)))
    name = str(path.relative_to(work))
    return Case(["train", "own/vae", *SMALL, "--data", name, "--out", "new"], names)


def _array(random: Random) -> np.ndarray:
    dtype, shape = random.choice(_DTYPES), random.choice(_SHAPES)
    numbers = np.random.RandomState(random.randrange(2**31))
    if dtype in ("O", "S3", "U3", "M8[s]", "V4"):
        return np.zeros(shape, dtype)
    with np.errstate(all="ignore"):
        scale = random.choice([1, 1.5, 255, 1e30, 1e300, -3])
        values = np.asarray(numbers.rand(*shape) * scale).astype(dtype)
    if random.random() < 0.2 and values.size and values.dtype.kind in "fc":
        values.flat[0] = random.choice([np.nan, np.inf, -np.inf])
    return values


def _npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _header(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    """An .npy header that says what it is told."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _lying_npy(random: Random) -> bytes:
    shape = random.choice(
        [
            "(10000000000,)",
            "(2500000, 1000)",
            "(-1, 4)",
            "(2**40, 4)",
            "(1e9, 4)",
            "('a', 4)",
            "(99999999999999999999, 4)",
            "(4294967296, 4294967296)",
            "()",
            "(12, 4, ",
            "None",
            "(" * 500,
            "(12, 16)",
            "(True, 4)",
            "(12, 0)",
            "((((12)))), 4)",
            "(0, 99999999999)",
        ]
    )
    descr = random.choice(
        [
            "'<f4'",
            "'<f4'",
            "'|O'",
            "'<f99'",
            "[('a', '<f4')]",
            "'|V9999999'",
            "'x'",
            "None",
            "3",
            "[('a', [('b', '<f4', (9999999, 9999))])]",
            "'<U99999999'",
            "('<f4', (99999, 9999))",
        ]
    )
    return _header(shape, descr, random.choice(["False", "True", "3", "x"])) + random.randbytes(768)


def _npy(random: Random, work: Path) -> Case:
    path = work / random.choice(["x.npy", "x.npz", "x.dat", "\U0001d518.npy", "a\x1b[31m.npy"])
    kind = random.randrange(4)
    if kind == 0:
        content = _npy_bytes(_array(random))
    elif kind == 1:
        content = _lying_npy(random)
    elif kind == 2:
        content = damaged(_npy_bytes(np.zeros((12, 4, 4), "u1")), random)
    else:
        content = pickle.dumps(_Payload(work.parent / "executed"))
        content = random.choice([content, _header("(1,)", "'|O'") + content])
    path.write_bytes(content)
    return train_on(path, work)


def _npz(random: Random, work: Path) -> Case:
    path = work / "x.npz"
    stream = io.BytesIO()
    keys = random.choice([["x"], ["x_train", "x_test"], ["x_train", "x_val", "x_test", "y_train"]])
    keys = random.choice([keys, [nasty_word(random) or "x"], []])
    method = random.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2])
    same = _array(random)
    with zipfile.ZipFile(stream, "w", method) as archive:
        for key in keys:
            array = same if random.random() < 0.7 else _array(random)
            content = _npy_bytes(array) if random.random() < 0.85 else _lying_npy(random)
            archive.writestr(key.encode("utf-8", "replace").decode() + ".npy", content)
    content = stream.getvalue()
    path.write_bytes(damaged(content, random) if random.random() < 0.6 else content)
    return train_on(path, work)


def _bomb(random: Random, work: Path) -> Case:
    """Archives that unpack to far more than they weigh, or say so."""
    path = work / "x.npz"
    method = random.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    megabytes = random.choice([300, 600, 4096] if method == zipfile.ZIP_BZIP2 else [300])
    shape = (megabytes * 2**20 // 16, 16)
    header = _header(str(shape), "'|u1'")
    with zipfile.ZipFile(path, "w", method) as archive, archive.open("x.npy", "w") as member:
        member.write(header)
        if random.random() < 0.5 and megabytes < 1000:
            for _ in range(megabytes):
                member.write(bytes(2**20))
    content = bytearray(path.read_bytes())
    if random.random() < 0.5:  # the central directory says another size
        place = content.rfind(b"PK\x01\x02") + 24
        content[place : place + 4] = struct.pack("<I", random.choice([0, 100, 2**32 - 2, 2**31]))
        path.write_bytes(content)
    return train_on(path, work)


# -- images ----------------------------------------------------------------------------------------


def png(width: int, height: int, *, values: bytes | None = None, colour: int = 0) -> bytes:
    """A PNG of these sizes in its header; without ``values`` it has next to no pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = zlib.compress(values if values is not None else bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _picture(random: Random, format_: str, size: tuple[int, int] = (4, 4)) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    mode = random.choice(["L", "RGB"])
    values = random.randbytes(size[0] * size[1] * len(mode.replace("RGB", "abc")))
    Image.frombytes(mode, size, values).save(stream, format_)
    return stream.getvalue()


_SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(x) show\n%%EOF\n"


def _images(random: Random, work: Path) -> Case:
    folder = work / random.choice(["pictures", "$pictures_{$", "a\x1b[31mb"])
    folder.mkdir()
    formats = ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"]
    suffixes = [".png", ".jpg", ".bmp", ".gif", ".tif", ".webp", ".ppm"]
    for number in range(random.choice([1, 2, 12])):
        place = random.randrange(len(formats))
        (folder / f"{number}{suffixes[place]}").write_bytes(_picture(random, formats[place]))
    kind, path = random.randrange(9), folder / f"bad{random.choice(suffixes)}"
    if kind == 0:
        content = png(
            *random.choice([(13400, 13400), (10**5, 10**5), (2**31 - 1, 1), (9500, 9500)])
        )
        path.write_bytes(content)
    elif kind == 1:
        (work / "bin").mkdir()
        (work / "bin" / "gs").write_text(f"#!/bin/sh\ntouch {work.parent / 'executed'}\n")
        (work / "bin" / "gs").chmod(0o755)
        path.write_bytes(_SCRIPT)
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.symlink_to(random.choice(["/dev/zero", "nowhere", path.name, "/etc/passwd"]))
    elif kind == 4:
        (folder / "loop").symlink_to(folder)
        path.write_bytes(b"")
    elif kind == 5:
        other = random.choice(
            ["ICO", "PCX", "TGA", "SGI", "PDF", "ICNS", "DDS", "IM", "MSP", "XBM"]
        )
        try:
            path.write_bytes(_picture(random, other, (16, 16)))
        except (OSError, KeyError, ValueError):
            path.write_bytes(other.encode())
    elif kind == 6:
        path.write_bytes(png(9000, 9000, values=bytes(9001 * 9000)))
    else:
        content = _picture(random, random.choice(formats))
        path.write_bytes(damaged(content, random))
    return train_on(folder, work)


def _others(random: Random, work: Path) -> Case:
    """Files that are no data at all, and data of one image."""
    path = work / random.choice(["x.npz", "x.npy", "x", "x.pt", "x.csv"])
    kind = random.randrange(8)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to(random.choice(["/dev/zero", "/dev/stdin", "nowhere", path.name]))
    elif kind == 2:
        path.write_bytes(random.choice([b"", _SCRIPT, b"1,2,3\n", png(4, 4), random.randbytes(99)]))
    elif kind == 3:
        path.mkdir()
    elif kind == 4:
        path.write_bytes(pickle.dumps(_Payload(work.parent / "executed")))
    elif kind == 5:
        np.savez(work / "x.npz", x_train=np.eye(16), x_val=np.eye(1, 16), x_test=np.eye(1, 16))
        path = work / "x.npz"
    elif kind == 6:
        path.write_bytes(b"\x93NUMPY" + random.randbytes(20))
    else:
        with path.open("wb") as file:
            file.truncate(2**33)
    return train_on(path, work)


def _of_run(random: Random, work: Path) -> Case:
    """The data of a trained run are damaged, or are others now."""
    path = work / "small.npz"
    if random.random() < 0.6:
        path.write_bytes(damaged(path.read_bytes(), random))
    elif random.random() < 0.5:
        np.savez(path, x=_array(random))
    else:
        single = np.ones((1, 4, 4), "u1")
        np.savez(path, x_train=np.ones((20, 4, 4), "u1"), x_val=single, x_test=single)
    command = random.choice(["evaluate", "report", "traverse", "compare"])
    written = ("evaluation*", "nll-*", "report.*", "traversal.png", "best.*")
    return Case([command, "vae"], ("small.npz", "vae"), written)


def _tiny(random: Random, work: Path) -> Case:
    """A run on so few images that nothing can be held out twice, evaluated in the same process."""
    shape = random.choice([(16,), (1,), (4, 4), (1, 1), (3, 2, 2), (8, 8)])
    values = np.random.RandomState(random.randrange(2**31))
    parts = {
        key: values.randint(0, random.choice([1, 2, 256]), (size, *shape)).astype("u1")
        for key, size in (("x_train", random.choice([1, 2, 20])), ("x_val", 1), ("x_test", 1))
    }
    np.savez(work / "tiny.npz", **parts)
    settings = [*SMALL, "evaluation.quality=raw", "--data", "tiny.npz", "--out", "tiny"]
    then = [random.choice(["evaluate", "report", "compare", "traverse", "sample"]), "tiny"]
    return Case(["train", "own/vae", *settings], ("tiny",), (), then=then)


def _named_set(random: Random, work: Path) -> Case:
    """The file of a set that has a name."""
    stream = io.BytesIO()
    np.savez(
        stream, x_train=np.zeros((3, 28, 28), "u1"), x_val=_array(random), x_test=_array(random)
    )
    content = stream.getvalue()
    (work / "mnist.npz").write_bytes(damaged(content, random) if random.random() < 0.7 else content)

    def read() -> object:
        os.environ["PRIORWISE_DATA"] = str(work)
        return load("mnist")

    return Case(read, ("mnist.npz",))


MAKERS: dict[str, Maker] = {
    ".npy": _npy,
    ".npz": _npz,
    "bombs": _bomb,
    "images": _images,
    "no data": _others,
    "data of a run": _of_run,
    "tiny data": _tiny,
    "named set": _named_set,
}
