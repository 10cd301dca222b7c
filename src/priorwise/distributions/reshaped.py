"""A law of vectors as a law of arrays, for latents that are images."""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, ReshapeTransform, TransformedDistribution

from priorwise.typing import Shape, SizeLike

__all__ = ["Reshaped", "shaped", "vector_size"]


class Reshaped(TransformedDistribution):
    """A distribution over vectors ``(D,)`` whose draws have another shape of the same size.

    The density is that of the vector, since a reshape moves no volume. It samples as the vectors
    do: exactly, and reparameterised where they are.

    Arguments:
        vectors: The distribution over vectors.
        event_shape: The shape of one draw, of D numbers.
    """

    def __init__(self, vectors: Distribution, event_shape: Shape) -> None:
        self.shape = torch.Size(event_shape)
        if len(vectors.event_shape) != 1 or vectors.event_shape.numel() != self.shape.numel():
            raise ValueError(
                f"expected `event_shape` of as many numbers as the vectors have, "
                f"{tuple(vectors.event_shape)}; got {tuple(event_shape)}."
            )
        transform = ReshapeTransform(vectors.event_shape, self.shape)
        super().__init__(vectors, transform, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean, ``(*batch, *event)``."""
        return self.base_dist.mean.unflatten(-1, self.shape)

    @property
    def variance(self) -> Tensor:
        """The variance of each number, ``(*batch, *event)``."""
        return self.base_dist.variance.unflatten(-1, self.shape)

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "Reshaped":
        """The same distribution for every member of a larger batch."""
        return Reshaped(self.base_dist.expand(torch.Size(batch_shape)), self.shape)


def shaped(vectors: Distribution, event_shape: Shape) -> Distribution:
    """A law of vectors, over draws of this shape; as it is if they are vectors."""
    return vectors if len(event_shape) == 1 else Reshaped(vectors, event_shape)


def vector_size(features: int | Shape) -> tuple[torch.Size, int]:
    """The shape of latents that are given by a number or by a shape, and their size."""
    shape = torch.Size((features,) if isinstance(features, int) else features)
    return shape, math.prod(shape)
