"""Likelihoods: modules that turn a decoder's features into p(x|z).

Each takes the size of the features and the shape of one observation, and returns a distribution of
batch shape ``(*batch)`` and event shape ``shape``. Log densities are in nats and include all
constants. There are three kinds of features:

- ``(*batch, F)`` with ``in_features=F``: a dense layer computes the numbers of all pixels.
- ``(*batch, F, H, W)`` with ``in_features=(F, H, W)``, the planes of a convolutional decoder: the
  numbers of a pixel are computed from its F features, with the same weights at every pixel.
- ``(*batch, C*H*W)`` with ``in_features=None``: a decoder that ends in pixels. Its features already
  are the logits or means of ``Bernoulli`` or ``Gaussian``.
"""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from priorwise import distributions
from priorwise.nn import Rows, at_least_float32
from priorwise.typing import Shape

__all__ = [
    "Bernoulli",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "InFeatures",
]

InFeatures: TypeAlias = int | Shape | None
"""The features of a decoder: how many; their shape (F, H, W); None if they are the pixels."""


def _linear(in_features: InFeatures, shape: Shape) -> nn.Module:
    """A linear map to ``prod(shape)`` numbers; the identity if the features are these numbers."""
    if in_features is None:
        return nn.Identity()
    if isinstance(in_features, int):
        return nn.Linear(in_features, math.prod(shape))
    planes = tuple(in_features)
    if len(planes) != 3 or len(shape) != 3 or planes[1:] != tuple(shape[1:]):
        raise ValueError(
            "expected `in_features` as (F, H, W) with the height and width of `shape` (C, H, W); "
            f"got {planes} for {tuple(shape)}. Crop the features to the image."
        )
    pixelwise = nn.Conv2d(planes[0], shape[0], 1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Rows(nn.Sequential(pixelwise, nn.Flatten()), 3)


def _own_features(in_features: InFeatures, what: str) -> int | Shape:
    """The size of the features, for a likelihood that needs more than one number per pixel.

    Raises:
        ValueError: if the decoder ends in pixels.
    """
    if in_features is None:
        raise ValueError(
            f"expected `in_features` for {what}, which computes several numbers per pixel; got "
            "None, which is for a decoder that ends in pixels. Use Bernoulli, or Gaussian with "
            "another scale."
        )
    return in_features


class Bernoulli(nn.Module):
    """Binary pixels from logits.

    Probabilities are not clamped. The VampPrior code clamps them to [1e-5, 1 - 1e-5], which is not
    a property of the model.

    Arguments:
        in_features: Size of the features, or their shape (F, H, W); None if they are the logits.
        shape: Shape of one observation.
    """

    def __init__(self, in_features: InFeatures, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.logits = _linear(in_features, shape)

    def forward(self, features: Tensor) -> Distribution:
        """Features to Bernoulli pixels."""
        logits = at_least_float32(self.logits(features)).unflatten(-1, self.shape)
        return distributions.IndependentBernoulli(logits, len(self.shape))


class Gaussian(nn.Module):
    """Real-valued observations with a Gaussian error.

    Arguments:
        in_features: Size of the features, or their shape (F, H, W); None if they are the means.
        shape: Shape of one observation.
        scale: A number (fixed), ``"learned"`` (one for all pixels), ``"per_output"`` (one per
            pixel, the same for all z) or ``"predicted"`` (one per pixel, computed from z).
        min_scale: Floor of a scale that is not fixed. Without one, the density of a pixel that
            never varies is unbounded.
    """

    def __init__(
        self,
        in_features: InFeatures,
        shape: Shape,
        scale: float | Literal["learned", "per_output", "predicted"] = "learned",
        *,
        min_scale: float = 1e-3,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.min_scale = min_scale
        self.loc = _linear(in_features, shape)
        self.log_scale: nn.Parameter | nn.Module | None = None
        self.fixed_scale: float | None = None
        if isinstance(scale, (int, float)):
            if not scale > 0:
                raise ValueError(f"expected a positive `scale`; got {scale}.")
            self.fixed_scale = float(scale)
        elif scale == "learned":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif scale == "per_output":
            self.log_scale = nn.Parameter(torch.zeros(self.shape))
        elif scale == "predicted":
            self.log_scale = _linear(_own_features(in_features, "a predicted scale"), self.shape)
        else:
            raise ValueError(
                "expected `scale` as a number, 'learned', 'per_output' or 'predicted'; got "
                f"{scale!r}."
            )

    def _scale(self, features: Tensor) -> Tensor:
        if self.fixed_scale is not None:
            # never in half precision, which would round it: a scale of 0.1 costs tens of nats
            dtype = torch.promote_types(features.dtype, torch.float32)
            return torch.tensor(self.fixed_scale, dtype=dtype, device=features.device)
        if isinstance(self.log_scale, nn.Module):
            log_scale = self.log_scale(features).unflatten(-1, self.shape)
        else:
            assert self.log_scale is not None
            log_scale = self.log_scale
        return at_least_float32(log_scale).exp() + self.min_scale

    def forward(self, features: Tensor) -> Distribution:
        """Features to Gaussian pixels."""
        loc = at_least_float32(self.loc(features)).unflatten(-1, self.shape)
        scale = at_least_float32(self._scale(features)).expand_as(loc)
        return distributions.diagonal_gaussian(loc, scale, len(self.shape))


class DiscretizedLogistic(nn.Module):
    """Grey levels in [0, 1], each pixel under a logistic law.

    Arguments:
        in_features: Size of the features, or their shape (F, H, W).
        shape: Shape of one observation.
        levels: Number of grey levels.
        tails: Whether the outermost bins hold the mass outside [0, 1]; False is the VampPrior
            paper's form.
        log_scale_range: The log scale is clamped to this range.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5.
        https://arxiv.org/abs/1705.07120
    """

    def __init__(
        self,
        in_features: InFeatures,
        shape: Shape,
        *,
        levels: int = 256,
        tails: bool = True,
        log_scale_range: tuple[float, float] = (-4.5, 0.0),
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.levels = levels
        self.tails = tails
        self.log_scale_range = log_scale_range
        in_features = _own_features(in_features, "DiscretizedLogistic")
        self.loc = _linear(in_features, self.shape)
        self.log_scale = _linear(in_features, self.shape)

    def forward(self, features: Tensor) -> Distribution:
        """Features to grey pixels."""
        half_bin = 0.5 / self.levels
        loc = at_least_float32(self.loc(features)).sigmoid().clamp(half_bin, 1 - half_bin)
        log_scale = F.hardtanh(at_least_float32(self.log_scale(features)), *self.log_scale_range)
        return distributions.DiscretizedLogistic(
            loc.unflatten(-1, self.shape),
            log_scale.unflatten(-1, self.shape),
            levels=self.levels,
            tails=self.tails,
            event_dims=len(self.shape),
        )


class DiscretizedLogisticMixture(nn.Module):
    """Grey or colour pixels in [0, 1] under a mixture of logistics with linked channels.

    Arguments:
        in_features: Size of the features, or their shape (F, H, W).
        shape: Shape ``(C, H, W)`` of one observation.
        components: Number of mixture components.
        levels: Number of levels per channel.
        min_log_scale: Floor of the log scale.

    References:
        PixelCNN++ (Salimans et al., 2017), section 2.1. https://arxiv.org/abs/1701.05517
    """

    def __init__(
        self,
        in_features: InFeatures,
        shape: Shape,
        *,
        components: int = 10,
        levels: int = 256,
        min_log_scale: float = -7.0,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ValueError(f"expected `shape` as (C, H, W); got {tuple(shape)}.")
        self.shape = tuple(shape)
        self.components = components
        self.levels = levels
        self.min_log_scale = min_log_scale
        channels = shape[0]
        self.sizes = (1, channels, channels, channels * (channels - 1) // 2)
        self.parameters_of_pixel = _linear(
            _own_features(in_features, "DiscretizedLogisticMixture"),
            (components * sum(self.sizes), *shape[1:]),
        )

    def forward(self, features: Tensor) -> Distribution:
        """Features to pixels."""
        raw = at_least_float32(self.parameters_of_pixel(features))
        raw = raw.unflatten(-1, (self.components, sum(self.sizes), *self.shape[1:]))
        logits, loc, log_scale, links = raw.split(self.sizes, -3)
        return distributions.DiscretizedLogisticMixture(
            logits.squeeze(-3),
            loc.sigmoid(),
            log_scale.clamp(min=self.min_log_scale),
            links.tanh() if self.sizes[3] else None,
            levels=self.levels,
        )
