"""The mutual information gap.

Letters: ``N`` examples, ``D`` dimensions of the code, ``F`` factors, ``A`` bins of a code, ``V``
values of a factor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.estimators.base import Estimate
from priorwise.estimators.disentanglement.labelled import LabelledCodes
from priorwise.randomness import seeded

__all__ = ["mig"]

_NOISE_LIMIT = 0.05


def mig(
    codes: Array,
    factors: Array,
    *,
    bins: int = 20,
    bootstrap: int = 50,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Estimate:
    r"""The mutual information gap between the best and the second best dimension of each factor.

    .. math:: \frac{1}{F} \sum_{k=1}^{F} \frac{1}{H(v_k)}
              \Big( I(z_{j_k}; v_k) - \max_{j \neq j_k} I(z_j; v_k) \Big),
              \qquad j_k = \operatorname{argmax}_j I(z_j; v_k)

    It is 0 if two dimensions carry the same information, and 1 if one dimension determines a factor
    and no other carries any information on it. The information is computed from counts: codes fall
    into bins of equal width between their smallest and largest value. So the score does not change
    with shift, scale, sign or order of the dimensions, and a dimension that never changes carries
    no information.

    Posterior means and draws from q(z|x) are different codes, and their scores cannot be compared.
    The paper uses draws. The mean of a dimension that the model ignores may still vary a little and
    carry much information, because the bins shrink with its range.

    Counting overestimates an information by about (bins - 1)(values - 1) / 2N nats. In the gap this
    cancels if neither of the two dimensions carries much information; otherwise it makes the gap
    too small. ``diagnostics`` has the gap of each factor and, as ``noise_floor``, the largest such
    overestimate divided by the entropy.

    References:
        Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018),
        section 4, equation 6. https://arxiv.org/abs/1802.04942
        Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations
        (Locatello et al., 2019), for the 20 bins. https://arxiv.org/abs/1811.12359

    Arguments:
        codes: Real numbers ``(N, D)``, at least 2 dimensions: posterior means, or one draw for each
            example.
        factors: Integers ``(N, F)``.
        bins: Number of bins of each dimension. The gap of a factor with more values than bins
            cannot reach 1.
        bootstrap: Number of resamplings of the examples for ``stderr_data``; 0 leaves it out.
        names: Names of the factors.
        seed: Seed of the resamplings.

    Returns:
        A share of the factors' entropies. It is a function of the examples, so ``stderr`` is 0.

    Raises:
        ValueError: if codes and factors cannot be used; the message says why.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5))
        >>> codes = factors.double()
        >>> round(mig(codes, factors, bootstrap=0).value, 3)
        1.0
    """
    if bins < 2 or bootstrap < 0 or bootstrap == 1:
        raise ValueError(
            f"expected `bins` of at least 2, and `bootstrap` of 0 or at least 2; got {bins} and "
            f"{bootstrap}."
        )
    data = LabelledCodes.checked(codes, factors, names)
    cells = _cells(data, bins)
    gaps, entropy = _gaps(cells, data, bins)
    floor = float(((bins - 1) * (torch.tensor(data.values) - 1) / (2 * len(data) * entropy)).max())
    return Estimate(
        value=float(gaps.mean()),
        stderr=0.0,
        count=len(data),
        unit="share",
        stderr_data=_bootstrapped(cells, data, bins, bootstrap, seed) if bootstrap else None,
        diagnostics=dict(zip(data.names, gaps.tolist(), strict=True)) | {"noise_floor": floor},
        protocol={
            "estimator": "mutual information gap, counts in bins of equal width, divided by the "
            "factor's entropy",
            "bins": bins,
            "bootstrap": bootstrap,
            "seed": seed,
        },
        warnings=_doubts(data, bins, floor),
    )


def _cells(data: LabelledCodes, bins: int) -> Tensor:
    """The index, among all ``D F A V`` cells, of each example's cell: ``(N, D, F)``."""
    low, high = data.codes.aminmax(dim=0)
    width = torch.where(high > low, high - low, 1.0)
    place = ((data.codes - low) / width * bins).long().clamp(max=bins - 1)
    D, F, V = data.codes.shape[1], len(data.values), max(data.values)
    table = torch.arange(D * F).view(D, F)
    return (table * bins + place[:, :, None]) * V + data.classes[:, None, :]


def _gaps(cells: Tensor, data: LabelledCodes, bins: int) -> tuple[Tensor, Tensor]:
    """The gap of each factor divided by its entropy, and the entropy in nats: ``(F,)`` each."""
    _, D, F = cells.shape
    counts = cells.flatten().bincount(minlength=D * F * bins * max(data.values))
    joint = counts.view(D, F, bins, -1).double() / len(cells)
    entropy = _entropy(joint.sum(2)[0])
    information = _entropy(joint.sum(3)) + entropy - _entropy(joint.flatten(2))
    best, second = information.topk(2, dim=0).values
    return (best - second) / entropy, entropy


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


def _bootstrapped(cells: Tensor, data: LabelledCodes, bins: int, count: int, seed: int) -> float:
    """The standard deviation of the score over resamplings of the examples."""
    scores = []
    for index in range(count):
        with seeded(seed, "mig", index):
            rows = torch.randint(len(data), (len(data),))
        scores.append(_gaps(cells[rows], data, bins)[0].mean())
    return float(torch.stack(scores).std())


def _doubts(data: LabelledCodes, bins: int, floor: float) -> tuple[str, ...]:
    doubts = [
        f"{name} has {count} values but there are only {bins} bins, so its gap cannot reach 1: use "
        f"more bins, mig(codes, factors, bins={max(data.values)})"
        for name, count in zip(data.names, data.values, strict=True)
        if count > bins
    ]
    if floor > _NOISE_LIMIT:
        doubts.append(
            f"{len(data)} examples are few: counting alone adds up to {floor:.2f} of a factor's "
            "entropy to each mutual information"
        )
    return tuple(doubts)
