"""Restores the batch shape of a distribution whose batch was flattened to rows."""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from priorwise.typing import Shape, SizeLike

__all__ = ["UnflattenedRows"]


class UnflattenedRows(Distribution):
    """Undoes the flattening that a network needed: rows back to ``(*batch)``.

    Arguments:
        rows: A distribution of batch shape ``(R,)``.
        batch_shape: The batch shape whose sizes multiply to R.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, rows: Distribution, batch_shape: Shape) -> None:
        self.rows = rows
        super().__init__(torch.Size(batch_shape), rows.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint | None:
        """The support of the rows."""
        return self.rows.support

    @property
    def mean(self) -> Tensor:
        """The mean, ``(*batch, *event)``."""
        return self.rows.mean.unflatten(0, self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """``(*sample, *batch, *event) -> (*sample, *batch)``, in nats; ``value`` broadcasts."""
        wide = value.expand(
            torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        )
        batch_dims = len(self.batch_shape)
        start = wide.dim() - batch_dims - len(self.event_shape)
        rows = wide.flatten(start, start + batch_dims - 1)
        return self.rows.log_prob(rows).unflatten(start, self.batch_shape)

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Draws, ``(*sample, *batch, *event)``."""
        return self.rows.sample(torch.Size(sample_shape)).unflatten(
            len(sample_shape), self.batch_shape
        )
