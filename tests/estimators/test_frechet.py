"""The Frechet distance against closed forms, against torchmetrics, and its errors. False alarms:
``ALPHA`` a test.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from priorwise.estimators import frechet, frechet_distance, frechet_floor, protocol_differences
from priorwise.estimators.frechet import Moments, gaussian_frechet
from priorwise.features import INCEPTION, Features, Raw
from priorwise.testing import Z_LIMIT, check_mean


def features(values: Tensor, extractor: str = "net", **words: str) -> Features:
    return Features(values, extractor, **({"weights": "w", "resize": "none"} | words))


def draws(count: int, size: int, shift: float = 0.0) -> Tensor:
    """Correlated features with a sharp edge, as a network makes them."""
    mixing = torch.randn(
        size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return (
        torch.randn(count, size, dtype=torch.float64) @ mixing / size**0.5 + shift
    ).relu() + shift


def covariance(size: int) -> Tensor:
    root = torch.randn(size, size, dtype=torch.float64)
    return root @ root.T / size


# -- values ----------------------------------------------------------------------------------------


def test_gaussians_that_commute():
    """sum (sqrt a - sqrt b)^2 in the common eigenbasis. Fault: a root forgotten, the factor 2, a
    mean term twice.
    """
    a, b = torch.tensor([4.0, 1.0, 0.0]).double(), torch.tensor([1.0, 9.0, 0.25]).double()
    turn = torch.linalg.qr(torch.randn(3, 3).double()).Q
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    means, covariances = gaussian_frechet(
        Moments(mean, turn @ a.diag() @ turn.T), Moments(0 * mean, turn @ b.diag() @ turn.T)
    )
    assert means == pytest.approx(5.25, rel=1e-12)
    assert covariances == pytest.approx(1 + 4 + 0.25, rel=1e-6)


def test_gaussians_that_do_not_commute():
    """tr sqrt(M) = sqrt(tr M + 2 sqrt det M) for 2 x 2. Fault: sqrt(S1) sqrt(S2) in place of
    sqrt(S1 S2).
    """
    first, second = covariance(2), covariance(2)
    product = first @ second
    root = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    zero = torch.zeros(2, dtype=torch.float64)
    _, distance = gaussian_frechet(Moments(zero, first), Moments(zero, second))
    assert distance == pytest.approx(float(first.trace() + second.trace()) - 2 * root, rel=1e-9)


def mean_distance(real: int, fake: int, shift: float, scale: float) -> float:
    """The exact mean reading in one dimension, N(0, 1) against N(shift, scale^2)."""

    def c4(count: int) -> float:  # mean of the sample standard deviation over the true one
        return math.sqrt(2 / (count - 1)) * math.exp(
            math.lgamma(count / 2) - math.lgamma((count - 1) / 2)
        )

    means = shift**2 + 1 / real + scale**2 / fake
    return means + 1 + scale**2 - 2 * c4(real) * c4(fake) * scale


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.7, 1.5)])
def test_mean_reading_of_small_sets_is_the_exact_one(shift, scale):
    """Fault: covariances over N in place of N - 1, a bias of the wrong sign."""
    distances = [
        sum(
            gaussian_frechet(
                Moments.of(torch.randn(8, 1)), Moments.of(shift + scale * torch.randn(12, 1))
            )
        )
        for _ in range(1000)
    ]
    check_mean(torch.tensor(distances), mean_distance(8, 12, shift, scale), "the mean distance")


def test_bias_is_known():
    """The jackknife against the exact bias in one dimension; what it leaves is of second order,
    1/N^2: 3% here.

    Fault: one of the two sets not left out, a factor G or G - 1.
    """
    truth = mean_distance(30, 40, 0.5, 1.5) - (0.5**2 + 0.5**2)
    distances = [
        frechet_distance(
            torch.randn(30, 1), 0.5 + 1.5 * torch.randn(40, 1), Raw(), bootstrap=20
        ).diagnostics["bias"]
        for _ in range(60)
    ]
    values = torch.tensor(distances, dtype=torch.float64)
    assert (
        abs(float(values.mean()) - truth)
        < Z_LIMIT * float(values.std()) / math.sqrt(60) + 0.03 * truth
    )
    assert float(values.mean()) > 0.5 * truth


def test_large_sets_give_the_distance_of_their_gaussians():
    """Fault: a correction with the wrong sign."""
    scales = torch.tensor([1.0, 2.0, 0.5]).double()
    real, fake = torch.randn(4000, 3).double(), 0.3 + scales * torch.randn(3000, 3).double()
    distance = frechet_distance(real, fake, Raw(), bootstrap=40)
    truth = 3 * 0.3**2 + float((scales - 1).square().sum())
    assert abs(distance.diagnostics["corrected"] - truth) < Z_LIMIT * distance.stderr
    assert 0 < distance.diagnostics["bias"] < 0.01
    assert distance.value == pytest.approx(
        distance.diagnostics["mean_term"] + distance.diagnostics["covariance_term"]
    )


@pytest.mark.parametrize(("real", "fake", "size"), [(300, 200, 16), (20, 300, 48), (25, 20, 48)])
def test_agrees_with_torchmetrics(real, fake, size):
    """Full rank, and fewer images than features. Fault: a root that is wrong where the covariance
    is singular.
    """
    module = pytest.importorskip("torchmetrics.image.fid")

    class Identity(nn.Module):
        num_features = size

        def forward(self, x):
            return x

    metric = module.FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    x, y = draws(real, size), draws(fake, size, 0.2)
    metric.update(x, real=True)
    metric.update(y, real=False)
    distance = frechet_distance(x, y, Raw(), bootstrap=20).value
    assert distance == pytest.approx(float(metric.compute()), abs=1e-4, rel=1e-6)


@pytest.mark.parametrize(("count", "size"), [(200, 12), (15, 30)])
def test_agrees_with_a_matrix_root(count, size):
    """The same moments through numpy and scipy. Fault: as above; this one needs no torchmetrics."""
    linalg = pytest.importorskip("scipy.linalg")
    x, y = draws(count, size), draws(count + 5, size, 0.3)
    first, second = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    root = linalg.sqrtm(linalg.sqrtm(first).real @ second @ linalg.sqrtm(first).real).real
    means = float((x.mean(0) - y.mean(0)).square().sum())
    truth = means + np.trace(first) + np.trace(second) - 2 * np.trace(root)
    assert frechet_distance(x, y, Raw(), bootstrap=20).value == pytest.approx(truth, abs=1e-4)


def test_nothing_is_lost_where_there_are_fewer_images_than_features():
    """The same from the images themselves, without a covariance. Fault: roots of what is zero but
    for rounding, 1e-7 each.
    """
    x, y = draws(20, 48), draws(25, 48, 0.2)
    roots = [torch.linalg.qr((side - side.mean(0)) / math.sqrt(len(side) - 1)).R for side in (x, y)]
    truth = (x.mean(0) - y.mean(0)).square().sum() + sum(root.square().sum() for root in roots)
    truth = truth - 2 * torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    assert sum(gaussian_frechet(Moments.of(x), Moments.of(y))) == pytest.approx(
        float(truth), rel=1e-12
    )


@pytest.mark.parametrize("count", [200, 6])
def test_it_is_a_distance(count):
    """Fault: a negative distance, or one that depends on the order, from rounding in a singular
    covariance.
    """
    x, y = draws(count, 20), draws(count + 3, 20, 0.1)
    there, back = (sum(gaussian_frechet(Moments.of(a), Moments.of(b))) for a, b in ((x, y), (y, x)))
    assert there == pytest.approx(back, rel=1e-6)
    assert there > 0
    assert abs(sum(gaussian_frechet(Moments.of(x), Moments.of(x)))) < 1e-5


def test_tiles_and_far_origins_change_nothing(monkeypatch):
    """Fault: moments as E[xx] - E[x]E[x], which cancel; a tile counted twice."""
    values, weights = draws(50, 4), torch.randint(0, 3, (50,))
    whole = Moments.of(values, weights)
    repeated = Moments.of(values.repeat_interleave(weights, 0))
    monkeypatch.setattr(frechet, "_TILE", 7)
    for other in (repeated, Moments.of(values, weights)):
        torch.testing.assert_close(whole.mean, other.mean)
        torch.testing.assert_close(whole.covariance, other.covariance)
    torch.testing.assert_close(
        Moments.of(values + 1e6, weights).covariance, whole.covariance, rtol=1e-7, atol=1e-8
    )


# -- errors ----------------------------------------------------------------------------------------


def test_interval_covers_the_mean_reading():
    """60 intervals of nominal 95% against the mean of their readings: fewer than 44 hits have a
    chance below 1e-6.

    Fault: plain percentiles, which are biased twice and cover none of them here.
    """
    distances = [
        frechet_distance(draws(60, 20), draws(60, 20, 0.1), Raw(), bootstrap=40) for _ in range(60)
    ]
    mean = sum(one.value for one in distances) / len(distances)
    assert sum(one.interval[0] <= mean <= one.interval[1] for one in distances) >= 44
    plain = [(one.replicates.quantile(0.025), one.replicates.quantile(0.975)) for one in distances]
    assert sum(bool(low <= mean <= high) for low, high in plain) < 20
    spread = torch.tensor([one.value for one in distances]).std()
    assert float(spread) / 2 < distances[0].stderr < 3 * float(spread)


def test_difference_takes_the_reference_out():
    """Fault: errors added in squares although both hold the same reference; a bootstrap that
    forgets its seed.
    """
    real, fake = draws(40, 3), draws(2000, 3, 0.3)
    first, second = (frechet_distance(real, one, Raw()) for one in (fake, fake + 0.02))
    gain = second.minus(first)
    assert gain.value == second.value - first.value
    assert gain.stderr < 0.5 * math.hypot(first.stderr, second.stderr)
    assert gain.protocol["kind"] == "paired difference"
    other_seed = frechet_distance(real, fake + 0.02, Raw(), seed=1).minus(first)
    assert other_seed.stderr > 2 * gain.stderr
    assert other_seed.protocol["kind"] == "difference of unpaired errors"
    assert first.minus(first).stderr == 0


def test_same_seed_same_number_and_no_trace():
    """Fault: draws outside the seed, or a moved random stream."""
    real, fake = draws(50, 3), draws(60, 3, 0.2)
    state = torch.get_rng_state()
    first, second = (frechet_distance(real, fake, Raw(), seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == second
    assert first.stderr != frechet_distance(real, fake, Raw(), seed=4).stderr


def test_doubts_are_said():
    """Fault: a number at 30 images for 24 features that looks as good as any other."""
    few = frechet_distance(draws(30, 24), draws(500, 24), Raw(), bootstrap=20)
    assert any("30 images are few for 24 features" in words for words in few.warnings)
    assert any("is bias due to having 30 images" in words for words in few.warnings)
    assert frechet_distance(draws(500, 2), draws(500, 2, 1.0), Raw(), bootstrap=20).warnings == ()


def test_floor_is_the_distance_of_a_perfect_generator():
    """Fault: parts that share images, whose distance is too small; the bias of other counts."""
    real = features(draws(400, 6), split="toy")
    floor = frechet_floor(real, bootstrap=20)
    assert floor.count == 200
    fresh = [
        sum(gaussian_frechet(Moments.of(draws(200, 6)), Moments.of(draws(200, 6))))
        for _ in range(100)
    ]
    values = torch.tensor(fresh)
    assert values.min() / 2 < floor.value < 2 * values.max()
    assert frechet_floor(real, count=40, bootstrap=20).value > 2 * floor.value
    assert floor.protocol["reference"] == "toy, one part"
    with pytest.raises(ValueError, match="`count` from 3 to half of 400 images; got 201"):
        frechet_floor(real, count=201)


# -- protocols -------------------------------------------------------------------------------------


def test_only_inception_gives_fid():
    """Fault: a distance of another network under the name of the published one."""
    values = draws(50, 2)
    assert (
        frechet_distance(features(values, INCEPTION), features(values + 1, INCEPTION)).name == "FID"
    )
    assert frechet_distance(features(values, "net@64"), features(values + 1, "net@64")).name == (
        "frechet distance, net@64"
    )


def test_protocol_is_complete():
    """Fault: a field that gets lost; NaN in JSON."""
    real = features(draws(30, 2), split="mnist test")
    distance = frechet_distance(real, features(draws(25, 2), split="vae"), bootstrap=20, seed=5)
    record = json.loads(json.dumps(distance.to_json(), allow_nan=False))
    wanted = {
        "extractor": "net",
        "weights": "w",
        "resize": "none",
        "features": 2,
        "reference": "mnist test",
    }
    wanted |= {
        "reference_count": 30,
        "generated": "vae",
        "generated_count": 25,
        "bootstrap": 20,
        "seed": 5,
    }
    assert wanted.items() <= record["protocol"].items()
    assert {"priorwise", "torch", "reference_data", "generated_data", "estimator"} <= set(
        record["protocol"]
    )
    assert record["interval"] == list(distance.interval)
    assert str(distance).startswith("frechet distance, net: ")
    assert "(30 real, 25 generated) (! about " in str(distance)


REAL = torch.linspace(0, 1, 60).reshape(30, 2) ** 2


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        ({"weights": "v"}, {"weights": "v"}, r"weights \(w against v\)"),
        (
            {"extractor": "other"},
            {"extractor": "other"},
            r"measure \(frechet distance, net against frechet distance, oth",
        ),
        ({"resize": "bicubic"}, {"resize": "bicubic"}, r"resize \(none against bicubic\)"),
        ({"values": REAL[:29]}, {}, r"reference_count \(30 against 29\)"),
        (
            {"values": REAL + 1, "split": "train"},
            {},
            r"reference_data \(test: [0-9a-f]+ against train: [0-9a-f]+\)",
        ),
        ({}, {"values": REAL[:20]}, r"generated_count \(30 against 20\)"),
    ],
)
def test_numbers_of_two_protocols_are_not_compared(real, fake, words):
    """Fault: an FID at 10,000 images that beats one at 50,000, or one on another split."""

    def quality(real_words, fake_words):
        sides = [
            features(**({"values": REAL, "split": "test", "data": ""} | one))
            for one in (real_words, fake_words)
        ]
        return frechet_distance(*sides, bootstrap=20)

    base = quality({}, {})
    with pytest.raises(
        ValueError, match=f"with the same protocol; got numbers that differ in .*{words}"
    ):
        base.minus(quality(real, fake))
    assert (
        protocol_differences(base.protocol, json.loads(json.dumps(base.to_json()))["protocol"])
        == []
    )


def test_what_is_judged_may_differ():
    """Fault: a refusal of the comparison that everybody wants; a silent one across versions."""
    real = features(REAL, split="test")
    first = frechet_distance(real, features(REAL + 0.1, split="plain"), bootstrap=20)
    second = frechet_distance(
        replace(real, split="mnist test"), features(REAL + 0.2, split="flow"), bootstrap=30, seed=2
    )
    assert second.minus(first).value > 0
    older = replace(first, protocol=first.protocol | {"torch": "1.0"})
    assert (
        older.minus(first).warnings[-1]
        == f"the two were computed with torch 1.0 and {torch.__version__}."
    )


@pytest.mark.parametrize(
    ("real", "fake", "options", "words"),
    [
        (REAL, features(REAL), {}, "expected an `extractor` for images; got None"),
        (features(REAL), features(REAL, "other"), {}, r"extractor \(net against other\)"),
        (features(REAL), features(REAL, weights="v"), {}, r"weights \(w against v\)"),
        (features(REAL), features(REAL[:, :1]), {}, r"features \(2 against 1\)"),
        (
            features(REAL),
            REAL,
            {"extractor": Raw()},
            "expected features of raw with weights no weights; got those of net",
        ),
        (
            features(REAL),
            features(REAL[:2]),
            {},
            "at least 3 real and 3 generated images; got 30 and 2",
        ),
        (features(REAL), features(REAL), {"bootstrap": 5}, "`bootstrap` of at least 20; got 5"),
    ],
)
def test_what_cannot_be_compared_is_refused(real, fake, options, words):
    with pytest.raises(ValueError, match=words):
        frechet_distance(real, fake, **options)
