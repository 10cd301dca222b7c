"""A prior that is fitted after the model, to the codes of its frozen encoder."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from priorwise.data import Splits, as_splits
from priorwise.models import AbstractModel, frozen, require_prior
from priorwise.objectives import ExPostPrior
from priorwise.priors import AbstractPrior, as_prior
from priorwise.randomness import seeded
from priorwise.tilts import AbstractContrastiveTilt
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

    The result holds a new model with this prior, which shares encoder and decoder with the old
    model. Nothing in the old model changes: no tensor, no mode, no flag. The prior is trained in
    place by ``priorwise.objectives.ExPostPrior`` and judged by the cross-entropy of held-out codes,
    in nats. Distortion and posteriors stay the same, so with one group of latents a cross-entropy
    that is lower by some amount means an ELBO that is higher by the same amount.

    Arguments:
        model: A model with a ``prior``: VAE, HVAE (its top prior is replaced), WrappedVAE, or your
            own. Its encoder may be deterministic.
        prior: The prior to fit: a module of ``priorwise.priors`` over the top latents, or a module
            that returns a distribution when called.
        data: The data that the model was trained on, in any form that ``fit`` takes.
        out: Folder for checkpoints and metrics, as for ``fit``.
        progress: Whether to show a progress bar.
        **options: As for ``fit``, but the default patience is 20.

    Raises:
        TypeError: if the model has no prior to replace, or ``prior`` is not a prior.
        ValueError: if the prior shares parameters with the model, is over latents of another shape,
            has no normalised density, or has no parameters to train.
        RunFolderError: if ``out`` holds another run.

    Example:
        >>> import priorwise as pw
        >>> model = pw.wrap(encode=torch.nn.Linear(4, 2), decode=torch.nn.Linear(2, 4), latent=2)
        >>> mixture = pw.priors.GaussianMixture(2, 3)
        >>> result = fit_prior(model, mixture, torch.randn(50, 4), epochs=2, progress=False)
        >>> result.metric, result.model.prior is mixture
        ('cross_entropy', True)
    """
    _refuse_tilted_model(prior)
    fitted = _with_prior(as_model(model), as_prior(prior))
    objective = ExPostPrior(fitted)
    splits = as_splits(data)
    _try(objective, splits)
    defaults = {"warmup_epochs": 0, "patience": 20}
    return fit(fitted, splits, objective, out=out, progress=progress, **{**defaults, **options})


def _refuse_tilted_model(prior: object) -> None:
    """Refuse a model that tilts another one, or its class, in place of a prior."""
    kind = prior if isinstance(prior, type) else type(prior)
    if issubclass(kind, AbstractContrastiveTilt):
        name = kind.__name__
        raise TypeError(
            f"expected a prior; got {name}, which is a model over another model and has a fit of "
            f"its own: priorwise.fit(priorwise.{name}(model), data)."
        )


def _with_prior(model: AbstractModel, prior: AbstractPrior) -> AbstractModel:
    """A model of the same parts with another prior.

    The parts are shared with the old model, but the lists of the parts are copied.
    """
    require_prior(model)
    model_parameters = {id(parameter) for parameter in model.parameters()}
    if any(id(parameter) in model_parameters for parameter in prior.parameters()):
        raise ValueError(
            "expected a `prior` with parameters of its own; got one that shares some with the "
            "model, so fitting it would change the model. Fit a copy: copy.deepcopy(prior)."
        )
    fitted = model.__new__(type(model))
    fitted.__dict__ = {
        name: value.copy() if isinstance(value, (dict, set)) else value
        for name, value in vars(model).items()
    }
    fitted.prior = prior.to(next(model.parameters(), torch.empty(0)).device)
    return fitted


def _try(objective: ExPostPrior, splits: Splits) -> None:
    """Compute the loss of two examples: what cannot be fitted is refused before a folder exists."""
    device = next(objective.parameters(), torch.empty(0)).device
    with frozen(objective), torch.no_grad(), seeded(0, "try"):
        objective(splits.evaluation("validation")[:2].to(device))
