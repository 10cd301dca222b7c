"""Draws straight from a normalised distribution, at a temperature."""

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["Ancestral"]


class Ancestral(AbstractSampler):
    """Exact draws of what can be drawn, group after group; no tilt is applied, so a ``Tilted`` is refused.

    Arguments:
        temperature: Factor of the standard deviations, positive; see ``AbstractSampler``.
    """

    def __repr__(self) -> str:
        return f"Ancestral(temperature={self.temperature})"

    def _run(self, tilted: Tilted, sample_shape: torch.Size) -> tuple[Tensor, SampleInfo]:
        raise ValueError(
            "expected a distribution that can be drawn directly; got a Tilted one, whose tilt "
            "ancestral sampling would ignore. Use priorwise.samplers.SIR, Rejection or Langevin, "
            "or sample the untilted model."
        )
