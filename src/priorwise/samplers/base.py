"""What every sampler is: called with a distribution, it returns draws; ``run`` also tells what they cost.

Letters: ``S`` the sample shape that is asked for, ``B`` the batch shape of the distribution.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorwise.distributions import Tilted
from priorwise.samplers.temperature import cooled
from priorwise.typing import Shape

__all__ = ["AbstractSampler", "SampleInfo"]


@dataclass(frozen=True)
class SampleInfo:
    """What a sampler says of its draws.

    Attributes:
        method: Name of the method that made them.
        evaluations: Evaluations of the tilt per draw, on average.
        exact: Whether the draws follow the target exactly.
        ess: Effective sample size of the proposals behind each draw, ``(*S, *B)``, where there were
            proposals.
        acceptance: Accepted share of the proposals, ``(*S, *B)`` or a scalar, where they could be
            refused.
        log_norm: An estimate of log Z in nats from the same proposals, where they give one.
        details: Anything else that the method tells, such as the space in which a chain moved.
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

    1. Inherit, and take the settings as keyword arguments; check them in the constructor. Hand
       ``temperature`` to this constructor.
    2. Implement ``_run(tilted, sample_shape)`` for a ``Tilted`` distribution. Return draws of shape
       ``(*sample_shape, *batch_shape, *event_shape)`` and a ``SampleInfo``.
    3. Draw from torch's own generator and never seed it.

    What is not tilted is drawn ancestrally, by this class.

    A temperature other than 1 multiplies the standard deviations of the distribution, or of the
    base of a tilted one, and the draws are then those of another distribution: tidier pictures.
    Quantitative results use 1.

    References:
        NVAE (Vahdat & Kautz, 2020), section 4, on the temperature.

    Arguments:
        temperature: Factor of the standard deviations, positive.
    """

    temperature: float = 1.0  # for a sampler that knows none

    def __init__(self, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ValueError(f"expected a positive `temperature`; got {temperature}.")
        self.temperature = temperature

    def __call__(self, distribution: Distribution, sample_shape: Shape = ()) -> Tensor:
        """Draws of shape ``(*sample_shape, *batch_shape, *event_shape)``."""
        return self.run(distribution, sample_shape)[0]

    def run(
        self, distribution: Distribution, sample_shape: Shape = ()
    ) -> tuple[Tensor, SampleInfo]:
        """Draws and what they cost."""
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
            return distribution.sample(sample_shape), SampleInfo("ancestral")

    @abstractmethod
    def _run(self, tilted: Tilted, sample_shape: torch.Size) -> tuple[Tensor, SampleInfo]:
        """Draws from a tilted distribution."""
