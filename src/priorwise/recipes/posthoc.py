"""Recipes that fit a prior after training, on the model of another run."""

from collections.abc import Callable

from priorwise.training.config import TrainingConfig
from priorwise.training.run import DataConfig, NCPConfig, Run, VAEConfig

__all__ = ["recipes"]


def _ncp() -> Run:
    """An NCP over the run that ``model.base_run`` names; data and base are taken from that run."""
    return Run(
        name="ncp/posthoc",
        data=DataConfig(name=""),
        model=NCPConfig(base=VAEConfig(), base_run=""),
        training=TrainingConfig(epochs=100, lr=1e-3, schedule="cosine", warmup_epochs=0, patience=20),
    )


def recipes() -> dict[str, Callable[[], Run]]:
    """The recipes of this file by name."""
    return {"ncp/posthoc": _ncp}
