"""Published sets: where they are looked for, what they must hold, and what the errors say."""

import gzip
import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from priorwise.data import DataError, MissingDataError, availability, load, names
from priorwise.data.files import read_idx
from priorwise.data.known_sets import NAMED, NamedSet
from priorwise.data.sources import Remote

SIZES = {
    "mnist": (50_000, 10_000, 10_000),
    "mnist_static": (50_000, 10_000, 10_000),
    "fashion_mnist": (50_000, 10_000, 10_000),
    "omniglot": (23_000, 1_345, 8_070),
    "omniglot_part": (11_937, 698, 4_198),
    "freyfaces": (1_565, 200, 200),
    "caltech_silhouettes": (4_100, 2_264, 2_307),
    "histopathology": (6_800, 2_000, 2_000),
}
KEYS = ("x_train", "x_val", "x_test")
SMALL = (6, 2, 3)

Small = Callable[[str], NamedSet]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Small:
    """``small(name)`` makes a set of that name one of 6, 2 and 3 images
    that nobody can download.
    """

    def shrink(name: str) -> NamedSet:
        monkeypatch.setitem(NAMED, name, replace(NAMED[name], sizes=SMALL, remotes=()))
        return NAMED[name]

    return shrink


def arrays_for(entry: NamedSet) -> dict[str, np.ndarray]:
    generator = np.random.RandomState(0)
    shape = entry.spec.shape[1:]
    return {
        key: generator.randint(0, entry.spec.levels, (n, *shape)).astype(np.uint8)
        for key, n in zip(KEYS, entry.sizes, strict=True)
    }


def put(folder: Path, entry: NamedSet, **changes: np.ndarray) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {**arrays_for(entry), **changes}
    np.savez_compressed(folder / f"{entry.spec.name}.npz", **arrays)
    return arrays


def test_the_names():
    assert names() == ["digits", "two_moons", "gaussians25", "sprites", *SIZES]
    assert {name: entry.sizes for name, entry in NAMED.items()} == SIZES


# -- finding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_a_file_in_the_cache_is_loaded_as_it_is(cache, small, name):
    arrays = put(cache, small(name))
    data = load(name)
    assert data.spec == NAMED[name].spec
    for key, raw in zip(KEYS, (data.train, data.validation, data.test), strict=True):
        assert raw.dtype == torch.uint8
        assert (raw[:, 0].numpy() == arrays[key]).all()


def test_the_users_folder_goes_before_the_cache(cache, small, monkeypatch, tmp_path):
    entry = small("freyfaces")
    put(cache, entry)
    put(tmp_path / "own", entry, x_test=np.full((3, 28, 20), 9, np.uint8))
    monkeypatch.setenv("PRIORWISE_DATA", str(tmp_path / "own"))
    assert (load("freyfaces").test == 9).all()
    assert availability()["freyfaces"] == str(tmp_path / "own" / "freyfaces.npz")
    (tmp_path / "own" / "freyfaces.npz").unlink()
    assert not (load("freyfaces").test == 9).all()
    assert availability()["freyfaces"] == str(cache / "freyfaces.npz")


def test_availability_without_any_file(cache):
    places = availability()
    assert list(places) == names()
    assert [places[name] for name in ("digits", "two_moons", "gaussians25", "sprites")] == [
        "embedded"
    ] * 4
    assert [places[name] for name in ("mnist", "fashion_mnist")] == ["download"] * 2
    for name in set(SIZES) - {"mnist", "fashion_mnist"}:
        assert places[name].startswith(f"missing: expected {name}.npz")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("omniglot", 'github.com/yburda/iwae.*omniglot_from_mat."chardata.mat"'),
        (
            "caltech_silhouettes",
            'people.cs.umass.edu/~marlin/data.*caltech_from_mat."caltech101_silhouettes_28_split1',
        ),
        (
            "histopathology",
            'github.com/jmtomczak/vae_householder_flow.*histopathology_from_pickle."histopath',
        ),
    ],
)
def test_a_missing_set_says_which_file_where_and_how(cache, monkeypatch, tmp_path, name, how):
    monkeypatch.setenv("PRIORWISE_DATA", str(tmp_path / "own"))
    with pytest.raises(MissingDataError, match=how) as caught:
        load(name)
    text = str(caught.value)
    for key, size in zip(KEYS, SIZES[name], strict=True):
        assert f"{key} ({size}, 28, 28)" in text
    assert str(tmp_path / "own" / f"{name}.npz") in text
    assert str(cache / f"{name}.npz") in text
    assert "PRIORWISE_DATA" in text
    assert not cache.exists()


def test_overrides_reach_the_description(cache, small):
    put(cache, small("mnist"))
    assert load("mnist").spec.binarize == "dynamic"
    assert load("mnist", binarize="threshold").spec.binarize == "threshold"
    assert load("mnist", likelihood="gaussian").spec.scaling == "dequantize"
    assert load("mnist", binarize="none").spec.likelihood == "discretized_logistic"


# -- wrong files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_val": np.zeros((3, 28, 28), np.uint8)}, r"x_val is uint8 \(3, 28, 28\)"),
        ({"x_test": np.zeros((3, 28, 27), np.uint8)}, r"x_test is uint8 \(3, 28, 27\)"),
        ({"x_train": np.zeros((6, 28, 28), np.float32)}, r"x_train is float32 \(6, 28, 28\)"),
        (
            {"x_test": np.full((3, 28, 28), 2, np.uint8)},
            "mnist_static.npz: expected values 0..1 in the test split; got 2",
        ),
    ],
)
def test_a_file_of_another_layout_is_refused(cache, small, changes, message):
    put(cache, small("mnist_static"), **changes)
    with pytest.raises(DataError, match=message):
        load("mnist_static")


def test_missing_arrays_are_named_with_those_that_are_there(cache, small):
    arrays = arrays_for(small("mnist"))
    cache.mkdir()
    np.savez(cache / "mnist.npz", x_train=arrays["x_train"], y_train=np.zeros(6))
    with pytest.raises(DataError, match="got x_train, y_train, without x_val, x_test"):
        load("mnist")


def test_a_file_that_was_cut_short_is_refused(cache, small):
    put(cache, small("mnist"))
    path = cache / "mnist.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged or cut short"):
        load("mnist")


# -- idx files and downloads -----------------------------------------------------------------------


def idx(x: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{x.ndim}I", 0, 0, 8, x.ndim, *x.shape) + x.tobytes()


def test_idx_files_are_read(tmp_path):
    x = np.random.RandomState(0).randint(0, 256, (5, 4, 3)).astype(np.uint8)
    (tmp_path / "x").write_bytes(idx(x))
    values = read_idx(tmp_path / "x")
    assert (values == x).all()
    assert values.flags.writeable


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an idx file of unsigned bytes"),
        (b"\x1f\x8b\x08\x00more", "expected an idx file of unsigned bytes"),
        (b"\0\0\x0d\x01\0\0\0\1\0\0\0\0", "expected an idx file of unsigned bytes"),
        (b"\0\0\x08\x03\0\0\0\1", "ends within its header"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], r"expected \(2, 3\) values in .* got 5"),
        (idx(np.zeros((2, 3), np.uint8)) + b"\0", r"expected \(2, 3\) values in .* got 7"),
    ],
)
def test_idx_files_that_are_none_are_refused(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "x")


def published(serve, monkeypatch, **wrong: bytes) -> dict[str, np.ndarray]:
    """A small MNIST on a server of this machine: 8 training and 3 test images."""
    arrays = arrays_for(replace(NAMED["mnist"], sizes=SMALL))
    files = {
        "train": np.concatenate([arrays["x_train"], arrays["x_val"]]),
        "test": arrays["x_test"],
    }
    remotes = []
    for name, x in files.items():
        content = idx(x)
        url = serve(f"/{name}.gz", gzip.compress(wrong.get(name, content)))
        remotes.append(Remote(url, hashlib.sha256(content).hexdigest(), name, "gzip"))
    monkeypatch.setitem(
        NAMED, "mnist", replace(NAMED["mnist"], sizes=SMALL, remotes=tuple(remotes))
    )
    return arrays


def test_a_set_is_downloaded_once_cut_and_kept(cache, serve, monkeypatch):
    arrays = published(serve, monkeypatch)
    data = load("mnist")
    assert [path.name for path in cache.iterdir()] == ["mnist.npz"]
    for key, raw in zip(KEYS, (data.train, data.validation, data.test), strict=True):
        assert (raw[:, 0].numpy() == arrays[key]).all()
    serve("/train.gz", b"", 500)
    assert load("mnist").fingerprint() == data.fingerprint()


def test_a_download_with_another_checksum_leaves_nothing(cache, serve, monkeypatch):
    published(serve, monkeypatch, test=idx(np.zeros((3, 28, 28), np.uint8)))
    with pytest.raises(DataError, match="expected SHA-256"):
        load("mnist")
    assert list(cache.iterdir()) == []


def test_a_download_that_fails_leaves_nothing_and_says_what_to_do(cache, serve, monkeypatch):
    published(serve, monkeypatch)
    serve("/test.gz", b"", 503)
    with pytest.raises(
        MissingDataError, match=r"expected mnist.npz with .*Put the file .*could not download"
    ):
        load("mnist")
    assert list(cache.iterdir()) == []


# -- the real files, where they are ----------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_real_sets_have_their_sizes_and_shapes(real_data, name):
    if not (real_data / f"{name}.npz").exists():
        pytest.skip(f"{name}.npz is not there")
    data = load(name)
    assert (len(data.train), len(data.validation), len(data.test)) == SIZES[name]
    assert tuple(data.train.shape[1:]) == data.spec.shape


def test_real_mnist_is_binarised_as_in_the_vampprior_code(real_data):
    if not (real_data / "mnist.npz").exists():
        pytest.skip("mnist.npz is not there")
    with np.load(real_data / "mnist.npz") as file:
        validation, test = (file[key].astype(np.float32) / 255.0 for key in ("x_val", "x_test"))
    generator = np.random.RandomState(777)
    expected = [generator.binomial(1, validation), generator.binomial(1, test)]
    data = load("mnist")
    images = data.evaluation("validation"), data.evaluation("test")
    for ours, theirs in zip(images, expected, strict=True):
        assert (ours[:, 0].numpy() == theirs).all()


def test_real_mnist_static_is_sorted_by_digit_in_its_test_set_as_noted(real_data):
    if not (real_data / "mnist_static.npz").exists():
        pytest.skip("mnist_static.npz is not there")
    with np.load(real_data / "mnist_static.npz") as file:
        labels = file["y_test"].astype(int)
    assert (np.diff(labels) >= 0).mean() > 0.99
    assert "sorted by digit" in load("mnist_static").spec.note
