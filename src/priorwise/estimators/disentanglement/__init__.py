"""How well single latent dimensions represent known factors: MIG, DCI and the FactorVAE score."""

from priorwise.estimators.disentanglement.information import mig
from priorwise.estimators.disentanglement.relative_importance import DCI, dci
from priorwise.estimators.disentanglement.scores import Disentanglement, disentanglement_scores
from priorwise.estimators.disentanglement.votes import factor_vae_score

__all__ = ["DCI", "Disentanglement", "dci", "disentanglement_scores", "factor_vae_score", "mig"]
