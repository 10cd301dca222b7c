"""Classes of training images: where they are, and where there are none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from priorwise.data import load, training_labels

IMAGES = np.zeros((6, 4, 4), np.uint8)


def put(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=IMAGES, **arrays)
    return path


def test_labels_of_the_digits_belong_to_their_images():
    """Fault: labels in the order of the source, not of the shuffled images. Each class's mean image
    knows its own best.
    """
    x, y = load("digits").train.float().flatten(1), training_labels("digits")
    assert (y.dtype, y.shape) == (torch.int64, (len(x),))
    assert sorted(set(y.tolist())) == list(range(10))
    means = torch.stack([x[y == digit].mean(0) for digit in range(10)])
    assert float((torch.cdist(x, means).argmin(1) == y).float().mean()) > 0.85


@pytest.mark.parametrize("name", ["two_moons", "gaussians25", "sprites"])
def test_embedded_sets_without_classes(name, cache):
    """Fault: labels out of a stray file that bears the name of an embedded set."""
    put(cache / f"{name}.npz", y_train=np.arange(6))
    assert training_labels(name) is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_of_a_named_set(dtype, cache):
    y = np.array([3, 1, 4, 1, 5, 9], dtype)
    put(cache / "mnist.npz", y_train=y)
    labels = training_labels("mnist")
    assert labels.dtype == torch.int64
    assert labels.tolist() == y.tolist()


def test_the_users_folder_goes_before_the_cache(cache, monkeypatch, tmp_path):
    """Fault: labels of one file beside images of another."""
    put(cache / "mnist.npz", y_train=np.zeros(6, np.int64))
    put(tmp_path / "own" / "mnist.npz", y_train=np.ones(6, np.int64))
    monkeypatch.setenv("PRIORWISE_DATA", str(tmp_path / "own"))
    assert training_labels("mnist").tolist() == [1] * 6


@pytest.mark.parametrize("as_path", [True, False])
def test_labels_of_a_file(as_path, cache, tmp_path):
    path = put(tmp_path / "faces.npz", y_train=np.arange(6))
    assert training_labels(path if as_path else str(path)).tolist() == list(range(6))


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"y_train": np.zeros(6)},
        {"y_train": np.zeros((6, 2), np.int64)},
        {"y_test": np.zeros(6, np.int64)},
    ],
    ids=["none", "real numbers", "two columns", "of the test set"],
)
def test_what_is_no_class_is_none(arrays, cache, tmp_path):
    """Fault: targets of a regression, or attributes, taken for classes."""
    assert training_labels(put(tmp_path / "faces.npz", **arrays)) is None


def test_sources_without_labels(cache, tmp_path):
    """Fault: an error where there is merely no label: a set that is not here, a folder of images,
    an array alone.
    """
    np.save(tmp_path / "x.npy", IMAGES)
    (tmp_path / "images").mkdir()
    for name in ["mnist", str(tmp_path / "missing.npz"), tmp_path / "x.npy", tmp_path / "images"]:
        assert training_labels(name) is None


def test_images_are_not_read(cache, tmp_path, monkeypatch):
    """Fault: a whole set unpacked for its labels."""
    path = put(tmp_path / "faces.npz", y_train=np.arange(6))
    read, unpack = [], np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda file, key: read.append(key) or unpack(file, key)
    )
    training_labels(path)
    assert read == ["y_train"]
