"""All quantities of an evaluation, in the order in which they are measured and shown."""

from priorwise.evaluation import held_out_likelihood, holes, latent_use, sample_quality
from priorwise.evaluation.quantity import Quantity

__all__ = ["QUANTITIES"]

QUANTITIES: tuple[Quantity, ...] = (
    *held_out_likelihood.QUANTITIES,
    *holes.QUANTITIES,
    *latent_use.QUANTITIES,
    *sample_quality.QUANTITIES,
)
