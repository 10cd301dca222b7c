"""Sampling importance resampling (SIR), streamed.

Letters: ``M`` proposals per draw; draws have shape ``(*S, *B)``.
"""

import math

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["SIR"]


class SIR(AbstractSampler):
    r"""Each draw is one of M proposals from the base, chosen with probability proportional to its tilt.

    .. math:: z \in \{z_1, \dots, z_M\}, \quad P(z = z_m) \propto e^{t(z_m)}, \quad z_m \sim p_0

    Resampling is exact (the largest of log-weight plus Gumbel noise), the law of one draw is off by O(1/M): it is the
    target only as M grows. Memory does not grow with M: proposals come in chunks, and only the best so far is kept. Draws
    that share a batch element use proposals of their own, so they are independent.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al., 2021), section 3.3.

    Arguments:
        proposals: Number of proposals M behind each draw.
        rows: Proposals that are evaluated at once, over all draws. Part of the address of the random numbers: another
            value gives other draws of the same law.
    """

    def __init__(self, proposals: int = 1000, *, rows: int = 8192) -> None:
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
        shape = sample_shape + tilted.batch_shape
        event = tuple(range(-len(tilted.event_shape), 0))
        chunk = max(1, self.rows // max(1, math.prod(shape)))
        best = z = sum_1 = sum_2 = None
        for start in range(0, self.proposals, chunk):
            count = min(chunk, self.proposals - start)
            proposed = tilted.base.sample((count, *sample_shape))
            log_w = tilted.log_tilt(proposed)
            gumbel = -torch.empty_like(log_w).exponential_().log()
            key, index = (log_w + gumbel).max(0)
            chosen = proposed.gather(0, index.reshape(1, *shape, *[1] * len(event)).expand(1, *proposed.shape[1:]))[0]
            once, twice = log_w.logsumexp(0), (2 * log_w).logsumexp(0)
            if best is None:
                best, z, sum_1, sum_2 = key, chosen, once, twice
                continue
            better = key > best
            best = torch.maximum(key, best)
            z = torch.where(better.reshape(*shape, *[1] * len(event)), chosen, z)
            sum_1, sum_2 = torch.logaddexp(sum_1, once), torch.logaddexp(sum_2, twice)
        info = SampleInfo(
            method=f"SIR with {self.proposals} proposals",
            evaluations=float(self.proposals),
            exact=False,
            ess=(2 * sum_1 - sum_2).exp(),
            log_norm=sum_1 - math.log(self.proposals),
        )
        return z, info
