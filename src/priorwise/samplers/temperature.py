"""Distributions at another temperature: their standard deviations are multiplied by a factor."""

from torch.distributions import Distribution, Independent, Normal

from priorwise.distributions import DiagonalGaussianMixture, Tilted

__all__ = ["cooled"]


def cooled(distribution: Distribution, temperature: float) -> Distribution:
    """The distribution with its standard deviations multiplied by the temperature.

    For a tilted distribution this applies to the base. The result has no ``log_norm``, since the
    old one belongs to the old base.

    Raises:
        ValueError: unless it is a Gaussian, a mixture of Gaussians, or one of these with a tilt.
    """
    if isinstance(distribution, Tilted):
        base = cooled(distribution.base, temperature)
        return Tilted(base, distribution.log_tilt, log_bound=distribution.log_bound)
    if isinstance(distribution, Independent):
        inner = cooled(distribution.base_dist, temperature)
        return Independent(inner, distribution.reinterpreted_batch_ndims, validate_args=False)
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
