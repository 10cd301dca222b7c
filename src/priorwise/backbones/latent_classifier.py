"""The classifiers of a noise contrastive prior: logits of latents, given their group's context."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from priorwise.nn import MLP
from priorwise.typing import Shape

__all__ = ["AbstractLatentClassifier", "LatentClassifier"]


class AbstractLatentClassifier(nn.Module, ABC):
    """How to write a classifier of latents.

    1. Inherit. Latents keep the shape of their event: ``z`` is ``(*sample, *batch, *event)``.
    2. Implement ``encode_context(context)``: the features that the classifier needs of a context
       ``(*batch, *context_event)``. It is called once per group, however many proposals are
       evaluated in that context.
    3. Implement ``forward(z, encoded)``: logits ``(*sample, *batch)`` in nats. ``encoded`` is the
       output of ``encode_context``, or None without a context. It has the batch dimensions but no
       sample dimensions: broadcast it over the samples.
    4. Set ``max_logit`` if the logit is bounded; rejection sampling is then exact.

    A module that does not inherit from this class is called with ``(z, context)`` in the same
    shapes.
    """

    max_logit: float | None = None

    @abstractmethod
    def encode_context(self, context: Tensor) -> Tensor:
        """A context ``(*batch, *context_event)`` to features ``(*batch, ...)`` for ``forward``."""

    @abstractmethod
    def forward(self, z: Tensor, encoded: Tensor | None = None) -> Tensor:
        """``(*sample, *batch, *event)`` to logits ``(*sample, *batch)`` in nats."""


class LatentClassifier(AbstractLatentClassifier):
    r"""Dense layers on flattened latents; the context enters the first layer.

    With ``max_logit`` the logit is soft-clipped, :math:`c \tanh(l / c)`, so that the tilt is
    bounded and rejection sampling is exact.

    Arguments:
        latent: Shape of the latents of the group, or their size.
        context: Shape of the context, or its size; None if there is no context.
        hidden_features: Sizes of the hidden layers.
        max_logit: The bound c in nats; None leaves the logit free.
    """

    def __init__(
        self,
        latent: int | Shape,
        context: int | Shape | None = None,
        *,
        hidden_features: tuple[int, ...] = (256, 256, 256),
        max_logit: float | None = None,
    ) -> None:
        super().__init__()
        if not hidden_features:
            raise ValueError("expected at least one hidden layer in `hidden_features`; got none.")
        self.max_logit = max_logit
        self.latent_dims = 1 if isinstance(latent, int) else len(latent)
        self.context_dims = 1 if isinstance(context, int) or context is None else len(context)
        self.latent = nn.Linear(_size(latent), hidden_features[0])
        self.context = (
            None if context is None else nn.Linear(_size(context), hidden_features[0], bias=False)
        )
        self.rest = nn.Sequential(nn.SiLU(), MLP(hidden_features[0], 1, hidden_features[1:]))

    def encode_context(self, context: Tensor) -> Tensor:
        """The context's part of the first layer, ``(*batch, hidden)``."""
        if self.context is None:
            raise ValueError(
                f"expected no context; got one of shape {tuple(context.shape)}. This classifier "
                "was built without `context`."
            )
        return self.context(context.flatten(-self.context_dims))

    def forward(self, z: Tensor, encoded: Tensor | None = None) -> Tensor:
        """Logits ``(*sample, *batch)`` in nats.

        Arguments:
            z: Latents ``(*sample, *batch, *event)``.
            encoded: The encoded context ``(*batch, hidden)``.
        """
        hidden = self.latent(z.flatten(-self.latent_dims))
        if self.context is not None:
            if encoded is None:
                raise ValueError(
                    "expected a `context`; got None. This classifier was built with `context`."
                )
            hidden = hidden + encoded
        logit = self.rest(hidden).squeeze(-1)
        return (
            logit if self.max_logit is None else self.max_logit * torch.tanh(logit / self.max_logit)
        )


def _size(shape: int | Shape) -> int:
    return shape if isinstance(shape, int) else math.prod(shape)
