"""The score of the FactorVAE: which dimension stands still when a factor does.

Letters: ``N`` examples, ``D`` dimensions of the code, ``F`` factors, ``L`` examples of one batch,
``T`` votes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from priorwise.estimators.base import Estimate, standard_error
from priorwise.estimators.disentanglement.labelled import LabelledCodes
from priorwise.randomness import seeded

__all__ = ["factor_vae_score"]


def factor_vae_score(
    codes: Tensor,
    factors: Tensor,
    *,
    votes: int = 2000,
    batch: int = 64,
    threshold: float = 0.01,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Estimate:
    """How often a factor can be told from the dimension that varies least while the factor is held fixed.

    One vote: choose a factor, take a batch of examples that share its value with an example drawn
    at random, and find the dimension whose variance over the batch, divided by that over all
    examples, is smallest. A first set of votes decides by majority which factor each dimension
    stands for; the score is the share of a second set that this tells right. (Votes that decide and
    are judged would favour codes of many dimensions.) Codes that know nothing of the factors score
    1/F. Several dimensions may stand for one factor at no cost.

    Dimensions of hardly any variance are left out: divided by it, rounding errors would vote.
    Batches are drawn with replacement from the examples given, so there should be many more
    examples of each value than ``batch``.

    References:
        Disentangling by Factorising (Kim & Mnih, 2018), section 4.

    Arguments:
        codes: Real numbers ``(N, D)``, at least 2 dimensions; usually posterior means.
        factors: Integers ``(N, F)``, at least 2 factors.
        votes: Votes of each of the two sets.
        batch: Examples of a vote.
        threshold: Dimensions of a smaller variance are left out, as by ``active_units``; it
            supposes codes of the scale of a standard normal prior.
        names: What the factors are called.
        seed: Seed of the votes.

    Returns:
        A share. ``stderr`` is that of the second set of votes; ``diagnostics`` has the share of
        each factor, and the number of
        dimensions that were live.

    Raises:
        ValueError: if codes and factors cannot be used, see the message.
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
    """For each vote the dimension that stood still, and the factor that was held fixed: ``(T,)`` each."""
    with seeded(seed, "factor_vae_score", purpose):
        factor = torch.randint(len(data.values), (votes,))
        example = torch.randint(len(data), (votes,))
        chosen = torch.rand(votes, batch, dtype=torch.float64)
    if not codes.shape[1]:
        return torch.zeros_like(factor), factor
    return codes[_alike(data, factor, example, chosen)].var(1).argmin(1), factor


def _alike(data: LabelledCodes, factor: Tensor, example: Tensor, chosen: Tensor) -> Tensor:
    """Examples that share the value of a factor with a given one, picked by numbers in [0, 1): ``(T, L)``."""
    order = data.classes.argsort(dim=0, stable=True)
    counts = torch.stack(
        [column.bincount(minlength=max(data.values)) for column in data.classes.unbind(1)]
    )
    ends = counts.cumsum(1)
    value = data.classes[example, factor]
    count, end = counts[factor, value][:, None], ends[factor, value][:, None]
    return order[end - count + (chosen * count).long(), factor[:, None]]


def _doubts(data: LabelledCodes, live: int, batch: int) -> tuple[str, ...]:
    doubts = []
    if not live:
        doubts.append(
            "no dimension of the code varies: the model ignores its latents, and the score is "
            "that of chance"
        )
    fewest = min(int(column.bincount().min()) for column in data.classes.unbind(1))
    if fewest < 2 * batch:
        doubts.append(
            f"some value has only {fewest} examples for batches of {batch}; take more examples"
        )
    return tuple(doubts)
