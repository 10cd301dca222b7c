"""What the data of a run decide about it: which networks it has. Said in a line, and recorded.

Nothing here needs torch, so a dry run starts at once.
"""

from priorwise.config.models import LARGEST_DENSE, ResidualVAEConfig, VAEBySizeConfig
from priorwise.config.run import Run
from priorwise.config.training import TrainingConfig
from priorwise.data.known_sets import names, spec_of, where_data_are
from priorwise.data.spec import DataSpec

__all__ = ["decided", "decision_words", "outlook"]

_LIMIT = f"{LARGEST_DENSE}x{LARGEST_DENSE}"


def decided(run: Run, spec: DataSpec) -> Run:
    """The run with the model that its data decide on; the same run if they decide nothing.

    With convolutions come the options of a fit that serve them better, where the run has the
    defaults of ``TrainingConfig``.
    """
    model = run.model.for_data(spec)
    training = run.training
    if isinstance(model, ResidualVAEConfig) and model is not run.model:
        usual = TrainingConfig()
        better = {
            name: value
            for name, value in model.training.items()
            if getattr(training, name) == getattr(usual, name)
        }
        training = training.model_copy(update=better)
    return run.model_copy(update={"model": model, "training": training})


def decision_words(run: Run, spec: DataSpec) -> str:
    """The line of a run that takes convolutions by itself; empty for any other.

    Arguments:
        run: The run before its data decided.
        spec: Description of the data.
    """
    if not isinstance(run.model, VAEBySizeConfig):
        return ""
    now = decided(run, spec)
    if not isinstance(now.model, ResidualVAEConfig):
        return ""
    height, width = spec.shape[1:]
    why = (
        f"images of {height}x{width} pixels are larger than {_LIMIT}"
        if run.model.width is None
        else "model.width is given"
    )
    return (
        f"model: convolutions (model.kind=residual_vae), since {why}: training.batch_size is "
        f"{now.training.batch_size}, training.lr {now.training.lr:g}. For dense layers, set "
        "model.kind=vae."
    )


def outlook(run: Run) -> str:
    """What a dry run says besides the run: where its data are, and how they would decide."""
    return "\n".join([f"data: {where_data_are(run.data.name)}", *_rule(run)])


def _rule(run: Run) -> list[str]:
    """How data that were not read would decide; their outcome if it is known."""
    if not isinstance(run.model, VAEBySizeConfig):
        return []
    if run.data.name in names():
        words = decision_words(run, spec_of(run.data.name))
        return [words or "model: dense layers (model.kind=vae)"]
    return [
        f"model: convolutions (model.kind=residual_vae) if the images are larger than {_LIMIT} "
        "pixels, else dense layers (model.kind=vae)"
    ]
