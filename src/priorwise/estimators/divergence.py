"""The symmetric KL between two distributions over latents, from neighbours or from densities.

Letters: ``N`` and ``M`` points, ``T`` points of a tile, ``S`` draws, ``D`` dimensions, ``G`` groups
of a jackknife. Tensors with ``G + 1`` rows hold one row for all points, then one row for each group
that is left out. Masks ``included`` mark the points that are not left out.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from priorwise.arrays import Array, as_tensor
from priorwise.distributions import AggregatePosterior, diagonal_gaussian, is_normalised
from priorwise.estimators.base import Estimate, jackknife_error, with_cause
from priorwise.estimators.doubts import negative_doubts
from priorwise.estimators.nearest_neighbours import (
    dealt,
    jackknife_words,
    knn_values,
)
from priorwise.estimators.top_latents import aggregate_posterior, places
from priorwise.models import AbstractModel, Group, as_observations, frozen
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError
from priorwise.samplers import AbstractSampler

__all__ = ["knn_kl", "symmetric_kl"]

_SOUND_MARGIN = 2.0
_SOUND_DIMENSIONS = 4
_SOUND_VALUE = 2.0


def knn_kl(points: Array, others: Array, *, neighbours: int = 1, seed: int = 0) -> Estimate:
    r"""KL(P || Q) from draws of P and Q by nearest-neighbour distances, in nats.

    .. math:: \frac{D}{N} \sum_i \log \frac{s_i}{r_i} + \log \frac{M}{N - 1}

    Here :math:`r_i` is the distance of a point to its k-th nearest neighbour in its own set (itself
    excluded), and :math:`s_i` that in the other set. The estimate is consistent, but far off at any
    affordable count if P and Q differ in many dimensions or by much; ``warnings`` says so. Points
    must be distinct: a point that was drawn twice has r = 0.

    ``stderr`` is the error of sampling both sets, by a jackknife: the points of both are dealt to
    40 groups, each group is left out in turn, and the neighbours are computed again. (The spread of
    the terms is no substitute, because they depend on each other.) The error refers to the mean of
    the estimate at these counts and does not contain its bias. ``docs/derivations/coverage.md``
    reports its measured coverage.

    The cost is that of all distances, N (N + M), tile by tile.

    References:
        Kullback-Leibler Divergence Estimation of Continuous Distributions (Perez-Cruz, 2008),
        equation 14. https://doi.org/10.1109/ISIT.2008.4595271
        The Jackknife Estimate of Variance (Efron & Stein, 1981), for the error, which is not too
        small in expectation. https://doi.org/10.1214/aos/1176345462

    Arguments:
        points: Draws from P, ``(N, D)``.
        others: Draws from Q, ``(M, D)``.
        neighbours: The k above.
        seed: Seed of the jackknife's groups; it does not change the value.

    Raises:
        ValueError: for too few points, different dimensions, or points that coincide.

    Example:
        N(0, 1) and N(1, 1) have KL = 1/2.

        >>> with seeded(0, "example"):
        ...     points, others = torch.randn(1000, 1), torch.randn(1000, 1) + 1
        >>> kl = knn_kl(points, others)
        >>> abs(kl.value - 0.5) < 3 * kl.stderr
        True
    """
    points, others = as_tensor(points, "points"), as_tensor(others, "others")
    if points.dim() != 2 or others.dim() != 2 or points.shape[1] != others.shape[1]:
        raise ValueError(
            "expected points (N, D) and (M, D) of the same dimension; got "
            f"{tuple(points.shape)} and {tuple(others.shape)}."
        )
    if not 1 <= neighbours < min(len(points), len(others) + 1):
        raise UnavailableError(
            "expected `neighbours` of at least 1 and less than the number of points; got "
            f"{neighbours}."
        )
    points, others = points.double(), others.double()
    with seeded(seed, "knn_kl", "groups"):
        included, others_included = dealt(
            torch.arange(len(points)), torch.arange(len(others)), neighbours
        )
    names = ("points", "others")
    values = knn_values(points, others, included, others_included, neighbours, names)
    value, error = float(values[0]), jackknife_error(values[1:])
    return Estimate(
        value=value,
        stderr=error,
        count=len(points),
        protocol={
            "estimator": f"{neighbours}-nearest-neighbour KL",
            "points": len(points),
            "others": len(others),
            "error": jackknife_words(included),
            "seed": seed,
        },
        warnings=(
            *_neighbour_doubts("the KL", value, points.shape[1]),
            *negative_doubts("KL(P || Q)", value, error),
        ),
    )


# -- doubts ----------------------------------------------------------------------------------------


def _neighbour_doubts(what: str, value: float, dimensions: int) -> tuple[str, ...]:
    """Why a nearest-neighbour estimate is biased; see ``docs/derivations/symmetric_kl.md``."""
    if dimensions > _SOUND_DIMENSIONS:
        return (
            f"nearest neighbours in {dimensions} dimensions: {what} is far off if the two laws "
            "differ. Between Gaussians in 10 and 40 dimensions the symmetric KL was 0.3 to 0.7 of "
            "the true one, five times as many points hardly helped, and the error does not include "
            "this bias. Neither the number nor a difference of two is proof: use a held-out "
            "classifier (classifier_two_sample).",
        )
    if value > _SOUND_VALUE:
        return (
            f"nearest neighbours are far apart: {what} is estimated too low where it is large, in "
            "any dimension. Between Gaussians in 2 dimensions the symmetric KL was 6.6 nats "
            "instead of 7.8, and 4.5 instead of 17.6; the error does not include this bias. Test "
            "with a held-out classifier (classifier_two_sample) whether the laws differ.",
        )
    return ()


def _copies(sources: Tensor) -> tuple[str, ...]:
    count = len(sources) - len(sources.unique())
    if not count:
        return ()
    return (
        f"{count} of {len(sources)} observations are copies of others: their encodings are each "
        "other's nearest neighbours, which makes KL(q || p) too high. Leave out copies.",
    )


# -- of a model ------------------------------------------------------------------------------------


def symmetric_kl(
    model: AbstractModel,
    x: Array,
    *,
    method: Literal["knn", "density"] = "knn",
    sampler: AbstractSampler | None = None,
    draws: int = 5000,
    neighbours: int = 1,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Estimate:
    r"""KL(q || p) + KL(p || q) between aggregate posterior and prior of the top group, in nats.

    ``"knn"`` needs only draws: one z for each distinct x, and the same number from the prior.
    ``"density"`` uses both densities in closed form, with q(z) from the encodings of ``x``. It is
    refused where it would mislead: once a posterior is so narrow that only its own component
    explains a draw, log q(z) describes that component instead of the data.

    ``stderr`` is the error of sampling observations and draws, for the sum of both directions, by a
    jackknife: observations (with their encodings and draws) and prior draws are dealt to 40 groups,
    and each group is left out in turn. The error refers to the mean of the estimate at these counts
    and does not contain its bias: ``"knn"`` is far too low in many dimensions and for large
    divergences, and ``warnings`` says so. Do not draw conclusions from this number alone;
    ``classifier_two_sample`` is a test. ``diagnostics`` has both directions with their errors,
    which are not independent.

    ``docs/derivations/symmetric_kl.md`` derives error and bias, and
    ``docs/derivations/coverage.md`` measures them.

    References:
        dpVAE (Bhalodia et al., 2020), section 4.2, with 5000 draws of each.
        https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        x: Observations ``(N, *event)``, distinct.
        method: ``"knn"`` or ``"density"``.
        sampler: Sampler of the prior; the model's default if None.
        draws: Maximal number of draws from each of q and p.
        neighbours: The k of the nearest-neighbour estimate.
        seed: Seed of the draws, and of the jackknife's groups.
        report: Called with the number of points whose neighbours were just searched, for a
            progress bar: four times the draws of each, in all; not for ``"density"``.

    Raises:
        ValueError: for ``"density"`` if the mean KL(q(z|x) || p) exceeds log N - 2, or with an
            unnormalised prior; for ``"knn"`` if draws coincide.

    Example:
        The aggregate posterior of this model is its prior, so the divergence is 0.

        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3)
        >>> with seeded(0, "example"):
        ...     x = model.marginal().sample((500,)).float()
        >>> kl = symmetric_kl(model, x, method="density")
        >>> abs(kl.value) < 3 * kl.stderr
        True
    """
    if method not in ("knn", "density"):
        raise ValueError(f"expected `method` as 'knn' or 'density'; got {method!r}.")
    x = as_observations(model, x)
    with frozen(model), torch.no_grad(), seeded(seed, "symmetric_kl"):
        rows = torch.randperm(len(x))[:draws]  # the data may be sorted
        top = model.infer(x[rows])[0]
        prior = model.generate(len(top.z), sampler)[0]
        if method == "knn":
            estimate = _by_neighbours(
                top.z.flatten(1),
                prior.z.flatten(1),
                places(x[rows], x[rows]),
                neighbours,
                seed,
                report,
            )
        else:
            estimate = _by_density(model, x, rows, top, prior, seed)
    return with_cause(estimate, model)


def _by_neighbours(
    q: Tensor,
    p: Tensor,
    sources: Tensor,
    neighbours: int,
    seed: int,
    report: Callable[[int], None] | None,
) -> Estimate:
    """The estimate from encodings and prior draws, ``(N, D)`` each."""
    count, dimensions = q.shape
    if count < 2:
        raise UnavailableError(f"expected at least 2 observations; got {count}.")
    if not 1 <= neighbours < count:
        raise UnavailableError(
            f"expected `neighbours` of at least 1 and less than the number of draws, {count}; got "
            f"{neighbours}."
        )
    q, p = q.double(), p.double()
    with seeded(seed, "symmetric_kl", "groups"):
        q_included, p_included = dealt(sources, torch.arange(count), neighbours)
    names = ("encodings", "prior draws")
    there = knn_values(q, p, q_included, p_included, neighbours, names, report)
    back = knn_values(p, q, p_included, q_included, neighbours, names[::-1], report)
    protocol: dict[str, str | int | float | None] = {
        "estimator": f"symmetric KL by {neighbours} nearest neighbours",
        "points": count,
        "dimensions": dimensions,
        "error": jackknife_words(q_included),
        "seed": seed,
    }
    value = float(there[0] + back[0])
    doubts = (*_neighbour_doubts("the symmetric KL", value, dimensions), *_copies(sources))
    return _sum(there, back, count, protocol, doubts)


def _by_density(
    model: AbstractModel, x: Tensor, rows: Tensor, top: Group, prior: Group, seed: int
) -> Estimate:
    """Means of log q - log p under both laws, where q is the mixture of the encodings of ``x``."""
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
            f"{len(x)}; got {rate:.2f}. The encodings are so narrow that their mixture says "
            "nothing about the regions between them: use method='knn', or more observations `x`."
        )
    q = aggregate_posterior(model, x)
    with seeded(seed, "symmetric_kl", "groups"):
        included, p_included = dealt(places(x, x), torch.arange(len(prior.z)), neighbours=1)
    at_q = _log_q(q, top.z.flatten(1), included) - log_p.double().cpu()
    at_p = p.log_prob(prior.z).double().cpu() - _log_q(q, prior.z.flatten(1), included)
    protocol: dict[str, str | int | float | None] = {
        "estimator": "symmetric KL from densities",
        "encodings": len(x),
        "points": len(log_p),
        "error": jackknife_words(included),
        "seed": seed,
    }
    there, back = _means(at_q, included[:, rows]), _means(at_p, p_included)
    return _sum(there, back, len(log_p), protocol)


def _log_q(q: AggregatePosterior, z: Tensor, included: Tensor) -> Tensor:
    """Log density of the mixture of all encodings, and without each group.

    Returns ``(G + 1, S)`` float64 on the CPU.
    """
    groups = ~included[1:] if len(included) > 1 else included
    log_sums = torch.stack(
        [_log_sum(q, z, group.nonzero()[:, 0].to(q.loc.device)) for group in groups]
    )
    others = [
        torch.cat([log_sums[:g], log_sums[g + 1 :]]).logsumexp(0) for g in range(len(included) - 1)
    ]
    log_counts = included.sum(1, keepdim=True).double().log()
    return torch.stack([log_sums.logsumexp(0), *others]) - log_counts


def _log_sum(q: AggregatePosterior, z: Tensor, encodings: Tensor) -> Tensor:
    """Log of the summed densities of the selected encodings, ``(S,)`` float64 on the CPU."""
    components = diagonal_gaussian(q.loc[encodings], q.scale[encodings])
    log_means = AggregatePosterior(components, tile=q.tile).log_prob(z)
    return log_means.double().cpu() + math.log(len(encodings))


def _means(terms: Tensor, included: Tensor) -> Tensor:
    """The mean over the included terms of each row, ``(G + 1, S)`` to ``(G + 1,)``."""
    return torch.where(included, terms, 0.0).sum(1) / included.sum(1)


def _sum(
    there: Tensor,
    back: Tensor,
    count: int,
    protocol: dict[str, str | int | float | None],
    doubts: Sequence[str] = (),
) -> Estimate:
    """One estimate from both directions, ``(G + 1,)`` each."""
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
            *negative_doubts("KL(q || p)", kl_q_p, there_error),
            *negative_doubts("KL(p || q)", kl_p_q, back_error),
        ),
    )
