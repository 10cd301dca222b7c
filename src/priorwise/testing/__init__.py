"""For tests, yours and ours: contract checks, models with closed answers, and one false-alarm rate.

``check_prior(my_prior)`` certifies a prior of your own; models, samplers, likelihoods and
distributions have theirs. A check returns nothing and raises an ``AssertionError`` that says what
was expected and what was found.
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
