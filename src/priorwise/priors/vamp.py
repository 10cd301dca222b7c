"""The VampPrior: a mixture of the encoder's own posteriors at pseudo-inputs."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from priorwise.callables import modules_of
from priorwise.distributions import DiagonalGaussianMixture, require_diagonal_gaussian
from priorwise.nn import running_statistics
from priorwise.priors.base import AbstractPrior
from priorwise.typing import Encode, Shape

__all__ = ["VampPrior"]

_INSIDE = (
    1e-3  # how far from 0 and 1 a pseudo-input starts: outside them its gradient would be zero
)


class VampPrior(AbstractPrior):
    r"""The variational mixture of posteriors.

    .. math:: p(z) = \frac{1}{K} \sum_{k=1}^{K} q(z | u_k)

    The pseudo-inputs :math:`u_k` are clamped to [0, 1]; they start strictly inside, so that every
    one receives a gradient. Normalised; exact sampling (a component is drawn uniformly, then a
    point from it); reparameterised. Each training step encodes all K pseudo-inputs; inside
    ``frozen`` they are encoded once.

    Batch statistics are those of the data alone: pseudo-inputs are normalised by the running
    statistics, in training too, and leave no trace in them. So the mixture is made of the encoder
    that evaluation uses. Dropout treats pseudo-inputs as it treats data. An encoder with batch
    normalisation that has no running statistics is refused, since a component would depend on the
    others.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), equations 9-10 and section 5.

    Arguments:
        pseudo_inputs: Their initial values, ``(K, *shape)``, in [0, 1].
        trainable: Whether they are learned. False keeps them as they are: the paper's
            "VampPrior-data".
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
        """Trainable pseudo-inputs that start at N(mean, std), kept inside [0, 1].

        The paper's code uses (0.05, 0.01) for MNIST and OMNIGLOT, (0.5, 0.02) for Frey faces.
        """
        if components < 1:
            raise ValueError(f"expected at least 1 of `components`; got {components}.")
        return cls((mean + std * torch.randn(components, *shape)).clamp(_INSIDE, 1 - _INSIDE))

    @classmethod
    def from_data(
        cls, x: Tensor, components: int, *, trainable: bool = False, noise: float = 0.01
    ) -> "VampPrior":
        """Pseudo-inputs that are a random subset of the data; trainable ones start with a little noise."""
        if not 1 <= components <= len(x):
            raise ValueError(
                f"expected `components` between 1 and the {len(x)} data; got {components}."
            )
        start = x[torch.randperm(len(x), device=x.device)[:components]].float()
        if trainable:
            start = (start + noise * torch.randn_like(start)).clamp(_INSIDE, 1 - _INSIDE)
        return cls(start, trainable=trainable)

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        if encode_top is None:
            raise ValueError(
                "expected `prior(encode_top)` with the encoder of the top latents; got no "
                "encoder. A VampPrior is made of encodings: call it through its model, or pass "
                "the encoder."
            )
        with running_statistics(modules_of(encode_top)):
            posterior = encode_top(F.hardtanh(self.pseudo_inputs, 0.0, 1.0))
        components = require_diagonal_gaussian(
            posterior,
            "the encoder to return an Independent Normal",
            "A VampPrior is a mixture of Gaussian posteriors.",
        )
        return DiagonalGaussianMixture(components.loc, components.scale)

    def extra_repr(self) -> str:
        """What repr shows."""
        return f"components={len(self.pseudo_inputs)}, trainable={self.trainable}"
