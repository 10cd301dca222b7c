"""Finds the holes in a VAE's prior and fills them.

A model is two methods (``priorwise.models``), and a prior is a module that returns a distribution
(``priorwise.priors``). Objectives, samplers, estimators, training and reports are written once,
against these two. Densities and losses are in nats per example. Importing the package changes
nothing outside it.
"""

from typing import TYPE_CHECKING

from priorwise.lazy import lazy_names

if TYPE_CHECKING:
    from priorwise import (
        data,
        distributions,
        estimators,
        features,
        likelihoods,
        models,
        objectives,
        priors,
        samplers,
        training,
    )
    from priorwise.models import HVAE, NCP, VAE, frozen, wrap
    from priorwise.randomness import seeded
    from priorwise.reporting import report
    from priorwise.tilts import AbstractTilt
    from priorwise.training import FitResult, fit, fit_prior, load
else:
    __getattr__, __dir__ = lazy_names(__name__)

__version__ = "0.1.0"

__all__ = [
    "HVAE",
    "NCP",
    "VAE",
    "AbstractTilt",
    "FitResult",
    "__version__",
    "data",
    "distributions",
    "estimators",
    "features",
    "fit",
    "fit_prior",
    "frozen",
    "likelihoods",
    "load",
    "models",
    "objectives",
    "priors",
    "report",
    "samplers",
    "seeded",
    "training",
    "wrap",
]
