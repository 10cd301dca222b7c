"""Words follow from numbers."""

import math

import pytest
from made_up import entry, gain, group, nll, refused, regrouped, two_sample

from priorwise.estimators import Estimate
from priorwise.evaluation import gain_over
from priorwise.reporting.entries import Entry, side_by_side
from priorwise.reporting.tables import contrast_table, print_table, summary_table
from priorwise.reporting.verdicts import all_doubts, headline, sentences


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
    assert words in headline(entry("base", hole=[group(jsd, error)]))


def test_headline_looks_at_every_group():
    assert "deep hole" in headline(
        entry("base", hole=regrouped([group(0.0, 0.01), group(0.3, 0.01)]))
    )


def test_headline_of_one_image_claims_nothing():
    """Fault: a divergence without an error taken for one that is sure."""
    assert "No hole was found" in headline(
        entry("base", hole=[group(0.6, 0.01, bce_stderr=math.nan)])
    )


def test_headline_says_why_nothing_was_judged():
    assert "not judged: no classifier" in headline(entry("base", hole=refused("no classifier.")))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.51, "rises by 0.51 ± 0.25 nats"),
        (0.49, "no clear difference"),
        (-0.49, "no clear difference"),
        (-0.51, "does not help"),
    ],
)
def test_gain_needs_two_standard_errors_of_both_kinds(value, words):
    """Errors 0.15 and 0.20 make 0.25; with either alone, 0.49 would count."""
    other = entry("other", gain=gain(value, 0.15, 0.20))
    assert words in sentences([entry("base"), other])[1]


def test_gain_is_the_base_less_the_other_with_both_errors():
    """Fault: the sign, a sum of errors for a root of squares, images that are not paired."""
    base = entry("base", nll=nll(100.0, stderr=0.3))
    other = entry("other", nll=nll(98.0, stderr=0.4, spread=3.0))
    found = gain_over(base.record, other.record)
    assert found["value"] == pytest.approx(2.0)
    assert found["stderr"] == pytest.approx(0.5)
    # the differences are 2 + 2 and 2 - 2 in turn, a standard deviation of 2 over 100 images
    assert found["stderr_data"] == pytest.approx(2 * math.sqrt(100 / 99) / 10)
    assert found["stderr_total"] == pytest.approx(math.hypot(0.5, found["stderr_data"]))


def test_gain_is_refused_on_other_images():
    """Fault: a difference of two means over different images taken for a paired one."""
    base, other = entry("base"), entry("other")
    other.record.numbers["nll"]["data"] = "other images"
    assert "different test images" in gain_over(base.record, other.record)["refused"]


def test_a_gain_of_the_prior_alone_is_told_from_one_of_the_networks():
    own = entry("own", gain=gain(2.0, 0.1, 0.1))
    tilted = entry(
        "NCP",
        gain=gain(2.0, 0.1, 0.1),
        same_vae=True,
        log_norm=Estimate(0.1, 0.1, 10),
        hole=refused("tilted"),
        two_sample=two_sample(0.25, 0.01),
    )
    _, first, second = sentences([entry("base"), own, tilted])[:3]
    assert "so they have a part in it" in first
    assert "still proves a hole of 0.10 ± 0.01 nats" in first
    assert "the prior alone explains the gain" in second
    assert (
        "still proves a hole of 0.25 ± 0.01 nats" in second
    )  # by the test that judges the tilt, too


@pytest.mark.parametrize("value", [0.1, 0.5, 0.8, 1.2, 1.5, 9.0])
def test_distances_are_shown_and_nothing_is_concluded_from_them(value):
    """Fault: "prior and encodings come closer",
    from an estimate whose bias exceeds the difference.
    """
    zero = gain(0.0, 1.0, 1.0)
    same = entry("other", gain=zero)
    other = entry("other", gain=zero, symmetric_kl=Estimate(value, 0.1, 100))
    with_value, with_same = (sentences([entry("base"), model])[1] for model in (other, same))
    words = "symmetric KL is {:.2f} ± 0.10 nats, that of base 1.00 ± 0.10"
    assert words.format(value) in with_value
    assert with_value.replace(words.format(value), words.format(1.0)) == with_same


def test_a_distance_that_was_refused_is_not_shown():
    other = entry("other", gain=gain(0.0, 1.0, 1.0), symmetric_kl=refused("points coincide"))
    assert "symmetric KL" not in sentences([entry("base"), other])[1]


def test_the_best_is_named_only_when_it_is_surely_ahead():
    def last(third: Estimate) -> str:
        others = [
            entry(name, gain=gain(0.0, 1.0, 1.0), nll=value)
            for name, value in (("b", nll(90.0)), ("c", third))
        ]
        return sentences([entry("a"), *others])[-1]

    assert "c has the best likelihood, 1.00 ± 0.00 nats ahead of b" in last(nll(89.0))
    assert "too close to call" in last(nll(89.0, stderr=1.0))


def test_doubts_are_kept_in_full_and_the_classifier_is_doubted():
    doubtful = entry(
        "NCP",
        nll=nll(1.0, warnings=("say this",)),
        contrast=[group(0.1, 0.01, calibration=0.7)],
    )
    first, second = all_doubts([doubtful])
    assert first == "NCP, NLL: say this"
    assert "averages 0.70 ± 0.10" in second
    few = entry("NCP", contrast=[group(0.1, 0.01, calibration_ess=12.0)])
    assert "rests on 12 effective draws" in all_doubts([few])[0]
    assert not all_doubts([entry("NCP", contrast=[group(0.1, 0.01, calibration=1.19)])])


def test_a_bound_does_not_depend_on_the_calibration_of_its_classifier():
    """Fault: a mark of doubt beside a lower bound that holds for every classifier."""
    assert not all_doubts([entry("base", hole=[group(0.1, 0.01, calibration=0.2)])])


def test_a_doubt_that_models_share_is_said_once():
    """Fault: the same paragraph for each of four models."""
    same = [entry(name, nll=nll(1.0, warnings=("say this",))) for name in ("a", "b")]
    assert all_doubts(same) == ["a, b, NLL: say this"]


def test_terminal_table_shows_every_number(capsys):
    base = entry("base")
    other = entry(
        "VampPrior",
        gain=gain(1.25, 0.1, 0.0),
        log_norm=Estimate(0.7, 0.2, 9),
        nll=refused("a reason"),
    )
    table = summary_table([base, other])
    print_table(table, title="title")
    shown = capsys.readouterr()
    assert shown.out == ""
    for column in table["columns"]:
        assert column["model"] in shown.err
    for row in table["rows"]:
        assert row["title"] in shown.err
        for cell in row["cells"]:
            assert cell["text"] in shown.err
    assert "…" not in shown.err
    assert "+1.25" in shown.err
    assert "a reason" not in shown.err  # it has its place on the page


def test_both_forms_of_the_cross_entropy():
    table = contrast_table([entry("base", hole=[group(0.0, 0.01)])])
    texts = {row["title"]: row["cells"][0]["text"] for row in table["rows"]}
    assert (texts["BCE (sum)"], texts["BCE (mean)"], texts["JSD"]) == ("1.386", "0.693", "0.000")
    assert table["columns"][0]["about"] == "a classifier fitted for this report"


@pytest.mark.parametrize(
    ("jsd", "z_score", "of_base", "words"),
    [
        (0.25, 9.0, 9.0, "still proves a hole of 0.25 ± 0.01 nats in its top group"),
        (0.01, 5.4, -0.6, "still finds a difference (z = 5.4)"),
        (0.01, 0.3, -0.6, "it finds none for base either, so this says little"),
        (0.01, 0.3, 9.0, "finds no difference in its top group; a finer one may remain"),
    ],
)
def test_a_tilted_prior_is_not_praised_by_a_test_that_sees_nothing(jsd, z_score, of_base, words):
    """Fault: "finds no hole in its prior" beside a test that tells it from encodings, or that is
    blind for the base, too.
    """
    base = entry("base", two_sample=two_sample(0.01, 0.01, of_base))
    ncp = entry(
        "NCP",
        gain=gain(2.0, 0.1, 0.1),
        log_norm=Estimate(0.1, 0.1, 10),
        hole=refused("tilted"),
        two_sample=two_sample(jsd, 0.01, z_score),
    )
    assert words in sentences([base, ncp])[1]


def test_a_doubtful_gain_is_marked_wherever_it_stands():
    """Fault: a log Z that rests on 15 draws beside a gain without a doubt."""
    doubtful = gain(12.0, 0.1, 0.1) | {"warnings": ["log Z rests on 15 draws."]}
    ncp = entry("NCP", gain=doubtful, same_vae=True)
    assert ncp.cells()["gain"].marked == "+12.00 (!)"
    sentence = sentences([entry("base"), ncp])[1]
    assert "seems to rise by 12.00 ± 0.14 nats per test image, but this number is in doubt: log Z "
    assert "in doubt: log Z rests on 15 draws." in sentence
    assert "the prior alone" not in sentence
    assert all_doubts([entry("base"), ncp]) == ["NCP, gain: log Z rests on 15 draws."]


@pytest.mark.parametrize(
    ("warnings", "start", "end"),
    [
        ((), "NCP has the best", "ahead of flow."),
        (
            ("few draws.",),
            "NCP seems to have the best",
            "ahead of flow, but this lead is in doubt.",
        ),
    ],
)
def test_a_doubtful_lead_is_not_a_lead(warnings, start, end):
    """Fault: "has the best likelihood" of one whose log Z nobody knows."""
    others = [
        entry("flow", nll=nll(95.0), gain=gain(5.0, 0.1, 0.1)),
        entry("NCP", nll=nll(80.0, warnings=warnings), gain=gain(20.0, 0.1, 0.1)),
    ]
    best = sentences([entry("base"), *others])[-1]
    assert best.startswith(start)
    assert best.endswith(end)


def test_other_settings_are_a_doubt_beside_the_number():
    """Fault: numbers of 50 samples beside those of 5,000 without a word; a seed is no doubt."""
    records = {name: entry(name).record for name in ("base", "other")}
    for record, samples, seed in zip(records.values(), (5000, 50), (0, 1), strict=True):
        record.numbers["settings"] = {
            "nll": {"samples": samples, "seed": seed},
            "hole": {"seed": seed},
        }
    base, other = side_by_side(records)
    assert base.cells()["NLL"].doubts == ()
    assert other.cells()["NLL"].doubts == (
        "it was measured with other settings than for base: samples (50 against 5000). Evaluate "
        "both in the same way before you compare them.",
    )
    assert other.cells()["hole"].doubts == ()


def test_no_number_is_bare():
    """Fault: "not a number" or an unknown error without a reason beside it."""
    lost = entry(
        "lost", hole=[{**group(0.1, 0.01), "jsd": None}], symmetric_kl=Estimate(1.0, math.nan, 1)
    )
    cells = lost.cells()
    assert "not a finite number" in cells["hole"].doubts[0]
    assert cells["sKL"].marked.endswith("(!)")
    assert entry("fine").cells()["hole"].doubts == ()
    bound = entry("bound", hole=[group(-0.01, 0.01)]).cells()["hole"]
    assert bound.small == ("± 0.010", "a lower bound, which proves nothing below 0")


def test_what_is_not_finite_is_shown_and_crashes_nothing(capsys):
    """Fault: a page that fails on the very numbers that a warning explains."""
    lost = Estimate(
        math.inf,
        math.nan,
        100,
        diagnostics={"elbo": -math.inf, "ess_median": 3.0, "ess_min": math.nan},
        protocol={"samples": 3},
        warnings=("one image has none",),
        data="x",
    )
    entries = [
        entry(
            name,
            nll=lost,
            hole=[group(math.nan, math.nan)],
            symmetric_kl=Estimate(math.nan, 0.1, 3),
        )
        for name in ("a", "b", "c")
    ]
    for other in entries[1:]:
        other.record.per_image.clear()
    shown = [
        entries[0],
        *(Entry(e.name, e.record, gain_over(entries[0].record, e.record)) for e in entries[1:]),
    ]
    print_table(summary_table(shown))
    assert "not a number" in capsys.readouterr().err
    assert sentences(shown)
    assert headline(shown[0])
    assert any("one image has none" in doubt for doubt in all_doubts(shown))
    assert "not finite" in shown[1].gain["refused"]
