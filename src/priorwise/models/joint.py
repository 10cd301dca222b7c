"""The latents of all groups as one vector, so that a sampler or a chain can treat them together.

The coordinates of a group are its normal noise if its prior has a noise form (a Gaussian, a flow),
else z itself.

Letters: ``N`` draws, ``U`` coordinates of all groups together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints

from priorwise.distributions import diagonal_gaussian, from_noise, has_noise_form
from priorwise.models.base import AbstractModel, Group
from priorwise.nn import event_rows
from priorwise.typing import Shape, SizeLike

__all__ = ["JointPrior"]


@dataclass(frozen=True)
class _Part:
    """The coordinates of one group."""

    event: Shape
    columns: slice
    is_noise: bool
    stddev: Tensor


class JointPrior(Distribution):
    r"""The prior of all groups of a model as one law over vectors, of batch shape ``()``.

    .. math:: p(u) = \prod_k p(u_k | u_{<k}), \qquad
              u_k = \epsilon_k \sim \mathcal{N}(0, I) \text{ where } z_k = T(\epsilon_k; z_{<k}),
              \text{ else } u_k = z_k

    Normalised; exact sampling. ``groups`` turns coordinates into a pass of the model.

    Arguments:
        model: A model whose priors can be sampled.
        probe: The groups of one pass of the model, for their shapes.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.real, 1)

    def __init__(self, model: AbstractModel, probe: Sequence[Group]) -> None:
        self.model = model
        sizes = [group.prior.event_shape.numel() for group in probe]
        ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
        self.parts = [
            _part(group, slice(start, stop))
            for group, (start, stop) in zip(probe, pairwise(ends), strict=True)
        ]
        self.like = probe[0].z.new_empty(0)
        super().__init__(torch.Size(), torch.Size((ends[-1],)), validate_args=False)

    @property
    def is_noise(self) -> bool:
        """Whether all coordinates are noise."""
        return all(part.is_noise for part in self.parts)

    @property
    def stddev(self) -> Tensor:
        """The scale of each coordinate, ``(U,)``.

        It is 1 for noise, the prior's standard deviation for other coordinates of the top group,
        and 1 for those of lower groups, where it is unknown.
        """
        return torch.cat([part.stddev for part in self.parts])

    @property
    def as_base(self) -> Distribution:
        """The same law, as a plain N(0, I) for samplers if all coordinates are noise."""
        if not self.is_noise:
            return self
        zero = self.like.new_zeros(self.event_shape)
        return diagonal_gaussian(zero, torch.ones_like(zero))

    def groups(self, u: Tensor) -> list[Group]:
        """The pass of coordinates ``(N, U)``."""

        def draw(group: Group) -> Tensor:
            part = self.parts[group.index - 1]
            value = u[:, part.columns].unflatten(1, part.event)
            return from_noise(group.prior, value) if part.is_noise else value

        return self.model.top_down(draw, (len(u),))

    def log_prob(self, u: Tensor) -> Tensor:
        """The log density: ``(*, U) -> (*)``, in nats."""
        rows, batch_shape = event_rows(u, 1)
        log_p = [self._log_prob(group, rows) for group in self.groups(rows)]
        return torch.stack(log_p).sum(0).reshape(batch_shape)

    def _log_prob(self, group: Group, u: Tensor) -> Tensor:
        part = self.parts[group.index - 1]
        if not part.is_noise:
            return group.prior.log_prob(group.z)
        return (
            Normal(self.like.new_zeros(()), 1.0, validate_args=False)
            .log_prob(u[:, part.columns])
            .sum(1)
        )

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Exact draws, ``(*sample, U)``."""
        with torch.no_grad():
            shape = torch.Size(sample_shape)
            count = shape.numel()
            columns: list[Tensor] = []

            def draw(group: Group) -> Tensor:
                part = self.parts[group.index - 1]
                if not part.is_noise:
                    z = group.prior.sample()
                    columns.append(z.flatten(1))
                    return z
                eps = torch.randn(
                    count, *part.event, dtype=self.like.dtype, device=self.like.device
                )
                columns.append(eps.flatten(1))
                return from_noise(group.prior, eps)

            self.model.top_down(draw, (count,))
            return torch.cat(columns, 1).reshape(*shape, -1)

    def log_tilt(self, tilt: Callable[[list[Group]], Tensor]) -> Callable[[Tensor], Tensor]:
        """Turn a function of a pass, ``(N,)``, into one of coordinates, ``(*, U) -> (*)``."""

        def of_coordinates(u: Tensor) -> Tensor:
            rows, batch_shape = event_rows(u, 1)
            return tilt(self.groups(rows)).reshape(batch_shape)

        return of_coordinates


def _part(group: Group, columns: slice) -> _Part:
    is_noise = has_noise_form(group.prior)
    has_stddev = group.index == 1 and not is_noise
    scale = group.prior.stddev[0] if has_stddev else group.z.new_ones(group.prior.event_shape)
    return _Part(tuple(group.prior.event_shape), columns, is_noise, scale.flatten())
