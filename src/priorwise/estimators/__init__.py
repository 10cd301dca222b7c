"""Estimators: numbers with standard errors, for any model."""

from priorwise.estimators.base import Estimate
from priorwise.estimators.classifier import GroupContrast, contrast, held_out_bce
from priorwise.estimators.divergence import knn_kl, symmetric_kl
from priorwise.estimators.likelihood import elbo, nll
from priorwise.estimators.normalizer import log_norm
from priorwise.estimators.usage import ActiveUnits, active_units

__all__ = [
    "ActiveUnits",
    "Estimate",
    "GroupContrast",
    "active_units",
    "contrast",
    "elbo",
    "held_out_bce",
    "knn_kl",
    "log_norm",
    "nll",
    "symmetric_kl",
]
