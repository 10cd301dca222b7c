"""How far two distributions over latents are apart: the symmetric KL, from neighbours or from densities.

Letters: ``N`` and ``M`` points, ``T`` of a tile, ``S`` draws, ``D`` dimensions, ``G`` groups of a
jackknife. What holds one value for all points and one for each group left out has ``G + 1`` rows,
all points first.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from priorwise.distributions import AggregatePosterior, diagonal_gaussian, is_normalised
from priorwise.estimators.base import Estimate, device_of, jackknife_error
from priorwise.estimators.top_latents import aggregate_posterior, places
from priorwise.models import AbstractModel, Group, frozen
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError
from priorwise.samplers import AbstractSampler

__all__ = ["knn_kl", "symmetric_kl"]

_TILE = 512
_GROUPS = 40
_SPARE = 4  # neighbours that are looked at beyond the wanted one, as some are left out
_SOUND_MARGIN = 2.0
_SOUND_DIMENSIONS = 4
_SOUND_VALUE = 2.0
_EXACT = "donot_use_mm_for_euclid_dist"  # as matrix products, near points lose all their digits


# -- the jackknife ---------------------------------------------------------------------------------


def _dealt(sources: Tensor, others: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Who is kept of two sets, ``(G + 1, N)`` and ``(G + 1, M)``; the first row alone if too few were left.

    Sources are dealt to groups at random, so that all points of a source are in one; a group is
    left out of both sets.
    """
    groups = min(_GROUPS, len(sources.unique()), len(others.unique()))
    kept, others_kept = _without_groups(sources, groups), _without_groups(others, groups)
    fewest = min(int(rows.sum(1).min()) for rows in (kept, others_kept))
    return (
        (kept, others_kept) if groups > 1 and fewest > neighbours else (kept[:1], others_kept[:1])
    )


def _without_groups(sources: Tensor, groups: int) -> Tensor:
    kinds, place = sources.unique(return_inverse=True)
    group = (torch.randperm(len(kinds)) % groups)[place]
    everyone = torch.ones(1, len(sources), dtype=torch.bool)
    return torch.cat([everyone, group != torch.arange(groups)[:, None]])


def _error_words(kept: Tensor) -> str:
    groups = len(kept) - 1
    return f"jackknife, {groups} groups of both sets" if groups else "unknown, too few points"


# -- nearest neighbours ----------------------------------------------------------------------------


def _nearest(points: Tensor, others: Tensor | None, kept: Tensor, rank: int) -> Tensor:
    """The distance of each point to its ``rank``-th nearest among the others that are kept, ``(G + 1, N)``.

    Without others it is among the points themselves, where nobody is his own neighbour.
    """
    rows = torch.arange(len(points), device=points.device)
    return torch.cat(
        [
            _ranked(
                _distances(points[tile], others)
                if others is not None
                else _own_distances(points, tile),
                kept,
                rank,
            )
            for tile in rows.split(_TILE)
        ],
        1,
    )


def _distances(points: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(points, others, compute_mode=_EXACT)


def _own_distances(points: Tensor, tile: Tensor) -> Tensor:
    distances = _distances(points[tile], points)
    distances[torch.arange(len(tile), device=tile.device), tile] = math.inf
    return distances


def _ranked(distances: Tensor, kept: Tensor, rank: int) -> Tensor:
    """The ``rank``-th smallest of each row's kept: ``(T, M)`` and ``(G + 1, M)`` to ``(G + 1, T)``."""
    looked_at = rank + _SPARE
    while True:
        nearest, who = distances.topk(min(looked_at, distances.shape[1]), 1, largest=False)
        order = kept[:, who].cumsum(2)
        if bool((order[..., -1] >= rank).all()):
            place = (order >= rank).byte().argmax(2)
            return nearest.expand_as(order).gather(2, place[..., None]).squeeze(2)
        looked_at *= 2


def _knn_values(
    points: Tensor,
    others: Tensor,
    kept: Tensor,
    others_kept: Tensor,
    neighbours: int,
    names: tuple[str, str],
) -> Tensor:
    """KL(P || Q) from all points and without each group of both sets, ``(G + 1,)`` on the CPU."""
    kept, others_kept = kept.to(points.device), others_kept.to(points.device)
    own = _nearest(points, None, kept, neighbours)
    other = _nearest(points, others, others_kept, neighbours)
    _check_distinct(own[0], other[0], names, neighbours)
    counts, others_counts = kept.sum(1), others_kept.sum(1)
    sums = torch.where(kept, (other / own).log(), 0.0).sum(1)
    return (points.shape[1] * sums / counts + (others_counts / (counts - 1).double()).log()).cpu()


def _check_distinct(own: Tensor, other: Tensor, names: tuple[str, str], neighbours: int) -> None:
    among, across = int((own == 0).sum()), int((other == 0).sum())
    if among or across:
        raise UnavailableError(
            f"expected distinct points, as a distance of 0 has no logarithm; {among} of {len(own)} "
            f"{names[0]} coincide with others of them, and {across} with {names[1]}. Leave copies "
            "out: one observation given twice, or draws that a sampler repeats. Where they come "
            "from rounding (float32 in one dimension has few numbers), take `neighbours` of "
            f"{neighbours + 1} or more."
        )


def knn_kl(points: Tensor, others: Tensor, *, neighbours: int = 1, seed: int = 0) -> Estimate:
    r"""KL(P || Q) from draws of P and of Q by nearest-neighbour distances, in nats.

    .. math:: \frac{D}{N} \sum_i \log \frac{s_i}{r_i} + \log \frac{M}{N - 1}

    with :math:`r_i` the distance of a point to its k-th neighbour among its own kind (itself left
    out) and :math:`s_i` among the others. Consistent, but far off at any count that one can afford
    where P and Q differ in many dimensions or by much: ``warnings`` says so. Points must be
    distinct: a point drawn twice has r = 0.

    ``stderr`` is the error of sampling both sets, by a jackknife: points of both are dealt to 40
    groups, and each group is left out in turn, with the neighbours found anew. (The terms of the
    sum depend on each other, so their spread tells too little.) It is for the mean reading at these
    counts; the bias is not in it. ``docs/derivations/coverage.md`` has its measured coverage.

    The cost is that of all distances, N (N + M), tile by tile.

    References:
        Kullback-Leibler Divergence Estimation of Continuous Distributions (Perez-Cruz, 2008),
        equation 14; The Jackknife Estimate of Variance (Efron & Stein, 1981), for the error, which
        is not too small in expectation.

    Arguments:
        points: Draws from P, ``(N, D)``.
        others: Draws from Q, ``(M, D)``.
        neighbours: The k above.
        seed: Seed of the jackknife's groups; no influence on the value.

    Raises:
        ValueError: for too few points, different dimensions, or points that coincide.
    """
    if points.dim() != 2 or others.dim() != 2 or points.shape[1] != others.shape[1]:
        raise ValueError(
            f"expected points (N, D) and (M, D) of one dimension; got {tuple(points.shape)} and "
            f"{tuple(others.shape)}."
        )
    if not 1 <= neighbours < min(len(points), len(others) + 1):
        raise UnavailableError(
            f"expected `neighbours` from 1 to fewer than the points; got {neighbours}."
        )
    points, others = points.double(), others.double()
    with seeded(seed, "knn_kl", "groups"):
        kept, others_kept = _dealt(torch.arange(len(points)), torch.arange(len(others)), neighbours)
    values = _knn_values(points, others, kept, others_kept, neighbours, ("points", "others"))
    value, error = float(values[0]), jackknife_error(values[1:])
    return Estimate(
        value=value,
        stderr=error,
        count=len(points),
        protocol={
            "estimator": f"{neighbours}-nearest-neighbour KL",
            "points": len(points),
            "others": len(others),
            "error": _error_words(kept),
            "seed": seed,
        },
        warnings=(
            *_neighbour_doubts("the KL", value, points.shape[1]),
            *_negative("KL(P || Q)", value, error),
            *_no_error(error),
        ),
    )


# -- doubts ----------------------------------------------------------------------------------------


def _neighbour_doubts(what: str, value: float, dimensions: int) -> tuple[str, ...]:
    """Why a nearest-neighbour estimate is biased; figures of ``docs/derivations/symmetric_kl.md``."""
    if dimensions > _SOUND_DIMENSIONS:
        return (
            f"nearest neighbours in {dimensions} dimensions: {what} is far off where the two laws "
            "differ. Between Gaussians in 10 and 40 dimensions the symmetric KL read 0.3 to 0.7 "
            "of the true one, five times as many points hardly helped, and the error does not "
            "contain it. Neither the number nor a difference of two is proof: ask a held-out "
            "classifier (classifier_two_sample).",
        )
    if value > _SOUND_VALUE:
        return (
            f"nearest neighbours far apart: {what} comes out too low where it is large, in any "
            "dimension. Between Gaussians in 2 dimensions the symmetric KL read 6.6 nats for "
            "7.8, and 4.5 for 17.6; the error does not contain it. Ask a held-out classifier "
            "(classifier_two_sample) whether the laws differ.",
        )
    return ()


def _negative(name: str, value: float, error: float) -> tuple[str, ...]:
    if value >= 0:
        return ()
    return (
        f"{name} came out as {value:.3g} ± {error:.2g} nats, and no divergence is negative: it is "
        "not told from 0, or its bias is larger than itself.",
    )


def _no_error(error: float) -> tuple[str, ...]:
    return ("too few points to tell the error; take more.",) if math.isnan(error) else ()


def _copies(sources: Tensor) -> tuple[str, ...]:
    count = len(sources) - len(sources.unique())
    if not count:
        return ()
    return (
        f"{count} of {len(sources)} observations are copies of others: their encodings are each "
        "other's neighbours, which makes KL(q || p) too high. Leave copies out.",
    )


# -- of a model ------------------------------------------------------------------------------------


def symmetric_kl(
    model: AbstractModel,
    x: Tensor,
    *,
    method: Literal["knn", "density"] = "knn",
    sampler: AbstractSampler | None = None,
    draws: int = 5000,
    neighbours: int = 1,
    seed: int = 0,
) -> Estimate:
    r"""KL(q || p) + KL(p || q) between the aggregate posterior and the prior of the top group, in nats.

    ``"knn"`` needs draws alone: one z for each distinct x, and as many from the prior.
    ``"density"`` takes both densities in closed form over the encodings of ``x``, and is refused
    where that misleads: once a posterior is so narrow that only its own component explains a draw,
    log q(z) is about that component and not about the data.

    ``stderr`` is the error of sampling observations and draws, of both sums together, by a
    jackknife: observations (with their encodings and draws) and prior draws are dealt to 40 groups,
    and each is left out in turn. It is for the mean reading at these counts. The bias is not in it:
    ``"knn"`` is far too low in many dimensions and for large divergences, and ``warnings`` says so.
    No verdict should rest on this number; ``classifier_two_sample`` gives one. ``diagnostics`` has
    the two directions with their errors, which are not independent.

    References:
        dpVAE (Bhalodia et al., 2020), section 4.2, with 5000 draws of each.
        ``docs/derivations/symmetric_kl.md`` derives error and bias,
        ``docs/derivations/coverage.md`` measures them.

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        x: Observations ``(N, *event)``, distinct.
        method: ``"knn"`` or ``"density"``.
        sampler: Draws from the prior; the model's own if None.
        draws: At most how many of each.
        neighbours: The k of the nearest-neighbour estimate.
        seed: Seed of the draws, and of the jackknife's groups.

    Raises:
        ValueError: for ``"density"`` where the mean KL(q(z|x) || p) exceeds log N - 2, or with an
            unnormalised prior; for ``"knn"`` where draws coincide.
    """
    if method not in ("knn", "density"):
        raise ValueError(f"expected `method` as 'knn' or 'density'; got {method!r}.")
    x = x.to(device_of(model))
    with frozen(model), torch.no_grad(), seeded(seed, "symmetric_kl"):
        rows = torch.randperm(len(x))[:draws]  # some sets are sorted
        top = model.infer(x[rows])[0]
        prior = model.generate(len(top.z), sampler)[0]
        if method == "knn":
            return _by_neighbours(
                top.z.flatten(1), prior.z.flatten(1), places(x[rows], x[rows]), neighbours, seed
            )
        return _by_density(model, x, rows, top, prior, seed)


def _by_neighbours(q: Tensor, p: Tensor, sources: Tensor, neighbours: int, seed: int) -> Estimate:
    """From encodings and prior draws, ``(N, D)`` each."""
    count, dimensions = q.shape
    if not 1 <= neighbours < count:
        raise UnavailableError(
            f"expected `neighbours` from 1 to fewer than the draws, {count}; got {neighbours}."
        )
    q, p = q.double(), p.double()
    with seeded(seed, "symmetric_kl", "groups"):
        q_kept, p_kept = _dealt(sources, torch.arange(count), neighbours)
    there = _knn_values(q, p, q_kept, p_kept, neighbours, ("encodings", "prior draws"))
    back = _knn_values(p, q, p_kept, q_kept, neighbours, ("prior draws", "encodings"))
    protocol: dict[str, str | int | float | None] = {
        "estimator": f"symmetric KL by {neighbours} nearest neighbours",
        "points": count,
        "dimensions": dimensions,
        "error": _error_words(q_kept),
        "seed": seed,
    }
    value = float(there[0] + back[0])
    doubts = (*_neighbour_doubts("the symmetric KL", value, dimensions), *_copies(sources))
    return _sum(there, back, count, protocol, doubts)


def _by_density(
    model: AbstractModel, x: Tensor, rows: Tensor, top: Group, prior: Group, seed: int
) -> Estimate:
    """Monte-Carlo means of log q - log p under both, with q the mixture of the encodings of ``x``."""
    p = prior.prior
    if not is_normalised(p):
        raise UnavailableError(
            "expected a prior with a normalised density for method='density'; use method='knn'."
        )
    log_p = p.log_prob(top.z)
    rate = float((top.log_posterior() - log_p).mean())
    limit = math.log(len(x)) - _SOUND_MARGIN
    if rate > limit:
        raise UnavailableError(
            f"expected a mean KL(q(z|x) || p) of at most log N - 2 = {limit:.2f} nats for N = "
            f"{len(x)}; got {rate:.2f}. Each encoding is so narrow that the mixture of them says "
            "nothing about the data between: use method='knn', or more x."
        )
    q = aggregate_posterior(model, x)
    with seeded(seed, "symmetric_kl", "groups"):
        kept, p_kept = _dealt(places(x, x), torch.arange(len(prior.z)), neighbours=1)
    at_q = _log_q(q, top.z.flatten(1), kept) - log_p.double().cpu()
    at_p = p.log_prob(prior.z).double().cpu() - _log_q(q, prior.z.flatten(1), kept)
    protocol: dict[str, str | int | float | None] = {
        "estimator": "symmetric KL from densities",
        "encodings": len(x),
        "points": len(log_p),
        "error": _error_words(kept),
        "seed": seed,
    }
    return _sum(_kept_means(at_q, kept[:, rows]), _kept_means(at_p, p_kept), len(log_p), protocol)


def _log_q(q: AggregatePosterior, z: Tensor, kept: Tensor) -> Tensor:
    """Log density of the mixture of all encodings and without each group, ``(G + 1, S)`` float64 on the CPU."""
    groups = ~kept[1:] if len(kept) > 1 else kept
    log_sums = torch.stack(
        [_log_sum(q, z, group.nonzero()[:, 0].to(q.loc.device)) for group in groups]
    )
    others = [
        torch.cat([log_sums[:g], log_sums[g + 1 :]]).logsumexp(0) for g in range(len(kept) - 1)
    ]
    return torch.stack([log_sums.logsumexp(0), *others]) - kept.sum(1, keepdim=True).double().log()


def _log_sum(q: AggregatePosterior, z: Tensor, encodings: Tensor) -> Tensor:
    """Log of the sum of the densities of some encodings, ``(S,)`` float64 on the CPU."""
    some = diagonal_gaussian(q.loc[encodings], q.scale[encodings])
    return AggregatePosterior(some, tile=q.tile).log_prob(z).double().cpu() + math.log(
        len(encodings)
    )


def _kept_means(terms: Tensor, kept: Tensor) -> Tensor:
    """The mean of the kept in each row, ``(G + 1, S)`` to ``(G + 1,)``."""
    return torch.where(kept, terms, 0.0).sum(1) / kept.sum(1)


def _sum(
    there: Tensor,
    back: Tensor,
    count: int,
    protocol: dict[str, str | int | float | None],
    doubts: Sequence[str] = (),
) -> Estimate:
    """Both directions, ``(G + 1,)`` each, as one estimate."""
    error, there_error, back_error = (
        jackknife_error(values[1:]) for values in (there + back, there, back)
    )
    kl_q_p, kl_p_q = float(there[0]), float(back[0])
    return Estimate(
        value=kl_q_p + kl_p_q,
        stderr=error,
        count=count,
        diagnostics={
            "kl_q_p": kl_q_p,
            "kl_p_q": kl_p_q,
            "kl_q_p_stderr": there_error,
            "kl_p_q_stderr": back_error,
        },
        protocol=protocol,
        warnings=(
            *doubts,
            *_negative("KL(q || p)", kl_q_p, there_error),
            *_negative("KL(p || q)", kl_p_q, back_error),
            *_no_error(error),
        ),
    )
