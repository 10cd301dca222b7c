"""The VampPrior: a mixture of the encoder's posteriors at pseudo-inputs."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from priorwise.callables import modules_of
from priorwise.distributions import DiagonalGaussianMixture, require_diagonal_gaussian, shaped
from priorwise.nn import running_statistics
from priorwise.priors.base import AbstractPrior
from priorwise.typing import Encode, Shape

__all__ = ["VampPrior"]

# How far inside its range a pseudo-input starts, as a share: outside, its gradient is zero.
_INSIDE = 1e-3


class VampPrior(AbstractPrior):
    r"""The variational mixture of posteriors.

    .. math:: p(z) = \frac{1}{K} \sum_{k=1}^{K} q(z | u_k)

    The pseudo-inputs :math:`u_k` are clamped to the range of the data. They start strictly inside,
    so that each of them receives a gradient. Normalised; exact sampling (first a component,
    uniformly, then a point from it); reparameterised. Each training step encodes all K
    pseudo-inputs; inside ``frozen`` they are encoded once.

    Batch normalisation uses its running statistics for pseudo-inputs, in training too, and
    pseudo-inputs never update them. So the mixture consists of posteriors of the same encoder that
    evaluation uses. Dropout treats pseudo-inputs like data. An encoder whose batch normalisation
    has no running statistics is refused, since the components would depend on each other.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), equations 9-10 and section 5.
        https://arxiv.org/abs/1705.07120

    Arguments:
        pseudo_inputs: Initial values, ``(K, *shape)``, in ``value_range``.
        trainable: Whether the pseudo-inputs are learned. With False they stay fixed, as in the
            paper's "VampPrior-data".
        value_range: The lowest and the highest value of the data.
    """

    pseudo_inputs: Tensor

    def __init__(
        self,
        pseudo_inputs: Tensor,
        *,
        trainable: bool = True,
        value_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        if pseudo_inputs.dim() < 2 or len(pseudo_inputs) < 1:
            raise ValueError(
                "expected `pseudo_inputs` of shape (K, *shape) with K >= 1; got "
                f"{tuple(pseudo_inputs.shape)}."
            )
        if not value_range[0] < value_range[1]:
            raise ValueError(f"expected `value_range` as (lowest, highest); got {value_range}.")
        _refuse_outside(pseudo_inputs, value_range)
        start = pseudo_inputs.detach().clone().float()
        self.trainable = trainable
        self.value_range = (float(value_range[0]), float(value_range[1]))
        if trainable:
            self.pseudo_inputs = nn.Parameter(_inside(start, self.value_range))
        else:
            self.register_buffer("pseudo_inputs", start)

    @classmethod
    def random(
        cls,
        components: int,
        shape: Shape,
        *,
        mean: float = 0.05,
        std: float = 0.01,
        value_range: tuple[float, float] = (0.0, 1.0),
    ) -> "VampPrior":
        """Trainable pseudo-inputs that start as draws of N(mean, std^2), clamped to the range.

        The paper's code uses (0.05, 0.01) for MNIST and OMNIGLOT, (0.5, 0.02) for Caltech and Frey
        faces, and (0.4, 0.05) for Histopathology.

        Arguments:
            components: Number of pseudo-inputs K.
            shape: Shape of one observation.
            mean: Mean of the draws, as a share of the range: 0 is its low end and 1 its high end.
            std: Standard deviation of the draws, as a share of the width of the range.
            value_range: The lowest and the highest value of the data.
        """
        if components < 1:
            raise ValueError(f"expected at least 1 of `components`; got {components}.")
        low, high = value_range
        start = low + (high - low) * (mean + std * torch.randn(components, *shape))
        return cls(_inside(start, value_range), value_range=value_range)

    @classmethod
    def from_data(
        cls,
        x: Tensor,
        components: int,
        *,
        trainable: bool = False,
        noise: float = 0.01,
        value_range: tuple[float, float] | None = None,
    ) -> "VampPrior":
        """A random subset of the data as pseudo-inputs; trainable ones get a little noise.

        Arguments:
            x: Training data, ``(N, *shape)``.
            components: Number of pseudo-inputs K.
            trainable: Whether the pseudo-inputs are learned.
            noise: Standard deviation of the noise, as a share of the width of the range.
            value_range: The lowest and the highest value of the data; that of ``x`` if None, where
                data in [0, 1] have that range.
        """
        if not 1 <= components <= len(x):
            raise ValueError(
                f"expected `components` between 1 and the {len(x)} observations; got {components}."
            )
        value_range = _range_of(x) if value_range is None else value_range
        start = x[torch.randperm(len(x), device=x.device)[:components]].float()
        if trainable:
            width = value_range[1] - value_range[0]
            start = _inside(start + noise * width * torch.randn_like(start), value_range)
        return cls(start, trainable=trainable, value_range=value_range)

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        if encode_top is None:
            raise ValueError(
                "expected `prior(encode_top)` with the encoder of the top latents; got no "
                "encoder. A VampPrior is a mixture of encodings: call it through its model, or "
                "pass the encoder."
            )
        with running_statistics(modules_of(encode_top)):
            posterior = encode_top(F.hardtanh(self.pseudo_inputs, *self.value_range))
        components = require_diagonal_gaussian(
            posterior,
            "the encoder to return an Independent Normal",
            "A VampPrior is a mixture of Gaussian posteriors.",
        )
        vectors = DiagonalGaussianMixture(components.loc.flatten(1), components.scale.flatten(1))
        return shaped(vectors, components.loc.shape[1:])

    def start_from(self, codes: Tensor, x: Tensor, *, show: bool = False) -> None:
        """Trainable pseudo-inputs at random examples, with a little noise.

        Raises:
            ValueError: if an example is outside the range of the pseudo-inputs.
        """
        if self.trainable:
            rows = x[torch.randperm(len(x))[: len(self.pseudo_inputs)].to(x.device)]
            _refuse_outside(rows, self.value_range)
            start = VampPrior.from_data(
                rows, len(rows), trainable=True, value_range=self.value_range
            ).pseudo_inputs
            with torch.no_grad():
                self.pseudo_inputs[: len(start)] = start

    def extra_repr(self) -> str:
        """The settings that repr shows."""
        words = f"components={len(self.pseudo_inputs)}, trainable={self.trainable}"
        usual = self.value_range == (0.0, 1.0)
        return words if usual else f"{words}, value_range={self.value_range}"


def _refuse_outside(u: Tensor, value_range: tuple[float, float]) -> None:
    low, high = (float(bound) for bound in u.detach().aminmax())
    if not (low >= value_range[0] and high <= value_range[1]):
        raise ValueError(
            f"expected `pseudo_inputs` in [{value_range[0]:g}, {value_range[1]:g}]; got values "
            f"from {low:g} to {high:g}. Pass the range of the data as `value_range`."
        )


def _inside(u: Tensor, value_range: tuple[float, float]) -> Tensor:
    low, high = value_range
    margin = _INSIDE * (high - low)
    return u.clamp(low + margin, high - margin)


def _range_of(x: Tensor) -> tuple[float, float]:
    low, high = (float(bound) for bound in x.aminmax())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
