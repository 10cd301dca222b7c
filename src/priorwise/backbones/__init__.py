"""Networks from observations or latents to features."""

from priorwise.backbones.conv import (
    IMAGE_BODIES,
    ImageBodies,
    moons_decoder_body,
    moons_encoder_body,
)
from priorwise.backbones.coupling import AffineCoupling, CouplingFlow
from priorwise.backbones.latent_classifier import AbstractLatentClassifier, LatentClassifier
from priorwise.backbones.mlp import TwoBranch, gated_body, gated_image_body
from priorwise.backbones.residual import (
    ResidualBlock,
    residual_decoder_body,
    residual_encoder_body,
    residual_sizes,
)
from priorwise.backbones.standardised import Standardised, location_and_scale

__all__ = [
    "IMAGE_BODIES",
    "AbstractLatentClassifier",
    "AffineCoupling",
    "CouplingFlow",
    "ImageBodies",
    "LatentClassifier",
    "ResidualBlock",
    "Standardised",
    "TwoBranch",
    "gated_body",
    "gated_image_body",
    "location_and_scale",
    "moons_decoder_body",
    "moons_encoder_body",
    "residual_decoder_body",
    "residual_encoder_body",
    "residual_sizes",
]
