"""A prior fitted after the model: to the codes of its encoder, which stays as it is."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from priorwise.data import Splits, as_splits
from priorwise.models import AbstractModel, frozen, require_prior
from priorwise.objectives import ExPostPrior
from priorwise.priors import AbstractPrior, as_prior
from priorwise.randomness import seeded
from priorwise.training.loop import FitResult, fit
from priorwise.training.stage import as_model

__all__ = ["fit_prior"]


def fit_prior(
    model: nn.Module,
    prior: nn.Module,
    data: Any,  # noqa: ANN401 - whatever `as_splits` takes
    *,
    out: str | Path | None = None,
    progress: bool = True,
    **options: Any,  # noqa: ANN401 - the fields of TrainingConfig
) -> FitResult:
    """Fit a prior to the codes of a trained model (ex-post density estimation).

    The result holds a new model with this prior; it shares encoder and decoder with the old one, of
    which nothing changes: not a tensor, a mode or a flag. The prior is trained in place, by
    ``priorwise.objectives.ExPostPrior``, and judged by the cross-entropy of held-out codes, in
    nats. Distortion and posteriors stay, so a lower cross-entropy is an ELBO higher by as much, for
    one group of latents.

    Arguments:
        model: A model with a ``prior``: VAE, HVAE (its top prior is replaced), WrappedVAE, or your
            own. Its encoder may be deterministic.
        prior: What is fitted: a module of ``priorwise.priors`` over the top latents, or one that
            returns a distribution when called.
        data: What the model was trained on, in any form that ``fit`` takes.
        out: Folder for checkpoints and metrics, as for ``fit``.
        progress: Whether to show a progress bar.
        **options: As for ``fit``; without them patience is 20.

    Raises:
        TypeError: if the model has no prior of its own, or ``prior`` is none.
        ValueError: if the prior shares parameters with the model, is over latents of another shape,
            has no normalised density, or nothing to train.
        RunFolderError: if ``out`` holds another run.

    Example:
        >>> import priorwise as pw
        >>> model = pw.wrap(encode=torch.nn.Linear(4, 2), decode=torch.nn.Linear(2, 4), latent=2)
        >>> mixture = pw.priors.GaussianMixture(2, 3)
        >>> result = fit_prior(model, mixture, torch.randn(50, 4), epochs=2, progress=False)
        >>> result.metric, result.model.prior is mixture
        ('cross_entropy', True)
    """
    fitted = _with_prior(as_model(model), as_prior(prior))
    objective = ExPostPrior(fitted)
    splits = as_splits(data)
    _try(objective, splits)
    defaults = {"warmup_epochs": 0, "patience": 20}
    return fit(fitted, splits, objective, out=out, progress=progress, **{**defaults, **options})


def _with_prior(model: AbstractModel, prior: AbstractPrior) -> AbstractModel:
    """A model of the same parts with another prior; the parts are shared, the lists of them are not."""
    require_prior(model)
    inside = {id(parameter) for parameter in model.parameters()}
    if any(id(parameter) in inside for parameter in prior.parameters()):
        raise ValueError(
            "expected a prior with parameters of its own; it shares some with the model, which "
            "would not be left as it is. Fit a copy: copy.deepcopy(prior)."
        )
    fitted = model.__new__(type(model))
    fitted.__dict__ = {
        name: value.copy() if isinstance(value, (dict, set)) else value
        for name, value in vars(model).items()
    }
    fitted.prior = prior.to(next(model.parameters(), torch.empty(0)).device)
    return fitted


def _try(objective: ExPostPrior, splits: Splits) -> None:
    """The loss of two examples: what cannot be fitted is refused before a folder is made."""
    device = next(objective.parameters(), torch.empty(0)).device
    with frozen(objective), torch.no_grad(), seeded(0, "try"):
        objective(splits.evaluation("validation")[:2].to(device))
