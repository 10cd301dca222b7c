"""The FactorVAE score: which dimension stays constant when a factor is held fixed.

Letters: ``N`` examples, ``D`` dimensions of the code, ``F`` factors, ``L`` examples of one batch,
``T`` votes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.estimators.base import Estimate, standard_error
from priorwise.estimators.disentanglement.labelled import LabelledCodes
from priorwise.randomness import seeded

__all__ = ["factor_vae_score"]


def factor_vae_score(
    codes: Array,
    factors: Array,
    *,
    votes: int = 2000,
    batch: int = 64,
    threshold: float = 0.01,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Estimate:
    """How often the dimension that varies least reveals which factor is held fixed.

    One vote: draw a factor at random, take a batch of examples that share its value with an example
    drawn at random, and find the dimension with the smallest variance over the batch, relative to
    that over all examples. A first set of votes decides by majority which factor each dimension
    represents; the score is the share of a second set for which this is right. (Using the same
    votes twice would favour codes with many dimensions.) Codes without information on the factors
    score 1/F. Several dimensions may represent the same factor at no cost.

    Dimensions with hardly any variance are left out, because rounding errors divided by it would
    decide votes. Batches are drawn with replacement from the examples, so there should be many more
    examples of each value than ``batch``.

    References:
        Disentangling by Factorising (Kim & Mnih, 2018), section 4.
        https://arxiv.org/abs/1802.05983

    Arguments:
        codes: Real numbers ``(N, D)``, at least 2 dimensions; usually posterior means.
        factors: Integers ``(N, F)``, at least 2 factors.
        votes: Number of votes in each of the two sets.
        batch: Number of examples in a vote.
        threshold: Dimensions with a smaller variance are left out, as in ``active_units``; it
            assumes codes on the scale of a standard normal prior.
        names: Names of the factors.
        seed: Seed of the votes.

    Returns:
        A share. ``stderr`` is that of the second set of votes; ``diagnostics`` has the share for
        each factor, and the number of dimensions that were not left out.

    Raises:
        ValueError: if codes and factors cannot be used; the message says why.

    Example:
        >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5), torch.arange(40))
        >>> factor_vae_score(factors[:, :2].double(), factors[:, :2], votes=100).value
        1.0
    """
    if votes < 1 or batch < 2 or not threshold >= 0:
        raise ValueError(
            "expected `votes` of at least 1, `batch` of at least 2 and `threshold` of at least 0; "
            f"got {votes}, {batch} and {threshold}."
        )
    data = LabelledCodes.checked(codes, factors, names)
    variance = data.codes.var(0)
    live = (variance > threshold).nonzero()[:, 0]
    normalised = data.codes[:, live] / variance[live].sqrt()
    stood, seen = _votes(normalised, data, votes, batch, seed, "decide")
    standing, truth = _votes(normalised, data, votes, batch, seed, "judge")
    F = len(data.values)
    meaning = (stood * F + seen).bincount(minlength=max(len(live), 1) * F).view(-1, F).argmax(1)
    right = (meaning[standing] == truth).double()
    per_factor = {name: float(right[truth == k].mean()) for k, name in enumerate(data.names)}
    return Estimate(
        value=float(right.mean()),
        stderr=standard_error(right),
        count=len(data),
        unit="share",
        diagnostics=per_factor | {"live dimensions": float(len(live)), "chance": 1 / F},
        protocol={
            "estimator": "FactorVAE score, majority of one set of votes judged on a second",
            "votes": votes,
            "batch": batch,
            "threshold": threshold,
            "seed": seed,
        },
        warnings=_doubts(data, len(live), batch),
    )


def _votes(
    codes: Tensor, data: LabelledCodes, votes: int, batch: int, seed: int, purpose: str
) -> tuple[Tensor, Tensor]:
    """For each vote, the dimension that varied least and the factor held fixed: ``(T,)`` each."""
    with seeded(seed, "factor_vae_score", purpose):
        factor = torch.randint(len(data.values), (votes,))
        example = torch.randint(len(data), (votes,))
        uniform = torch.rand(votes, batch, dtype=torch.float64)
    if not codes.shape[1]:
        return torch.zeros_like(factor), factor
    return codes[_alike(data, factor, example, uniform)].var(1).argmin(1), factor


def _alike(data: LabelledCodes, factor: Tensor, example: Tensor, uniform: Tensor) -> Tensor:
    """Examples that share a factor's value with ``example``, chosen by ``uniform``: ``(T, L)``."""
    order = data.classes.argsort(dim=0, stable=True)
    counts = torch.stack(
        [column.bincount(minlength=max(data.values)) for column in data.classes.unbind(1)]
    )
    ends = counts.cumsum(1)
    value = data.classes[example, factor]
    count, end = counts[factor, value][:, None], ends[factor, value][:, None]
    return order[end - count + (uniform * count).long(), factor[:, None]]


def _doubts(data: LabelledCodes, live: int, batch: int) -> tuple[str, ...]:
    doubts = []
    if not live:
        doubts.append(
            "no dimension of the code varies: the model ignores its latents, and the score is at "
            "chance level"
        )
    fewest = min(int(column.bincount().min()) for column in data.classes.unbind(1))
    if fewest < 2 * batch:
        doubts.append(
            f"the rarest value of a factor has only {fewest} examples for batches of {batch}: use "
            "more examples"
        )
    return tuple(doubts)
