"""How data are read, and how that is said: labels, bytes, ranges, the words at the start."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import priorwise as pw
from priorwise.data import (
    DataError,
    DataSpec,
    Splits,
    from_arrays,
    from_file,
    load,
    reading,
    reading_doubts,
    reading_words,
)
from priorwise.data.value_range import in_unit_range, observed_range

RANDOM = np.random.RandomState(0)
BYTES = RANDOM.randint(0, 256, (40, 6, 5))
BYTES[0, 0, 0] = 255
FLAT = BYTES.reshape(40, -1)
CLASSES = np.arange(40) % 7


def put(path, **arrays):
    np.savez(path, **arrays)
    return path


# -- labels ----------------------------------------------------------------------------------------


def labelled(x):
    """Images whose first pixel is their class, so that a mix-up shows."""
    x = x.copy()
    x[:, 0, 0] = CLASSES
    return x


@pytest.mark.parametrize("given", [(), ("x_val",), ("x_test",), ("x_val", "x_test")])
def test_labels_stay_with_their_images(given, tmp_path):
    """Fault: labels lost, or of other images, where a part was held out of the training data."""
    x = labelled(BYTES.astype(np.uint8))
    path = put(tmp_path / "own.npz", x_train=x, y_train=CLASSES, **dict.fromkeys(given, x[:5]))
    splits = from_file(path)
    assert torch.equal(splits.labels, splits.train[:, 0, 0, 0].long())
    part = splits.subset(train=4)
    assert torch.equal(part.labels, splits.labels[:4])
    assert torch.equal(load(path).labels, splits.labels)


@pytest.mark.parametrize("count", [39, 41])
def test_labels_of_a_wrong_length_are_refused(count, tmp_path):
    path = put(tmp_path / "own.npz", x_train=BYTES, y_train=np.zeros(count, np.int64))
    with pytest.raises(
        DataError, match=rf"own.npz: expected `labels` \(y_train\) as 40 .*\({count},"
    ):
        from_file(path)
    pieces = from_arrays(BYTES)
    with pytest.raises(DataError, match="one class for each of the 32 training"):
        Splits(pieces.train, pieces.test, pieces.test, pieces.spec, labels=torch.zeros(3).long())


def test_labels_of_the_digits_come_with_them():
    splits = load("digits")
    assert len(splits.labels) == len(splits.train)
    assert reading(splits)["classes"] == 10


# -- bytes and ranges ------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [BYTES.astype(np.float32), torch.from_numpy(FLAT).double()])
def test_bytes_that_became_real_numbers_are_bytes(x):
    """Fault: 0..255 as real values, which train to millions of nats. A small part without a large
    value is as its neighbours.
    """
    splits = from_arrays(x, validation=x[1:2] * 0)
    assert (splits.spec.levels, splits.train.dtype) == (256, torch.uint8)
    assert "whole numbers read as bytes" in splits.origin


@pytest.mark.parametrize(
    "x",
    [
        BYTES / 2,
        BYTES.astype(float) + 1,
        -BYTES.astype(float),
        (BYTES // 16).astype(float),
        BYTES / 255,
    ],
    ids=["fractions", "256", "negative", "few levels", "scaled"],
)
def test_other_real_numbers_stay(x):
    assert from_arrays(x).spec.levels is None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 0.9, (0.0, 1.0)),
        (-0.5, 1.0, (-1.0, 1.0)),
        (0.0, 2.0, (0.0, 2.0)),
        (-3.0, 5.0, (-3.0, 5.0)),
        (7.0, 7.0, (7.0, 8.0)),
    ],
)
def test_the_range_of_the_data(low, high, expected):
    x = torch.tensor([[low, high]])
    assert observed_range(x) == pytest.approx(expected)
    shown = in_unit_range(torch.tensor([*expected, expected[1] + 1]), observed_range(x))
    assert shown.tolist() == [0.0, 1.0, 1.0]


def test_the_range_goes_with_the_description(tmp_path):
    x = 2 * RANDOM.rand(40, 6, 5) - 1
    splits = from_arrays(x)
    assert splits.spec.value_range == splits.value_range == (-1, 1)
    np.save(tmp_path / "x.npy", x)
    assert load(tmp_path / "x.npy").spec.value_range == (-1, 1)
    assert from_arrays(BYTES).value_range == (0, 1)
    assert load("two_moons").spec.value_range == pytest.approx((-1.2, 2.2), abs=0.2)
    with pytest.raises(DataError, match="expected `value_range` as"):
        DataSpec("x", (2,), None, "gaussian", "none", "none", value_range=(1.0, 1.0))


# -- what is said ----------------------------------------------------------------------------------


def test_the_first_words(tmp_path):
    path = put(tmp_path / "own.npz", x_train=BYTES, y_train=CLASSES)
    words = reading_words(load(path))
    for part in (
        "own: 32 / 4 / 4 (train / validation / test) of 1x6x5, 256 levels, discretized_logistic",
        f"x_train of {path}: int64 of shape (40, 6, 5)",
        "validation and test held out at random (seed 0)",
        "(r + 1/2) / 256",
        "labels of 7 classes",
    ):
        assert part in words
    assert "real values in [-1, 1], gaussian" in reading_words(from_arrays(2 * BYTES / 255 - 1))
    assert "r / 255" not in words


@pytest.mark.parametrize(
    ("scale", "doubted"), [(1.0, False), (255.0, True), (1e-4, True), (8.0, False)]
)
def test_an_unusual_scale_is_doubted(scale, doubted):
    doubts = reading_doubts(from_arrays(scale * RANDOM.randn(50, 3)))
    assert len(doubts) == doubted
    assert all("Standardise them, (x - mean) / std" in doubt for doubt in doubts)


def test_a_fit_says_first_how_it_read_the_data(capsys):
    """Fault: 255 times too large, and nobody knows."""
    x = 100 * RANDOM.randn(60, 3)
    model = pw.wrap(
        encode=lambda x: (x[:, :2], x[:, :2] * 0),
        decode=nn.Linear(2, 3),
        latent=2,
        likelihood=lambda mean: torch.distributions.Independent(
            torch.distributions.Normal(mean, 100.0), 1
        ),
        modules=(),
    )
    with pytest.warns(UserWarning, match="Networks learn badly at this scale"):
        result = pw.fit(model, x, pw.objectives.ELBO(model), epochs=1, train="all")
    assert "data own: 48 / 6 / 6" in capsys.readouterr().err
    assert (result.data["train"], result.data["likelihood"]) == (48, "gaussian")


def test_training_data_outside_the_support_are_refused():
    """Fault: only the validation data were looked at."""
    spec = DataSpec("x", (2,), None, "gaussian", "none", "none")
    inside = torch.rand(8, 2)
    splits = Splits(2 * inside - 1, inside, inside, spec)
    model = pw.models.gated_vae((2,), latent=1, hidden=4)
    with pytest.raises(ValueError, match=r"expected `data` in \[0, 1\] for Bernoulli"):
        pw.fit(model, splits, epochs=1, progress=False)
    with pytest.warns(UserWarning, match="Bernoulli pixels give a cross-entropy"):
        pw.fit(model, Splits(inside, inside, inside, spec), epochs=1, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bits = inside.round()
        pw.fit(model, Splits(bits, bits, bits, spec), epochs=1, progress=False)
