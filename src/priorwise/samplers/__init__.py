"""Samplers: call one with a distribution to get draws; ``run`` also reports what they cost."""

from priorwise.samplers.ancestral import Ancestral
from priorwise.samplers.base import AbstractSampler, SampleInfo
from priorwise.samplers.importance import SIR
from priorwise.samplers.langevin import Langevin, LangevinState
from priorwise.samplers.rejection import Rejection

__all__ = [
    "SIR",
    "AbstractSampler",
    "Ancestral",
    "Langevin",
    "LangevinState",
    "Rejection",
    "SampleInfo",
]
