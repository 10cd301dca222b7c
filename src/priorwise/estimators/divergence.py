"""How far two distributions over latents are apart: k-nearest-neighbour and density estimates of the symmetric KL.

Letters: ``N`` and ``M`` points, ``D`` dimensions.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.estimators.base import Estimate, device_of, standard_error
from priorwise.estimators.top import aggregate_posterior
from priorwise.models import AbstractModel, Group, frozen
from priorwise.randomness import seeded
from priorwise.samplers import AbstractSampler

__all__ = ["knn_kl", "symmetric_kl"]

_TILE = 512
_SOUND_MARGIN = 2.0
_EXACT = "donot_use_mm_for_euclid_dist"  # as matrix products, near points lose all their digits


def _nearest(points: Tensor, others: Tensor, rank: int) -> Tensor:
    """The distance of each point to its ``rank``-th nearest among the others, ``(N,)``, tile by tile."""
    return torch.cat(
        [torch.cdist(tile, others, compute_mode=_EXACT).kthvalue(rank, 1).values for tile in points.split(_TILE)]
    )


def knn_kl(points: Tensor, others: Tensor, *, neighbours: int = 1) -> Estimate:
    r"""KL(P || Q) from draws of P and of Q by nearest-neighbour distances, in nats.

    .. math:: \frac{D}{N} \sum_i \log \frac{s_i}{r_i} + \log \frac{M}{N - 1}

    with :math:`r_i` the distance of a point to its k-th neighbour among its own kind (itself left out) and :math:`s_i` among the
    others. Consistent; its bias grows with the dimension. Points must be distinct: a point drawn twice has r = 0.

    References:
        Kullback-Leibler Divergence Estimation of Continuous Distributions (Perez-Cruz, 2008), equation 14.

    Arguments:
        points: Draws from P, ``(N, D)``.
        others: Draws from Q, ``(M, D)``.
        neighbours: The k above.

    Raises:
        ValueError: for too few points, different dimensions, or points that coincide.
    """
    if points.dim() != 2 or others.dim() != 2 or points.shape[1] != others.shape[1]:
        raise ValueError(
            f"expected points (N, D) and (M, D) of one dimension; got {tuple(points.shape)} and {tuple(others.shape)}."
        )
    if not 1 <= neighbours < min(len(points), len(others) + 1):
        raise ValueError(f"expected `neighbours` from 1 to fewer than the points; got {neighbours}.")
    points, others = points.double(), others.double()
    own = _nearest(points, points, neighbours + 1)
    other = _nearest(points, others, neighbours)
    if bool((own == 0).any()) or bool((other == 0).any()):
        raise ValueError(
            "expected distinct points; some coincide, so their log distance is infinite. Draw one z per x."
        )
    terms = points.shape[1] * (other / own).log() + math.log(len(others) / (len(points) - 1))
    return Estimate(
        value=float(terms.mean()),
        stderr=standard_error(terms),
        count=len(points),
        protocol={
            "estimator": f"{neighbours}-nearest-neighbour KL",
            "points": len(points),
            "others": len(others),
        },
    )


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

    ``"knn"`` needs draws alone: one z for each distinct x, and as many from the prior. ``"density"`` takes both densities in
    closed form over the encodings of ``x``, and is refused where that misleads: once a posterior is so narrow that only its own
    component explains a draw, log q(z) is about that component and not about the data.

    References:
        dpVAE (Bhalodia et al., 2020), section 4.2, with 5000 draws of each; the standard error treats the terms of the two sums
        as independent.

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        x: Observations ``(N, *event)``, distinct.
        method: ``"knn"`` or ``"density"``.
        sampler: Draws from the prior; the model's own if None.
        draws: At most how many of each.
        neighbours: The k of the nearest-neighbour estimate.
        seed: Seed of the draws.

    Raises:
        ValueError: for ``"density"`` where the mean KL(q(z|x) || p) exceeds log N - 2, or with an unnormalised prior.
    """
    x = x.to(device_of(model))
    with frozen(model), torch.no_grad(), seeded(seed, "symmetric_kl"):
        top = model.infer(x[torch.randperm(len(x))[:draws]])[0]  # some sets are sorted
        prior = model.generate(len(top.z), sampler)[0]
        if method == "knn":
            q, p = top.z.flatten(1), prior.z.flatten(1)
            there, back = knn_kl(q, p, neighbours=neighbours), knn_kl(p, q, neighbours=neighbours)
            protocol: dict[str, str | int | float | None] = {
                "estimator": f"symmetric KL by {neighbours} nearest neighbours",
                "points": len(q),
                "seed": seed,
            }
            return _sum(there.value, back.value, there.stderr, back.stderr, len(q), protocol)
        if method == "density":
            return _density(model, x, top, prior, seed)
    raise ValueError(f"expected `method` as 'knn' or 'density'; got {method!r}.")


def _density(model: AbstractModel, x: Tensor, top: Group, prior: Group, seed: int) -> Estimate:
    """Monte-Carlo means of log q - log p under both, with q the mixture of the encodings of ``x``."""
    p = prior.prior
    if isinstance(p, Tilted) and p.log_norm is None:
        raise ValueError("expected a prior with a normalised density for method='density'; use method='knn'.")
    assert top.posterior is not None
    rate = float((top.posterior.log_prob(top.z) - p.log_prob(top.z)).mean())
    limit = math.log(len(x)) - _SOUND_MARGIN
    if rate > limit:
        raise ValueError(
            f"expected a mean KL(q(z|x) || p) of at most log N - 2 = {limit:.2f} nats for N = {len(x)}; got {rate:.2f}. Each "
            "encoding is so narrow that the mixture of them says nothing about the data between: use method='knn', or more x."
        )
    q = aggregate_posterior(model, x)
    at_q = q.log_prob(top.z.flatten(1)) - p.log_prob(top.z)
    at_p = p.log_prob(prior.z) - q.log_prob(prior.z.flatten(1))
    protocol: dict[str, str | int | float | None] = {
        "estimator": "symmetric KL from densities",
        "encodings": len(x),
        "points": len(at_q),
        "seed": seed,
    }
    return _sum(
        float(at_q.mean()),
        float(at_p.mean()),
        standard_error(at_q),
        standard_error(at_p),
        len(at_q),
        protocol,
    )


def _sum(
    there: float,
    back: float,
    there_error: float,
    back_error: float,
    count: int,
    protocol: dict[str, str | int | float | None],
) -> Estimate:
    return Estimate(
        value=there + back,
        stderr=math.hypot(there_error, back_error),
        count=count,
        diagnostics={"kl_q_p": there, "kl_p_q": back},
        protocol=protocol,
    )
