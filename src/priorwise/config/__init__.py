"""A run as one validated description: data, model, prior, objective, training and evaluation."""

from priorwise.config.base import AbstractConfig
from priorwise.config.models import (
    AbstractModelConfig,
    AbstractPosthocConfig,
    AbstractVAEConfig,
    ConvVAEConfig,
    HVAEConfig,
    ModelConfig,
    MoonsVAEConfig,
    NCPConfig,
    OwnModelConfig,
    VAEConfig,
)
from priorwise.config.objectives import (
    AbstractObjectiveConfig,
    AnnealedVAEConfig,
    BetaTCVAEConfig,
    BetaVAEConfig,
    ELBOConfig,
    FactorVAEConfig,
    Fit,
    InfoVAEConfig,
    IWAEConfig,
    ObjectiveConfig,
    OwnObjectiveConfig,
)
from priorwise.config.overrides import OverrideError, override, validated, with_settings
from priorwise.config.own_code import OwnCodeError
from priorwise.config.own_parts import AbstractOwnPart
from priorwise.config.priors import (
    AbstractPriorConfig,
    FlowPriorConfig,
    GaussianMixtureConfig,
    OwnPriorConfig,
    PriorConfig,
    StandardNormalConfig,
    VampDataConfig,
    VampPriorConfig,
)
from priorwise.config.run import DataConfig, EvaluationConfig, Run
from priorwise.config.training import TrainingConfig

__all__ = [
    "AbstractConfig",
    "AbstractModelConfig",
    "AbstractObjectiveConfig",
    "AbstractOwnPart",
    "AbstractPosthocConfig",
    "AbstractPriorConfig",
    "AbstractVAEConfig",
    "AnnealedVAEConfig",
    "BetaTCVAEConfig",
    "BetaVAEConfig",
    "ConvVAEConfig",
    "DataConfig",
    "ELBOConfig",
    "EvaluationConfig",
    "FactorVAEConfig",
    "Fit",
    "FlowPriorConfig",
    "GaussianMixtureConfig",
    "HVAEConfig",
    "IWAEConfig",
    "InfoVAEConfig",
    "ModelConfig",
    "MoonsVAEConfig",
    "NCPConfig",
    "ObjectiveConfig",
    "OverrideError",
    "OwnCodeError",
    "OwnModelConfig",
    "OwnObjectiveConfig",
    "OwnPriorConfig",
    "PriorConfig",
    "Run",
    "StandardNormalConfig",
    "TrainingConfig",
    "VAEConfig",
    "VampDataConfig",
    "VampPriorConfig",
    "override",
    "validated",
    "with_settings",
]
