"""Rejection sampling, the exact sampler for a bounded tilt."""

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.progress import tell_sampling
from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["Rejection"]


class Rejection(AbstractSampler):
    r"""Proposes from the base and accepts with probability :math:`e^{t(z) - b}`; exact.

    b is an upper bound of the tilt. A draw costs :math:`e^{b} / Z` proposals on average, which is
    cheap for a mild tilt and hopeless for a sharp one. In that case the sampler raises an error
    instead of returning approximate draws.

    Arguments:
        log_bound: The bound b in nats; if None, the ``log_bound`` of the distribution.
        max_proposals: Number of proposals per draw after which the sampler gives up.
        temperature: Factor of the base's standard deviations; see ``AbstractSampler``.
    """

    def __init__(
        self,
        log_bound: float | None = None,
        *,
        max_proposals: int = 100_000,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(temperature)
        if max_proposals < 1:
            raise ValueError(f"expected at least 1 of `max_proposals`; got {max_proposals}.")
        self.log_bound = log_bound
        self.max_proposals = max_proposals

    def __repr__(self) -> str:
        return f"Rejection(log_bound={self.log_bound})"

    @torch.no_grad()
    def _run(self, tilted: Tilted, sample_shape: torch.Size) -> tuple[Tensor, SampleInfo]:
        bound = self._bound(tilted)
        shape = sample_shape + tilted.batch_shape
        waiting = torch.ones(shape, dtype=torch.bool, device=tilted.base.sample().device)
        tries = torch.zeros(shape, device=waiting.device)
        z: Tensor | None = None
        for _ in range(self.max_proposals):
            proposed = tilted.base.sample(sample_shape)
            log_w = tilted.checked_log_tilt(proposed)
            if bool((log_w > bound + 1e-4).any()):
                raise ValueError(
                    f"expected a tilt of at most {bound:.4f} nats; got {float(log_w.max()):.4f}. "
                    "Rejection is exact only under a true bound: give a larger `log_bound`."
                )
            tries += waiting
            accepted = waiting & (torch.rand_like(log_w).log() < log_w - bound)
            z = proposed.clone() if z is None else z
            z[accepted] = proposed[accepted]
            waiting &= ~accepted
            tell_sampling(float(accepted.sum()) / max(1, accepted.numel()))
            if not bool(waiting.any()):
                return z, SampleInfo(
                    method="rejection",
                    evaluations=float(tries.mean()),
                    acceptance=tries.mean().reciprocal(),
                )
        raise ValueError(
            f"{int(waiting.sum())} of {waiting.numel()} draws were not accepted in "
            f"{self.max_proposals} proposals: the bound of {bound:.2f} nats is far above log Z. "
            "Use priorwise.samplers.SIR, or raise `max_proposals`."
        )

    def _bound(self, tilted: Tilted) -> float:
        bound = self.log_bound if self.log_bound is not None else tilted.log_bound
        if bound is None:
            raise ValueError(
                "expected a bounded tilt; got one without `log_bound`. Give "
                "Rejection(log_bound=...) if you know a bound, build the classifier with "
                "`max_logit=`, or use priorwise.samplers.SIR."
            )
        return bound
