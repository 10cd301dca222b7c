"""Laws of observations whose parts depend on the parts before them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from priorwise.nn import at_least_float32, event_rows, no_autocast
from priorwise.typing import Shape, SizeLike

__all__ = ["AbstractConditionals", "Autoregressive"]


class AbstractConditionals(ABC):
    """How to write p(x|h) as a chain of conditionals p(x_i | x_<i, h).

    1. Implement ``log_prob_of_rows(x, condition)``: all conditionals of known observations at once
       (teacher forcing), ``(R, *event), (R, *condition) -> (R)``, in nats.
    2. Implement ``sample_rows(condition)``: one part after the other, ``(R, *event)``.
    3. ``event_shape`` is the shape of one observation, and ``part`` the law of one part of some
       observation, which tells the values that a part can take.
    """

    event_shape: Shape

    @abstractmethod
    def log_prob_of_rows(self, x: Tensor, condition: Tensor) -> Tensor:
        """The log density of each row, in nats."""

    @abstractmethod
    def sample_rows(self, condition: Tensor) -> Tensor:
        """One draw for each row of the condition."""

    @abstractmethod
    def part(self) -> Distribution:
        """The law of one part of an observation."""


class Autoregressive(Distribution):
    r"""A chain of conditionals, such as a PixelCNN's.

    .. math:: p(x | h) = \prod_i p(x_i | x_{<i}, h)

    Normalised. ``log_prob`` is one pass of the network (teacher forcing). ``sample`` is exact, and
    draws one part after the other. The mean has no closed form: ``has_mean`` says no, and wherever
    means are shown this law is drawn from instead.

    The network works later than the call that made the law. So ``log_prob`` opens the automatic
    half precision that was open then; densities and draws are in float32 all the same.

    References:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), equation 1.
        https://arxiv.org/abs/1601.06759

    Arguments:
        condition: h, ``(*batch, *condition)``.
        conditionals: The conditionals, which take rows.
        batch_dims: How many leading dimensions of ``condition`` form the batch.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self, condition: Tensor, conditionals: AbstractConditionals, batch_dims: int = 1
    ) -> None:
        self.condition = at_least_float32(condition)
        self.conditionals = conditionals
        device = condition.device.type
        self.autocast = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        super().__init__(
            condition.shape[:batch_dims], torch.Size(conditionals.event_shape), validate_args=False
        )

    @property
    def part(self) -> Distribution:
        """The law of one part of an observation."""
        return self.conditionals.part()

    @property
    def support(self) -> constraints.Constraint | None:
        """Events of the values that a part can take."""
        return self.part.support

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "Autoregressive":
        """The same law for every member of a larger batch."""
        wide = self.condition.expand(*batch_shape, *self._condition_shape)
        return Autoregressive(wide, self.conditionals, len(torch.Size(batch_shape)))

    @property
    def _condition_shape(self) -> torch.Size:
        return self.condition.shape[len(self.batch_shape) :]

    def log_prob(self, x: Tensor) -> Tensor:
        """``(*sample, *batch, *event) -> (*sample, *batch)``, in nats.

        The leading dimensions of ``x`` broadcast with the batch.

        Raises:
            ValueError: for events of another shape, which would broadcast, too: a grey image has no
                density under a law of colours.
        """
        event_dims = len(self.event_shape)
        if x.dim() < event_dims or x.shape[x.dim() - event_dims :] != self.event_shape:
            raise ValueError(
                f"expected `x` (*batch, *event) of event shape {tuple(self.event_shape)}; got "
                f"shape {tuple(x.shape)}. Reshape `x`, or build the law for its shape."
            )
        batch = torch.broadcast_shapes(x.shape[: x.dim() - event_dims], self.batch_shape)
        rows, _ = event_rows(x.expand(*batch, *self.event_shape), event_dims)
        condition = self.condition.expand(*batch, *self._condition_shape)
        condition, _ = event_rows(condition, len(self._condition_shape))
        enabled, dtype = self.autocast
        with torch.autocast(condition.device.type, dtype=dtype, enabled=enabled):
            log_p = self.conditionals.log_prob_of_rows(rows.to(condition.dtype), condition)
        return log_p.reshape(batch)

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Draws, ``(*sample, *batch, *event)``."""
        with torch.no_grad(), no_autocast(self.condition):
            batch = torch.Size(sample_shape) + self.batch_shape
            condition = self.condition.expand(*batch, *self._condition_shape)
            rows, _ = event_rows(condition, len(self._condition_shape))
            return self.conditionals.sample_rows(rows).reshape(*batch, *self.event_shape)
