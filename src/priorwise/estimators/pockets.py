"""Pockets, where the prior expects data and finds none; leaks, which the prior does not expect.

Letters: ``N`` images, ``K`` selected samples, ``D`` latent dimensions of the top group.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.distributions import AggregatePosterior, has_mean, picture
from priorwise.estimators.top_latents import aggregate_posterior, posterior_draws, prior_draws, told
from priorwise.models import AbstractModel, as_observations, frozen
from priorwise.randomness import seeded
from priorwise.refusals import NotGaussianError
from priorwise.samplers import AbstractSampler

__all__ = ["RankedSamples", "high_posterior_samples", "low_posterior_samples"]

_DRAWS_EACH = 10  # draws for each selected sample, as in the code of dpVAE
_DECODED = 500

_Protocol: TypeAlias = dict[str, str | int | float | None]


@dataclass(frozen=True)
class RankedSamples:
    """The draws with the lowest density, the lowest first; all tensors are on the CPU.

    Attributes:
        z: Top latents, ``(K, *latent)``.
        x: Decoded images, ``(K, *event)``: means of the decoder or draws from it. The model draws
            the groups below the top.
        log_q: Log density of the aggregate posterior at z, ``(K,)``, in nats; for leaks without
            each draw's own encoding, as in ``leakage``, so that its expectation is not above the
            true one. None for an encoder without a density.
        log_q_with_own: For leaks, the same with the encoding that made the draw, whose expectation
            is not below the true one; None otherwise.
        log_p: Log density of the prior at z, ``(K,)``, in nats; None while its normaliser is
            unknown.
        indices: Indices of the samples among the draws, ``(K,)``.
        images: Index of the image behind each sample, ``(K,)``; None for draws from the prior.
        draws: Number of draws that the samples were selected from.
        protocol: How the samples were made.
    """

    z: Tensor
    x: Tensor
    log_q: Tensor | None
    log_q_with_own: Tensor | None
    log_p: Tensor | None
    indices: Tensor
    images: Tensor | None
    draws: int
    protocol: dict[str, str | int | float | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.z)


@torch.no_grad()
def low_posterior_samples(
    model: AbstractModel,
    reference: Array,
    *,
    count: int,
    draws: int | None = None,
    sampler: AbstractSampler | None = None,
    mean: bool = True,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> RankedSamples:
    r"""Pockets: the draws from the prior with the lowest aggregate posterior density.

    .. math:: z \sim p(z), \quad \text{ranked by} \quad
              \log q(z) = \log \frac{1}{N} \sum_{n=1}^{N} q(z | x_n)

    over all dimensions and all encodings, by logsumexp. The model may generate these latents, but
    its decoder was hardly trained on such latents. The memory does not grow with ``draws``. More
    draws reach further into the tail, so compare models with the same number of draws.

    References:
        dpVAE (Bhalodia et al., 2020), section 4.2, "low-posterior samples". Its code divides by
        log-variances instead of variances, in two dimensions, which reverses the order for narrow
        posteriors; this function follows its text. https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        reference: Observations whose encodings make q(z), ``(N, *event)``; use those that the
            decoder was trained on.
        count: Number of samples to select.
        draws: Number of draws from the prior; ten times ``count`` if None.
        sampler: Sampler of the prior; the model's default if None.
        mean: Whether ``x`` holds the decoder's means (draws if it has none) or draws from it.
        seed: Seed of the draws.
        report: Called with the number of draws that are just done, for a progress bar.

    Raises:
        TypeError: for an encoder whose posteriors are not diagonal Gaussians.

    Example:
        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3)
        >>> with seeded(0, "example"):
        ...     x = model.marginal().sample((100,)).float()
        >>> pockets = low_posterior_samples(model, x, count=3)
        >>> pockets.draws, tuple(pockets.x.shape), pockets.log_q.argmin().item()
        (30, (3, 3), 0)
    """
    draws = _checked(count, draws)
    reference = as_observations(model, reference, "reference")
    purpose = "low_posterior"
    log_norm = _log_norm(model)
    with frozen(model):
        q = aggregate_posterior(model, reference)
        lowest = _lowest(
            (
                _columns(block.z, q.log_prob(block.vectors), log_p=block.log_p(log_norm))
                for block in told(
                    prior_draws(model, draws, sampler, seed=seed, purpose=purpose), report
                )
            ),
            count,
        )
        x, decoded = _decoded(model, lowest["z"], sampler, seed, purpose, mean=mean)
    protocol: _Protocol = {
        "ranked_by": "log q(z), the aggregate posterior",
        "encodings": q.count,
        "decoded": decoded,
        "seed": seed,
    }
    return _ranked(lowest, x, draws, protocol, log_q=lowest["score"], log_p=lowest.get("log_p"))


@torch.no_grad()
def high_posterior_samples(
    model: AbstractModel,
    x: Array,
    *,
    count: int,
    draws: int | None = None,
    mean: bool = True,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> RankedSamples:
    r"""Leaks: the draws from the aggregate posterior with the lowest prior density.

    .. math:: z \sim q(z) = \frac{1}{N} \sum_{n=1}^{N} q(z | x_n), \quad
              \text{ranked by} \quad \log p(z)

    The decoder was trained on such latents, but the model hardly ever generates them. For a tilted
    prior the normaliser is left out, which does not change the order. The images take turns, so
    each is drawn from equally often.

    References:
        dpVAE (Bhalodia et al., 2020), section 4.2, "high-posterior samples". Its code ranks by two
        dimensions; this function uses the density over all of them.
        https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        x: Observations to encode, ``(N, *event)``.
        count: Number of samples to select.
        draws: Number of draws from q(z); ten times ``count`` if None.
        mean: Whether ``x`` holds the decoder's means (draws if it has none) or draws from it.
        seed: Seed of the draws.
        report: Called with the number of draws that are just done, for a progress bar.

    Example:
        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3)
        >>> with seeded(0, "example"):
        ...     x = model.marginal().sample((100,)).float()
        >>> leaks = high_posterior_samples(model, x, count=3)
        >>> leaks.draws, tuple(leaks.x.shape), leaks.log_p.argmin().item()
        (30, (3, 3), 0)
    """
    draws = _checked(count, draws)
    x = as_observations(model, x)
    purpose = "high_posterior"
    log_norm = _log_norm(model)
    with frozen(model):
        lowest = _lowest(
            (
                _columns(
                    block.z, block.log_unnorm(), log_p=block.log_p(log_norm), images=block.images
                )
                for block in told(
                    posterior_draws(model, x, draws, seed=seed, purpose=purpose), report
                )
            ),
            count,
        )
        observed, decoded = _decoded(model, lowest["z"], None, seed, purpose, mean=mean)
        log_q, log_q_with_own = _log_q(_aggregate_or_none(model, x), lowest)
    ranked_by = (
        "log p(z), the prior" if "log_p" in lowest else "log p(z), the prior, up to a constant"
    )
    protocol: _Protocol = {"ranked_by": ranked_by, "decoded": decoded, "seed": seed}
    return _ranked(
        lowest,
        observed,
        draws,
        protocol,
        log_q=log_q,
        log_q_with_own=log_q_with_own,
        log_p=lowest.get("log_p"),
    )


def _log_norm(model: AbstractModel) -> float | None:
    log_norm = model.known_log_norm()
    return None if log_norm is None else log_norm.value


def _checked(count: int, draws: int | None) -> int:
    """Return the number of draws; refuse numbers that cannot be used."""
    if count < 1:
        raise ValueError(f"expected `count` of at least 1; got {count}.")
    draws = _DRAWS_EACH * count if draws is None else draws
    if draws < count:
        raise ValueError(f"expected at least as many `draws` as `count` = {count}; got {draws}.")
    return draws


def _columns(z: Tensor, score: Tensor, **others: Tensor | None) -> dict[str, Tensor]:
    """What is remembered of a block of draws; all columns have the same length."""
    columns = {"z": z, "score": score, **others}
    return {name: column.to(z.device) for name, column in columns.items() if column is not None}


def _lowest(blocks: Iterable[dict[str, Tensor]], count: int) -> dict[str, Tensor]:
    """The ``count`` rows with the lowest score in all blocks, sorted, with their ``indices``."""
    lowest: dict[str, Tensor] = {}
    start = 0
    for block in blocks:
        size = len(block["score"])
        rows = block | {"indices": torch.arange(start, start + size, device=block["score"].device)}
        joined = {
            name: torch.cat([lowest[name], column]) if lowest else column
            for name, column in rows.items()
        }
        order = joined["score"].argsort(stable=True)[:count]
        lowest = {name: column[order] for name, column in joined.items()}
        start += size
    return lowest


def _decoded(
    model: AbstractModel,
    z: Tensor,
    sampler: AbstractSampler | None,
    seed: int,
    purpose: str,
    *,
    mean: bool,
) -> tuple[Tensor, str]:
    """Decoded images, ``(K, *event)``, and whether they are means or draws."""
    parts = []
    for block, part in enumerate(z.split(_DECODED)):
        with seeded(seed, purpose, "decode", block):
            observed = model.decode(part, sampler)
            mean = mean and has_mean(observed)
            parts.append((picture(observed) if mean else observed.sample()).cpu())
    return torch.cat(parts), "means" if mean else "draws"


def _aggregate_or_none(model: AbstractModel, x: Tensor) -> AggregatePosterior | None:
    """The aggregate posterior; None if encodings are not Gaussian, as leaks do not need it."""
    try:
        return aggregate_posterior(model, x)
    except NotGaussianError:
        return None


def _log_q(
    q: AggregatePosterior | None, leaks: dict[str, Tensor]
) -> tuple[Tensor | None, Tensor | None]:
    """Log q at the leaks without and with each one's own encoding, ``(K,)``, where it exists."""
    if q is None or q.count < 2:
        return None, None
    vectors = leaks["z"].flatten(1)
    own = leaks["images"].to(vectors.device)
    return q.log_sum(vectors, own) - math.log(q.count - 1), q.log_prob(vectors)


def _ranked(
    lowest: dict[str, Tensor],
    x: Tensor,
    draws: int,
    protocol: _Protocol,
    *,
    log_q: Tensor | None,
    log_p: Tensor | None,
    log_q_with_own: Tensor | None = None,
) -> RankedSamples:
    images = lowest.get("images")
    return RankedSamples(
        z=lowest["z"].cpu(),
        x=x,
        log_q=None if log_q is None else log_q.cpu(),
        log_q_with_own=None if log_q_with_own is None else log_q_with_own.cpu(),
        log_p=None if log_p is None else log_p.cpu(),
        indices=lowest["indices"].cpu(),
        images=None if images is None else images.cpu(),
        draws=draws,
        protocol=protocol,
    )
