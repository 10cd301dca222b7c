"""The models of the papers, assembled from parts."""

import math
from collections.abc import Callable

import torch
from torch import nn

from priorwise.backbones import (
    IMAGE_BODIES,
    TwoBranch,
    gated_body,
    gated_image_body,
    moons_decoder_body,
    moons_encoder_body,
    residual_decoder_body,
    residual_encoder_body,
    residual_sizes,
)
from priorwise.conditionals import Conditional, GaussianHead
from priorwise.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, InFeatures
from priorwise.models.hierarchical import HVAE
from priorwise.models.vae import VAE
from priorwise.nn import FlattenEvent, GatedDense, he_normal_
from priorwise.priors import StandardNormal
from priorwise.typing import Shape

__all__ = ["conv_vae", "gated_hvae", "gated_vae", "moons_vae", "residual_vae"]

Likelihood = Callable[[int, Shape], nn.Module]
PixelLikelihood = Callable[[int | None, Shape], nn.Module]
PlanesLikelihood = Callable[[InFeatures, Shape], nn.Module]

_FIRST_OUTPUT = 0.1  # times He's scale
_LOG_VAR = (-10.0, 2.0)  # of q(z|x), so that no step makes it explode


def moons_vae(
    *, prior: nn.Module | None = None, likelihood: Likelihood = Gaussian, latent: int = 2
) -> VAE:
    """The dpVAE paper's VAE of dense layers for points in the plane.

    References:
        dpVAEs: Fixing Sample Generation for Regularized VAEs (Bhalodia et al., 2020), section 4.1.
        https://arxiv.org/abs/1911.10506

    Arguments:
        prior: The prior of ``latent`` dimensions; standard normal if None.
        likelihood: Called with the size of the features and the shape: a class of
            ``priorwise.likelihoods``.
        latent: Number of latent dimensions.
    """
    shape = (2,)
    encoder = Conditional(moons_encoder_body(shape), GaussianHead(50, latent, None))
    decoder = Conditional(moons_decoder_body(latent), likelihood(100, shape))
    return VAE(encoder, decoder, StandardNormal(latent) if prior is None else prior)


def conv_vae(
    network: str = "mnist",
    *,
    prior: nn.Module | None = None,
    likelihood: PixelLikelihood = Gaussian,
    latent: int = 10,
) -> VAE:
    """The dpVAE paper's convolutional VAEs.

    Weights start as draws of N(0, 2 / fan_in). With torch's smaller default, which the paper's code
    uses, so little of an image passes through eight layers that a fit may end up ignoring the
    latents.

    References:
        dpVAEs: Fixing Sample Generation for Regularized VAEs (Bhalodia et al., 2020), appendix.
        With two latents, "mnist" has 467,173 parameters without the prior.
        https://arxiv.org/abs/1911.10506

    Arguments:
        network: "mnist" or "mnist_factor" (1x28x28; the second is FactorVAE's), "svhn" (3x32x32) or
            "celeba" (3x64x64).
        prior: The prior of ``latent`` dimensions; standard normal if None.
        likelihood: ``Gaussian`` or ``Bernoulli`` of ``priorwise.likelihoods``. It is called with
            None and the shape of an image, since the decoder ends in pixels.
        latent: Number of latent dimensions.

    Raises:
        ValueError: for an unknown ``network``.
    """
    if network not in IMAGE_BODIES:
        raise ValueError(
            f"expected `network` as one of {', '.join(IMAGE_BODIES)}; got {network!r}."
        )
    bodies = IMAGE_BODIES[network]
    encoder = Conditional(bodies.encoder(), GaussianHead(bodies.features, latent, None))
    decoder = Conditional(bodies.decoder(latent), likelihood(None, bodies.shape))
    he_normal_(encoder.body)
    he_normal_(decoder.body)
    return VAE(encoder, decoder, StandardNormal(latent) if prior is None else prior)


def gated_vae(
    shape: Shape,
    *,
    prior: nn.Module | None = None,
    likelihood: Likelihood = Bernoulli,
    latent: int = 40,
    hidden: int = 300,
) -> VAE:
    """The VampPrior paper's one-level VAE of gated dense layers.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5. With 784 binary pixels it has
        1,116,864 parameters without the prior. https://arxiv.org/abs/1705.07120

    Arguments:
        shape: Shape of one observation.
        prior: The prior of ``latent`` dimensions; standard normal if None.
        likelihood: Called with the size of the features and ``shape``: a class of
            ``priorwise.likelihoods``.
        latent: Number of latent dimensions.
        hidden: Size of the hidden layers.
    """
    encoder = Conditional(gated_image_body(shape, hidden), GaussianHead(hidden, latent))
    decoder = Conditional(gated_body(latent, hidden), likelihood(hidden, shape))
    he_normal_(encoder)
    he_normal_(decoder)
    return VAE(encoder, decoder, StandardNormal(latent) if prior is None else prior)


def gated_hvae(
    shape: Shape,
    *,
    prior: nn.Module | None = None,
    likelihood: Likelihood = Bernoulli,
    latent: int = 40,
    hidden: int = 300,
) -> HVAE:
    """The VampPrior paper's two-level HVAE of gated dense layers.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), sections 4 and 5. With 784 binary pixels it
        has 2,431,024 parameters without the prior. https://arxiv.org/abs/1705.07120

    Arguments:
        shape: Shape of one observation.
        prior: The prior of the top ``latent`` dimensions; standard normal if None.
        likelihood: Called with the size of the features and ``shape``: a class of
            ``priorwise.likelihoods``.
        latent: Number of latent dimensions of each of the two groups.
        hidden: Size of the hidden layers.
    """
    from_x = nn.Sequential(FlattenEvent(shape), GatedDense(math.prod(shape), hidden))
    encoder_top = Conditional(gated_image_body(shape, hidden), GaussianHead(hidden, latent))
    encoder_bottom = Conditional(
        TwoBranch(from_x, GatedDense(latent, hidden), hidden), GaussianHead(hidden, latent)
    )
    prior_bottom = Conditional(gated_body(latent, hidden), GaussianHead(hidden, latent))
    decoder = Conditional(
        TwoBranch(GatedDense(latent, hidden), GatedDense(latent, hidden), hidden),
        likelihood(hidden, shape),
    )
    for part in (encoder_top, encoder_bottom, prior_bottom, decoder):
        he_normal_(part)
    return HVAE(
        encoder_top,
        encoder_bottom,
        prior_bottom,
        decoder,
        StandardNormal(latent) if prior is None else prior,
    )


def residual_vae(
    shape: Shape,
    *,
    prior: nn.Module | None = None,
    likelihood: PlanesLikelihood = Gaussian,
    latent: int = 128,
    width: int = 32,
) -> VAE:
    """A VAE of residual convolutions for images of any height and width, with any channels.

    Strided convolutions halve the sides until the longer one has 4 pixels; the decoder goes back
    and crops to the exact size. Nothing depends on the batch. The parameters grow with the
    logarithm of the image's size: there are 2,832,278 at 3x64x64 with the discretised logistic.

    Arguments:
        shape: Shape (C, H, W) of an image.
        prior: The prior of ``latent`` dimensions; standard normal if None.
        likelihood: Called with the shape (F, H, W) of the decoder's planes and ``shape``: a class
            of ``priorwise.likelihoods``.
        latent: Number of latent dimensions.
        width: Number of planes of the finest level; the coarser ones have up to 4 times as many.

    Raises:
        ValueError: if ``shape`` is not that of an image.
    """
    features = math.prod(residual_sizes(shape, width)[-1])
    encoder = Conditional(
        residual_encoder_body(shape, width), GaussianHead(features, latent, _LOG_VAR)
    )
    planes = (width // 2, *shape[1:])
    decoder = Conditional(residual_decoder_body(shape, latent, width), likelihood(planes, shape))
    he_normal_(encoder.head)
    he_normal_(decoder.head)
    _start_moderately(decoder.head)
    return VAE(encoder, decoder, StandardNormal(latent) if prior is None else prior)


@torch.no_grad()
def _start_moderately(head: nn.Module) -> None:
    """Keep the first densities of a head of planes from being too sharp, or too wide to learn.

    A log scale of 0 is the upper end of the discretised logistic's range, beyond which it has no
    gradient.
    """
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.mul_(_FIRST_OUTPUT)
    if isinstance(head, DiscretizedLogistic):
        for layer in head.log_scale.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias.fill_(sum(head.log_scale_range) / 2)
