"""What half precision costs a likelihood: a small part of the work, computed both ways."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.estimators.base import standard_error
from priorwise.estimators.blocks import image_chunks
from priorwise.estimators.normalizer import GroupNorms
from priorwise.estimators.weights import LogWeights, streamed
from priorwise.models import AbstractModel
from priorwise.randomness import seeded

__all__ = ["Rounding", "rounding_of"]

_IMAGES, _DRAWS = 50, 100  # in all 5,000 rows, against 50 million of 10,000 images


@dataclass(frozen=True)
class Rounding:
    """By how much bf16 moves a negative log-likelihood, in nats.

    Attributes:
        value: The mean difference, bf16 minus float32.
        stderr: Its standard error over the images; NaN for a single one.
        images: How many images were computed both ways.
        draws: With how many draws of each.
    """

    value: float
    stderr: float
    images: int
    draws: int

    def diagnostics(self) -> dict[str, float]:
        """The difference and its error, by name."""
        return {"bf16_difference": self.value, "bf16_difference_stderr": self.stderr}

    def doubts(self, stderr: float) -> tuple[str, ...]:
        """In words, a difference larger than the Monte-Carlo error beside which it stands."""
        if self.value == 0:
            return (
                "bf16 changed nothing: the networks of p(x|z) compute in another precision than "
                "float32, or not by products. Leave `precision` at 'no'.",
            )
        if not abs(self.value) > stderr:
            return ()
        error = "" if math.isnan(self.stderr) else f" ± {self.stderr:.3g}"
        return (
            f"the decoder in bf16 moves the number by {self.value:+.3g}{error} nats "
            f"({self.images} images, {self.draws} draws of each, with the same noise), more than "
            f"the Monte-Carlo error of {stderr:.3g}. Take `precision='no'`.",
        )


def rounding_of(
    model: AbstractModel, x: Tensor, norms: GroupNorms | None, *, samples: int, rows: int
) -> Rounding:
    """A few images in bf16 and in float32: the same ones with the same noise in every call."""
    with seeded(0, "rounding"):
        places = torch.randperm(len(x))[:_IMAGES].sort().values
    some, draws = x[places.to(x.device)], min(samples, _DRAWS)

    def log_sums(weights: LogWeights) -> Tensor:
        with seeded(0, "rounding", "draws"):
            parts = [
                streamed(weights, some, images, samples=draws, seed=0, rows=rows)[0]
                for images in image_chunks(len(some), draws, rows)
            ]
        return torch.cat(parts)

    whole, half = (log_sums(LogWeights(model, norms, precision)) for precision in ("no", "bf16"))
    difference = whole - half
    return Rounding(float(difference.mean()), standard_error(difference), len(some), draws)
