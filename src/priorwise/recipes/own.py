"""Recipes for the user's own data: ``priorwise train own/vae --data faces.npz``."""

from collections.abc import Callable

from priorwise.training.config import TrainingConfig
from priorwise.training.prior import VampPriorConfig
from priorwise.training.run import DataConfig, HVAEConfig, Run, VAEConfig

__all__ = ["recipes"]

_TRAINING = TrainingConfig(epochs=200, lr=1e-3, schedule="cosine", warmup_epochs=10, patience=30)


def _vae() -> Run:
    """A VAE with the standard prior."""
    return Run(name="own/vae", data=DataConfig(name=""), model=VAEConfig(), training=_TRAINING)


def _vae_vamp() -> Run:
    """A VAE with a VampPrior, for data in [0, 1]."""
    prior = VampPriorConfig(mean=0.5, std=0.02)
    return Run(name="own/vae_vamp", data=DataConfig(name=""), model=VAEConfig(prior=prior), training=_TRAINING)


def _hvae() -> Run:
    """The two-level HVAE with the standard prior."""
    return Run(name="own/hvae", data=DataConfig(name=""), model=HVAEConfig(), training=_TRAINING)


def recipes() -> dict[str, Callable[[], Run]]:
    """The recipes of this file by name."""
    return {"own/vae": _vae, "own/vae_vamp": _vae_vamp, "own/hvae": _hvae}
