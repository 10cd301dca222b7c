"""Convolutional bodies: from images to features, and from latents to pixels.

The layers are those of the dpVAE paper, but its leaky layers have a slope of 0.01 here. In its code
they are the identity, because an argument is misplaced.

Letters: ``C H W`` image channels, height and width, ``L`` latent dimensions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from priorwise.nn import MLP, Rows
from priorwise.typing import Shape

__all__ = [
    "IMAGE_BODIES",
    "ImageBodies",
    "convolution_rows",
    "moons_decoder_body",
    "moons_encoder_body",
]


@dataclass(frozen=True)
class ImageBodies:
    """A pair of convolutional bodies for images of one shape.

    Attributes:
        shape: Shape (C, H, W) of the images.
        features: Size of the encoder's features.
        encoder: Builds the body of q(z|x): ``(*, C, H, W) -> (*, features)``.
        decoder: Builds the body of p(x|z) for L latent dimensions: ``(*, L) -> (*, C*H*W)``, pixels
            without an activation.
    """

    shape: Shape
    features: int
    encoder: Callable[[], nn.Module]
    decoder: Callable[[int], nn.Module]


def convolution_rows(event_dims: int, *layers: nn.Module) -> nn.Module:
    """Convolutions over rows, with weights in the faster memory order (channels last)."""
    convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Rows(convolutions, event_dims)


def _down(*sizes: tuple[int, int, int, int, int]) -> list[nn.Module]:
    """Convolutions (in, out, kernel, stride, padding) with a ReLU after each."""
    layers: list[nn.Module] = []
    for before, after, kernel, stride, padding in sizes:
        layers += [nn.Conv2d(before, after, kernel, stride, padding), nn.ReLU()]
    return layers


def _up(*sizes: tuple[int, int, int, int, int]) -> list[nn.Module]:
    """Transposed convolutions with a ReLU between them."""
    layers: list[nn.Module] = []
    for before, after, kernel, stride, padding in sizes:
        layers += [nn.ConvTranspose2d(before, after, kernel, stride, padding), nn.ReLU()]
    return layers[:-1]


def _mnist_encoder() -> nn.Module:
    sizes = ((1, 32, 4, 2, 1), (32, 32, 3, 1, 0), (32, 32, 4, 2, 1), (32, 32, 3, 1, 0))
    return nn.Sequential(
        convolution_rows(3, *_down(*sizes), nn.Flatten()), MLP(512, 256, (256,), nn.ReLU), nn.ReLU()
    )


def _mnist_decoder(latent: int) -> nn.Module:
    sizes = ((32, 32, 3, 1, 0), (32, 32, 4, 2, 1), (32, 32, 3, 1, 0), (32, 1, 4, 2, 1))
    dense = MLP(latent, 512, (256, 256), nn.ReLU)
    return nn.Sequential(
        dense,
        nn.ReLU(),
        convolution_rows(1, nn.Unflatten(1, (32, 4, 4)), *_up(*sizes), nn.Flatten()),
    )


def _mnist_factor_encoder() -> nn.Module:
    sizes = (
        (1, 32, 4, 2, 1),
        (32, 64, 3, 1, 0),
        (64, 64, 4, 2, 1),
        (64, 256, 3, 1, 0),
        (256, 256, 4, 1, 0),
    )
    return convolution_rows(3, *_down(*sizes), nn.Flatten())


def _mnist_factor_decoder(latent: int) -> nn.Module:
    sizes = (
        (256, 256, 4, 1, 0),
        (256, 64, 3, 1, 0),
        (64, 64, 4, 2, 1),
        (64, 32, 3, 1, 0),
        (32, 1, 4, 2, 1),
    )
    dense = nn.Sequential(nn.Linear(latent, 256), nn.ReLU())
    return nn.Sequential(
        dense, convolution_rows(1, nn.Unflatten(1, (256, 1, 1)), *_up(*sizes), nn.Flatten())
    )


def _svhn_encoder() -> nn.Module:
    layers: list[nn.Module] = []
    before = 3
    for kernel, stride, padding in ((4, 2, 1), (4, 2, 1), (3, 1, 0), (3, 1, 0)):
        layers += [nn.Conv2d(before, 32, kernel, stride, padding), nn.BatchNorm2d(32), nn.ReLU()]
        layers += [nn.Conv2d(32, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU()]
        before = 32
    return convolution_rows(3, *layers, nn.Flatten())


def _svhn_decoder(latent: int) -> nn.Module:
    layers: list[nn.Module] = []
    for kernel, stride, padding in ((3, 1, 0), (3, 1, 0), (4, 2, 1), (4, 2, 1)):
        layers += [nn.ConvTranspose2d(32, 32, kernel, stride, padding), nn.ReLU()]
        layers += [nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU()]
    layers[-2:] = [nn.Conv2d(32, 3, 3, 1, 1)]
    dense = nn.Sequential(nn.Linear(latent, 512), nn.ReLU())
    return nn.Sequential(
        dense, convolution_rows(1, nn.Unflatten(1, (32, 4, 4)), *layers, nn.Flatten())
    )


def _celeba_encoder() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in pairwise((3, 32, 64, 128, 256, 256)):
        layers += [nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU()]
    return convolution_rows(3, *layers, nn.Flatten())


def _celeba_decoder(latent: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in pairwise((256, 256, 128, 64, 32, 3)):
        layers += [nn.Upsample(scale_factor=2), nn.ReplicationPad2d(1), nn.Conv2d(before, after, 3)]
        layers += [nn.BatchNorm2d(after, eps=1e-3), nn.LeakyReLU()]
    dense = nn.Sequential(nn.Linear(latent, 1024), nn.LeakyReLU())
    return nn.Sequential(
        dense, convolution_rows(1, nn.Unflatten(1, (256, 2, 2)), *layers[:-2], nn.Flatten())
    )


IMAGE_BODIES: dict[str, ImageBodies] = {
    "mnist": ImageBodies((1, 28, 28), 256, _mnist_encoder, _mnist_decoder),
    "mnist_factor": ImageBodies((1, 28, 28), 256, _mnist_factor_encoder, _mnist_factor_decoder),
    "svhn": ImageBodies((3, 32, 32), 512, _svhn_encoder, _svhn_decoder),
    "celeba": ImageBodies((3, 64, 64), 1024, _celeba_encoder, _celeba_decoder),
}


def moons_encoder_body(shape: Shape) -> nn.Module:
    """Points in the plane to 50 features, by the dpVAE paper's dense layers for two moons."""
    return nn.Sequential(MLP(math.prod(shape), 50, (100,), nn.LeakyReLU), nn.LeakyReLU())


def moons_decoder_body(latent: int) -> nn.Module:
    """Latents to 100 features, by the layers of ``moons_encoder_body`` in reverse."""
    return nn.Sequential(MLP(latent, 100, (50,), nn.LeakyReLU), nn.LeakyReLU())
