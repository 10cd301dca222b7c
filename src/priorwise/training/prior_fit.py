"""A prior that is fitted after the model, to the codes of its frozen encoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from priorwise.config.training import TrainingConfig
from priorwise.data import DataSpec, Splits, Stream, as_training_data
from priorwise.models import AbstractModel, frozen, require_prior, with_prior, wrap
from priorwise.objectives import ExPostPrior
from priorwise.priors import AbstractPrior, as_prior
from priorwise.randomness import seeded
from priorwise.tilts import AbstractContrastiveTilt
from priorwise.training.callbacks import as_callbacks
from priorwise.training.loop import FitResult, fit
from priorwise.training.own_optimizer import factories_among
from priorwise.training.stage import as_model, config_for, judged

__all__ = ["PriorFitResult", "fit_prior"]

_ROWS = 1000
_RECORDED = ("identity", "about")  # options of ``fit`` that only the run folder sees


@dataclass(frozen=True, repr=False)
class PriorFitResult(FitResult):
    """What a fit of a prior came to; the numbers are those of its last stage.

    Attributes:
        stages: The result of each stage by its metric: ``cross_entropy``, that of the prior, and
            that of the tilt over it, such as ``held_out_bce`` of an NCP.
        replaced: Cross-entropy of the prior that the model had before, on the same held-out codes,
            in nats; None if it was tilted, or if codes were given without a model.
    """

    stages: Mapping[str, FitResult] = field(default_factory=dict)
    replaced: float | None = None

    @property
    def prior(self) -> AbstractPrior:
        """The prior that was fitted; a tilt over it is in ``model``."""
        model = next(iter(self.stages.values())).model
        assert isinstance(model, AbstractModel)
        return require_prior(model)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt any of the stages, in words."""
        doubts = [doubt for stage in self.stages.values() for doubt in stage.warnings]
        fitted = next(iter(self.stages.values())).best
        if self.replaced is not None and fitted is not None and fitted >= self.replaced:
            doubts.append(
                f"the fitted prior is no better than the one that it replaces: cross-entropy "
                f"{fitted:.2f} against {self.replaced:.2f} nats on held-out codes. Keep the old "
                "one, or fit another prior or for longer."
            )
        return tuple(doubts)

    def __str__(self) -> str:
        """Its stages, each in two lines, and where it lies and what to do next."""
        *first, _ = self.stages.values()
        stages = ["\n".join(str(stage).splitlines()[:2]) for stage in first]
        before = (
            "" if self.replaced is None else f" The prior before had {self.replaced:.3f} there."
        )
        return "\n".join([*stages, super().__str__()]) + before

    __repr__ = __str__


def fit_prior(
    model: nn.Module | Tensor | np.ndarray,
    prior: nn.Module,
    data: Any = None,  # noqa: ANN401 - whatever `fit` takes
    *,
    tilt: Callable[[AbstractModel], AbstractModel] | None = None,
    tilt_options: Mapping[str, Any] | None = None,
    from_codes: bool = True,
    out: str | Path | None = None,
    progress: bool = True,
    **options: Any,  # noqa: ANN401 - the fields of TrainingConfig
) -> PriorFitResult:
    """Fit a prior to the codes of a trained model (ex-post density estimation).

    The result holds a new model with this prior, which shares encoder and decoder with the old
    model. Nothing in the old model changes: no tensor, no mode, no flag. The prior is trained in
    place by ``priorwise.objectives.ExPostPrior``, on codes that are drawn afresh from q(z|x) in
    every epoch, and judged by the cross-entropy of held-out codes, in nats. Distortion and
    posteriors stay the same, so with one group of latents a cross-entropy that is lower by some
    amount means an ELBO that is higher by the same amount.

    The prior starts from one code of each training example: a mixture has its means there, a flow
    sees standardised codes, a VampPrior has pseudo-inputs at training examples, and a
    ``FullGaussianMixture`` is fitted by expectation maximisation, without further steps. The codes
    of a deterministic encoder are points; no noise is added to them, so a flexible prior can grow
    spikes on the training codes, and the held-out cross-entropy stops it there.

    With ``tilt=priorwise.NCP`` a classifier is fitted over the new prior in a second stage: the
    prior carries most of the hole and the tilt the rest, so log Z is nearly exact.

    Arguments:
        model: A model with a ``prior``: VAE, HVAE (its top prior is replaced), WrappedVAE, or your
            own; its encoder may be deterministic. Or an array or tensor of codes ``(N, *latent)``,
            of which a tenth is held out.
        prior: The prior to fit: a module of ``priorwise.priors`` over the top latents, or a module
            that returns a distribution when called.
        data: The data that the model was trained on, in any form that ``fit`` takes; None for
            codes.
        tilt: Builds a tilted model over the model with the fitted prior, such as
            ``priorwise.NCP``; it is then fitted by its own objective. Its initial weights are drawn
            with the seed of the fit.
        tilt_options: Options of the second fit that differ from those of the first. Callbacks, and
            an optimiser and a schedule of your own, are those of both fits unless you give others.
        from_codes: Whether the prior's values start from the codes; False keeps those that it has,
            to train a fitted prior further.
        out: Folder for checkpoints and metrics, as for ``fit``; with a ``tilt`` the two fits lie in
            its subfolders ``prior`` and ``tilt``. A fit that was killed goes on when it is called
            again.
        progress: Whether to show a progress bar.
        **options: As for ``fit``, but the default patience is 20.

    Raises:
        TypeError: if the model has no prior to replace, or ``prior`` is not a prior.
        ValueError: if the prior shares parameters with the model, is over latents of another shape,
            has no normalised density, or has no parameters to train; if ``data`` is missing, or
            stands beside codes.
        RunFolderError: if ``out`` holds another run.

    Example:
        >>> import priorwise as pw
        >>> model = pw.wrap(encode=torch.nn.Linear(4, 2), decode=torch.nn.Linear(2, 4), latent=2)
        >>> mixture = pw.priors.GaussianMixture(2, 3)
        >>> result = fit_prior(model, mixture, torch.randn(50, 4), epochs=2, progress=False)
        >>> result.metric, result.model.prior is mixture
        ('cross_entropy', True)
        >>> codes, prior = torch.randn(50, 2), pw.priors.FullGaussianMixture(2, 3)
        >>> fit_prior(codes, prior, progress=False).stopped
        'solved'
    """
    _refuse_tilted_model(prior)
    splits: Splits | Stream
    if isinstance(model, Tensor | np.ndarray):
        if data is not None:
            raise ValueError(
                "expected codes alone, or a model with its `data`; got codes and `data`. Leave one "
                "out."
            )
        model, splits = _model_of_codes(model)
    elif data is None:
        raise ValueError(
            f"expected the `data` that {type(model).__name__} was trained on; got none. Give them "
            "as the third argument, or give codes in place of the model."
        )
    else:
        splits = as_training_data(data)
    if "callbacks" in options:
        options["callbacks"] = as_callbacks(options["callbacks"])  # both stages go through them
    second = {**options, **(tilt_options or {})}
    fitted = with_prior(as_model(model), as_prior(prior))
    seed = _config_of(fitted, second).seed  # refuses what the second stage would, before the first
    objective = ExPostPrior(fitted, from_codes=from_codes)
    _try(objective, splits)
    defaults = {"warmup_epochs": 0, "patience": 20}
    first_out, second_out = (out, None) if tilt is None else _folders(out)
    stage = fit(
        fitted, splits, objective, out=first_out, progress=progress, **{**defaults, **options}
    )
    stages = {stage.metric: stage}
    replaced = None if data is None else _cross_entropy(as_model(model), splits)
    if tilt is not None:
        with seeded(seed, "init", "tilt"):
            tilted = tilt(fitted)
        stage = fit(tilted, splits, out=second_out, progress=progress, **second)
        stages[stage.metric] = stage
    return PriorFitResult(**vars(stage), stages=stages, replaced=replaced)


def _cross_entropy(model: AbstractModel, splits: Splits | Stream) -> float | None:
    """That of the model's own prior on held-out codes; None if it is tilted."""
    if model.tilts:
        return None
    objective = ExPostPrior(model)
    device = next(model.parameters(), torch.empty(0)).device
    return judged(objective, splits.evaluation("validation").to(device), _ROWS)


def _config_of(model: AbstractModel, options: Mapping[str, Any]) -> TrainingConfig:
    """The configuration among the options of a stage, all of which are checked."""
    rest = dict(options)
    as_callbacks(rest.pop("callbacks", ()))
    _, rest = factories_among(rest, rest.pop("schedule_every", "epoch"))
    return config_for(model, {name: rest[name] for name in rest if name not in _RECORDED})


def _folders(out: str | Path | None) -> tuple[Path | None, Path | None]:
    """A folder for each stage."""
    return (None, None) if out is None else (Path(out) / "prior", Path(out) / "tilt")


def _refuse_tilted_model(prior: object) -> None:
    """Refuse a model that tilts another one, or its class, in place of a prior."""
    kind = prior if isinstance(prior, type) else type(prior)
    if issubclass(kind, AbstractContrastiveTilt):
        name = kind.__name__
        raise TypeError(
            f"expected a prior; got {name}, which is a model over another model and has a fit of "
            f"its own: priorwise.fit(priorwise.{name}(model), data). To fit a prior and a tilt "
            f"over it, give both: priorwise.fit_prior(model, prior, data, tilt=priorwise.{name})."
        )


def _model_of_codes(codes: Tensor | np.ndarray) -> tuple[AbstractModel, Splits]:
    """A model whose observations are its latents, and the codes as its data, split at random."""
    z = torch.as_tensor(codes).detach().float()
    if z.dim() < 2 or len(z) < 3:
        raise ValueError(f"expected at least 3 codes of shape (N, *latent); got {tuple(z.shape)}.")
    if not bool(z.isfinite().all()):
        raise ValueError("expected finite codes; got some that are NaN or infinite.")
    with seeded(0, "split of codes"):
        z = z[torch.randperm(len(z)).to(z.device)]
    held_out = max(1, len(z) // 10)
    validation, train = z[:held_out], z[held_out:]
    spec = DataSpec("codes", tuple(z.shape[1:]), None, "gaussian", "none", "none")
    identity = wrap(
        encode=nn.Identity(), decode=nn.Identity(), latent=tuple(z.shape[1:]), modules=()
    )
    return identity, Splits(train, validation, validation, spec)


def _try(objective: ExPostPrior, splits: Splits | Stream) -> None:
    """Compute the loss of two examples: what cannot be fitted is refused before a folder exists."""
    device = next(objective.parameters(), torch.empty(0)).device
    with frozen(objective), torch.no_grad(), seeded(0, "try"):
        objective(splits.evaluation("validation")[:2].to(device))
