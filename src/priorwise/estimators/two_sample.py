"""The classifier two-sample test: can a classifier distinguish encodings from prior draws?

Letters: ``N`` points of each kind, ``D`` dimensions.
"""

import math
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from priorwise.arrays import Array, as_tensor
from priorwise.estimators.base import Estimate, standard_error
from priorwise.estimators.top_latents import places, posterior_draws, prior_draws, told
from priorwise.interrupts import kept_interrupts
from priorwise.models import AbstractModel, as_observations, frozen
from priorwise.progress import tell
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError
from priorwise.samplers import AbstractSampler

__all__ = ["ProbabilityClassifier", "TwoSample", "c2st", "classifier_two_sample"]

_FEWEST = 40
_DOUBT = 1e-6  # share of a coin toss in each prediction, so that no loss is infinite
_HIDDEN = (64, 64)
_EPOCHS, _PATIENCE, _PROGRESS = 200, 10, 1e-5


@runtime_checkable
class ProbabilityClassifier(Protocol):
    """Any scikit-learn classifier that predicts probabilities."""

    def fit(self, X: Any, y: Any) -> Any:  # noqa: ANN401
        """Fit to points ``(N, D)`` and their classes ``(N,)``."""

    def predict_proba(self, X: Any) -> Any:  # noqa: ANN401
        """Probabilities of the classes 0 and 1, ``(N, 2)``."""


@dataclass(frozen=True)
class TwoSample:
    """The result of a classifier on points that it was not fitted on.

    Attributes:
        accuracy: Share of points that are classified correctly, averaged over the two kinds; 1/2 if
            the kinds cannot be distinguished.
        z_score: Number of standard errors above 1/2; N(0, 1) for two samples from the same law.
        p_value: Probability of at least this accuracy for two samples from the same law.
        jsd: Jensen-Shannon divergence that the classifier demonstrates, in nats, at most log 2; a
            lower bound in expectation.
    """

    accuracy: Estimate
    z_score: float
    p_value: float
    jsd: Estimate


def classifier_two_sample(
    model: AbstractModel,
    x: Array,
    *,
    classifier: ProbabilityClassifier | None = None,
    sampler: AbstractSampler | None = None,
    draws: int = 5000,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> TwoSample:
    """Whether a classifier can distinguish encodings from prior draws, in the top group.

    It needs only draws and no density: one z for each observation, and the same number from the
    prior. Copies of an observation stay on the same side of the split into training and test, so
    that no classifier benefits from having seen an encoding.

    References:
        Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), section 3.
        https://arxiv.org/abs/1610.06545

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        x: Observations ``(N, *event)``.
        classifier: The classifier; see ``c2st``.
        sampler: Sampler of the prior; the model's default if None.
        draws: Maximal number of draws of each kind.
        seed: Seed of the draws, the split and the classifier.
        report: Called with the number of points that are just done, for a progress bar: encodings
            first, then as many prior draws, then as many again for the classifier.

    Example:
        The aggregate posterior of the first model is its prior. The encoder of the second is
        shifted by three standard deviations.

        >>> from sklearn.linear_model import LogisticRegression
        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> exact, shifted = LinearGaussianVAE(), LinearGaussianVAE(shift=3.0)
        >>> with seeded(0, "example"):
        ...     x = exact.marginal().sample((500,)).float()
        >>> for model in (exact, shifted):
        ...     test = classifier_two_sample(model, x, classifier=LogisticRegression())
        ...     print(test.p_value < 0.001)
        False
        True
    """
    x = as_observations(model, x)
    purpose = "two_sample"
    count = min(draws, len(x))
    with frozen(model), torch.no_grad():
        encoded = list(told(posterior_draws(model, x, count, seed=seed, purpose=purpose), report))
        points = torch.cat([block.vectors for block in encoded])
        images = torch.cat([block.images for block in encoded if block.images is not None])
        blocks = told(prior_draws(model, count, sampler, seed=seed, purpose=purpose), report)
        others = torch.cat([block.vectors for block in blocks])
    observations = x[images.to(x.device)]
    sources = places(observations, observations)
    test = c2st(points, others, sources=sources, classifier=classifier, seed=seed)
    tell(report, count)
    return test


def c2st(
    points: Array,
    others: Array,
    *,
    sources: Array | None = None,
    classifier: ProbabilityClassifier | None = None,
    seed: int = 0,
) -> TwoSample:
    r"""Whether a classifier can distinguish two sets of points, on the half that it did not see.

    Let :math:`a_0, a_1` be the shares of the first and the second kind that are classified as the
    second. The accuracy is :math:`(1 - a_0 + a_1) / 2`, and

    .. math:: z = \frac{a_1 - a_0}{\sqrt{a (1 - a) (1/n_0 + 1/n_1)}}, \qquad
              \mathrm{JSD} \ge \log 2 - \tfrac{1}{2} \mathrm{BCE}

    where a is the pooled share and BCE the held-out cross-entropy summed over the two kinds. The
    reference uses this binomial test with a = 1/2; the pooled share makes it valid for classifiers
    that favour one kind, too.

    The default classifier is scikit-learn's network with two hidden layers of 64, seeded and
    stopped early: one or two seconds for 5000 points on the CPU. Any classifier with ``fit`` and
    ``predict_proba`` gives a valid test.

    References:
        Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), section 3.
        https://arxiv.org/abs/1610.06545

    Arguments:
        points: The first kind, ``(N, D)``.
        others: The second kind, ``(M, D)``; the larger set is cut to the size of the smaller.
        sources: The source of each point, ``(N,)`` integers; points with the same source stay on
            the same side of the split. All different if None.
        classifier: The classifier, which is fitted in place.
        seed: Seed of the split and of the classifier.

    Raises:
        ValueError: for fewer than 40 points of a kind, too few sources to split, or points that do
            not fit together.

    Example:
        >>> test = c2st(torch.zeros(100, 2), torch.ones(100, 2))
        >>> test.accuracy.value, test.p_value < 1e-6
        (1.0, True)
    """
    points, others = as_tensor(points, "points"), as_tensor(others, "others")
    if sources is not None:
        sources = as_tensor(sources, "sources")
    sources = _check(points, others, sources)
    count = min(len(points), len(others))
    with seeded(seed, "c2st"):
        fit_0, test_0 = _split(sources, torch.randperm(len(points))[:count])
        shuffled = torch.randperm(len(others))[:count]
    fit_1, test_1 = shuffled[: len(fit_0)], shuffled[len(fit_0) :]
    points, others = points.detach().double().cpu(), others.detach().double().cpu()
    judge = _StoppedNetwork(seed) if classifier is None else classifier
    notes = _fitted(judge, points[fit_0], others[fit_1])
    p_0, p_1 = _second(judge, points[test_0]), _second(judge, others[test_1])
    protocol: dict[str, str | int | float | None] = {
        "estimator": "classifier two-sample test",
        "classifier": type(judge).__name__
        if classifier is not None
        else f"MLP {_HIDDEN}, early stopping",
        "train": len(fit_0) + len(fit_1),
        "test": len(p_0) + len(p_1),
        "seed": seed,
    }
    z_score = _z_score(p_0, p_1)
    return TwoSample(
        accuracy=_accuracy(p_0, p_1, protocol, notes),
        z_score=z_score,
        p_value=0.5 * math.erfc(z_score / math.sqrt(2)),
        jsd=_jsd(p_0, p_1, protocol, notes),
    )


def _check(points: Tensor, others: Tensor, sources: Tensor | None) -> Tensor:
    """Return the source of each point; refuse what cannot be tested."""
    if points.dim() != 2 or others.dim() != 2 or points.shape[1] != others.shape[1]:
        raise ValueError(
            "expected points (N, D) and (M, D) of the same dimension; got "
            f"{tuple(points.shape)} and {tuple(others.shape)}."
        )
    if min(len(points), len(others)) < _FEWEST:
        raise UnavailableError(
            f"expected at least {_FEWEST} points of each kind; got {len(points)} and {len(others)}."
        )
    if not bool(points.isfinite().all() and others.isfinite().all()):
        raise UnavailableError(
            "expected finite points for a classifier; some are NaN or infinite. Look at the "
            "encodings: an observation may lie far outside the data that the encoder knows."
        )
    if sources is None:
        sources = torch.arange(len(points))
    if sources.shape != points.shape[:1]:
        raise ValueError(
            f"expected `sources` of shape ({len(points)},); got {tuple(sources.shape)}."
        )
    return sources.cpu()


def _split(sources: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Split rows into a training and a test half; all points of a source are on one side."""
    kinds, place = sources[rows].unique(return_inverse=True)
    trained = torch.zeros(len(kinds), dtype=torch.bool)
    trained[torch.randperm(len(kinds))[: len(kinds) // 2]] = True
    train, test = rows[trained[place]], rows[~trained[place]]
    if min(len(train), len(test)) < _FEWEST // 4:
        raise UnavailableError(
            f"expected `sources` that can be split into two halves; got {len(kinds)} sources, "
            f"whose halves have {len(train)} and {len(test)} points."
        )
    return train, test


class _StoppedNetwork:
    """scikit-learn's network on standardised points, stopped at the lowest cross-entropy.

    A tenth of the points is held out for the stopping. The network's own early stopping uses the
    accuracy, which is best long before the probabilities are: the bound on the divergence would be
    loose by tenths of a nat.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, X: Any, y: Any) -> None:  # noqa: ANN401
        from sklearn.neural_network import MLPClassifier
        from sklearn.preprocessing import StandardScaler

        self.scaler = StandardScaler().fit(X)
        X = self.scaler.transform(X)
        with seeded(self.seed, "c2st", "validation"):
            order = torch.randperm(len(X)).numpy()
        watched, fitted = order[: len(X) // 10], order[len(X) // 10 :]
        network = MLPClassifier(_HIDDEN, random_state=self.seed % 2**32)
        lowest, waited = math.inf, 0
        for _ in range(_EPOCHS):
            with kept_interrupts():
                network.partial_fit(X[fitted], y[fitted], classes=[0, 1])
            p = torch.as_tensor(network.predict_proba(X[watched]))
            loss = float(_losses(p[torch.arange(len(watched)), torch.as_tensor(y[watched])]).mean())
            waited += 1
            if loss < lowest - _PROGRESS:
                lowest, waited, self.network = loss, 0, deepcopy(network)
            if waited == _PATIENCE:
                break

    def predict_proba(self, X: Any) -> Any:  # noqa: ANN401
        return self.network.predict_proba(self.scaler.transform(X))


def _fitted(classifier: ProbabilityClassifier, points: Tensor, others: Tensor) -> tuple[str, ...]:
    """Fit in place, with class 1 for the others; return the warnings of the fit, in words."""
    classes = torch.cat([torch.zeros(len(points)), torch.ones(len(others))]).long()
    with kept_interrupts(), warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        classifier.fit(torch.cat([points, others]).numpy(), classes.numpy())
    return tuple(f"the classifier warned: {complaint.message}" for complaint in complaints)


def _second(classifier: ProbabilityClassifier, points: Tensor) -> Tensor:
    """The probability that each point is of the second kind, ``(N,)``."""
    return torch.as_tensor(classifier.predict_proba(points.numpy()))[:, 1].double()


def _losses(p: Tensor) -> Tensor:
    """The cross-entropy in nats of points whose own kind was predicted with probability p."""
    return -((1 - _DOUBT) * p + _DOUBT / 2).log()


def _shares(p_0: Tensor, p_1: Tensor) -> tuple[float, float]:
    """The share of each kind that is classified as the second."""
    return float((p_0 > 0.5).double().mean()), float((p_1 > 0.5).double().mean())


def _z_score(p_0: Tensor, p_1: Tensor) -> float:
    share_0, share_1 = _shares(p_0, p_1)
    pooled = (share_0 * len(p_0) + share_1 * len(p_1)) / (len(p_0) + len(p_1))
    if pooled in (0.0, 1.0):  # the classifier predicts the same kind everywhere
        return 0.0
    return (share_1 - share_0) / math.sqrt(pooled * (1 - pooled) * (1 / len(p_0) + 1 / len(p_1)))


def _accuracy(
    p_0: Tensor, p_1: Tensor, protocol: dict[str, str | int | float | None], notes: tuple[str, ...]
) -> Estimate:
    share_0, share_1 = _shares(p_0, p_1)
    variance = share_0 * (1 - share_0) / len(p_0) + share_1 * (1 - share_1) / len(p_1)
    return Estimate(
        value=(1 - share_0 + share_1) / 2,
        stderr=math.sqrt(variance) / 2,
        count=len(p_0) + len(p_1),
        unit="share",
        protocol=protocol,
        warnings=notes,
    )


def _jsd(
    p_0: Tensor, p_1: Tensor, protocol: dict[str, str | int | float | None], notes: tuple[str, ...]
) -> Estimate:
    loss_0, loss_1 = _losses(1 - p_0), _losses(p_1)
    return Estimate(
        value=math.log(2) - float(loss_0.mean() + loss_1.mean()) / 2,
        stderr=math.hypot(standard_error(loss_0), standard_error(loss_1)) / 2,
        count=len(p_0) + len(p_1),
        protocol=protocol,
        warnings=notes,
    )
