"""Disentanglement, completeness and informativeness, from the importances of a random forest.

Letters: ``D`` dimensions of the code, ``F`` factors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.estimators.base import Estimate
from priorwise.estimators.disentanglement.labelled import LabelledCodes
from priorwise.randomness import seeded

__all__ = ["DCI", "dci"]

_LEAF = 5
# 97.5 % points of Student's law with 1, 2, ... degrees of freedom, and of the normal law
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_NORMAL = 1.96


@dataclass(frozen=True)
class DCI:
    """Three scores between 0 and 1, and what they come from.

    Attributes:
        disentanglement: To what degree a dimension is important for a single factor.
        completeness: To what degree a factor depends on a single dimension.
        informativeness: Accuracy on held-out examples, averaged over the factors.
        importance: Share of each dimension in predicting each factor, ``(D, F)`` float64; a column
            sums to 1, or to 0 if no dimension helps.
    """

    disentanglement: Estimate
    completeness: Estimate
    informativeness: Estimate
    importance: Tensor


def dci(
    codes: Array,
    factors: Array,
    *,
    trees: int = 20,
    repeats: int = 5,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> DCI:
    r"""Disentanglement, completeness and informativeness of codes.

    A random forest predicts each factor from all the codes; R_ij is the importance of dimension i
    for factor j (decrease of impurity). P are the rows and Q the columns of R, each divided by its
    sum, and entropies are to the base of their length:

    .. math:: D = \sum_i \frac{\sum_j R_{ij}}{\sum_{ij} R_{ij}} \big(1 - H_F(P_i)\big) \qquad
              C = \frac{1}{F} \sum_j \big(1 - H_D(Q_j)\big) \qquad
              I = \text{accuracy on held-out examples}

    Copies of a dimension do not change D and lower C. A factor that no dimension predicts adds 0 to
    C. Read D and C together with I: importances are shares, even where there is little to share.

    The forest classifies, since the factors here are discrete; the paper uses regression and
    reports an error. Every split may use every dimension: if it could use only some, even a perfect
    code would rely on others. Leaves hold at least 5 examples.

    References:
        A Framework for the Quantitative Evaluation of Disentangled Representations (Eastwood &
        Williams, 2018), section 2. https://openreview.net/forum?id=By-7dz-AZ
        A General Theory for Jackknife Variance Estimation (Shao & Wu, 1989), for the standard
        error. https://doi.org/10.1214/aos/1176347263

    Arguments:
        codes: Real numbers ``(N, D)``, at least 2 dimensions; usually posterior means.
        factors: Integers ``(N, F)``, at least 2 factors.
        trees: Number of trees in a forest.
        repeats: Number of times that the examples are halved at random, to fit a forest on one half
            and to test it on the other.
        names: Names of the factors.
        seed: Seed of halves and forests.

    Returns:
        Means over the repeats. ``stderr_data`` is the standard deviation between repeats (the
        delete-half jackknife), and ``stderr`` is that of their mean: the remaining randomness of
        halves and forests. A few repeats estimate a standard deviation only roughly, so both are
        widened until an interval of 1.96 of them has its nominal coverage of 95 % (Student's law;
        1.42 times for 5 repeats).

    Raises:
        ValueError: if codes and factors cannot be used; the message says why.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5), torch.arange(20))
        >>> scores = dci(factors[:, :2].double(), factors[:, :2], trees=5, repeats=2)
        >>> [round(score.value, 3) for score in (scores.disentanglement, scores.completeness)]
        [1.0, 1.0]
    """
    if trees < 1 or repeats < 2:
        raise ValueError(
            f"expected `trees` of at least 1 and `repeats` of at least 2; got {trees} and "
            f"{repeats}."
        )
    data = LabelledCodes.checked(codes, factors, names)
    if len(data) < 4 * _LEAF:
        raise ValueError(
            f"expected at least {4 * _LEAF} examples, for two halves; got {len(data)}."
        )
    fits = [_fitted(data, trees, seed, repeat) for repeat in range(repeats)]
    importance = torch.stack([fit[0] for fit in fits])
    accuracy = torch.stack([fit[1] for fit in fits])
    protocol: dict[str, str | int | float | None] = {
        "estimator": f"random forest of {trees} trees, leaves of at least {_LEAF}, fitted on "
        "random halves",
        "repeats": repeats,
        "seed": seed,
    }
    accuracies = dict(zip(data.names, accuracy.mean(0).tolist(), strict=True))
    diagnostics = accuracies | {"chance": _chance(data)}
    return DCI(
        disentanglement=_estimate(_disentanglement(importance), len(data), protocol),
        completeness=_estimate(_completeness(importance), len(data), protocol),
        informativeness=_estimate(accuracy.mean(1), len(data), protocol, diagnostics),
        importance=importance.mean(0),
    )


def _fitted(data: LabelledCodes, trees: int, seed: int, repeat: int) -> tuple[Tensor, Tensor]:
    """Importances ``(D, F)`` from one half, and accuracies per factor ``(F,)`` on the other."""
    from sklearn.ensemble import RandomForestClassifier

    with seeded(seed, "dci", repeat):
        fit, held_out = torch.randperm(len(data)).tensor_split(2)
        states = torch.randint(2**31, (len(data.values),)).tolist()
    forests = [
        RandomForestClassifier(
            trees,
            max_features=None,
            min_samples_leaf=_LEAF,
            random_state=state,
            n_jobs=torch.get_num_threads(),
        )
        for state in states
    ]
    codes, unseen = data.codes[fit].numpy(), data.codes[held_out].numpy()
    for forest, classes in zip(forests, data.classes[fit].numpy().T, strict=True):
        forest.fit(codes, classes)
    accuracy = [
        forest.score(unseen, classes)
        for forest, classes in zip(forests, data.classes[held_out].numpy().T, strict=True)
    ]
    importance = torch.stack(
        [torch.from_numpy(forest.feature_importances_) for forest in forests], 1
    )
    return importance, torch.tensor(accuracy, dtype=torch.float64)


def _disentanglement(importance: Tensor) -> Tensor:
    """The disentanglement score of importances ``(*batch, D, F)``."""
    weight = importance.sum(-1)
    return (weight * _concentration(importance)).sum(-1) / weight.sum(-1).clamp(min=1e-12)


def _completeness(importance: Tensor) -> Tensor:
    """The completeness score of importances ``(*batch, D, F)``."""
    return _concentration(importance.mT).mean(-1)


def _concentration(weights: Tensor) -> Tensor:
    """One minus the entropy of shares in the last dimension, to the base of its length.

    It is 0 where all weights are 0.
    """
    total = weights.sum(-1, keepdim=True)
    share = weights / torch.where(total > 0, total, 1.0)
    concentration = 1 - torch.special.entr(share).sum(-1) / math.log(weights.shape[-1])
    return torch.where(total[..., 0] > 0, concentration, 0.0)


def _chance(data: LabelledCodes) -> float:
    """The accuracy of always predicting the most frequent value of each factor."""
    most = [int(column.bincount().max()) for column in data.classes.unbind(1)]
    return sum(most) / len(most) / len(data)


def _estimate(
    repeats: Tensor,
    count: int,
    protocol: dict[str, str | int | float | None],
    diagnostics: dict[str, float] | None = None,
) -> Estimate:
    spread = float(repeats.std()) * _widened(len(repeats))
    return Estimate(
        value=float(repeats.mean()),
        stderr=spread / math.sqrt(len(repeats)),
        count=count,
        unit="share",
        stderr_data=spread,
        diagnostics=diagnostics or {},
        protocol=protocol,
    )


def _widened(repeats: int) -> float:
    """The factor that widens a standard deviation estimated from few values."""
    freedom = repeats - 1
    point = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else _NORMAL + 2.4 / freedom
    return point / _NORMAL
