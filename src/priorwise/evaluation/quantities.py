"""All quantities of an evaluation, in the order in which they are measured and shown."""

from priorwise.evaluation.held_out_likelihood import LOG_NORM, NLL
from priorwise.evaluation.holes import CONTRAST, HOLE, LEAKAGE, SYMMETRIC_KL, TWO_SAMPLE
from priorwise.evaluation.latent_use import ACTIVE_UNITS, DISENTANGLEMENT
from priorwise.evaluation.quantity import Quantity
from priorwise.evaluation.sample_quality import QUALITY

__all__ = ["QUANTITIES"]

QUANTITIES: tuple[Quantity, ...] = (
    LOG_NORM,
    NLL,
    HOLE,
    CONTRAST,
    TWO_SAMPLE,
    LEAKAGE,
    SYMMETRIC_KL,
    ACTIVE_UNITS,
    QUALITY,
    DISENTANGLEMENT,
)
