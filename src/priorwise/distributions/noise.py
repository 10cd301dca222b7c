"""Distributions whose draws are a smooth function of standard normal noise, z = T(eps)."""

import sys

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution

from priorwise.distributions.normalizing_flow import NormalizingFlow
from priorwise.distributions.reshaped import Reshaped
from priorwise.refusals import NotGaussianError

__all__ = ["from_noise", "has_noise_form", "is_standard_normal", "is_zuko_flow", "to_noise"]


def is_zuko_flow(distribution: Distribution) -> bool:
    """Whether this is a zuko flow, which can only exist if zuko is imported already."""
    zuko = sys.modules.get("zuko.distributions")
    return zuko is not None and isinstance(distribution, zuko.NormalizingFlow)


def is_standard_normal(distribution: Distribution) -> bool:
    """Whether this is a Gaussian (ours, torch's or zuko's) of mean 0 and standard deviation 1."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return type(distribution).__name__ in ("Normal", "DiagNormal") and bool(
        (distribution.mean == 0).all() and (distribution.stddev == 1).all()
    )


def has_noise_form(distribution: Distribution) -> bool:
    """Whether ``from_noise`` knows the map T, as it does for Gaussians and flows over one."""
    if isinstance(distribution, Independent):
        return has_noise_form(distribution.base_dist)
    if isinstance(distribution, (Normal, NormalizingFlow)):
        return True
    if isinstance(distribution, TransformedDistribution):
        return has_noise_form(distribution.base_dist)
    return is_zuko_flow(distribution) and is_standard_normal(distribution.base)  # type: ignore[attr-defined]


def from_noise(distribution: Distribution, eps: Tensor) -> Tensor:
    """The draw z = T(eps) of noise eps ~ N(0, I), ``(*sample, *batch, *event)``.

    Raises:
        TypeError: if the distribution has no such form.
    """
    if isinstance(distribution, Independent):
        return from_noise(distribution.base_dist, eps)
    if isinstance(distribution, Normal):
        return torch.addcmul(distribution.loc, distribution.scale, eps)
    if isinstance(distribution, NormalizingFlow):
        return distribution.from_noise(eps)
    if isinstance(distribution, Reshaped):  # the noise has the shape of the draws
        vectors = from_noise(distribution.base_dist, eps.flatten(-len(distribution.shape)))
        return vectors.unflatten(-1, distribution.shape)
    if isinstance(distribution, TransformedDistribution):
        z = from_noise(distribution.base_dist, eps)
        for transform in distribution.transforms:
            z = transform(z)
        return z
    if is_zuko_flow(distribution):
        return distribution.transform.inv(eps)  # type: ignore[attr-defined]
    raise NotGaussianError(
        f"expected a Gaussian or a flow over a Gaussian; got {type(distribution).__name__}, which "
        "is no smooth image of normal noise."
    )


def to_noise(distribution: Distribution, z: Tensor) -> Tensor:
    """The noise eps = T^-1(z) of a draw, the inverse of ``from_noise``.

    Raises:
        TypeError: if the distribution has no such form.
    """
    if isinstance(distribution, Independent):
        return to_noise(distribution.base_dist, z)
    if isinstance(distribution, Normal):
        return (z - distribution.loc) / distribution.scale
    if isinstance(distribution, NormalizingFlow):
        return distribution.bijection(z)[0]
    if isinstance(distribution, Reshaped):
        noise = to_noise(distribution.base_dist, z.flatten(-len(distribution.shape)))
        return noise.unflatten(-1, distribution.shape)
    if isinstance(distribution, TransformedDistribution):
        for transform in reversed(distribution.transforms):
            z = transform.inv(z)
        return to_noise(distribution.base_dist, z)
    if is_zuko_flow(distribution):
        return distribution.transform(z)  # type: ignore[attr-defined]
    raise NotGaussianError(
        f"expected a Gaussian or a flow over a Gaussian; got {type(distribution).__name__}, which "
        "is no smooth image of normal noise."
    )
