"""What is evaluated: a model, with the data and settings of every quantity."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from priorwise.config.run import EvaluationConfig
from priorwise.data import Splits
from priorwise.data.subsets import random_part
from priorwise.distributions import has_mean, log_unnorm, picture
from priorwise.estimators.base import device_of
from priorwise.models import AbstractModel, frozen, own_prior
from priorwise.progress import Advance, progress_bar
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError
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

    def bar(self, description: str, total: int) -> AbstractContextManager[Advance]:
        """A progress bar for the work on one quantity."""
        return progress_bar(description, total, show=self.progress)

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
    def networks(self) -> str:
        """A hash of encoder and decoder: the tensors of the model underneath without its prior."""
        untilted = self.model.untilted
        tensors = tensors_without_log_norms(untilted)
        prior = own_prior(untilted)
        of_prior = {} if prior is None else tensors_without_log_norms(prior)
        excluded = {id(tensor) for tensor in of_prior.values()}
        return content_hash({k: v for k, v in tensors.items() if id(v) not in excluded})

    @cached_property
    def probe(self) -> list[float]:
        """Numbers that the model computes from a few test observations.

        They reveal settings that are not in a tensor, such as a scale. The first three are those of
        q(z|x) and p(x|z), the others those of the priors; NaN where there is no density or no mean.
        A draw would not do for a mean: rounding on another machine may turn a pixel over.
        """
        x = self.test[:_PROBED]
        with frozen(self.model), torch.no_grad(), seeded(0, "evaluation", "probe"):
            groups = self.model.infer(x)
            observed = self.model.likelihood(groups)
            numbers = [
                float(picture(observed).mean()) if has_mean(observed) else math.nan,
                _mean(lambda: log_unnorm(observed, x)),
                sum(_mean(group.log_posterior) for group in groups),
            ]
            for group in groups:
                numbers += [float(group.z.mean()), _mean(partial(log_unnorm, group.prior, group.z))]
        return numbers


def _mean(density: Callable[[], Tensor]) -> float:
    """The mean of a log density; NaN if there is none."""
    try:
        return float(density().mean())
    except UnavailableError:
        return math.nan
