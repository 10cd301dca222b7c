"""Estimators: numbers with standard errors, for any model."""

from priorwise.estimators.active import ActiveUnits, active_units
from priorwise.estimators.annealed import annealed_log_norm
from priorwise.estimators.base import Estimate
from priorwise.estimators.bound import elbo
from priorwise.estimators.bracket import Bracket
from priorwise.estimators.contrastive import GroupContrast, contrast, held_out_bce
from priorwise.estimators.disentanglement import (
    DCI,
    Disentanglement,
    dci,
    disentanglement_scores,
    factor_vae_score,
    mig,
)
from priorwise.estimators.divergence import knn_kl, symmetric_kl
from priorwise.estimators.frechet import frechet_distance, frechet_floor
from priorwise.estimators.leaks import PAPER_THRESHOLDS, Leakage, leakage
from priorwise.estimators.likelihood import nll
from priorwise.estimators.normalizer import log_norm
from priorwise.estimators.pockets import (
    RankedSamples,
    high_posterior_samples,
    low_posterior_samples,
)
from priorwise.estimators.precision_and_recall import PrecisionRecall, precision_recall
from priorwise.estimators.quality import Quality, protocol_differences
from priorwise.estimators.two_sample import TwoSample, c2st, classifier_two_sample

__all__ = [
    "DCI",
    "PAPER_THRESHOLDS",
    "ActiveUnits",
    "Bracket",
    "Disentanglement",
    "Estimate",
    "GroupContrast",
    "Leakage",
    "PrecisionRecall",
    "Quality",
    "RankedSamples",
    "TwoSample",
    "active_units",
    "annealed_log_norm",
    "c2st",
    "classifier_two_sample",
    "contrast",
    "dci",
    "disentanglement_scores",
    "elbo",
    "factor_vae_score",
    "frechet_distance",
    "frechet_floor",
    "held_out_bce",
    "high_posterior_samples",
    "knn_kl",
    "leakage",
    "log_norm",
    "low_posterior_samples",
    "mig",
    "nll",
    "precision_recall",
    "protocol_differences",
    "symmetric_kl",
]
