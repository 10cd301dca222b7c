"""A run as one validated description: data, model, prior, objective, training and evaluation."""

from priorwise.config import models, objectives, priors
from priorwise.config.base import AbstractConfig
from priorwise.config.models import *  # noqa: F403 - a new part is entered in its own file alone
from priorwise.config.objectives import *  # noqa: F403
from priorwise.config.overrides import OverrideError, override, validated, with_settings
from priorwise.config.own_code import OwnCodeError
from priorwise.config.own_parts import AbstractOwnPart
from priorwise.config.priors import *  # noqa: F403
from priorwise.config.run import CandidatesConfig, DataConfig, EvaluationConfig, Run
from priorwise.config.training import TrainingByModelConfig, TrainingConfig

__all__ = [
    "AbstractConfig",
    "AbstractOwnPart",
    "CandidatesConfig",
    "DataConfig",
    "EvaluationConfig",
    "OverrideError",
    "OwnCodeError",
    "Run",
    "TrainingByModelConfig",
    "TrainingConfig",
    "override",
    "validated",
    "with_settings",
]
__all__ += models.__all__
__all__ += objectives.__all__
__all__ += priors.__all__
