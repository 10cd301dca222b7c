"""Sampling importance resampling (SIR), streamed.

Letters: ``M`` proposals per draw; draws have shape ``(*S, *B)``.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.progress import tell_sampling
from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["SIR"]

_BYTES = 64 * 2**20


class SIR(AbstractSampler):
    r"""Each draw is one of M proposals from the base, resampled by its importance weight.

    .. math:: z \in \{z_1, \dots, z_M\}, \quad P(z = z_m) \propto e^{t(z_m)}, \quad z_m \sim p_0

    Resampling is exact: it takes the largest sum of log weight and Gumbel noise. The law of a draw
    has a bias of O(1/M), so it reaches the target only as M grows. Memory does not grow with M:
    proposals come in chunks, and only the best so far is kept. Draws for the same batch element use
    separate proposals, so they are independent.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), section 3.3. https://arxiv.org/abs/2010.02917

    Arguments:
        proposals: Number of proposals M per draw.
        rows: Number of proposals to evaluate at once, over all draws; fewer if they would take more
            than 64 MB. The random numbers depend on it: another value gives other draws from the
            same law.
        temperature: Factor of the base's standard deviations; see ``AbstractSampler``.
    """

    def __init__(
        self, proposals: int = 1000, *, rows: int = 2048, temperature: float = 1.0
    ) -> None:
        super().__init__(temperature)
        if proposals < 1:
            raise ValueError(f"expected at least 1 of `proposals`; got {proposals}.")
        if rows < 1:
            raise ValueError(f"expected `rows` of at least 1; got {rows}.")
        self.proposals = proposals
        self.rows = rows

    def __repr__(self) -> str:
        return f"SIR(proposals={self.proposals})"

    @torch.no_grad()
    def _run(self, tilted: Tilted, sample_shape: torch.Size) -> tuple[Tensor, SampleInfo]:
        draws = math.prod(sample_shape + tilted.batch_shape)
        rows = min(self.rows, _BYTES // (4 * max(1, tilted.event_shape.numel())))
        chunk = max(1, rows // max(1, draws))
        best = _propose(tilted, sample_shape, min(chunk, self.proposals))
        tell_sampling(min(chunk, self.proposals) / self.proposals)
        for start in range(chunk, self.proposals, chunk):
            size = min(chunk, self.proposals - start)
            best = _merge(best, _propose(tilted, sample_shape, size))
            tell_sampling(size / self.proposals)
        info = SampleInfo(
            method=f"SIR with {self.proposals} proposals",
            evaluations=float(self.proposals),
            exact=False,
            ess=(2 * best.log_sum - best.log_squares).exp(),
            log_norm=best.log_sum - math.log(self.proposals),
        )
        return best.z, info


@dataclass(frozen=True)
class _Best:
    """The best proposal so far for every draw, and the sums of the weights and their squares."""

    z: Tensor
    key: Tensor
    log_sum: Tensor
    log_squares: Tensor


def _propose(tilted: Tilted, sample_shape: torch.Size, count: int) -> _Best:
    """The best of ``count`` proposals per draw: the largest log weight plus Gumbel noise."""
    proposed = tilted.base.sample(torch.Size((count, *sample_shape)))
    log_w = tilted.checked_log_tilt(proposed)
    gumbel = -torch.empty_like(log_w).exponential_().log()
    key, index = (log_w + gumbel).max(0)
    wide = index.reshape(1, *index.shape, *[1] * len(tilted.event_shape))
    wide = wide.expand(1, *proposed.shape[1:])
    return _Best(proposed.gather(0, wide)[0], key, log_w.logsumexp(0), (2 * log_w).logsumexp(0))


def _merge(old: _Best, new: _Best) -> _Best:
    better = (new.key > old.key).reshape(*new.key.shape, *[1] * (new.z.dim() - new.key.dim()))
    return _Best(
        z=torch.where(better, new.z, old.z),
        key=torch.maximum(new.key, old.key),
        log_sum=torch.logaddexp(old.log_sum, new.log_sum),
        log_squares=torch.logaddexp(old.log_squares, new.log_squares),
    )
