"""Samplers: call one with a distribution to get draws; ``run`` also reports what they cost."""

from typing import TYPE_CHECKING

from priorwise.lazy import lazy_names

if TYPE_CHECKING:
    from priorwise.samplers.ancestral import Ancestral
    from priorwise.samplers.base import AbstractSampler, SampleInfo
    from priorwise.samplers.importance import SIR
    from priorwise.samplers.langevin import Langevin, LangevinState
    from priorwise.samplers.rejection import Rejection
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "SIR",
    "AbstractSampler",
    "Ancestral",
    "Langevin",
    "LangevinState",
    "Rejection",
    "SampleInfo",
]
