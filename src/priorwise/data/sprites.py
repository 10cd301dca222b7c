"""White shapes on black, drawn from five known factors, for measures of disentanglement.

Letters: ``N`` images, ``F`` factors, ``H`` and ``W`` pixels (both are the side).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["Sprites"]

# Lengths in units of 1/32 of the side. The centre lies 0.3 beside the middle of a pixel, so that a
# shape that grows gains one row of pixels at a time. With these radii every outline keeps clear of
# the middles of the pixels (by more than 1e-7 in the functions below), so that rounding decides
# nothing and the bits are the same everywhere.
_FRAME = 32
_RADII = (4.7, 5.7, 6.7, 7.7)
_FIRST_CENTRE = 8.8
_HEART_RADIUS = 1.4246  # of the heart curve below


def _in_square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) < math.sqrt(0.5)


def _in_ellipse(u: Tensor, v: Tensor) -> Tensor:
    return u.square() + (2 * v).square() < 1


def _in_heart(u: Tensor, v: Tensor) -> Tensor:
    u, v = _HEART_RADIUS * u, _HEART_RADIUS * v
    return (u.square() + v.square() - 1) ** 3 < u.square() * v**3


# Each shape lies within the unit circle and touches it.
_SHAPES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_in_square, _in_ellipse, _in_heart)


@dataclass(frozen=True)
class Sprites:
    r"""All images of a square, an ellipse or a heart of given size, orientation and position.

    The images are binary, and no two are alike. A pixel is white when its centre lies inside the
    shape. Let r be the radius of the circle around the shape, and (u, v) the position of the pixel
    relative to the centre of the shape, rotated back by the orientation and divided by r:

    .. math:: \text{square: } & \max(|u|, |v|) < 1/\sqrt{2} \\
              \text{ellipse: } & u^2 + 4 v^2 < 1 \\
              \text{heart: } & (a^2 + b^2 - 1)^3 < a^2 b^3,\ (a, b) = 1.4246\,(u, v)

    =========== ==== =============================================================================
    factor      size values
    =========== ==== =============================================================================
    shape          3 square, ellipse, heart; the order means nothing
    scale          4 the radius: 4.7, 5.7, 6.7, 7.7 thirty-seconds of the side
    orientation   10 0, 9, ..., 81 degrees anticlockwise: below 90, where the square repeats
    x             16 of the centre, to the right: 8.8, 9.8, ..., 23.8 thirty-seconds of the side
    y             16 of the centre, downwards, the same
    =========== ==== =============================================================================

    The grid is in the order of an odometer: y runs fastest. The set resembles dSprites but is not
    dSprites (737,280 images of 64x64, with orientations over the full turn), and numbers on the two
    cannot be compared.

    References:
        The idea and the factors: dSprites: Disentanglement testing Sprites dataset (Matthey et al.,
        2017). https://github.com/google-deepmind/dsprites-dataset

    Arguments:
        side: 32 or 64 pixels.

    Raises:
        ValueError: for another side.

    Example:
        >>> sprites = Sprites()
        >>> sprites.images.shape, sprites.factors.shape
        (torch.Size([30720, 1, 32, 32]), torch.Size([30720, 5]))
        >>> bool((sprites.draw(sprites.factors[700:702]) == sprites.images[700:702]).all())
        True
    """

    side: int = _FRAME
    names: ClassVar[tuple[str, ...]] = ("shape", "scale", "orientation", "x", "y")
    sizes: ClassVar[tuple[int, ...]] = (len(_SHAPES), len(_RADII), 10, 16, 16)

    def __post_init__(self) -> None:
        if self.side not in (_FRAME, 2 * _FRAME):
            raise ValueError(f"expected `side` as 32 or 64 pixels; got {self.side}.")

    def __len__(self) -> int:
        return math.prod(self.sizes)

    @cached_property
    def factors(self) -> Tensor:
        """The factors of every image, ``(N, F)`` int64, each from 0 to its size minus 1."""
        return torch.cartesian_prod(*(torch.arange(size) for size in self.sizes))

    @cached_property
    def images(self) -> Tensor:
        """Every image, ``(N, 1, H, W)`` uint8 of zeros and ones."""
        return self.draw(self.factors)

    def draw(self, factors: Tensor) -> Tensor:
        """The images of these factors, ``(N, F) -> (N, 1, H, W)`` uint8 of zeros and ones.

        Raises:
            ValueError: if the factors have another shape, are not integers, or are out of range.
        """
        shape, scale, orientation, x, y = self._checked(factors)[:, :, None, None].unbind(1)
        pixel = torch.arange(self.side) + self._slack
        row, column = pixel[:, None] - self._step * y, pixel - self._step * x
        return self._stamps[shape, scale, orientation, row, column][:, None]

    def index(self, factors: Tensor) -> Tensor:
        """The places of these factors in the grid, ``(N, F) -> (N)``.

        Raises:
            ValueError: as ``draw``.
        """
        strides = [math.prod(self.sizes[place + 1 :]) for place in range(len(self.sizes))]
        return self._checked(factors) @ torch.tensor(strides)

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """The places of the training, validation and test images in the grid.

        They are 8/10, 1/10 and 1/10 of the grid, shuffled once.
        """
        tenth = len(self) // 10
        order = torch.from_numpy(np.random.RandomState(0).permutation(len(self)))
        train, validation, test = order.split([len(self) - 2 * tenth, tenth, tenth])
        return train, validation, test

    @property
    def _step(self) -> int:
        """How many pixels lie between neighbouring positions of a shape."""
        return self.side // _FRAME

    @property
    def _slack(self) -> int:
        """How many pixels a shape moves over the whole grid."""
        return self._step * (self.sizes[-1] - 1)

    @cached_property
    def _stamps(self) -> Tensor:
        """Every shape, scale and orientation once, ``(3, 4, 10, H + slack, W + slack)``.

        Each is drawn on a canvas that is larger than the image, so that it can be shifted.
        """
        canvas = torch.arange(self.side + self._slack, dtype=torch.float64)
        away = (canvas - self._slack + 0.5) / self._step - _FIRST_CENTRE
        radius = torch.tensor(_RADII, dtype=torch.float64)[:, None, None, None]
        angle = torch.arange(self.sizes[2], dtype=torch.float64)[:, None, None] * (
            math.pi / 2 / self.sizes[2]
        )
        right, up = away, -away[:, None]
        u = (angle.cos() * right + angle.sin() * up) / radius
        v = (angle.cos() * up - angle.sin() * right) / radius
        return torch.stack([inside(u, v) for inside in _SHAPES]).to(torch.uint8)

    def _checked(self, factors: Tensor) -> Tensor:
        if factors.dim() != 2 or factors.shape[1] != len(self.names) or factors.is_floating_point():
            raise ValueError(
                f"expected `factors` as integers of shape (N, {len(self.names)}), for "
                f"{', '.join(self.names)}; got {factors.dtype} of shape {tuple(factors.shape)}."
            )
        for name, size, column in zip(self.names, self.sizes, factors.unbind(1), strict=True):
            if bool(((column < 0) | (column >= size)).any()):
                raise ValueError(
                    f"expected the factor {name!r} from 0 to {size - 1}; got {int(column.min())} "
                    f"to {int(column.max())}."
                )
        return factors.long()
