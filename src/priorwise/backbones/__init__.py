"""Networks from observations or latents to features."""

from priorwise.backbones.conv import (
    IMAGE_BODIES,
    ImageBodies,
    moons_decoder_body,
    moons_encoder_body,
)
from priorwise.backbones.coupling import AffineCoupling, CouplingFlow
from priorwise.backbones.gated_conv import (
    DRAWING_FEATURES,
    LatentPlanes,
    conv_features,
    gated_conv_body,
    gated_conv_two_branch,
    gated_drawing_body,
)
from priorwise.backbones.latent_classifier import AbstractLatentClassifier, LatentClassifier
from priorwise.backbones.mlp import TwoBranch, gated_body, gated_image_body
from priorwise.backbones.pixel_cache import PixelCache
from priorwise.backbones.pixelcnn import ChannelScale, MaskedConv2d, PixelCNN, causal_mask
from priorwise.backbones.residual import (
    ResidualBlock,
    residual_decoder_body,
    residual_encoder_body,
    residual_sizes,
)
from priorwise.backbones.standardised import Standardised, location_and_scale

__all__ = [
    "DRAWING_FEATURES",
    "IMAGE_BODIES",
    "AbstractLatentClassifier",
    "AffineCoupling",
    "ChannelScale",
    "CouplingFlow",
    "ImageBodies",
    "LatentClassifier",
    "LatentPlanes",
    "MaskedConv2d",
    "PixelCNN",
    "PixelCache",
    "ResidualBlock",
    "Standardised",
    "TwoBranch",
    "causal_mask",
    "conv_features",
    "gated_body",
    "gated_conv_body",
    "gated_conv_two_branch",
    "gated_drawing_body",
    "gated_image_body",
    "location_and_scale",
    "moons_decoder_body",
    "moons_encoder_body",
    "residual_decoder_body",
    "residual_encoder_body",
    "residual_sizes",
]
