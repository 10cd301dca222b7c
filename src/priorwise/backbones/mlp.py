"""Dense bodies: from observations or latents to features."""

import math

import torch
from torch import Tensor, nn

from priorwise.nn import MLP, FlattenEvent, GatedDense, GatedMerge
from priorwise.typing import Shape

__all__ = ["LatentClassifier", "TwoBranch", "gated_body", "gated_image_body"]


def gated_body(in_features: int, hidden: int = 300) -> nn.Sequential:
    """Two gated dense layers on a vector: the VampPrior paper's body of p(x|z) and p(z1|z2)."""
    return nn.Sequential(GatedDense(in_features, hidden), GatedDense(hidden, hidden))


def gated_image_body(shape: Shape, hidden: int = 300) -> nn.Sequential:
    """Two gated dense layers on a flattened observation: the VampPrior paper's body of q(z|x)."""
    return nn.Sequential(FlattenEvent(shape), GatedDense(math.prod(shape), hidden), GatedDense(hidden, hidden))


class TwoBranch(nn.Module):
    """Two inputs, a branch for each, and a gated layer where they meet.

    Arguments:
        first: Body of the first input, to ``hidden`` features.
        second: Body of the second input, to ``hidden`` features.
        hidden: Size of the features of both branches and of the result.
    """

    def __init__(self, first: nn.Module, second: nn.Module, hidden: int = 300) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.merge = GatedMerge(hidden, hidden, hidden)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Features of both; leading dimensions broadcast."""
        return self.merge(self.first(first), self.second(second))


class LatentClassifier(nn.Module):
    r"""The classifier of a noise contrastive prior: a logit for latents given their context.

    With ``max_logit`` the logit is soft-clipped, :math:`c \tanh(l / c)`, so that the tilt is bounded and rejection
    sampling is exact.

    Arguments:
        latent_features: Size of the flattened latents of the group.
        context_features: Size of the flattened context; 0 without one.
        hidden_features: Sizes of the hidden layers.
        max_logit: The bound c in nats; None leaves the logit free.
    """

    def __init__(
        self,
        latent_features: int,
        context_features: int = 0,
        *,
        hidden_features: tuple[int, ...] = (256, 256, 256),
        max_logit: float | None = None,
    ) -> None:
        super().__init__()
        if not hidden_features:
            raise ValueError("expected at least one hidden layer in `hidden_features`; got none.")
        self.max_logit = max_logit
        self.latent = nn.Linear(latent_features, hidden_features[0])
        self.context = nn.Linear(context_features, hidden_features[0], bias=False) if context_features else None
        self.rest = nn.Sequential(nn.SiLU(), MLP(hidden_features[0], 1, hidden_features[1:]))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """``(*sample, *batch, latent_features)`` and ``(*batch, context_features)`` to logits ``(*sample, *batch)``."""
        hidden = self.latent(z)
        if self.context is not None:
            if context is None:
                raise ValueError("expected a `context`; got None. This classifier was built with `context_features`.")
            hidden = hidden + self.context(context)
        logit = self.rest(hidden).squeeze(-1)
        return logit if self.max_logit is None else self.max_logit * torch.tanh(logit / self.max_logit)
