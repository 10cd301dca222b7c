"""The contract of samplers: a call returns draws; ``run`` also reports what they cost.

Letters: ``S`` the requested sample shape, ``B`` the batch shape of the distribution.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorwise.distributions import Tilted
from priorwise.limits import LARGEST_TEMPERATURE
from priorwise.progress import tell_sampling
from priorwise.samplers.temperature import cooled
from priorwise.typing import Shape

__all__ = ["AbstractSampler", "SampleInfo"]


@dataclass(frozen=True)
class SampleInfo:
    """What a sampler reports about its draws.

    Attributes:
        method: Name of the method.
        evaluations: Evaluations of the tilt per draw, on average.
        exact: Whether the draws follow the target exactly.
        ess: Effective sample size of the proposals for each draw, ``(*S, *B)``; None for a method
            without importance weights.
        acceptance: Share of the proposals that were accepted, ``(*S, *B)`` or a scalar; None for a
            method that rejects nothing.
        log_norm: An estimate of log Z in nats from the same proposals, where they give one.
        details: Anything else that the method reports, such as the space in which a chain moved.
    """

    method: str
    evaluations: float = 0.0
    exact: bool = True
    ess: Tensor | None = None
    acceptance: Tensor | None = None
    log_norm: Tensor | None = None
    details: dict[str, str | float] = field(default_factory=dict)


class AbstractSampler(ABC):
    """How to write a sampler.

    1. Inherit. Take the settings as keyword arguments, check them in the constructor, and pass
       ``temperature`` on to this constructor.
    2. Implement ``_run(tilted, sample_shape)`` for a ``Tilted`` distribution. Return draws of shape
       ``(*sample_shape, *batch_shape, *event_shape)`` and a ``SampleInfo``.
    3. Draw from torch's own generator and never seed it.
    4. If it takes long, call ``priorwise.progress.tell_sampling`` with each part of the work that
       is done; the parts of a call add up to 1.

    This class itself draws from every distribution that is not tilted.

    A temperature other than 1 multiplies the standard deviations of the distribution, or of the
    base of a tilted one. The draws then follow another distribution, which gives tidier pictures.
    Use 1 for quantitative results.

    References:
        NVAE (Vahdat & Kautz, 2020), section 4, for the temperature.
        https://arxiv.org/abs/2007.03898

    Arguments:
        temperature: Positive, finite factor of the standard deviations.
    """

    temperature: float = 1.0  # for a sampler that does not set one

    def __init__(self, temperature: float = 1.0) -> None:
        if not 0 < temperature < math.inf:
            raise ValueError(f"expected a positive, finite `temperature`; got {temperature}.")
        if temperature > LARGEST_TEMPERATURE:
            raise ValueError(
                f"expected a `temperature` of at most {LARGEST_TEMPERATURE:,}; got {temperature}. "
                "Draws so far away decode to nothing."
            )
        self.temperature = temperature

    def __call__(self, distribution: Distribution, sample_shape: Shape = ()) -> Tensor:
        """Draws of shape ``(*sample_shape, *batch_shape, *event_shape)``."""
        return self.run(distribution, sample_shape)[0]

    def run(
        self, distribution: Distribution, sample_shape: Shape = ()
    ) -> tuple[Tensor, SampleInfo]:
        """Draws, and what they cost."""
        if self.temperature == 1.0:
            return self._draw(distribution, torch.Size(sample_shape))
        z, info = self._draw(cooled(distribution, self.temperature), torch.Size(sample_shape))
        details = info.details | {"temperature": self.temperature}
        return z, replace(info, exact=False, details=details)

    def _draw(
        self, distribution: Distribution, sample_shape: torch.Size
    ) -> tuple[Tensor, SampleInfo]:
        if isinstance(distribution, Tilted):
            return self._run(distribution, sample_shape)
        with torch.no_grad():
            z = distribution.sample(sample_shape)
        tell_sampling(1.0)
        return z, SampleInfo("ancestral")

    @abstractmethod
    def _run(self, tilted: Tilted, sample_shape: torch.Size) -> tuple[Tensor, SampleInfo]:
        """Draws from a tilted distribution."""
