"""Stated errors contain what they should as often as they should: a few cheap rows of the coverage
study.

A share of ``n`` seeds that is below its nominal value by chance fails with rate ``ALPHA`` a test.
"""

import importlib
from pathlib import Path

import pytest
from scipy.stats import binom

from priorwise.testing import ALPHA

ROOT = Path(__file__).parents[2]
NOMINAL = {"one": 0.6827, "two": 0.95, "stated": 0.95}

# estimator, start of the setting, seeds, the planted fault that it catches
ROWS = [
    ("elbo", "50 images", 100, "the error of one image's mean where that of all is meant"),
    ("nll", "50 images, 200 samples, light", 60, "the same, of the weights"),
    ("nll", "an NCP", 60, "the error of log Z divided by the images like that of their weights"),
    (
        "Estimate.minus",
        "nll of two models, 50",
        250,
        "an error over data as if two models were twice the images",
    ),
    ("log_norm", "mild tilt", 200, "the variance in place of the error"),
    (
        "knn_kl",
        "D = 40, narrower, 200",
        120,
        "the spread of the terms, as if they were independent",
    ),
    ("symmetric_kl, knn", "D = 40, shifted, 200", 120, "the spread of the terms of both sums"),
    (
        "leakage.at",
        "threshold -4, 3000 draws of 200 new",
        250,
        "an image counts by its draws, not by its encoding",
    ),
    ("c2st", "2 x 300 points in 2 dimensions, shifted", 300, "the error of one kind of points"),
    (
        "contrast",
        "mild classifier",
        100,
        "the cross-entropy in the sum form with the error of the mean form",
    ),
    (
        "frechet_distance",
        "one law, 2 x 100",
        60,
        "the percentiles of resampled sets, which are biased once more",
    ),
    (
        "precision_recall",
        "shifted",
        60,
        "the spread of a jackknife's values as if it were their error",
    ),
]


def at_least(nominal: float, seeds: int, comparisons: int) -> int:
    """The fewest hits that chance leaves to an interval that covers."""
    return int(binom.ppf(ALPHA / comparisons, seeds, nominal))


@pytest.mark.parametrize(
    ("estimator", "about", "seeds", "fault"), ROWS, ids=lambda value: str(value)[:25]
)
def test_stated_errors_cover(estimator, about, seeds, fault, monkeypatch):
    """Fault: see the row."""
    monkeypatch.syspath_prepend(str(ROOT))
    study = importlib.import_module("benchmarks.coverage")
    setting = next(
        s for s in study.settings() if s.estimator == estimator and s.about.startswith(about)
    )
    rows = [row for row in study.measure(setting, seeds) if "over classifiers" not in row.interval]
    for row in rows:
        for width, nominal in NOMINAL.items():
            share = getattr(row, width)
            if share is None:  # no interval of its own
                continue
            hits, fewest = round(share * seeds), at_least(nominal, seeds, 3 * len(rows))
            assert hits >= fewest, (
                f"{row.interval} of {nominal:.0%}: {hits} of {seeds} hits; possible fault: {fault}"
            )


def test_the_bound_lets_pass_what_covers_and_stops_what_does_not():
    """Fault: a limit so low that nothing fails it. 200 seeds stop an interval of 95 % that contains
    80 %.
    """
    assert binom.cdf(at_least(0.95, 200, 1) - 1, 200, 0.95) <= ALPHA
    assert binom.cdf(at_least(0.95, 200, 1) - 1, 200, 0.80) > 0.9


def test_the_study_prints_one_row_for_each_interval(monkeypatch, tmp_path):
    """Fault: an interval that is measured and not shown, or a column without a heading."""
    monkeypatch.syspath_prepend(str(ROOT))
    study = importlib.import_module("benchmarks.coverage")
    path = tmp_path / "table.md"
    study.main(
        ["--only", "contrast", "--only", "factor_vae_score", "--seeds", "3", "--out", str(path)]
    )
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 2 * 5 + 1
    assert len({line.count("|") for line in lines}) == 1
