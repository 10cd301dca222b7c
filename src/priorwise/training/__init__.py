"""Training: the loop, checkpoints and run folders. Only this package knows the engine."""

from typing import TYPE_CHECKING

from priorwise.lazy import lazy_names

if TYPE_CHECKING:
    from priorwise.config.training import TrainingConfig
    from priorwise.training.callbacks import AbstractCallback, Moment
    from priorwise.training.candidates import train_candidates
    from priorwise.training.checkpoint import CheckpointError
    from priorwise.training.fit_result import FitResult
    from priorwise.training.folder import RunFolderError
    from priorwise.training.group_fit import GroupResult, train_group, train_seeds
    from priorwise.training.loop import fit
    from priorwise.training.not_finite import TrainingDivergedError
    from priorwise.training.prior_fit import fit_prior
    from priorwise.training.run_group import RunGroup, read_group
    from priorwise.training.runner import load, train_run
    from priorwise.training.tensorboard import TensorBoard
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "AbstractCallback",
    "CheckpointError",
    "FitResult",
    "GroupResult",
    "Moment",
    "RunFolderError",
    "RunGroup",
    "TensorBoard",
    "TrainingConfig",
    "TrainingDivergedError",
    "fit",
    "fit_prior",
    "load",
    "read_group",
    "train_candidates",
    "train_group",
    "train_run",
    "train_seeds",
]
