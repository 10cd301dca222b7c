"""Distributions that torch lacks, as ``torch.distributions`` objects; densities are in nats."""

from priorwise.distributions.aggregate import AggregatePosterior
from priorwise.distributions.autoregressive import AbstractConditionals, Autoregressive
from priorwise.distributions.bernoulli import IndependentBernoulli
from priorwise.distributions.delta import Delta
from priorwise.distributions.display import has_mean, picture
from priorwise.distributions.full_covariance import FullCovarianceMixture
from priorwise.distributions.gaussian import (
    diagonal_gaussian,
    normal_within,
    require_diagonal_gaussian,
)
from priorwise.distributions.gaussian_mixture import DiagonalGaussianMixture
from priorwise.distributions.logistic import DiscretizedLogistic, DiscretizedLogisticMixture
from priorwise.distributions.noise import (
    from_noise,
    has_noise_form,
    is_standard_normal,
    is_zuko_flow,
    to_noise,
)
from priorwise.distributions.normalizing_flow import AbstractBijection, NormalizingFlow
from priorwise.distributions.reshaped import Reshaped, shaped, vector_size
from priorwise.distributions.rows import UnflattenedRows
from priorwise.distributions.support import (
    has_whole_numbers,
    is_binary,
    require_event_shape,
    require_support,
)
from priorwise.distributions.tilted import Tilted, is_normalised, log_unnorm, tilts_within, untilted

__all__ = [
    "AbstractBijection",
    "AbstractConditionals",
    "AggregatePosterior",
    "Autoregressive",
    "Delta",
    "DiagonalGaussianMixture",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "FullCovarianceMixture",
    "IndependentBernoulli",
    "NormalizingFlow",
    "Reshaped",
    "Tilted",
    "UnflattenedRows",
    "diagonal_gaussian",
    "from_noise",
    "has_mean",
    "has_noise_form",
    "has_whole_numbers",
    "is_binary",
    "is_normalised",
    "is_standard_normal",
    "is_zuko_flow",
    "log_unnorm",
    "normal_within",
    "picture",
    "require_diagonal_gaussian",
    "require_event_shape",
    "require_support",
    "shaped",
    "tilts_within",
    "to_noise",
    "untilted",
    "vector_size",
]
