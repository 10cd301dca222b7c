"""Objectives: modules that hold the model and compute the terms of the loss.

Terms are in nats per example. An objective takes the prior from the model, so every prior works
with every objective.
"""

from priorwise.objectives.base import (
    AbstractModelObjective,
    AbstractObjective,
    Explanation,
    Player,
    Terms,
    Weight,
)
from priorwise.objectives.beta import AnnealedVAE, BetaVAE
from priorwise.objectives.default import default_objective
from priorwise.objectives.discrepancy import IMQ, RBF, mmd
from priorwise.objectives.elbo import ELBO
from priorwise.objectives.ex_post import ExPostPrior
from priorwise.objectives.factor import Discriminator, FactorVAE
from priorwise.objectives.info import InfoVAE
from priorwise.objectives.iwae import IWAE
from priorwise.objectives.nce import NCE
from priorwise.objectives.total_correlation import BetaTCVAE

__all__ = [
    "ELBO",
    "IMQ",
    "IWAE",
    "NCE",
    "RBF",
    "AbstractModelObjective",
    "AbstractObjective",
    "AnnealedVAE",
    "BetaTCVAE",
    "BetaVAE",
    "Discriminator",
    "ExPostPrior",
    "Explanation",
    "FactorVAE",
    "InfoVAE",
    "Player",
    "Terms",
    "Weight",
    "default_objective",
    "mmd",
]
