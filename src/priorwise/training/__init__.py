"""Training: the loop, checkpoints and run folders. Only this package knows the engine."""

from typing import TYPE_CHECKING

from priorwise.lazy import lazy_names

if TYPE_CHECKING:
    from priorwise.config.training import TrainingConfig
    from priorwise.training.checkpoint import CheckpointError
    from priorwise.training.folder import RunFolderError
    from priorwise.training.loop import FitResult, TrainingDivergedError, fit
    from priorwise.training.prior_fit import fit_prior
    from priorwise.training.runner import load, train_run
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "CheckpointError",
    "FitResult",
    "RunFolderError",
    "TrainingConfig",
    "TrainingDivergedError",
    "fit",
    "fit_prior",
    "load",
    "train_run",
]
