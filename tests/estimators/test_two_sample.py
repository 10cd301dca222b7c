"""The classifier two-sample test where the best classifier, or none, is known. False alarms:
``ALPHA`` a test.
"""

import math
import warnings

import members
import numpy as np
import pytest
import torch
from chains import LinearLogit
from modes import modes_vae
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.distributions import Normal

from priorwise import NCP, wrap
from priorwise.estimators import c2st, classifier_two_sample
from priorwise.samplers import Rejection
from priorwise.testing import Z_LIMIT, LinearGaussianVAE, check_mean


def bayes_accuracy(distance: float) -> float:
    """Of telling N(0, 1) from N(m, 1): Phi(m / 2)."""
    return float(Normal(0.0, 1.0).cdf(torch.tensor(distance / 2)))


def jensen_shannon(d: float) -> float:
    """The divergence of N(0, 1) and N(d, 1) by quadrature, in nats."""
    z = torch.linspace(-12, 12 + d, 200_001, dtype=torch.float64)
    log_p, log_q = Normal(0.0, 1.0).log_prob(z), Normal(d, 1.0).log_prob(z)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return float(
        torch.trapezoid(0.5 * (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)), z)
    )


def clouds(distance: float, count: int = 2000) -> tuple[torch.Tensor, torch.Tensor]:
    """N(0, I) and N(m e_1, I) in two dimensions."""
    return torch.randn(count, 2), torch.randn(count, 2) + torch.tensor([distance, 0.0])


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_accuracy_is_that_of_the_best_classifier(distance):
    """Fault: points judged that were fitted, classes exchanged,
    cross-entropy of the wrong class.
    """
    estimate = c2st(*clouds(distance))
    best, divergence = bayes_accuracy(distance), jensen_shannon(distance)
    assert best - 0.04 - Z_LIMIT * estimate.accuracy.stderr < estimate.accuracy.value
    assert estimate.accuracy.value < best + Z_LIMIT * estimate.accuracy.stderr
    assert (
        divergence - 0.03 - Z_LIMIT * estimate.jsd.stderr
        < estimate.jsd.value
        < divergence + Z_LIMIT * estimate.jsd.stderr
    )
    assert estimate.z_score > 5
    assert estimate.p_value < 1e-6
    assert estimate.accuracy.stderr == pytest.approx(math.sqrt(best * (1 - best) / 2000), rel=0.2)
    assert estimate.accuracy.count == estimate.jsd.count == 2000


def test_points_that_nothing_confuses():
    """Fault: an infinite loss, or no error where there is no spread."""
    estimate = c2st(torch.zeros(100, 2), torch.ones(100, 2), classifier=KNeighborsClassifier(1))
    assert estimate.accuracy.value == 1
    assert estimate.jsd.value == pytest.approx(math.log(2), abs=1e-5)
    wrong = c2st(torch.zeros(100, 2), torch.ones(100, 2), classifier=Certain())
    assert math.isfinite(wrong.jsd.value)
    assert wrong.accuracy.value == 0
    assert wrong.p_value == pytest.approx(1)


class Certain:
    """Certain, and always wrong."""

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        return np.stack([X[:, 0], 1 - X[:, 0]], 1)


class Fixed:
    """Takes for the second kind what lies above an edge, without having seen a point."""

    def __init__(self, edge: float) -> None:
        self.edge = edge

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        second = (X[:, 0] > self.edge).astype(float)
        return np.stack([1 - second, second], 1)


@pytest.mark.parametrize("edge", [0.0, 1.28, -1.0])
def test_score_is_standard_normal_for_equal_laws(edge):
    """Fault: the variance n/4 for a classifier that takes a tenth of all for the second kind: its
    scores have variance 0.36.
    """
    estimates = [
        c2st(torch.randn(200, 1), torch.randn(200, 1), classifier=Fixed(edge), seed=seed)
        for seed in range(1000)
    ]
    scores = torch.tensor([item.z_score for item in estimates], dtype=torch.float64)
    check_mean(scores, 0.0, "the mean of the scores", comparisons=3)
    check_mean(scores.square(), 200 / 199, "the variance of the scores", comparisons=3)
    tail = torch.tensor([float(item.p_value < 0.1) for item in estimates])
    check_mean(tail, 0.1, "the share of p-values under 0.1", comparisons=3) if edge == 0 else None
    naive = torch.tensor(
        [(item.accuracy.value - 0.5) * math.sqrt(200) * 2 for item in estimates],
        dtype=torch.float64,
    )
    if edge == 1.28:  # the planted fault
        with pytest.raises(AssertionError):
            check_mean(naive.square(), 200 / 199, "the variance of the naive scores", comparisons=3)


def test_fitted_classifier_finds_nothing_in_equal_laws():
    """Fault: a classifier that is judged on points of its training: with 30 dimensions it would
    tell them apart.
    """
    judge = LogisticRegression(C=1e6)
    scores = [
        c2st(torch.randn(120, 30), torch.randn(120, 30), classifier=judge, seed=seed).z_score
        for seed in range(150)
    ]
    check_mean(torch.tensor(scores), 0.0, "the mean of the scores", comparisons=2)
    check_mean(torch.tensor(scores).square(), 1.0, "their variance", comparisons=2)
    assert abs(c2st(*clouds(0.0)).z_score) < Z_LIMIT


def test_a_one_sided_classifier_tells_nothing():
    """Fault: 0 / 0."""
    estimate = c2st(torch.randn(100, 1), torch.randn(100, 1), classifier=Fixed(99.0))
    assert (estimate.accuracy.value, estimate.z_score, estimate.p_value) == (0.5, 0.0, 0.5)


def test_copies_stay_on_one_side():
    """Fault: a classifier that has seen the test points' twins. 60 places of 20 points each,
    against 1200 points of one law.
    """
    sources = torch.arange(1200) % 60
    points = torch.randn(60, 2)[sources] + 1e-3 * torch.randn(1200, 2)
    others = torch.randn(1200, 2)
    judge = KNeighborsClassifier(3)
    assert c2st(points, others, classifier=judge).accuracy.value > 0.9  # the planted fault
    assert c2st(points, others, sources=sources, classifier=judge).accuracy.value < 0.7


def test_larger_set_is_cut():
    """Fault: classes of unequal size, which every classifier tells by guessing."""
    for points, others in (
        (torch.randn(100, 1), torch.randn(400, 1)),
        (torch.randn(400, 1), torch.randn(100, 1)),
    ):
        estimate = c2st(points, others, classifier=Fixed(0.0))
        assert (estimate.accuracy.protocol["train"], estimate.accuracy.protocol["test"]) == (
            100,
            100,
        )


class Recorder(Fixed):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.fitted, self.judged = [], []

    def fit(self, X, y):
        self.fitted.append(X[y == 0])
        self.classes = y.mean()

    def predict_proba(self, X):
        self.judged.append(X)
        return super().predict_proba(X)


def test_no_image_is_on_both_sides():
    """Fault: a split by row. Each of 50 images comes four times; its encodings lie within 0.01 of
    it.
    """
    x = torch.arange(50.0).repeat(4).unsqueeze(1)
    spy = Recorder()
    classifier_two_sample(modes_vae(1e-3), x, classifier=spy)
    fitted, judged = (set(np.round(part[0][:, 0]).astype(int)) for part in (spy.fitted, spy.judged))
    assert len(fitted) == len(judged) == 25
    assert not fitted & judged
    assert len(spy.fitted[0]) == len(spy.judged[0]) == 100
    assert spy.classes == 0.5
    assert len(spy.judged[1]) == 100


def shifted(shift: float) -> tuple[LinearGaussianVAE, torch.Tensor, float]:
    """A model whose aggregate posterior is N(d, 1), data of it, and d."""
    model = LinearGaussianVAE(1, 3, shift=shift)
    d = shift * float(model.exact_posterior(torch.zeros(1, 3)).base_dist.scale.detach())
    return model, model.marginal().sample((2000,)).float(), d


def test_prior_that_misses_the_encodings_is_found():
    """Fault: encodings on both sides of the comparison."""
    model, x, d = shifted(3.0)
    estimate = classifier_two_sample(model, x)
    assert (
        abs(estimate.accuracy.value - bayes_accuracy(d)) < Z_LIMIT * estimate.accuracy.stderr + 0.03
    )
    assert estimate.p_value < 1e-6


def test_perfect_priors_are_not_told_apart():
    """The exact model; and a tilt that moves N(0, 1) onto N(d, 1). Fault: the base in place of the
    tilted prior.
    """
    exact, x, _ = shifted(0.0)
    assert abs(classifier_two_sample(exact, x).z_score) < Z_LIMIT
    model, x, d = shifted(3.0)
    assert abs(classifier_two_sample(NCP(model, [LinearLogit(d)]), x).z_score) < Z_LIMIT


def test_sampler_of_choice_is_used():
    with pytest.raises(ValueError, match="bounded tilt"):
        classifier_two_sample(
            NCP(shifted(0.0)[0], [LinearLogit(0.3)]), torch.randn(50, 3), sampler=Rejection()
        )


def test_deterministic_encoder_is_judged():
    """Fault: a density that is not needed. Codes at +-3 against N(0, I)."""
    model = wrap(encode=lambda x: x, decode=lambda z: z, latent=2, modules=())
    x = 3.0 * torch.randn(400, 2).sign() + 0.01 * torch.randn(400, 2)
    assert classifier_two_sample(model, x).accuracy.value > 0.9


@pytest.mark.parametrize("name", members.MODELS)
def test_every_model(name):
    x = torch.rand(60, *members.observations(name).shape[1:])
    estimate = classifier_two_sample(members.MODELS[name](), x, draws=50, classifier=Fixed(0.0))
    assert 0 <= estimate.accuracy.value <= 1
    assert estimate.accuracy.count == 50


def test_same_seed_same_number_and_no_trace():
    """Fault: a split or a classifier outside the seed;
    a moved random stream, torch's or numpy's.
    """
    model, x = members.hvae(), torch.rand(200, *members.SHAPE)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second, other = (classifier_two_sample(model, x, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert first.accuracy.value == second.accuracy.value
    assert first.jsd.value == second.jsd.value != other.jsd.value
    assert model.training


class Complaining(Fixed):
    """Warns while it is fitted."""

    def fit(self, X, y):
        warnings.warn("it did not converge", stacklevel=1)


def test_complaints_of_the_classifier_are_kept():
    """Fault: a warning that interrupts, or that is lost."""
    estimate = c2st(torch.randn(50, 1), torch.randn(50, 1), classifier=Complaining(0.0))
    assert (
        estimate.accuracy.warnings
        == estimate.jsd.warnings
        == ("the classifier warned: it did not converge",)
    )


@pytest.mark.parametrize(
    ("points", "others", "sources", "words"),
    [
        (
            torch.randn(50, 2),
            torch.randn(50, 3),
            None,
            r"the same dimension; got \(50, 2\) and \(50, 3\)",
        ),
        (
            torch.randn(39, 2),
            torch.randn(50, 2),
            None,
            "at least 40 points of each kind; got 39 and 50",
        ),
        (
            torch.randn(50, 2),
            torch.randn(50, 2),
            torch.arange(49),
            r"`sources` of shape \(50,\); got \(49,\)",
        ),
        (
            torch.randn(50, 2),
            torch.randn(50, 2),
            torch.zeros(50).long(),
            "split into two halves; got 1 sources",
        ),
    ],
)
def test_bad_points_are_refused(points, others, sources, words):
    with pytest.raises(ValueError, match=words):
        c2st(points, others, sources=sources)
