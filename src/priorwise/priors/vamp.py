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

# How far from 0 and 1 a pseudo-input starts, since its gradient is zero outside [0, 1].
_INSIDE = 1e-3


class VampPrior(AbstractPrior):
    r"""The variational mixture of posteriors.

    .. math:: p(z) = \frac{1}{K} \sum_{k=1}^{K} q(z | u_k)

    The pseudo-inputs :math:`u_k` are clamped to [0, 1]. They start strictly inside, so that each of
    them receives a gradient. Normalised; exact sampling (first a component, uniformly, then a point
    from it); reparameterised. Each training step encodes all K pseudo-inputs; inside ``frozen``
    they are encoded once.

    Batch normalisation uses its running statistics for pseudo-inputs, in training too, and
    pseudo-inputs never update them. So the mixture consists of posteriors of the same encoder that
    evaluation uses. Dropout treats pseudo-inputs like data. An encoder whose batch normalisation
    has no running statistics is refused, since the components would depend on each other.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), equations 9-10 and section 5.
        https://arxiv.org/abs/1705.07120

    Arguments:
        pseudo_inputs: Initial values, ``(K, *shape)``, in [0, 1].
        trainable: Whether the pseudo-inputs are learned. With False they stay fixed, as in the
            paper's "VampPrior-data".
    """

    pseudo_inputs: Tensor

    def __init__(self, pseudo_inputs: Tensor, *, trainable: bool = True) -> None:
        super().__init__()
        if pseudo_inputs.dim() < 2 or len(pseudo_inputs) < 1:
            raise ValueError(
                "expected `pseudo_inputs` of shape (K, *shape) with K >= 1; got "
                f"{tuple(pseudo_inputs.shape)}."
            )
        low, high = float(pseudo_inputs.detach().min()), float(pseudo_inputs.detach().max())
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"expected `pseudo_inputs` in [0, 1]; got values from {low:g} to {high:g}."
            )
        start = pseudo_inputs.detach().clone().float()
        self.trainable = trainable
        if trainable:
            self.pseudo_inputs = nn.Parameter(start.clamp(_INSIDE, 1 - _INSIDE))
        else:
            self.register_buffer("pseudo_inputs", start)

    @classmethod
    def random(
        cls, components: int, shape: Shape, *, mean: float = 0.05, std: float = 0.01
    ) -> "VampPrior":
        """Trainable pseudo-inputs that start as draws of N(mean, std^2), clamped to [0, 1].

        The paper's code uses (0.05, 0.01) for MNIST and OMNIGLOT, and (0.5, 0.02) for Frey faces.
        """
        if components < 1:
            raise ValueError(f"expected at least 1 of `components`; got {components}.")
        return cls((mean + std * torch.randn(components, *shape)).clamp(_INSIDE, 1 - _INSIDE))

    @classmethod
    def from_data(
        cls, x: Tensor, components: int, *, trainable: bool = False, noise: float = 0.01
    ) -> "VampPrior":
        """A random subset of the data as pseudo-inputs; trainable ones get a little noise."""
        if not 1 <= components <= len(x):
            raise ValueError(
                f"expected `components` between 1 and the {len(x)} observations; got {components}."
            )
        start = x[torch.randperm(len(x), device=x.device)[:components]].float()
        if trainable:
            start = (start + noise * torch.randn_like(start)).clamp(_INSIDE, 1 - _INSIDE)
        return cls(start, trainable=trainable)

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        if encode_top is None:
            raise ValueError(
                "expected `prior(encode_top)` with the encoder of the top latents; got no "
                "encoder. A VampPrior is a mixture of encodings: call it through its model, or "
                "pass the encoder."
            )
        with running_statistics(modules_of(encode_top)):
            posterior = encode_top(F.hardtanh(self.pseudo_inputs, 0.0, 1.0))
        components = require_diagonal_gaussian(
            posterior,
            "the encoder to return an Independent Normal",
            "A VampPrior is a mixture of Gaussian posteriors.",
        )
        vectors = DiagonalGaussianMixture(components.loc.flatten(1), components.scale.flatten(1))
        return shaped(vectors, components.loc.shape[1:])

    def start_from(self, codes: Tensor, x: Tensor, *, show: bool = False) -> None:
        """Trainable pseudo-inputs at random examples, with a little noise."""
        if self.trainable:
            chosen = x[torch.randperm(len(x))[: len(self.pseudo_inputs)].to(x.device)]
            start = VampPrior.from_data(chosen, len(chosen), trainable=True).pseudo_inputs
            with torch.no_grad():
                self.pseudo_inputs[: len(start)] = start

    def extra_repr(self) -> str:
        """The settings that repr shows."""
        return f"components={len(self.pseudo_inputs)}, trainable={self.trainable}"
