"""For your tests and ours: contract checks, closed-form models, and one false-alarm rate.

``check_prior(my_prior)`` certifies your own prior; there are checks for models, samplers,
likelihoods and distributions too. A check returns nothing, or raises an ``AssertionError`` that
says what was expected and what it got.
"""

from priorwise.testing.contracts import (
    check_distribution,
    check_likelihood,
    check_model,
    check_prior,
    check_sampler,
)
from priorwise.testing.oracles import GaussianTilt, LadderVAE, LinearGaussianVAE
from priorwise.testing.significance import ALPHA, Z_LIMIT, check_mean, standard_errors, z_limit

__all__ = [
    "ALPHA",
    "Z_LIMIT",
    "GaussianTilt",
    "LadderVAE",
    "LinearGaussianVAE",
    "check_distribution",
    "check_likelihood",
    "check_mean",
    "check_model",
    "check_prior",
    "check_sampler",
    "standard_errors",
    "z_limit",
]
