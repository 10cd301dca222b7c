"""What is evaluated: a model, with the data and settings of every quantity."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from priorwise.config.run import EvaluationConfig
from priorwise.data import Splits
from priorwise.data.subsets import random_part
from priorwise.distributions import log_unnorm, picture
from priorwise.estimators.base import device_of
from priorwise.models import AbstractModel, frozen
from priorwise.randomness import seeded
from priorwise.storage import content_hash
from priorwise.tilts import tensors_without_log_norms

__all__ = ["Subject"]

_PROBED = 4  # test observations


@dataclass(frozen=True)
class Subject:
    """A model and how it is measured.

    Attributes:
        model: The model.
        splits: Its data; encodings and distances are those of the test set.
        config: Sample counts, seeds and methods.
        journal: Folder in which the finished images of a likelihood are kept; None keeps nothing.
        keeps_log_norm: Whether to use a log Z that the model has already.
        progress: Whether to show progress bars.
    """

    model: AbstractModel
    splits: Splits
    config: EvaluationConfig
    journal: Path | None = None
    keeps_log_norm: bool = False
    progress: bool = True

    @cached_property
    def test(self) -> Tensor:
        """All test data as the model sees them, ``(N, *event)``."""
        return self.splits.evaluation("test").to(device_of(self.model))

    @cached_property
    def x(self) -> Tensor:
        """The test data whose likelihood is estimated: all, or as many as the settings ask for."""
        return random_part(self.test, self.config.images, self.config.seed)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the data, as run folders record it."""
        return self.splits.fingerprint()

    @cached_property
    def weights(self) -> str:
        """A hash of all tensors of the model except the log normalisers that it keeps."""
        return content_hash(tensors_without_log_norms(self.model))

    @cached_property
    def base_weights(self) -> str:
        """The same for the model underneath; equal to ``weights`` if there is none."""
        return content_hash(tensors_without_log_norms(self.model.untilted))

    @cached_property
    def probe(self) -> list[float]:
        """Numbers that the model computes from a few test observations.

        They reveal settings that are not in a tensor, such as a scale.
        """
        with frozen(self.model), torch.no_grad(), seeded(0, "evaluation", "probe"):
            groups = self.model.infer(self.test[:_PROBED])
            numbers = [picture(self.model.likelihood(groups)).mean()]
            for group in groups:
                numbers += [group.z.mean(), log_unnorm(group.prior, group.z).mean()]
        return [float(number) for number in numbers]
