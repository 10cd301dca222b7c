"""Words follow from numbers: made-up measurements on either side of every threshold, so nothing
here is left to chance.
"""

import math
from dataclasses import replace

import pytest
import torch

from priorwise.estimators import Estimate, GroupContrast
from priorwise.reporting.measurement import Measurement, Refusal, Verdict
from priorwise.reporting.tables import contrast_table, print_table, summary_table
from priorwise.reporting.verdicts import all_warnings, gain_error, headline, sentences


def group(jsd: float, error: float, *, calibration: float = 1.0) -> GroupContrast:
    """A group with this bound and standard error."""
    bce = 2 * (math.log(2) - jsd)
    return GroupContrast(
        group=1,
        bce=bce,
        bce_mean=bce / 2,
        bce_stderr=2 * error,
        jsd=jsd,
        calibration=calibration,
        calibration_stderr=0.1,
        calibration_ess=500.0,
        ess={50: 20.0},
    )


def nll(
    value: float, *, spread: float = 1.0, stderr: float = 0.0, warnings: tuple[str, ...] = ()
) -> Estimate:
    per_example = value + spread * torch.tensor([-1.0, 1.0] * 50, dtype=torch.float64)
    diagnostics = {"ess_median": 100.0, "ess_min": 30.0}
    return Estimate(
        value,
        stderr,
        100,
        stderr_data=0.1,
        per_example=per_example,
        diagnostics=diagnostics,
        warnings=warnings,
    )


def measurement(name: str, **changes) -> Measurement:
    plain = Measurement(
        name=name,
        about="VAE",
        nll=nll(100.0),
        gain=None,
        tilted=False,
        same_vae=False,
        symmetric_kl=Estimate(1.0, 0.1, 100),
        log_norm=Estimate(0.0, 0.0, 0),
        units=Refusal("not wanted"),
        verdict=Verdict([group(0.1, 0.01)], "classifiers"),
    )
    return replace(plain, **changes)


def gain(value: float, stderr: float, stderr_data: float) -> Estimate:
    return Estimate(value, stderr, 100, stderr_data=stderr_data)


@pytest.mark.parametrize(
    ("jsd", "error", "words"),
    [
        (0.021, 0.01, "has a shallow hole"),
        (0.019, 0.01, "No hole was found"),
        (-0.2, 0.01, "No hole was found"),
        (0.20, 0.01, "has a deep hole"),
        (0.18, 0.01, "has a shallow hole"),  # not surely beyond 0.173
        (0.18, 0.10, "No hole was found"),
    ],
)
def test_headline_needs_two_standard_errors(jsd, error, words):
    assert words in headline(measurement("base", verdict=Verdict([group(jsd, error)], "")))


def test_headline_looks_at_every_group():
    groups = [group(0.0, 0.01), replace(group(0.3, 0.01), group=2)]
    assert "deep hole" in headline(measurement("base", verdict=Verdict(groups, "")))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.51, "0.51 ± 0.25 nats likelier"),
        (0.49, "no sure difference"),
        (-0.49, "no sure difference"),
        (-0.51, "does not help"),
    ],
)
def test_gain_needs_two_standard_errors_of_both_kinds(value, words):
    """Errors 0.15 and 0.20 make 0.25; with either alone, 0.49 would count."""
    other = measurement("other", gain=gain(value, 0.15, 0.20))
    assert words in sentences([measurement("base"), other])[1]


def test_gain_error_is_in_quadrature():
    assert gain_error(gain(1.0, 3.0, 4.0)) == 5.0


def test_a_gain_of_the_prior_alone_is_told_from_one_of_the_networks():
    own = measurement("own", gain=gain(2.0, 0.1, 0.1))
    tilted = measurement("NCP", gain=gain(2.0, 0.1, 0.1), same_vae=True, tilted=True)
    _, first, second = sentences([measurement("base"), own, tilted])[:3]
    assert "the networks have their part in it" in first
    assert "the prior alone does it" in second
    assert "a classifier" in first
    assert "a classifier" not in second  # its classifiers judge the prior underneath


@pytest.mark.parametrize("value", [0.1, 0.5, 0.8, 1.2, 1.5, 9.0])
def test_distances_are_shown_and_nothing_is_concluded_from_them(value):
    """Fault: "prior and encodings come closer", from an estimate whose bias exceeds the difference."""
    same = measurement("other", gain=gain(0.0, 1.0, 1.0))
    other = replace(same, symmetric_kl=Estimate(value, 0.1, 100))
    with_value, with_same = (sentences([measurement("base"), model])[1] for model in (other, same))
    assert f"symmetric KL {value:.2f} ± 0.10 nats where base has 1.00 ± 0.10" in with_value
    assert (
        with_value.replace(f"{value:.2f} ± 0.10 nats where", "1.00 ± 0.10 nats where") == with_same
    )


def test_a_distance_that_was_refused_is_not_shown():
    other = measurement("other", gain=gain(0.0, 1.0, 1.0), symmetric_kl=Refusal("points coincide"))
    assert "symmetric KL" not in sentences([measurement("base"), other])[1]


def test_the_best_is_named_only_when_it_is_surely_ahead():
    def last(third: Estimate) -> str:
        others = [
            measurement(name, gain=gain(0.0, 1.0, 1.0), nll=value)
            for name, value in (("b", nll(90.0)), ("c", third))
        ]
        return sentences([measurement("a"), *others])[-1]

    assert "The best likelihood is that of c, 1.00 ± 0.00 nats before b" in last(nll(89.0))
    assert "too close to call" in last(nll(89.0, stderr=1.0))


def test_warnings_are_kept_in_full_and_the_classifier_is_doubted():
    doubtful = measurement(
        "base",
        nll=nll(1.0, warnings=("say this",)),
        verdict=Verdict([group(0.1, 0.01, calibration=0.7)], ""),
    )
    first, second = all_warnings([doubtful])
    assert first == "base, NLL: say this"
    assert "averages 0.70 ± 0.10" in second
    assert not all_warnings(
        [measurement("base", verdict=Verdict([group(0.1, 0.01, calibration=1.19)], ""))]
    )


def test_terminal_table_shows_every_number(capsys):
    base = measurement("base")
    other = measurement(
        "VampPrior",
        gain=gain(1.25, 0.1, 0.0),
        log_norm=Estimate(0.7, 0.2, 9),
        nll=Refusal("a reason"),
    )
    table = summary_table([base, other])
    print_table(table, title="title")
    shown = capsys.readouterr()
    assert shown.out == ""
    for row in table["rows"]:
        assert row["model"] in shown.err
        for cell in row["cells"]:
            assert cell["text"] in shown.err
    assert "…" not in shown.err
    assert "+1.25" in shown.err
    assert "a reason" not in shown.err  # it has its place on the page


def test_both_forms_of_the_cross_entropy():
    (row,) = contrast_table([measurement("base", verdict=Verdict([group(0.0, 0.01)], "whose"))])[
        "rows"
    ]
    texts = dict(
        zip(["group", "sum", "mean", "jsd"], (cell["text"] for cell in row["cells"]), strict=False)
    )
    assert (texts["sum"], texts["mean"], texts["jsd"]) == ("1.386", "0.693", "0.000")
    assert row["about"] == "whose"
