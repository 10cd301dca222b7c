"""Recipes that fit a prior to the codes of a trained run (``train posthoc/flow --base RUN``)."""

from priorwise.config.models import FittedPriorConfig, VAEConfig
from priorwise.config.priors import (
    FlowPriorConfig,
    FullGaussianMixtureConfig,
    GaussianMixtureConfig,
    PriorConfig,
    VampPriorConfig,
)
from priorwise.config.run import DataConfig, Run
from priorwise.config.training import TrainingConfig
from priorwise.recipes.family import Family

__all__ = ["FAMILIES"]

_PRIORS: dict[str, tuple[PriorConfig, float]] = {
    "mixture": (GaussianMixtureConfig(), 5e-3),
    "full-mixture": (FullGaussianMixtureConfig(), 1e-3),
    "vampprior": (VampPriorConfig(), 5e-3),
    "flow": (FlowPriorConfig(), 1e-3),
}


def _posthoc(name: str, kind: str) -> Run:
    """A prior over the run that ``model.base_run`` names, with the data and model of that run."""
    prior, lr = _PRIORS[kind]
    return Run(
        name=name,
        data=DataConfig(name=""),
        model=FittedPriorConfig(base=VAEConfig(), base_run="", prior=prior),
        training=TrainingConfig(epochs=50, lr=lr, schedule="cosine", warmup_epochs=0, patience=10),
    )


FAMILIES = (
    Family(
        "posthoc/{}",
        "a prior fitted to the codes of a run, which you name with --base",
        _posthoc,
        (tuple(_PRIORS),),
    ),
)
