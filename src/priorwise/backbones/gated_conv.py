"""Gated convolutional bodies of the VampPrior paper, for images of any size.

Letters: ``C H W`` image channels, height and width, ``L`` latent dimensions, ``P`` planes.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from priorwise.backbones.mlp import TwoBranch
from priorwise.nn import GatedConv2d, GatedDense, Rows
from priorwise.typing import Shape

__all__ = [
    "DRAWING_FEATURES",
    "LatentPlanes",
    "conv_features",
    "gated_conv_body",
    "gated_conv_two_branch",
    "gated_drawing_body",
]

# (channels, kernel, stride) of each layer
_TOP = ((32, 7, 1), (32, 3, 2), (64, 5, 1), (64, 3, 2), (6, 3, 1))
_BOTTOM = ((32, 3, 1), (32, 3, 2), (64, 3, 1), (64, 3, 2), (6, 3, 1))

DRAWING_FEATURES = 64
"""Feature planes of ``gated_drawing_body``."""


def _rows(*layers: nn.Module) -> Rows:
    """Convolutions over rows, with weights in the faster memory order (channels last)."""
    return Rows(nn.Sequential(*layers).to(memory_format=torch.channels_last), 3)  # type: ignore[call-overload]


def _down(channels: int, sizes: tuple[tuple[int, int, int], ...]) -> Rows:
    layers: list[nn.Module] = []
    for after, kernel, stride in sizes:
        layers.append(GatedConv2d(channels, after, kernel, stride))
        channels = after
    return _rows(*layers, nn.Flatten())


def conv_features(shape: Shape) -> int:
    """Number of features that the encoders compute from an image: 6 at a quarter of each side."""
    return 6 * math.prod(-(-side // 4) for side in shape[1:])


def gated_conv_body(shape: Shape) -> nn.Module:
    """Five gated convolutions, the paper's body of q(z2|x): ``(*, C, H, W) -> (*, features)``."""
    return _down(shape[0], _TOP)


def gated_conv_two_branch(shape: Shape, latent: int, hidden: int = 300) -> TwoBranch:
    """Convolutions of x and a dense layer of z2, merged: the paper's body of q(z1|x, z2)."""
    features = conv_features(shape)
    return TwoBranch(_down(shape[0], _BOTTOM), GatedDense(latent, features), features, hidden)


def gated_drawing_body(shape: Shape) -> nn.Sequential:
    """A vector of C*H*W numbers to features of every pixel, by four gated convolutions.

    ``(*, C*H*W) -> (*, DRAWING_FEATURES, H, W)``.
    """
    channels = (shape[0], *(4 * [DRAWING_FEATURES]))
    convolutions = [GatedConv2d(before, after) for before, after in pairwise(channels)]
    return nn.Sequential(nn.Unflatten(-1, tuple(shape)), _rows(*convolutions))


class LatentPlanes(nn.Module):
    """Every vector of latents as one image: ``(*, L) ... -> (*, P, H, W)``, P = C a vector.

    Arguments:
        latents: The number of dimensions of each vector.
        shape: Shape (C, H, W) of an image.
    """

    def __init__(self, latents: tuple[int, ...], shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.maps = nn.ModuleList(GatedDense(latent, math.prod(shape)) for latent in latents)

    @property
    def planes(self) -> int:
        """The number of planes."""
        return len(self.maps) * self.shape[0]

    def forward(self, *z: Tensor) -> Tensor:
        """The images of all vectors, above one another; their leading dimensions broadcast."""
        images = [each(part) for each, part in zip(self.maps, z, strict=True)]
        wide = torch.broadcast_tensors(*images)
        return torch.cat([image.unflatten(-1, self.shape) for image in wide], -3)
