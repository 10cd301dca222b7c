"""The record that every estimator returns."""

import json
import math

import pytest
import torch

from priorwise.estimators import Estimate
from priorwise.estimators.base import effective_sample_size, jackknife_error, standard_error


def estimate(values: list[float], **options: object) -> Estimate:
    per_example = torch.tensor(values, dtype=torch.float64)
    return Estimate(float(per_example.mean()), 0.3, len(values), per_example=per_example, **options)


def test_difference_is_paired():
    """Fault: the two data errors added in squares, which hides every small gain; the sign the wrong
    way round.
    """
    first = estimate([1.0, 5.0, 9.0], warnings=("a",))
    second = estimate([0.5, 4.0, 8.5], warnings=("b",))
    gain = first.minus(second)
    assert gain.value == pytest.approx(2 / 3)
    assert gain.stderr == pytest.approx(0.3 * math.sqrt(2))
    assert gain.stderr_data == pytest.approx(math.sqrt((1 / 6**2 * 2 + 1 / 3**2) / 2 / 3))
    assert gain.per_example.tolist() == [0.5, 1.0, 0.5]
    assert gain.warnings == ("a", "b")
    assert gain.count == 3


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (estimate([1.0, 2.0]), "same examples"),
        (estimate([1.0, 2.0, 3.0], unit="bits"), "in nats and 3 in bits"),
        (Estimate(1.0, 0.1, 3), "got at least one without them"),
        (
            estimate([1.0, 2.0, 3.0], data="b"),
            r"same data; got values on a and on b\. Compute both",
        ),
        (
            estimate([1.0, 2.0, 3.0], protocol={"estimator": "ELBO"}),
            "of the same kind; got nll and ELBO",
        ),
    ],
)
def test_what_does_not_fit_is_refused(other, words):
    """Fault: other images of the same number, whose paired error means nothing; a bound of log p
    less an NLL.
    """
    with pytest.raises(ValueError, match=words):
        estimate([1.0, 2.0, 3.0], data="a", protocol={"estimator": "nll"}).minus(other)


def test_difference_remembers_its_data():
    """Fault: refused where one of the two does not know its data, as older ones do not."""
    known, unknown = estimate([1.0, 2.0], data="a"), estimate([1.0, 3.0])
    assert known.minus(known).data == "a"
    assert known.minus(unknown).data is None
    assert unknown.minus(known).data is None


def test_other_protocols_are_a_doubt():
    """Fault: one global Z less a Z a group, or thresholds that differ, without a word; a seed is no
    doubt.
    """
    one = estimate(
        [1.0, 2.0], protocol={"estimator": "nll", "density": "global Z", "samples": 50, "seed": 0}
    )
    other = estimate(
        [1.0, 2.0],
        protocol={"estimator": "nll", "density": "Z per group", "samples": 50, "seed": 1},
    )
    assert one.minus(one).warnings == ()
    (doubt,) = one.minus(other).warnings
    assert doubt == (
        "the two differ in density (global Z against Z per group), so their numbers may differ too."
    )
    (doubt,) = one.minus(estimate([1.0, 2.0])).warnings
    assert "samples (50 against none)" in doubt


def test_json_is_complete_and_valid():
    """Fault: NaN, which is not JSON; a field that gets lost."""
    record = estimate(
        [1.0], stderr_data=math.nan, diagnostics={"ess": math.inf}, protocol={"seed": 3}
    ).to_json()
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text) == {
        "value": 1.0,
        "stderr": 0.3,
        "count": 1,
        "unit": "nats",
        "stderr_data": None,
        "diagnostics": {"ess": None},
        "protocol": {"seed": 3},
        "warnings": [],
        "data": None,
    }
    assert estimate([1.0], data="images").to_json()["data"] == "images"


def test_text_shows_both_errors():
    assert str(Estimate(1.23456, 0.01, 3)) == "1.235 ± 0.010 nats"
    assert str(Estimate(1.23456, 0.01, 3, "bits", 0.5)) == "1.235 ± 0.010 (data ± 0.500) bits"


def test_warnings_are_added():
    first = estimate([1.0], warnings=("a",))
    assert first.with_warnings("b", "c").warnings == ("a", "b", "c")
    assert first.warnings == ("a",)


def test_standard_error():
    assert standard_error(torch.tensor([1.0, 3.0])) == pytest.approx(1.0)
    assert math.isnan(standard_error(torch.tensor([1.0])))


@pytest.mark.parametrize("count", [2, 3, 50])
def test_jackknife_of_a_mean_is_its_standard_error(count):
    """Fault: G for G - 1, or the error of the parts for that of the whole. Of a mean the two are
    the same number.
    """
    values = torch.randn(count, dtype=torch.float64)
    left_out = (values.sum() - values) / (count - 1)
    assert jackknife_error(left_out) == pytest.approx(standard_error(values), rel=1e-10)
    assert math.isnan(jackknife_error(left_out[:1]))


@pytest.mark.parametrize(
    ("weights", "size"), [([1, 1, 1, 1], 4.0), ([1, 0, 0], 1.0), ([1, 2, 3], 36 / 14)]
)
def test_effective_sample_size(weights, size):
    """Fault: the sum of squares for the square of the sum; weights that overflow."""
    log_w = torch.tensor(weights, dtype=torch.float64).log()
    for shift in (0.0, 1000.0, -1000.0):
        assert effective_sample_size(log_w + shift) == pytest.approx(size)
