"""Residual bodies for images of any size: strided convolutions down, and back to the exact size.

There is no batch normalisation, so an example is treated in the same way whatever else is in its
batch: pseudo-inputs of a VampPrior, or a batch of one.

Letters: ``C H W`` image channels, height and width, ``F`` planes, ``L`` latent dimensions.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from priorwise.nn import Rows, he_normal_
from priorwise.typing import Shape

__all__ = ["ResidualBlock", "residual_decoder_body", "residual_encoder_body", "residual_sizes"]

_SMALLEST = 4  # pixels a side at which halving ends
_WIDEST = 4  # times the width of the first level


class ResidualBlock(nn.Module):
    r"""Two 3x3 convolutions beside the identity, at which the block starts.

    .. math:: h + V \sigma(W \sigma(h))

    V starts at zero, so however many blocks there are, a signal comes through unchanged: what
    normalisation is for elsewhere.

    References:
        Identity Mappings in Deep Residual Networks (He et al., 2016), figure 4(e).
        https://arxiv.org/abs/1603.05027

        Fixup Initialization (Zhang et al., 2019), section 3. https://arxiv.org/abs/1901.09321

    Arguments:
        planes: Number of planes of input and output.
    """

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(planes, planes, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(planes, planes, 3, padding=1),
        )
        he_normal_(self.layers[1])
        for parameter in self.layers[3].parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> Tensor:
        """``(rows, planes, H, W)`` to the same shape."""
        return h + self.layers(h)


class _Crop(nn.Module):
    """The first rows and columns of planes, as many as an image of an odd size has."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, h: Tensor) -> Tensor:
        return h[..., : self.size[0], : self.size[1]]


def residual_sizes(shape: Shape, width: int) -> list[tuple[int, int, int]]:
    """Planes, height and width of each level, the finest first.

    Each level halves both sides, rounded up, until the longer one has at most 4 pixels. The number
    of planes doubles twice at most, so the parameters grow with the logarithm of the image's size.

    Arguments:
        shape: Shape (C, H, W) of an image.
        width: Number of planes of the first level.
    """
    if len(shape) != 3:
        raise ValueError(f"expected images, `shape` as (C, H, W); got {tuple(shape)}.")
    height, breadth = shape[1:]
    sizes = []
    while not sizes or max(height, breadth) > _SMALLEST:
        height, breadth = math.ceil(height / 2), math.ceil(breadth / 2)
        sizes.append((width * min(2 ** len(sizes), _WIDEST), height, breadth))
    return sizes


def residual_encoder_body(shape: Shape, width: int) -> nn.Module:
    """Images ``(*, C, H, W)`` to features ``(*, F)``, the planes of the last level.

    Arguments:
        shape: Shape (C, H, W) of an image.
        width: Number of planes of the first level.
    """
    sizes = residual_sizes(shape, width)
    layers: list[nn.Module] = []
    for before, after in pairwise([shape[0], *(planes for planes, _, _ in sizes)]):
        layers += [he_normal_(nn.Conv2d(before, after, 3, 2, 1)), ResidualBlock(after), nn.ReLU()]
    return _rows(3, *layers, nn.Flatten())


def residual_decoder_body(shape: Shape, latent: int, width: int) -> nn.Module:
    """Latents ``(*, L)`` to planes ``(*, width // 2, H, W)``.

    Arguments:
        shape: Shape (C, H, W) of an image.
        latent: Number L of latent dimensions.
        width: Number of planes of the first level.
    """
    sizes = residual_sizes(shape, width)[::-1]
    first = nn.Linear(latent, math.prod(sizes[0]))
    layers: list[nn.Module] = []
    for (before, _, _), (after, *size) in pairwise([*sizes, (width // 2, *shape[1:])]):
        layers += [ResidualBlock(before), nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        layers += [_Crop(tuple(size))]
    for layer in (first, *layers):
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            he_normal_(layer)
    return nn.Sequential(first, _rows(1, nn.Unflatten(1, sizes[0]), *layers, nn.ReLU()))


def _rows(event_dims: int, *layers: nn.Module) -> nn.Module:
    """Convolutions over rows, with weights in the faster memory order (channels last)."""
    convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Rows(convolutions, event_dims)
