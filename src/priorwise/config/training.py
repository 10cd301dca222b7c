"""How a fit is run, as validated configuration."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from priorwise.choices import OptimizerName, Precision
from priorwise.config.base import AbstractConfig
from priorwise.schedules import warmup

__all__ = ["TrainingConfig"]


class TrainingConfig(AbstractConfig):
    """The options of a fit; ``priorwise.fit`` takes the same names as keywords."""

    epochs: int = Field(100, ge=1)
    """Passes over the training set, at most."""
    batch_size: int = Field(100, ge=1)
    """Examples a step, over all processes together."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate at the start."""
    lr_warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises to ``lr`` in a line; the schedule begins after them."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Course of the learning rate over all epochs."""
    lr_final: float = Field(0.0, ge=0, le=1)
    """Learning rate at the end of the cosine, as a part of ``lr``."""
    optimizer: OptimizerName = "adam"
    """Adam, Adamax, or Adam on gradients divided by their norm, parameter tensor by parameter tensor (the
    VampPrior paper)."""
    weight_decay: float = Field(0.0, ge=0)
    """This part of each parameter is added to its gradient, before any averaging: an L2 penalty of half
    the weight, as NVAE and VAEBM have it, and not the decoupled decay of AdamW."""
    eps: float = Field(1e-8, gt=0)
    """What keeps the optimiser from dividing by 0; NVAE takes 1e-3."""
    warmup_epochs: int = Field(10, ge=0)
    """Epochs over which the ELBO's weight of the KL rises from 0 to 1, in one step an epoch; other objectives have none."""
    validate_every: int | None = Field(None, ge=1)
    """Steps between validations, and between lines of metrics; None takes an epoch. The last step is
    always followed by one."""
    patience: int | None = Field(50, ge=1)
    """Validations without improvement after the warm-up before the fit stops; None never stops early."""
    keep: Literal["best", "last"] = "best"
    """Which weights the fit ends with: those of the best validation, or the last; the latter never stops early."""
    precision: Precision = "no"
    """Automatic mixed precision of the networks; densities stay in float32."""
    compile: bool = False
    """Compile the objective before the first step (``torch.compile``; needs a C++ compiler). The
    losses are those of a plain fit up to rounding."""
    seed: int = 14
    """Seed of initial weights, order, and draws."""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """Wall-clock seconds between checkpoints, at most; has no influence on the result."""

    def kl_weight(self, data_size: int) -> Callable[[int], float]:
        """The ELBO's weight of the KL as a function of the step: a staircase over the epochs of the warm-up.

        Arguments:
            data_size: Number of training examples, which says how many steps an epoch has.
        """
        steps = max(1, -(-data_size // self.batch_size))

        def weight(step: int) -> float:
            return warmup(step // steps + 1, self.warmup_epochs)

        return weight
