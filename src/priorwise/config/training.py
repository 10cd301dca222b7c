"""The options of a fit, as validated configuration."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from priorwise.choices import OptimizerName, Precision, Trained
from priorwise.config.base import AbstractConfig
from priorwise.limits import LARGEST_COUNT, LARGEST_SEED
from priorwise.schedules import warmup

__all__ = ["AnyTrainingConfig", "TrainingByModelConfig", "TrainingConfig"]


class TrainingConfig(AbstractConfig):
    """The options of a fit; ``priorwise.fit`` takes the same names as keywords."""

    epochs: int = Field(100, ge=1, le=LARGEST_COUNT)
    """Passes over the training set, at most."""
    batch_size: int = Field(100, ge=1, le=LARGEST_COUNT)
    """Examples per step, over all processes together."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate at the start."""
    lr_warmup_steps: int = Field(0, ge=0, le=LARGEST_COUNT)
    """Steps over which the learning rate rises linearly to ``lr``, before the schedule starts."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Course of the learning rate over all epochs."""
    lr_final: float = Field(0.0, ge=0, le=1)
    """Learning rate at the end of the cosine, as a fraction of ``lr``."""
    optimizer: OptimizerName = "adam"
    """Adam, Adamax, or "adam_normalized": Adam on gradients that are divided by their norm, one
    parameter tensor at a time, as in the VampPrior paper."""
    weight_decay: float = Field(0.0, ge=0)
    """This fraction of each parameter is added to its gradient before any averaging: an L2 penalty
    with half this weight, as in NVAE and VAEBM, and not the decoupled decay of AdamW."""
    eps: float = Field(1e-8, gt=0)
    """The constant that keeps the optimiser from dividing by 0; NVAE uses 1e-3."""
    gradient_clip: float | None = Field(None, gt=0)
    """The largest norm of a player's whole gradient in a step: a longer one is scaled down to it.
    None clips nothing."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, such as 0.999. The average is judged
    and kept instead of the weights themselves. None averages nothing."""
    warmup_epochs: int = Field(10, ge=0, le=LARGEST_COUNT)
    """Epochs over which the ELBO's weight of the KL rises from 0 to 1, one step per epoch. Other
    objectives have no warm-up."""
    train: Trained = "ours"
    """What is trained. "ours" leaves the networks of a wrapped model as they are, since somebody
    else trained them, and trains its prior; "all" trains them too. A model of priorwise has no such
    networks, so both mean everything that the objective trains."""
    validate_every: int | None = Field(None, ge=1, le=LARGEST_COUNT)
    """Steps between validations, and between lines of metrics; None validates after every epoch.
    The last step is always followed by a validation."""
    patience: int | None = Field(50, ge=1, le=LARGEST_COUNT)
    """How many validations without improvement, after the warm-up, stop the fit; None never stops
    early."""
    keep: Literal["best", "last"] = "best"
    """Which weights the fit ends with: those of the best validation, or the last. With "last" the
    fit never stops early."""
    precision: Precision = "no"
    """Automatic mixed precision of the networks; densities stay in float32."""
    compile: bool = False
    """Compile the objective before the first step (``torch.compile``; needs a C++ compiler). The
    losses are those of a plain fit up to rounding."""
    seed: int = Field(14, ge=0, le=LARGEST_SEED)
    """Seed of the initial weights, the order of the examples, and the draws."""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """Wall-clock seconds between checkpoints, at most; has no influence on the result."""

    def kl_weight(self, data_size: int) -> Callable[[int], float]:
        """The ELBO's weight of the KL as a function of the step.

        It rises after each epoch of the warm-up and is constant within an epoch.

        Arguments:
            data_size: Number of training examples, which determines the steps per epoch.
        """
        steps = max(1, -(-data_size // self.batch_size))

        def weight(step: int) -> float:
            return warmup(step // steps + 1, self.warmup_epochs)

        return weight

    def for_model(self, better: Mapping[str, Any]) -> "TrainingConfig":
        """The options with those that serve the model where they were left open; here none is.

        Arguments:
            better: Options that serve the model better than the defaults.
        """
        return self


class TrainingByModelConfig(TrainingConfig):
    """Options of a fit of which some are left open: None takes what serves the model."""

    batch_size: int | None = Field(None, ge=1, le=LARGEST_COUNT)  # type: ignore[assignment]
    """Examples per step, over all processes together."""
    lr: float | None = Field(None, gt=0)  # type: ignore[assignment]
    """Learning rate at the start."""
    lr_warmup_steps: int | None = Field(  # type: ignore[assignment]
        None, ge=0, le=LARGEST_COUNT
    )
    """Steps over which the learning rate rises linearly to ``lr``, before the schedule starts."""

    def for_model(self, better: Mapping[str, Any]) -> TrainingConfig:
        """The options with those that serve the model, or the usual ones, where it was left open.

        Arguments:
            better: Options that serve the model better than the defaults of ``TrainingConfig``.
        """
        given = {name: value for name, value in self if value is not None or name not in _OPEN}
        left = {name: value for name, value in better.items() if name not in given}
        return TrainingConfig(**given, **left)


_OPEN = ("batch_size", "lr", "lr_warmup_steps")


def _kind(config: object) -> str:
    """Whether something that describes options of a fit leaves some of them open."""
    if isinstance(config, Mapping):
        is_open = any(name in config and config[name] is None for name in _OPEN)
    else:
        is_open = isinstance(config, TrainingByModelConfig)
    return "open" if is_open else "set"


AnyTrainingConfig = Annotated[
    Annotated[TrainingConfig, Tag("set")] | Annotated[TrainingByModelConfig, Tag("open")],
    Discriminator(_kind),
]
"""Options of a fit, some of which the model may decide."""
