"""Recipes for what is yours: your data (``priorwise train own/vae --data faces.npz``), and your trained run (``--base``)."""

from collections.abc import Callable

from priorwise.config.models import HVAEConfig, NCPConfig, VAEConfig
from priorwise.config.priors import VampPriorConfig
from priorwise.config.run import DataConfig, Run
from priorwise.config.training import TrainingConfig

__all__ = ["recipes"]

_TRAINING = TrainingConfig(epochs=200, lr=1e-3, schedule="cosine", warmup_epochs=10, patience=30)


def _vae() -> Run:
    """A VAE with the standard prior."""
    return Run(name="own/vae", data=DataConfig(name=""), model=VAEConfig(), training=_TRAINING)


def _vae_vamp() -> Run:
    """A VAE with a VampPrior, for data in [0, 1]."""
    prior = VampPriorConfig(mean=0.5, std=0.02)
    return Run(
        name="own/vae_vamp",
        data=DataConfig(name=""),
        model=VAEConfig(prior=prior),
        training=_TRAINING,
    )


def _hvae() -> Run:
    """The two-level HVAE with the standard prior."""
    return Run(name="own/hvae", data=DataConfig(name=""), model=HVAEConfig(), training=_TRAINING)


def _ncp() -> Run:
    """An NCP over the run that ``model.base_run`` names; data and base are taken from that run."""
    return Run(
        name="ncp/posthoc",
        data=DataConfig(name=""),
        model=NCPConfig(base=VAEConfig(), base_run=""),
        training=TrainingConfig(
            epochs=100, lr=1e-3, schedule="cosine", warmup_epochs=0, patience=20
        ),
    )


def recipes() -> dict[str, Callable[[], Run]]:
    """The recipes of this file by name."""
    return {"own/vae": _vae, "own/vae_vamp": _vae_vamp, "own/hvae": _hvae, "ncp/posthoc": _ncp}
