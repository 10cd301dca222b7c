"""Draws straight from a normalised distribution, at a temperature."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from priorwise.distributions import DiagonalGaussianMixture, Tilted
from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["Ancestral"]


def _cooled(distribution: Distribution, temperature: float) -> Distribution:
    """The distribution with its standard deviations multiplied by the temperature."""
    if isinstance(distribution, Independent):
        cooled = _cooled(distribution.base_dist, temperature)
        return Independent(cooled, distribution.reinterpreted_batch_ndims, validate_args=False)
    if isinstance(distribution, Normal):
        return Normal(distribution.loc, distribution.scale * temperature, validate_args=False)
    if isinstance(distribution, DiagonalGaussianMixture):
        return DiagonalGaussianMixture(
            distribution.loc,
            distribution.scale * temperature,
            distribution.log_weights,
            batch_shape=tuple(distribution.batch_shape),
        )
    raise ValueError(
        f"expected a Gaussian or a mixture of Gaussians for a temperature of {temperature}; got "
        f"{type(distribution).__name__}. Use temperature=1."
    )


class Ancestral(AbstractSampler):
    """Exact draws of what can be drawn, group after group; no tilt is applied, so a ``Tilted`` is refused.

    A temperature other than 1 multiplies the standard deviations: it makes tidier pictures, and samples of another
    distribution. Quantitative results use 1.

    References:
        NVAE (Vahdat & Kautz, 2020), section 4, on the temperature.

    Arguments:
        temperature: Factor of the standard deviations, positive.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ValueError(f"expected a positive `temperature`; got {temperature}.")
        self.temperature = temperature

    def __repr__(self) -> str:
        return f"Ancestral(temperature={self.temperature})"

    def run(  # the only sampler whose untilted draws depend on a setting
        self, distribution: Distribution, sample_shape: tuple[int, ...] = ()
    ) -> tuple[Tensor, SampleInfo]:
        """Draws, and a record that says whether they follow the distribution itself."""
        if isinstance(distribution, Tilted) or self.temperature == 1.0:
            return super().run(distribution, sample_shape)
        with torch.no_grad():
            z = _cooled(distribution, self.temperature).sample(torch.Size(sample_shape))
        return z, SampleInfo("ancestral", exact=False, details={"temperature": self.temperature})

    def _run(self, tilted: Tilted, sample_shape: torch.Size) -> tuple[Tensor, SampleInfo]:
        raise ValueError(
            "expected a distribution that can be drawn directly; got a Tilted one, whose tilt ancestral sampling would "
            "ignore. Use priorwise.samplers.SIR, Rejection or Langevin, or sample the untilted model."
        )
