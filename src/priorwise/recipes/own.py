"""Recipes for your data (``priorwise train own/vae --data faces.npz``) and runs (``--base``)."""

from priorwise.config.models import (
    HVAEConfig,
    ModelConfig,
    NCPConfig,
    ResidualVAEConfig,
    VAEBySizeConfig,
    VAEConfig,
)
from priorwise.config.priors import VampPriorConfig
from priorwise.config.run import DataConfig, Run
from priorwise.config.training import TrainingByModelConfig, TrainingConfig
from priorwise.recipes.family import Family

__all__ = ["FAMILIES"]

_OPEN = TrainingByModelConfig(epochs=200, schedule="cosine", warmup_epochs=10, patience=30)
_DENSE = _OPEN.for_model({})
_CONVOLUTIONS = _OPEN.for_model(ResidualVAEConfig.training)

_MODELS: dict[str, tuple[ModelConfig, TrainingConfig]] = {
    # the first two take convolutions for large images, and what trains those better
    "vae": (VAEBySizeConfig(), _OPEN),
    "vae_vamp": (VAEBySizeConfig(prior=VampPriorConfig(mean=0.5, std=0.02)), _OPEN),
    "hvae": (HVAEConfig(), _DENSE),
    "conv_vae": (ResidualVAEConfig(), _CONVOLUTIONS),
}


def _own(name: str, model: str) -> Run:
    """A model for your data, which ``--data`` names."""
    networks, training = _MODELS[model]
    return Run(name=name, data=DataConfig(name=""), model=networks, training=training)


def _ncp(name: str) -> Run:
    """An NCP over the run that ``model.base_run`` names, with the data and model of that run."""
    return Run(
        name=name,
        data=DataConfig(name=""),
        model=NCPConfig(base=VAEConfig(), base_run=""),
        training=TrainingConfig(
            epochs=100, lr=1e-3, schedule="cosine", warmup_epochs=0, patience=20
        ),
    )


FAMILIES = (
    Family("own/{}", "your own data, which you name with --data", _own, (tuple(_MODELS),)),
    Family("ncp/posthoc", "a noise contrastive prior over a run, which you name with --base", _ncp),
)
