"""Latent-variable models: each is two methods, and the rest of the library builds on these."""

from priorwise.models.base import (
    AbstractJointModel,
    AbstractModel,
    Draw,
    Group,
    draw_posterior,
    draw_untilted,
    example_pass,
    frozen,
    own_prior,
    require_groups,
    require_prior,
)
from priorwise.models.conv_presets import conv_hvae, pixel_hvae
from priorwise.models.hierarchical import HVAE
from priorwise.models.joint import JointPrior
from priorwise.models.ncp import NCP
from priorwise.models.observations import (
    as_observations,
    checked_observations,
    example_likelihood,
    require_observations,
)
from priorwise.models.presets import conv_vae, gated_hvae, gated_vae, moons_vae, residual_vae
from priorwise.models.replaced import with_prior
from priorwise.models.traversal import (
    Traversal,
    along,
    between,
    encodings,
    flow_prior,
    in_space,
    latent_range,
)
from priorwise.models.vae import VAE
from priorwise.models.wrapped import WrappedVAE, wrap

__all__ = [
    "HVAE",
    "NCP",
    "VAE",
    "AbstractJointModel",
    "AbstractModel",
    "Draw",
    "Group",
    "JointPrior",
    "Traversal",
    "WrappedVAE",
    "along",
    "as_observations",
    "between",
    "checked_observations",
    "conv_hvae",
    "conv_vae",
    "draw_posterior",
    "draw_untilted",
    "encodings",
    "example_likelihood",
    "example_pass",
    "flow_prior",
    "frozen",
    "gated_hvae",
    "gated_vae",
    "in_space",
    "latent_range",
    "moons_vae",
    "own_prior",
    "pixel_hvae",
    "require_groups",
    "require_observations",
    "require_prior",
    "residual_vae",
    "with_prior",
    "wrap",
]
