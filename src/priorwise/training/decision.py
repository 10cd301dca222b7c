"""What the data of a run decide: its networks and how they are trained. Said and recorded.

Nothing here needs torch, so a dry run starts at once.
"""

from priorwise.config.models import (
    LARGEST_DENSE,
    AbstractModelConfig,
    ResidualVAEConfig,
    VAEBySizeConfig,
)
from priorwise.config.run import Run
from priorwise.config.training import TrainingConfig
from priorwise.data.known_sets import names, spec_of, where_data_are
from priorwise.data.spec import DataSpec

__all__ = ["decided", "decision_words", "outlook"]

_LIMIT = f"{LARGEST_DENSE}x{LARGEST_DENSE}"


def decided(run: Run, spec: DataSpec) -> Run:
    """The run with the model and the options of a fit that its data decide on.

    Nothing that was set is replaced: ``TrainingByModelConfig`` tells what was left open. Residual
    convolutions then get the options that serve them, all other models the usual ones.
    """
    model = run.model.for_data(spec)
    return run.model_copy(update={"model": model, "training": _training(run, model)})


def _training(run: Run, model: AbstractModelConfig) -> TrainingConfig:
    """The options of a fit of this model, of which none is open any more."""
    return run.training.for_model(model.training if isinstance(model, ResidualVAEConfig) else {})


def _options(run: Run, model: AbstractModelConfig) -> str:
    """What was left open in the options of a fit, with the values that this model takes."""
    taken = [
        f"training.{name} is {value:g}"
        for name, value in _training(run, model)
        if value is not None and getattr(run.training, name) is None
    ]
    return ", ".join(taken)


def decision_words(run: Run, spec: DataSpec) -> str:
    """The line of a run that takes convolutions by itself, or options that serve them; else empty.

    Arguments:
        run: The run before its data decided.
        spec: Description of the data.
    """
    model = run.model.for_data(spec)
    options = _options(run, model)
    if not isinstance(model, ResidualVAEConfig):
        return ""
    if not isinstance(run.model, VAEBySizeConfig):
        return f"convolutions: {options}" if options else ""
    return (
        f"model: convolutions (model.kind=residual_vae), since {_reason(run.model, spec)}"
        f"{options and f': {options}'}. For dense layers, set model.kind=vae."
    )


def _reason(model: VAEBySizeConfig, spec: DataSpec) -> str:
    """Why these data and settings take convolutions."""
    if model.width is not None:
        return "model.width is given"
    height, width = spec.shape[1:]
    return f"images of {height}x{width} pixels are larger than {_LIMIT}"


def outlook(run: Run) -> str:
    """What a dry run says besides the run: where its data are, and how they would decide."""
    return "\n".join([f"data: {where_data_are(run.data.name)}", *_rule(run)])


def _rule(run: Run) -> list[str]:
    """How data that were not read would decide; their outcome if it is known."""
    if not isinstance(run.model, VAEBySizeConfig):
        options = _options(run, run.model)
        return [f"training: {options}"] if options else []
    if run.data.name in names():
        spec = spec_of(run.data.name)
        options = _options(run, run.model.for_data(spec))
        dense = f"model: dense layers (model.kind=vae){options and f': {options}'}"
        return [decision_words(run, spec) or dense]
    return [
        f"model: convolutions (model.kind=residual_vae) if the images are larger than {_LIMIT} "
        "pixels, else dense layers (model.kind=vae)"
    ]
