"""Priors over the top latents; any prior works with any model."""

from priorwise.priors.base import AbstractPrior, WrappedPrior, as_prior
from priorwise.priors.flow import FlowPrior
from priorwise.priors.full_mixture import FullGaussianMixture
from priorwise.priors.mixture import GaussianMixture
from priorwise.priors.standard import StandardNormal
from priorwise.priors.vamp import VampPrior

__all__ = [
    "AbstractPrior",
    "FlowPrior",
    "FullGaussianMixture",
    "GaussianMixture",
    "StandardNormal",
    "VampPrior",
    "WrappedPrior",
    "as_prior",
]
