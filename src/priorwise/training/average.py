"""An exponential moving average of the weights, which is judged and kept instead of the last."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from priorwise.nn import at_least_float32
from priorwise.training.checkpoint import CheckpointError

__all__ = ["WeightAverage"]


class WeightAverage:
    r"""The average of the weights after each step, in which older ones count less.

    .. math:: e_n = e_{n-1} + \frac{1 - d}{1 - d^n} (\theta_n - e_{n-1})

    This is the weighted mean of :math:`\theta_1, \dots, \theta_n` with weights in proportion to
    :math:`d^{n-i}`. The weights before the first step do not count, so the average needs no
    warm-up. It is held in float32 at least. Buffers are not averaged: batch statistics are those
    of the last step.

    References:
        Acceleration of Stochastic Approximation by Averaging (Polyak & Juditsky, 1992), with equal
        weights. https://doi.org/10.1137/0330046

        Adam: A Method for Stochastic Optimization (Kingma & Ba, 2015), section 3, for the
        correction of the start. https://arxiv.org/abs/1412.6980

    Arguments:
        parameters: The weights by name.
        decay: The factor d between 0 and 1; None averages nothing.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float | None) -> None:
        self.decay = decay
        self._parameters = dict(parameters) if decay is not None else {}
        self._averages: dict[str, Tensor] = {}

    def update(self, steps: int) -> None:
        """Take in the weights after so many steps, counted from 1."""
        if self.decay is None:
            return
        share = (1 - self.decay) / (1 - self.decay**steps)
        for name, parameter in self._parameters.items():
            weights = at_least_float32(parameter.detach())
            if name in self._averages:
                self._averages[name].lerp_(weights, share)
            else:
                self._averages[name] = weights.clone()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Lend the model the average; afterwards it has its own weights again, bit for bit."""
        own = {name: self._parameters[name].detach().clone() for name in self._averages}
        self._copy(self._averages)
        try:
            yield
        finally:
            self._copy(own)

    @torch.no_grad()
    def _copy(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self._parameters[name].copy_(tensor)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it."""
        return {f"average/{name}": tensor for name, tensor in self._averages.items()}

    def load(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Restore what ``tensors`` returned.

        Raises:
            CheckpointError: if a checkpoint lacks the average of a weight, or has another shape.
        """
        averages = {}
        for name, parameter in self._parameters.items():
            stored = tensors.get(f"average/{name}")
            if stored is None or stored.shape != parameter.shape:
                raise CheckpointError(
                    f"expected the average of `{name}`, of shape {tuple(parameter.shape)}, in "
                    f"{path}; got {'none' if stored is None else tuple(stored.shape)}. Restore the "
                    "file from a backup, or remove it to start this run again."
                )
            averages[name] = stored.clone()
        self._averages = averages
