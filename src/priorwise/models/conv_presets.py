"""The VampPrior paper's convolutional HVAE, with and without its PixelCNN decoder."""

import math
from collections.abc import Callable

from torch import nn

from priorwise.backbones import (
    DRAWING_FEATURES,
    LatentPlanes,
    PixelCNN,
    TwoBranch,
    conv_features,
    gated_body,
    gated_conv_body,
    gated_conv_two_branch,
    gated_drawing_body,
)
from priorwise.conditionals import Conditional, GaussianHead, PixelConditional
from priorwise.likelihoods import Bernoulli, InFeatures
from priorwise.models.hierarchical import HVAE
from priorwise.nn import GatedDense, he_normal_
from priorwise.priors import StandardNormal
from priorwise.typing import Shape

__all__ = ["conv_hvae", "pixel_hvae"]

PlaneLikelihood = Callable[[InFeatures, Shape], nn.Module]


def conv_hvae(
    shape: Shape,
    *,
    prior: nn.Module | None = None,
    likelihood: PlaneLikelihood = Bernoulli,
    latent: int = 40,
    hidden: int = 300,
) -> HVAE:
    """The VampPrior paper's two-level HVAE of gated convolutions, without a PixelCNN.

    It takes images of any size. No layer uses batch statistics.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5, and its code. With 1x28x28 binary
        pixels it has 2,210,861 parameters without the prior. https://arxiv.org/abs/1705.07120

    Arguments:
        shape: Shape (C, H, W) of an image.
        prior: The prior of the top ``latent`` dimensions; standard normal if None.
        likelihood: Called with the shape of the features (F, H, W) and ``shape``: a class of
            ``priorwise.likelihoods``.
        latent: Number of latent dimensions of each of the two groups.
        hidden: Size of the hidden layers.

    Raises:
        ValueError: if observations are no images.
    """
    _require_images(shape)
    from_latents = TwoBranch(
        GatedDense(latent, hidden), GatedDense(latent, hidden), hidden, math.prod(shape)
    )
    drawing = nn.Sequential(
        gated_drawing_body(shape), likelihood((DRAWING_FEATURES, *shape[1:]), shape)
    )
    return _hvae(shape, Conditional(from_latents, drawing), prior, latent, hidden)


def pixel_hvae(
    shape: Shape,
    *,
    prior: nn.Module | None = None,
    likelihood: PlaneLikelihood = Bernoulli,
    latent: int = 40,
    hidden: int = 300,
    features: int = 64,
    published: bool = False,
) -> HVAE:
    """The VampPrior paper's convolutional HVAE with a PixelCNN decoder.

    It takes images of any size. Each pixel depends on both groups of latents and on the pixels
    before it. In the paper's form the network of the decoder, and no other, has batch
    normalisation; pseudo-inputs never reach it.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5, and its code. In the paper's form
        it has 1,385,821 parameters with 1x28x28 binary pixels, without the prior.
        https://arxiv.org/abs/1705.07120

    Arguments:
        shape: Shape (C, H, W) of an image.
        prior: The prior of the top ``latent`` dimensions; standard normal if None.
        likelihood: The law of one pixel, or of one channel of it, called with the number of its
            features and its shape: a class of ``priorwise.likelihoods``.
        latent: Number of latent dimensions of each of the two groups.
        hidden: Size of the hidden layers.
        features: Features of each layer of the PixelCNN.
        published: Whether the PixelCNN has the form of the paper's code, which hides latents from
            pixels and treats the channels of a pixel as independent; see ``PixelCNN``.

    Raises:
        ValueError: if observations are no images.
    """
    _require_images(shape)
    planes = LatentPlanes((latent, latent), shape)
    network = PixelCNN(shape[0], planes.planes, features=features, published=published)
    decoder = PixelConditional(planes, network, likelihood, shape)
    return _hvae(shape, decoder, prior, latent, hidden)


def _hvae(
    shape: Shape,
    decoder: Conditional | PixelConditional,
    prior: nn.Module | None,
    latent: int,
    hidden: int,
) -> HVAE:
    """The networks that both have, and a decoder."""
    encoder_top = Conditional(gated_conv_body(shape), GaussianHead(conv_features(shape), latent))
    encoder_bottom = Conditional(
        gated_conv_two_branch(shape, latent, hidden), GaussianHead(hidden, latent)
    )
    prior_bottom = Conditional(gated_body(latent, hidden), GaussianHead(hidden, latent))
    # the paper's code draws dense layers so, and leaves convolutions at torch's default, to which
    # the decoder's map from features to pixels belongs
    for part in (encoder_top, encoder_bottom, prior_bottom, decoder.body):
        he_normal_(part, convolutions=False)
    return HVAE(
        encoder_top,
        encoder_bottom,
        prior_bottom,
        decoder,
        StandardNormal(latent) if prior is None else prior,
    )


def _require_images(shape: Shape) -> None:
    """Refuse observations that are no images."""
    if len(shape) != 3:
        raise ValueError(
            f"expected images of shape (C, H, W) for convolutions; got {tuple(shape)}. Add the "
            "channel, or use gated_hvae."
        )
