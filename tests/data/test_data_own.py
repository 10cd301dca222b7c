"""Arrays and files of one's own: what they are taken for, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from priorwise.data import DataError, Splits, as_splits, from_arrays, from_file, load

RANDOM = np.random.RandomState(0)
GREY = RANDOM.randint(0, 256, (40, 6, 5)).astype(np.uint8)
BITS = RANDOM.randint(0, 2, (40, 6, 5))
UNIT = RANDOM.rand(40, 6, 5)
REAL = RANDOM.randn(40, 7)


def of(data: Splits) -> tuple:
    spec = data.spec
    return spec.levels, spec.likelihood, spec.scaling, spec.shape


def rows(data: Splits) -> np.ndarray:
    """All observations, whatever their split, in one order."""
    whole = torch.cat([data.train, data.validation, data.test]).flatten(1).numpy()
    return whole[np.lexsort(whole.T)]


# -- what arrays are taken for ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "levels", "likelihood", "scaling"),
    [
        (GREY, 256, "discretized_logistic", "midpoint"),
        (GREY.astype(np.int64), 256, "discretized_logistic", "midpoint"),
        (GREY.astype(np.uint16), 256, "discretized_logistic", "midpoint"),
        (torch.from_numpy(GREY), 256, "discretized_logistic", "midpoint"),
        (BITS.astype(np.uint8), 2, "bernoulli", "unit"),
        (BITS.astype(bool), 2, "bernoulli", "unit"),
        (BITS.astype(np.float64), 2, "bernoulli", "unit"),
        (torch.from_numpy(BITS), 2, "bernoulli", "unit"),
        (UNIT, None, "gaussian", "none"),
        (UNIT.astype(np.float16), None, "gaussian", "none"),
        (torch.from_numpy(UNIT).bfloat16(), None, "gaussian", "none"),
        (UNIT * 3 - 1, None, "gaussian", "none"),
    ],
)
def test_the_values_decide_what_data_are(x, levels, likelihood, scaling):
    data = from_arrays(x)
    assert of(data) == (levels, likelihood, scaling, (1, 6, 5))
    assert data.train.dtype == (torch.float32 if levels is None else torch.uint8)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((40, 7), (7,)),
        ((40, 7, 9), (1, 7, 9)),
        ((40, 1, 7, 9), (1, 7, 9)),
        ((40, 3, 7, 9), (3, 7, 9)),
        ((40, 7, 9, 1), (1, 7, 9)),
        ((40, 7, 9, 3), (3, 7, 9)),
        ((40, 3, 9, 3), (3, 9, 3)),
        ((40, 1, 1), (1, 1, 1)),
    ],
)
def test_shapes(shape, found):
    assert from_arrays(RANDOM.randn(*shape)).spec.shape == found


def test_channels_are_moved_not_reshaped():
    x = RANDOM.randint(0, 256, (40, 5, 4, 3)).astype(np.uint8)
    data = from_arrays(x, validation=x[:3], test=x[:2])
    assert (data.train.numpy() == x.transpose(0, 3, 1, 2)).all()
    assert data.train.is_contiguous()


def test_values_of_all_splits_count():
    data = from_arrays(BITS.astype(np.uint8), validation=BITS.astype(np.uint8), test=GREY)
    assert data.spec.levels == 256


def test_the_likelihood_can_be_chosen():
    assert from_arrays(GREY, likelihood="gaussian").spec.scaling == "dequantize"
    assert from_arrays(UNIT, likelihood="bernoulli").spec.binarize == "dynamic"
    with pytest.raises(DataError, match="expected values in \\[0, 1\\] for binarising"):
        from_arrays(REAL, likelihood="bernoulli")


# -- splitting -------------------------------------------------------------------------------------


def test_a_share_is_held_out_at_random_and_nothing_is_lost():
    data = from_arrays(GREY, validation=0.25)
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 10, 10)
    flat = GREY.reshape(40, -1)
    assert (rows(data) == flat[np.lexsort(flat.T)]).all()
    assert not (data.train[:, 0].numpy() == GREY[:20]).all()


def test_the_seed_decides_the_split():
    assert from_arrays(GREY).fingerprint() == from_arrays(GREY).fingerprint()
    assert from_arrays(GREY).fingerprint() != from_arrays(GREY, seed=1).fingerprint()


def test_given_splits_are_kept_in_their_order():
    data = from_arrays(GREY, validation=GREY[:7], test=torch.from_numpy(GREY[:3]))
    for raw, n in ((data.train, 40), (data.validation, 7), (data.test, 3)):
        assert (raw[:, 0].numpy() == GREY[:n]).all()
    assert [len(part) for part in _sizes(from_arrays(GREY, test=GREY[:3]))] == [36, 4, 3]
    assert [len(part) for part in _sizes(from_arrays(GREY, validation=GREY[:3]))] == [36, 3, 4]


def _sizes(data: Splits) -> tuple:
    return data.train, data.validation, data.test


def test_the_callers_arrays_are_copied():
    x = REAL.astype(np.float32)
    data = from_arrays(x, validation=x, test=x)
    data.train.zero_()
    assert x.any()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, -0.1, float("nan")])
def test_shares_that_leave_nothing_are_refused(share):
    with pytest.raises(DataError, match=r"expected `validation` as a share above 0 and below 0\.5"):
        from_arrays(GREY, validation=share)


def test_too_few_observations_are_refused():
    assert len(from_arrays(GREY[:3]).train) == 1
    with pytest.raises(
        DataError, match="expected enough data to hold some out for validation and test; got 2"
    ):
        from_arrays(GREY[:2])


# -- what is refused -------------------------------------------------------------------------------


def spoilt(value: float) -> np.ndarray:
    x = REAL.copy()
    x[3, 2] = value
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (spoilt(np.nan), "expected finite numbers in `x`; got 1"),
        (spoilt(np.inf), "expected finite numbers in `x`; got 1"),
        (spoilt(-np.inf), "expected finite numbers in `x`; got 1"),
        (spoilt(1e300), "expected finite numbers in `x`; got 1"),
        (np.array([[object()]]), "expected `x` as booleans, integers or real numbers; got object"),
        (REAL.astype(complex), "got complex128"),
        (torch.from_numpy(REAL).cfloat(), "got complex64"),
        (np.array([["a", "b"]]), "got <U1"),
        (np.array([["2020-01-01"]], "datetime64[D]"), "got datetime64"),
        (np.zeros((0, 4)), "expected at least one observation of at least one number"),
        (np.zeros((4, 0)), "expected at least one observation of at least one number"),
        (np.zeros(4), r"expected `x` of shape \(N, D\), \(N, H, W\) or with channels; got \(4,\)"),
        (np.zeros(()), r"got \(\)"),
        (np.zeros((4, 2, 5, 5)), r"images of 1 or 3 channels.*got \(4, 2, 5, 5\)"),
        (np.zeros((4, 5, 5, 4)), r"got \(4, 5, 5, 4\). Drop an alpha channel"),
        (np.zeros((4, 3, 5, 5, 5)), r"got \(4, 3, 5, 5, 5\)"),
        (np.full((9, 4), 256), "expected integers 0..255; got 256 to 256"),
        (np.full((9, 4), -1), "expected integers 0..255; got -1 to -1"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(x, message):
    with pytest.raises(DataError, match=message):
        from_arrays(x)


def test_splits_of_different_shapes_are_refused():
    with pytest.raises(
        DataError,
        match=r"expected observations of one shape in all splits; got train \(6, 5\), test \(7,\)",
    ):
        from_arrays(GREY, test=REAL)


def test_splits_of_different_kinds_are_refused():
    with pytest.raises(
        DataError, match="expected one kind of numbers in all splits; got train uint8, test float32"
    ):
        from_arrays(GREY, test=UNIT)


def test_what_is_wrong_is_named_by_its_split():
    with pytest.raises(DataError, match="expected finite numbers in `test`"):
        from_arrays(REAL, test=spoilt(np.nan))


# -- files -----------------------------------------------------------------------------------------


def test_an_npz_with_three_splits(tmp_path):
    path = tmp_path / "faces.npz"
    np.savez(path, x_train=GREY, x_val=GREY[:4], x_test=GREY[:3], y_train=np.arange(40))
    data = load(path)
    assert data.spec.name == "faces"
    assert [len(part) for part in _sizes(data)] == [40, 4, 3]
    assert load(str(path)).fingerprint() == data.fingerprint() == from_file(path).fingerprint()
    assert load(path, likelihood="gaussian").spec.scaling == "dequantize"


@pytest.mark.parametrize("save", [np.savez_compressed, np.save], ids=["npz", "npy"])
def test_a_file_with_one_array(tmp_path, save):
    path = tmp_path / f"own.{'npy' if save is np.save else 'npz'}"
    save(path, GREY)
    assert [len(part) for part in _sizes(load(path))] == [32, 4, 4]
    assert load(path).fingerprint() == from_arrays(GREY).fingerprint()


def test_the_content_counts_not_the_ending(tmp_path):
    path = tmp_path / "own.npz"
    with path.open("wb") as stream:
        np.save(stream, GREY)
    assert len(load(path).train) == 32


class _Trap:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Trap(path.parent / "trapped")))


def pickled_in_npz(path: Path) -> None:
    np.savez(path, x_train=np.array([_Trap(path.parent / "trapped")], dtype=object))


def truncated(path: Path) -> None:
    np.savez(path, x_train=GREY)
    path.write_bytes(path.read_bytes()[:-50])


def flipped(path: Path) -> None:
    np.savez(path, x_train=GREY)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def truncated_npy(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, GREY)
    path.write_bytes(path.read_bytes()[:-50])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (pickled, "Pickles are refused unread"),
        (pickled_in_npz, "holds pickled objects, which are refused unread"),
        (truncated, "damaged or cut short"),
        (flipped, "damaged or cut short"),
        (truncated_npy, "damaged or cut short"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"x,y\n1,2\n"), "begins with b'x,y"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "damaged or cut short"),
        (lambda path: np.savez(path, a=GREY, b=GREY), "expected `x_train` .* got a, b"),
        (lambda path: np.savez(path), "expected `x_train` .* got none"),
        (
            lambda path: np.savez(path, x_val=GREY, x_test=GREY),
            "expected `x_train` .* got x_val, x_test",
        ),
        (
            lambda path: np.savez(path, x_train=GREY, x_test=REAL),
            "own.npz: expected observations of one shape",
        ),
        (
            lambda path: np.savez(path, x_train=spoilt(np.nan)),
            "own.npz: expected finite numbers in `x`",
        ),
        (lambda path: None, "expected a file; there is none at"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, write, message):
    path = tmp_path / "own.npz"
    write(path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError, match=message):
        load(path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_path_that_is_not_a_file_is_refused():
    with pytest.raises(DataError, match="/dev/null; it is a device"):
        load("/dev/null")


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MNIST", "Did you mean 'mnist'"),
        ("mnist-static", "Did you mean 'mnist_static'"),
        ("digit", "Did you mean 'digits'"),
        ("zzzzzz", "There are: digits, two_moons"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_and_all(name, hint):
    with pytest.raises(DataError, match=f"unknown data set '{name}'.*{hint}") as caught:
        load(name)
    assert "freyfaces" in str(caught.value)


def test_no_name_is_refused():
    with pytest.raises(DataError, match="expected the name of a data set or a path; got nothing"):
        load("")


def test_a_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(load("digits").train) == 1297
    with pytest.raises(DataError, match="expected images"):
        load(Path("digits"))


def test_as_splits_takes_what_can_be_data(tmp_path):
    data = from_arrays(GREY)
    np.save(tmp_path / "own.npy", GREY)
    assert as_splits(data) is data
    assert as_splits(GREY).fingerprint() == data.fingerprint()
    assert as_splits(torch.from_numpy(GREY)).fingerprint() == data.fingerprint()
    assert as_splits(tmp_path / "own.npy").fingerprint() == data.fingerprint()
    assert as_splits("digits").spec.name == "digits"
