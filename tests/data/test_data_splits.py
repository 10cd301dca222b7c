"""Splits: what a model sees, how often the same, and what stands for the data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from priorwise import seeded
from priorwise.data import DataError, DataSpec, Splits
from priorwise.testing import check_mean

GREY = DataSpec("grey", (1, 4, 4), 256, "discretized_logistic", "none", "midpoint")


def grey_images(n: int, levels: int = 256) -> torch.Tensor:
    return torch.randint(0, levels, (n, 1, 4, 4), dtype=torch.uint8)


def splits(spec: DataSpec = GREY, train: int = 30, validation: int = 20, test: int = 25) -> Splits:
    if spec.levels is None:
        return Splits(*(torch.rand(n, *spec.shape) for n in (train, validation, test)), spec)
    return Splits(*(grey_images(n, spec.levels) for n in (train, validation, test)), spec)


VARIANTS = {
    "midpoint": GREY,
    "unit": replace(GREY, scaling="unit"),
    "dequantize": GREY.overridden(likelihood="gaussian"),
    "dynamic": GREY.overridden(binarize="dynamic"),
    "threshold": GREY.overridden(binarize="threshold"),
    "binary": DataSpec("bits", (1, 4, 4), 2, "bernoulli", "none", "unit"),
    "digits": DataSpec("digits", (1, 4, 4), 17, "gaussian", "none", "dequantize"),
    "real": DataSpec("real", (1, 4, 4), None, "gaussian", "none", "none"),
    "real, dynamic": DataSpec("real", (1, 4, 4), None, "bernoulli", "dynamic", "none"),
    "real, threshold": DataSpec("real", (1, 4, 4), None, "bernoulli", "threshold", "none"),
}
DETERMINISTIC = ("midpoint", "unit", "threshold", "binary", "real", "real, threshold")


# -- prepare ---------------------------------------------------------------------------------------


def test_scalings_are_their_formulas():
    raw = torch.arange(256, dtype=torch.uint8).reshape(16, 1, 4, 4)
    exact = raw.double()
    prepared = {
        name: splits(VARIANTS[name]).prepare(raw) for name in ("midpoint", "unit", "threshold")
    }
    torch.testing.assert_close(prepared["midpoint"], ((exact + 0.5) / 256).float())
    torch.testing.assert_close(prepared["unit"], (exact / 255).float())
    assert torch.equal(prepared["threshold"], (exact / 255 > 0.5).float())


def test_threshold_of_an_even_range_leaves_the_middle_dark():
    spec = DataSpec("digits", (1, 1, 3), 17, "bernoulli", "threshold", "unit")
    raw = torch.tensor([7, 8, 9], dtype=torch.uint8).reshape(1, 1, 1, 3)
    assert Splits(raw, raw, raw, spec).prepare(raw).flatten().tolist() == [0.0, 0.0, 1.0]


def test_binary_data_stay_as_they_are():
    data = splits(VARIANTS["binary"])
    assert torch.equal(data.prepare(data.train), data.train.float())


@pytest.mark.parametrize("name", VARIANTS)
def test_prepared_data_are_float32_of_the_same_shape(name):
    data = splits(VARIANTS[name])
    prepared = data.prepare(data.train)
    assert prepared.dtype == torch.float32
    assert prepared.shape == data.train.shape


@pytest.mark.parametrize("name", VARIANTS)
def test_the_seed_decides_the_draws(name):
    data = splits(VARIANTS[name])

    def prepared(seed: int) -> torch.Tensor:
        with seeded(seed, "test"):
            return data.prepare(data.train)

    assert torch.equal(prepared(0), prepared(0))
    assert torch.equal(prepared(0), prepared(1)) == (name in DETERMINISTIC)


@pytest.mark.parametrize(("levels", "raw"), [(256, 200), (256, 1), (17, 5)])
def test_dynamic_binarisation_has_the_grey_value_as_its_mean(levels, raw):
    # Catches: `<=` for `<`, which shifts the mean by 1/(L-1); division by L, which is 10 standard
    # errors off at 200/255.
    data = splits(DataSpec("grey", (1, 4, 4), levels, "bernoulli", "dynamic", "unit"))
    images = torch.full((125_000, 1, 4, 4), raw, dtype=torch.uint8)
    check_mean(data.prepare(images), raw / (levels - 1), "the share of ones", comparisons=3)


def test_dynamic_binarisation_of_probabilities_has_them_as_its_mean():
    data = splits(VARIANTS["real, dynamic"])
    check_mean(data.prepare(torch.full((50_000, 1, 4, 4), 0.3)), 0.3, "the share of ones")


@pytest.mark.parametrize(
    ("levels", "spec"), [(256, VARIANTS["dynamic"]), (None, VARIANTS["real, dynamic"])]
)
def test_black_and_white_pixels_are_certain(levels, spec):
    dark = torch.zeros(5_000, 1, 4, 4, dtype=torch.float32 if levels is None else torch.uint8)
    data = splits(spec)
    assert not data.prepare(dark).any()
    assert data.prepare(dark + (1 if levels is None else 255)).all()


@pytest.mark.parametrize("name", ["dequantize", "digits"])
def test_dequantised_values_fill_their_bins_evenly(name):
    # Catches: no noise (mean 0), noise that is centred (mean 0), one draw an image (the standard
    # error would be wrong).
    spec = VARIANTS[name]
    data = splits(spec, train=20_000)
    prepared = data.prepare(data.train)
    assert prepared.min() >= 0
    assert prepared.max() <= 1
    noise = prepared.double() * spec.levels - data.train
    assert noise.min() > -1e-4
    assert noise.max() < 1 + 1e-4
    check_mean(noise, 1 / 2, "the noise", comparisons=3)
    check_mean(noise.square(), 1 / 3, "the squared noise", comparisons=3)
    check_mean(
        (noise - 0.5)[:, 0, 0, 0] * (noise - 0.5)[:, 0, 0, 1],
        0.0,
        "the noise of neighbours",
        comparisons=3,
    )


def test_preparing_does_not_touch_the_raw_data():
    for spec in VARIANTS.values():
        data = splits(spec)
        before = data.train.clone()
        data.prepare(data.train)
        data.evaluation("test").zero_()
        assert torch.equal(before, data.train)
        assert data.test.any()


# -- evaluation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_evaluation_data_are_the_same_every_time(name):
    data = splits(VARIANTS[name])
    first = data.evaluation("test")
    torch.rand(3)
    data.evaluation("validation")
    again = Splits(data.train, data.validation, data.test, data.spec).evaluation("test")
    assert torch.equal(first, data.evaluation("test"))
    assert torch.equal(first, again)
    assert torch.equal(first, data.evaluation("test", seed=1)) == (name in DETERMINISTIC)


@pytest.mark.parametrize("name", VARIANTS)
def test_evaluation_leaves_the_callers_stream_alone(name):
    data = splits(VARIANTS[name])
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    data.evaluation("validation")
    assert torch.equal(state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


def test_evaluation_data_are_not_a_window_on_what_is_kept():
    data = splits(VARIANTS["dynamic"])
    first = data.evaluation("test")
    kept = first.clone()
    first.zero_()
    assert torch.equal(data.evaluation("test"), kept)


def drawn_in_order(seed: int, *parts: torch.Tensor) -> list[torch.Tensor]:
    """The two lines of the VampPrior code: float32 grey values, one legacy stream."""
    generator = np.random.RandomState(seed)
    grey = [part.float().numpy() / 255.0 for part in parts]
    return [torch.from_numpy(generator.binomial(1, x)).float() for x in grey]


def test_evaluation_binarises_as_the_vampprior_code():
    # Catches: the test set first, a stream for each split, another generator.
    data = splits(VARIANTS["dynamic"], validation=50, test=60)
    validation, test = drawn_in_order(777, data.validation, data.test)
    assert torch.equal(data.evaluation("test"), test)
    assert torch.equal(data.evaluation("validation"), validation)
    assert not torch.equal(test, drawn_in_order(777, data.test)[0])


def test_unknown_splits_are_refused():
    with pytest.raises(Exception, match="train"):
        splits().evaluation("train")


# -- subsets and devices ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_a_subset_has_the_first_of_each_split_and_of_the_evaluation_data(name):
    data = splits(VARIANTS[name])
    part = data.subset(train=3, validation=4, test=5)
    assert [len(part.train), len(part.validation), len(part.test)] == [3, 4, 5]
    assert torch.equal(part.train, data.train[:3])
    assert torch.equal(part.evaluation("test"), data.evaluation("test")[:5])
    assert torch.equal(part.subset(test=2).evaluation("test"), data.evaluation("test")[:2])
    assert torch.equal(part.to("cpu").evaluation("validation"), data.evaluation("validation")[:4])


@pytest.mark.parametrize("n", [0, -1, 26])
def test_a_subset_larger_than_its_split_is_refused(n):
    with pytest.raises(
        DataError, match=f"expected `test` from 1 to 25, the size of the split; got {n}"
    ):
        splits().subset(test=n)


def test_moving_keeps_everything():
    data = splits(VARIANTS["dynamic"])
    moved = data.to("cpu")
    assert moved.fingerprint() == data.fingerprint()
    assert torch.equal(moved.train, data.train)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", VARIANTS)
def test_evaluation_data_do_not_depend_on_the_device(name):
    data = splits(VARIANTS[name])
    moved = data.to("cuda")
    assert moved.evaluation("test").is_cuda
    assert moved.prepare(moved.train).is_cuda
    assert torch.equal(moved.evaluation("test").cpu(), data.evaluation("test"))
    assert moved.fingerprint() == data.fingerprint()


# -- description -----------------------------------------------------------------------------------


def test_the_fingerprint_changes_with_one_pixel_one_split_and_the_treatment():
    data = splits()
    fingerprints = {data.fingerprint()}
    for name in ("train", "validation", "test"):
        changed = {key: getattr(data, key).clone() for key in ("train", "validation", "test")}
        changed[name][0, 0, 0, 0] ^= 1
        fingerprints.add(Splits(**changed, spec=data.spec).fingerprint())
    fingerprints.add(data.overridden(binarize="dynamic").fingerprint())
    fingerprints.add(data.overridden(binarize="threshold").fingerprint())
    fingerprints.add(data.overridden(likelihood="gaussian").fingerprint())
    fingerprints.add(data.subset(train=29).fingerprint())
    moved = Splits(
        data.train[:-1], torch.cat([data.train[-1:], data.validation]), data.test, data.spec
    )
    fingerprints.add(moved.fingerprint())
    assert len(fingerprints) == 9


def test_the_fingerprint_is_16_digits_that_only_the_data_decide():
    data = splits()
    reworded = Splits(
        data.train,
        data.validation,
        data.test,
        replace(data.spec, note="a note", citation="a citation"),
    )
    strided = Splits(data.train.flip(0).flip(0), data.validation, data.test, data.spec)
    assert data.fingerprint() == reworded.fingerprint() == strided.fingerprint()
    assert len(data.fingerprint()) == 16
    assert set(data.fingerprint()) <= set("0123456789abcdef")


def test_the_fingerprint_of_given_data_is_known():
    # A golden value: checkpoints carry it, so it must not move between versions.
    raw = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    spec = DataSpec("known", (4,), 256, "discretized_logistic", "none", "midpoint")
    assert Splits(raw, raw, raw, spec).fingerprint() == "5d9444db017de950"


def test_a_set_describes_itself_in_one_line():
    text = splits(VARIANTS["dynamic"]).describe()
    assert (
        text == "grey: 30 / 20 / 25 (train / validation / test) of 1x4x4, 256 levels, dynamic "
        "binarisation, bernoulli"
    )
    assert repr(splits(VARIANTS["real"])).endswith("of 1x4x4, real values in [0, 1], gaussian)")


# -- what is refused -------------------------------------------------------------------------------

REAL = VARIANTS["real"]


@pytest.mark.parametrize(
    ("test", "spec", "message"),
    [
        (torch.rand(5, 1, 4, 4), GREY, "expected the test split as torch.uint8; got torch.float32"),
        (grey_images(5), REAL, "expected the test split as torch.float32; got torch.uint8"),
        (
            grey_images(5)[..., :3],
            GREY,
            r"expected the test split in shape \(N, 1, 4, 4\); got \(5, 1, 4, 3\)",
        ),
        (grey_images(0), GREY, "expected at least one observation in the test split"),
        (
            grey_images(5).fill_(2),
            VARIANTS["binary"],
            r"expected values 0..1 in the test split; got 2",
        ),
        (torch.full((5, 1, 4, 4), torch.nan), REAL, "expected finite values in the test split"),
        (torch.full((5, 1, 4, 4), -torch.inf), REAL, "expected finite values in the test split"),
        (
            torch.full((5, 1, 4, 4), 1.5),
            VARIANTS["real, dynamic"],
            r"expected values in \[0, 1\] for binarising",
        ),
    ],
)
def test_tensors_that_are_not_what_the_description_says_are_refused(test, spec, message):
    good = splits(spec)
    with pytest.raises(DataError, match=message):
        Splits(good.train, good.validation, test, spec)
