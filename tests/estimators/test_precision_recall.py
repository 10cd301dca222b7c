"""Precision, recall, density and coverage against a brute-force reference and examples worked by
hand.
"""

import json
import math

import pytest
import torch
from torch import Tensor

from priorwise.estimators import PrecisionRecall, precision_recall
from priorwise.features import Features, Raw
from priorwise.randomness import seeded

MEASURES = ("precision", "recall", "density", "coverage")


def brute_force(real: Tensor, fake: Tensor, neighbours: int) -> list[float]:
    """The definitions, point by point."""

    def radius(points: list[Tensor], index: int) -> float:
        return sorted(
            float((points[index] - q).norm()) for j, q in enumerate(points) if j != index
        )[neighbours - 1]

    x, y = list(real.double()), list(fake.double())
    r, s = [radius(x, i) for i in range(len(x))], [radius(y, j) for j in range(len(y))]
    near = [[float((a - b).norm()) for b in y] for a in x]
    balls = [sum(near[i][j] <= r[i] for i in range(len(x))) for j in range(len(y))]
    recalled = [any(near[i][j] <= s[j] for j in range(len(y))) for i in range(len(x))]
    covered = [any(near[i][j] <= r[i] for j in range(len(y))) for i in range(len(x))]
    return [
        sum(count > 0 for count in balls) / len(y),
        sum(recalled) / len(x),
        sum(balls) / neighbours / len(y),
        sum(covered) / len(x),
    ]


def values(found: PrecisionRecall) -> list[float]:
    return [getattr(found, name).value for name in MEASURES]


@pytest.mark.parametrize(
    ("real", "fake", "size", "neighbours"), [(40, 30, 2, 1), (25, 60, 3, 5), (30, 30, 20, 3)]
)
def test_agrees_with_brute_force(real, fake, size, neighbours):
    """Fault: a point that is its own neighbour, balls of the wrong kind,
    a mean over the wrong set.
    """
    x, y = torch.randn(real, size), 0.5 + torch.randn(fake, size)
    scores = values(precision_recall(x, y, Raw(), neighbours=neighbours))
    assert scores == pytest.approx(brute_force(x, y, neighbours), abs=1e-12)
    assert 0 < min(scores) < 1


def line(*places: float) -> Tensor:
    return torch.tensor(places, dtype=torch.float64)[:, None]


def test_worked_by_hand():
    """Real 0..11 with balls of radius 1; generated at 0.5 (in two balls), 8 times at 1 to 8 (in
    three) and far out at 20 to 40.

    Precision 9 of 12. Density (2 + 8 x 3) / 12. Covered are 0..9, as 9 is 1 away from 8: 10 of 12.
    The ball of 0.5 has radius 0.5 and holds 0 and 1, that of 1 has radius 0.5 too, those of 2 to 8
    radius 1, so up to 9; that of 20 has radius 10 and holds 10 and 11: recall 12 of 12. Fault: an
    open ball, which gives a density of 10/12.
    """
    real = line(*range(12))
    fake = line(0.5, *range(1, 9), 20, 30, 40)
    scores = precision_recall(real, fake, Raw(), neighbours=1)
    assert values(scores) == pytest.approx([9 / 12, 1.0, 26 / 12, 10 / 12])


def test_one_outlier_spoils_recall_and_not_coverage():
    """Naeem's case: one image, far on the other side, has a ball that holds all. Fault: the two
    kinds of balls exchanged.
    """
    real, fake = line(*range(12)), line(*range(100, 112), -1e4)
    scores = precision_recall(real, fake, Raw(), neighbours=1)
    assert values(scores) == [0.0, 1.0, 0.0, 0.0]
    scores = precision_recall(fake, real, Raw(), neighbours=1)
    assert values(scores) == pytest.approx([1.0, 0.0, 1.0, 1 / 13])


def test_sets_that_are_equal_and_sets_that_are_apart():
    """Fault: equal points at a distance above zero by rounding; precision of what lies nowhere
    near.
    """
    x = torch.randn(50, 12) * 100
    x[10:20] = x[:1]  # so often that its ball has radius zero
    assert values(precision_recall(x, x, Raw()))[::3] == [1.0, 1.0]
    assert values(precision_recall(x, x + 1e4, Raw())) == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("tile", [1, 7, 1000])
def test_tiles_change_nothing(tile):
    """Fault: a tile that is forgotten; radii of the wrong rows."""
    x, y = torch.randn(45, 4), 0.3 + torch.randn(38, 4)
    whole, other = precision_recall(x, y, Raw()), precision_recall(x, y, Raw(), tile=tile)
    assert values(whole) == pytest.approx(values(other), abs=1e-12)
    assert [getattr(whole, name).stderr for name in MEASURES] == pytest.approx(
        [getattr(other, name).stderr for name in MEASURES], abs=1e-12
    )


def test_place_order_and_scale_change_nothing():
    """Fault: distances by matrix products that lose their digits far from the origin."""
    x, y = torch.randn(60, 5).double(), 0.3 + torch.randn(50, 5).double()
    base = values(precision_recall(x, y, Raw()))
    for a, b in ((x + 1e5, y + 1e5), (1e-3 * x, 1e-3 * y), (x.flip(0), y.flip(0))):
        assert values(precision_recall(a, b, Raw())) == pytest.approx(base, abs=1e-12)


def test_error_is_the_jackknife():
    """Every group left out in turn, by brute force. Fault: radii of all points where a group is
    left out; a factor.
    """
    x, y = torch.randn(43, 3), 0.3 + torch.randn(31, 3)
    scores = precision_recall(x, y, Raw(), neighbours=2, seed=4)
    groups = []
    for points in (x, y):
        with seeded(4, "precision_recall"):
            groups.append(torch.randperm(len(points)) % 10)
    without = torch.tensor(
        [brute_force(x[groups[0] != g], y[groups[1] != g], 2) for g in range(10)]
    )
    errors = (9 / 10 * (without - without.mean(0)).square().sum(0)).sqrt()
    assert [getattr(scores, name).stderr for name in MEASURES] == pytest.approx(
        errors.tolist(), rel=1e-5
    )
    low, high = scores.precision.interval
    assert low == pytest.approx(max(0, scores.precision.value - 2.262 * scores.precision.stderr))
    assert high <= 1


def test_error_is_of_the_right_size():
    """Against the spread over 30 pairs of sets. Fault: an error of one of the two sets only, of a
    tenth of the images.
    """
    scores = [
        precision_recall(torch.randn(200, 4), 0.5 + torch.randn(200, 4), Raw()) for _ in range(30)
    ]
    for name in MEASURES:
        spread = float(torch.tensor([getattr(one, name).value for one in scores]).std())
        error = math.sqrt(sum(getattr(one, name).stderr ** 2 for one in scores) / len(scores))
        assert 0.6 * spread < error < 3.5 * spread, name


def test_difference_is_paired_and_protocols_are_kept_apart():
    """Fault: recall against precision, k = 3 against k = 5; a moved random stream."""
    real, first, second = torch.randn(60, 3), torch.randn(50, 3), 0.5 + torch.randn(50, 3)
    state = torch.get_rng_state()
    one, two = precision_recall(real, first, Raw()), precision_recall(real, second, Raw())
    assert torch.equal(torch.get_rng_state(), state)
    gain = one.precision.minus(two.precision)
    assert gain.value == one.precision.value - two.precision.value
    assert gain.protocol["kind"] == "paired difference"
    with pytest.raises(ValueError, match=r"measure \(precision, raw against recall, raw\)"):
        one.precision.minus(one.recall)
    with pytest.raises(ValueError, match=r"neighbours \(5 against 3\)"):
        one.precision.minus(precision_recall(real, second, Raw(), neighbours=3).precision)


def test_json_and_text():
    """Fault: a measure that gets lost."""
    scores = precision_recall(torch.randn(20, 2), torch.randn(20, 2), Raw(), neighbours=2)
    record = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert list(record) == list(MEASURES)
    assert record["density"]["protocol"]["neighbours"] == 2
    assert [text.split(",")[0] for text in str(scores).splitlines()] == list(MEASURES)


POINTS = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("real", "fake", "options", "words"),
    [
        (POINTS, POINTS, {}, "expected an `extractor` for images"),
        (Features(POINTS, "a"), Features(POINTS, "b"), {}, r"extractor \(a against b\)"),
        (
            Features(POINTS, "a"),
            Features(POINTS[:9], "a"),
            {},
            "at least 10 real and 10 generated images",
        ),
        (
            Features(POINTS, "a"),
            Features(POINTS, "a"),
            {"neighbours": 18},
            "`neighbours` from 1 to 17",
        ),
        (
            Features(POINTS, "a"),
            Features(POINTS, "a"),
            {"neighbours": 0},
            "`neighbours` from 1 to 17",
        ),
        (Features(POINTS, "a"), Features(POINTS, "a"), {"tile": 0}, "a `tile` of at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(real, fake, options, words):
    with pytest.raises(ValueError, match=words):
        precision_recall(real, fake, **options)
