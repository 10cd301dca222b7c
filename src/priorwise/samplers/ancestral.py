"""Draws directly from a distribution without a tilt, at a temperature."""

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["Ancestral"]


class Ancestral(AbstractSampler):
    """Exact draws from distributions that can be sampled directly, group after group.

    It applies no tilt, so it refuses a ``Tilted`` distribution.

    Arguments:
        temperature: Positive factor of the standard deviations; see ``AbstractSampler``.
    """

    def __repr__(self) -> str:
        return f"Ancestral(temperature={self.temperature})"

    def _run(self, tilted: Tilted, sample_shape: torch.Size) -> tuple[Tensor, SampleInfo]:
        raise ValueError(
            "expected a distribution that can be sampled directly; got a Tilted one, whose tilt "
            "ancestral sampling would ignore. Use priorwise.samplers.SIR, Rejection or Langevin, "
            "or sample the untilted model."
        )
