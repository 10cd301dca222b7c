"""Recipes for scikit-learn's handwritten digits: one VAE with several priors, for the demo."""

from priorwise.config.models import FittedPriorConfig, NCPConfig, VAEConfig
from priorwise.config.priors import (
    FlowPriorConfig,
    FullGaussianMixtureConfig,
    GaussianMixtureConfig,
    PriorConfig,
    StandardNormalConfig,
    VampPriorConfig,
)
from priorwise.config.run import DataConfig, EvaluationConfig, Run
from priorwise.config.training import TrainingConfig
from priorwise.recipes.family import Family

__all__ = ["FAMILIES"]

_LATENT = 8
_HIDDEN = 128
_TRAINING = TrainingConfig(epochs=250, lr=5e-3, schedule="cosine", warmup_epochs=0, patience=40)
_NCP_TRAINING = TrainingConfig(epochs=80, lr=1e-3, schedule="cosine", warmup_epochs=0, patience=20)
_EVALUATION = EvaluationConfig(samples=2000, images=None, log_norm_samples=500_000)
_PRIORS: dict[str, PriorConfig] = {
    "standard": StandardNormalConfig(),
    "vamp": VampPriorConfig(components=50, mean=0.3, std=0.2),
    "mixture": GaussianMixtureConfig(components=50),
}
_AFTERWARDS: dict[str, tuple[PriorConfig, int, float]] = {  # prior, epochs, learning rate
    "flow": (FlowPriorConfig(), 40, 2e-3),
    "mixture": (GaussianMixtureConfig(components=50), 60, 1e-2),
    "full-mixture": (FullGaussianMixtureConfig(), 1, 1e-3),
    "vampprior": (VampPriorConfig(components=50), 60, 1e-2),
}


def _vae(name: str, prior: str) -> Run:
    """The same networks and schedule for every prior."""
    return Run(
        name=name,
        data=DataConfig(name="digits"),
        model=VAEConfig(
            prior=_PRIORS[prior], latent=_LATENT, hidden=_HIDDEN, likelihood="gaussian_predicted"
        ),
        training=_TRAINING,
        evaluation=_EVALUATION,
    )


def _ncp(name: str) -> Run:
    """A noise contrastive prior over the VAE of another run, which ``--base`` names."""
    return Run(
        name=name,
        data=DataConfig(name="digits"),
        model=NCPConfig(base=VAEConfig(), base_run="", hidden_features=(128, 128, 128)),
        training=_NCP_TRAINING,
        evaluation=_EVALUATION,
    )


def _posthoc(name: str, kind: str) -> Run:
    """A prior fitted to the codes of another run's VAE, which ``--base`` names."""
    prior, epochs, lr = _AFTERWARDS[kind]
    return Run(
        name=name,
        data=DataConfig(name="digits"),
        model=FittedPriorConfig(base=VAEConfig(), base_run="", prior=prior),
        training=_NCP_TRAINING.model_copy(update={"epochs": epochs, "lr": lr}),
        evaluation=_EVALUATION,
    )


FAMILIES = (
    Family("digits/{}", "handwritten digits; no download needed", _vae, (tuple(_PRIORS),)),
    Family(
        "digits/ncp",
        "a noise contrastive prior over a run on the digits, which you name with --base",
        _ncp,
    ),
    Family(
        "digits/posthoc-{}",
        "a prior fitted to the codes of a run on the digits, which you name with --base",
        _posthoc,
        (tuple(_AFTERWARDS),),
    ),
)
