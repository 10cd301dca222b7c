"""Pockets and leaks: where the prior expects data and there are none, and data that the prior does not expect.

Letters: ``N`` images, ``K`` samples that are kept, ``D`` latent dimensions of the top group.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from priorwise.distributions import AggregatePosterior, has_mean, picture
from priorwise.estimators.top_latents import aggregate_posterior, posterior_draws, prior_draws
from priorwise.models import AbstractModel, frozen
from priorwise.randomness import seeded
from priorwise.samplers import AbstractSampler

__all__ = ["RankedSamples", "high_posterior_samples", "low_posterior_samples"]

_DRAWS_EACH = 10  # draws behind each sample that is kept, as in the dpVAE code
_DECODED = 500

_Protocol: TypeAlias = dict[str, str | int | float | None]


@dataclass(frozen=True)
class RankedSamples:
    """The draws of lowest density, the lowest first. All tensors are on the CPU.

    Attributes:
        z: Top latents, ``(K, *latent)``.
        x: What the decoder makes of them, ``(K, *event)``: its means, or draws; groups below the
            top are drawn by the model.
        log_q: Log density of the aggregate posterior at z, ``(K,)``, nats; None for an encoder
            without one.
        log_p: Log density of the prior at z, ``(K,)``, nats; None while its normaliser is unknown.
        indices: Which of the draws they are, ``(K,)``.
        images: Index of the image that each was drawn from, ``(K,)``; None for draws from the
            prior.
        draws: From how many draws they were taken.
        protocol: What was done.
    """

    z: Tensor
    x: Tensor
    log_q: Tensor | None
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
    reference: Tensor,
    *,
    count: int,
    draws: int | None = None,
    sampler: AbstractSampler | None = None,
    mean: bool = True,
    seed: int = 0,
) -> RankedSamples:
    r"""Pockets: of the draws from the prior, those of lowest aggregate posterior density.

    .. math:: z \sim p(z), \quad \text{ranked by} \quad \log q(z) = \log \frac{1}{N} \sum_{n=1}^{N} q(z | x_n)

    over all dimensions and all encodings, by logsumexp. The model may generate these, and its
    decoder has hardly seen their like. The memory does not grow with ``draws``; more of them dig
    deeper into the tail, so compare models at equal numbers.

    References:
        dpVAE (Bhalodia et al., 2020), section 4.2, "low-posterior samples". Its code divides by
        log-variances in place of variances, in two dimensions, which reverses the order for narrow
        posteriors; this is the order of its text.

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        reference: Observations whose encodings make q(z), ``(N, *event)``: those that the decoder
            was trained on.
        count: Samples that are kept.
        draws: Draws from the prior; ten times ``count`` if None.
        sampler: Draws from the prior; the model's own if None.
        mean: Whether ``x`` are the decoder's means (draws where it has none) or draws from it.
        seed: Seed of the draws.

    Raises:
        TypeError: for an encoder whose posteriors are not diagonal Gaussians.
    """
    draws = _checked(count, draws)
    purpose = "low_posterior"
    log_norm = _log_norm(model)
    with frozen(model):
        q = aggregate_posterior(model, reference)
        kept = _lowest(
            (
                _columns(block.z, q.log_prob(block.vectors), log_p=block.log_p(log_norm))
                for block in prior_draws(model, draws, sampler, seed=seed, purpose=purpose)
            ),
            count,
        )
        x, decoded = _decoded(model, kept["z"], sampler, seed, purpose, mean=mean)
    protocol: _Protocol = {
        "ranked_by": "log q(z), the aggregate posterior",
        "encodings": q.count,
        "decoded": decoded,
        "seed": seed,
    }
    return _ranked(kept, x, draws, protocol, log_q=kept["score"], log_p=kept.get("log_p"))


@torch.no_grad()
def high_posterior_samples(
    model: AbstractModel,
    x: Tensor,
    *,
    count: int,
    draws: int | None = None,
    mean: bool = True,
    seed: int = 0,
) -> RankedSamples:
    r"""Leaks: of the draws from the aggregate posterior, those of lowest prior density.

    .. math:: z \sim q(z) = \frac{1}{N} \sum_{n=1}^{N} q(z | x_n), \quad \text{ranked by} \quad \log p(z)

    The decoder knows these, and the model hardly ever generates them. A tilted prior is ranked
    before its normaliser, which changes no order. The images take turns, so each is drawn from as
    often as any other.

    References:
        dpVAE (Bhalodia et al., 2020), section 4.2, "high-posterior samples". Its code ranks by two
        dimensions; this is the density over all of them.

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        x: Observations that are encoded, ``(N, *event)``.
        count: Samples that are kept.
        draws: Draws from q(z); ten times ``count`` if None.
        mean: Whether ``x`` are the decoder's means (draws where it has none) or draws from it.
        seed: Seed of the draws.
    """
    draws = _checked(count, draws)
    purpose = "high_posterior"
    log_norm = _log_norm(model)
    with frozen(model):
        kept = _lowest(
            (
                _columns(
                    block.z, block.log_unnorm(), log_p=block.log_p(log_norm), images=block.images
                )
                for block in posterior_draws(model, x, draws, seed=seed, purpose=purpose)
            ),
            count,
        )
        observed, decoded = _decoded(model, kept["z"], None, seed, purpose, mean=mean)
        q = _aggregate_or_none(model, x)
        log_q = None if q is None else q.log_prob(kept["z"].flatten(1))
    ranked_by = (
        "log p(z), the prior" if "log_p" in kept else "log p(z), the prior, up to a constant"
    )
    protocol: _Protocol = {"ranked_by": ranked_by, "decoded": decoded, "seed": seed}
    return _ranked(kept, observed, draws, protocol, log_q=log_q, log_p=kept.get("log_p"))


def _log_norm(model: AbstractModel) -> float | None:
    known = model.known_log_norm()
    return None if known is None else known.value


def _checked(count: int, draws: int | None) -> int:
    """The number of draws."""
    if count < 1:
        raise ValueError(f"expected `count` of at least 1; got {count}.")
    draws = _DRAWS_EACH * count if draws is None else draws
    if draws < count:
        raise ValueError(f"expected at least as many `draws` as `count` = {count}; got {draws}.")
    return draws


def _columns(z: Tensor, score: Tensor, **others: Tensor | None) -> dict[str, Tensor]:
    """What is remembered of a block of draws; all are of one length."""
    found = {"z": z, "score": score, **others}
    return {name: column.to(z.device) for name, column in found.items() if column is not None}


def _lowest(blocks: Iterable[dict[str, Tensor]], count: int) -> dict[str, Tensor]:
    """Of all rows of all blocks, the ``count`` with the lowest score, sorted; ``indices`` tells which they are."""
    kept: dict[str, Tensor] = {}
    start = 0
    for block in blocks:
        size = len(block["score"])
        rows = block | {"indices": torch.arange(start, start + size, device=block["score"].device)}
        joined = {
            name: torch.cat([kept[name], column]) if kept else column
            for name, column in rows.items()
        }
        order = joined["score"].argsort(stable=True)[:count]
        kept = {name: column[order] for name, column in joined.items()}
        start += size
    return kept


def _decoded(
    model: AbstractModel,
    z: Tensor,
    sampler: AbstractSampler | None,
    seed: int,
    purpose: str,
    *,
    mean: bool,
) -> tuple[Tensor, str]:
    """What the decoder makes of them, ``(K, *event)``, and whether these are means or draws."""
    parts = []
    for block, part in enumerate(z.split(_DECODED)):
        with seeded(seed, purpose, "decode", block):
            observed = model.decode(part, sampler)
            mean = mean and has_mean(observed)
            parts.append((picture(observed) if mean else observed.sample()).cpu())
    return torch.cat(parts), "means" if mean else "draws"


def _aggregate_or_none(model: AbstractModel, x: Tensor) -> AggregatePosterior | None:
    """None for an encoder without a Gaussian density: leaks are ranked without it."""
    try:
        return aggregate_posterior(model, x)
    except TypeError:
        return None


def _ranked(
    kept: dict[str, Tensor],
    x: Tensor,
    draws: int,
    protocol: _Protocol,
    *,
    log_q: Tensor | None,
    log_p: Tensor | None,
) -> RankedSamples:
    images = kept.get("images")
    return RankedSamples(
        z=kept["z"].cpu(),
        x=x,
        log_q=None if log_q is None else log_q.cpu(),
        log_p=None if log_p is None else log_p.cpu(),
        indices=kept["indices"].cpu(),
        images=None if images is None else images.cpu(),
        draws=draws,
        protocol=protocol,
    )
