"""Sampling importance resampling (SIR), streamed.

Letters: ``M`` proposals per draw; draws have shape ``(*S, *B)``.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["SIR"]

_BYTES = 64 * 2**20


class SIR(AbstractSampler):
    r"""Each draw is one of M proposals from the base, chosen with probability proportional to its tilt.

    .. math:: z \in \{z_1, \dots, z_M\}, \quad P(z = z_m) \propto e^{t(z_m)}, \quad z_m \sim p_0

    Resampling is exact (the largest of log-weight plus Gumbel noise), the law of one draw is off by
    O(1/M): it is the target only as M grows. Memory does not grow with M: proposals come in chunks,
    and only the best so far is kept. Draws that share a batch element use proposals of their own,
    so they are independent.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), section 3.3.

    Arguments:
        proposals: Number of proposals M behind each draw.
        rows: Proposals that are evaluated at once, over all draws; fewer where one is so large that
            they would take more than 64 MB. Part of the address of the random numbers: another
            value gives other draws of the same law.
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
        kept = _propose(tilted, sample_shape, min(chunk, self.proposals))
        for start in range(chunk, self.proposals, chunk):
            kept = _merge(kept, _propose(tilted, sample_shape, min(chunk, self.proposals - start)))
        info = SampleInfo(
            method=f"SIR with {self.proposals} proposals",
            evaluations=float(self.proposals),
            exact=False,
            ess=(2 * kept.log_sum - kept.log_squares).exp(),
            log_norm=kept.log_sum - math.log(self.proposals),
        )
        return kept.z, info


@dataclass(frozen=True)
class _Kept:
    """The best proposal so far of every draw, and what the weights sum to."""

    z: Tensor
    key: Tensor
    log_sum: Tensor
    log_squares: Tensor


def _propose(tilted: Tilted, sample_shape: torch.Size, count: int) -> _Kept:
    """Of ``count`` proposals for each draw, the one with the largest log-weight plus Gumbel noise."""
    proposed = tilted.base.sample(torch.Size((count, *sample_shape)))
    log_w = tilted.log_tilt(proposed)
    gumbel = -torch.empty_like(log_w).exponential_().log()
    key, index = (log_w + gumbel).max(0)
    wide = _beside(index, tilted).unsqueeze(0).expand(1, *proposed.shape[1:])
    return _Kept(proposed.gather(0, wide)[0], key, log_w.logsumexp(0), (2 * log_w).logsumexp(0))


def _merge(old: _Kept, new: _Kept) -> _Kept:
    better = (new.key > old.key).reshape(*new.key.shape, *[1] * (new.z.dim() - new.key.dim()))
    return _Kept(
        z=torch.where(better, new.z, old.z),
        key=torch.maximum(new.key, old.key),
        log_sum=torch.logaddexp(old.log_sum, new.log_sum),
        log_squares=torch.logaddexp(old.log_squares, new.log_squares),
    )


def _beside(index: Tensor, tilted: Tilted) -> Tensor:
    """An array over draws, with trailing dimensions of size 1 in place of the event."""
    return index.reshape(*index.shape, *[1] * len(tilted.event_shape))
