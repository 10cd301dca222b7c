"""Latent-variable models: two methods each, one implementation of everything else."""

from priorwise.models.base import AbstractModel, Draw, Group, frozen
from priorwise.models.hierarchical import HVAE
from priorwise.models.ncp import NCP
from priorwise.models.presets import gated_hvae, gated_vae
from priorwise.models.vae import VAE
from priorwise.models.wrapped import WrappedVAE, wrap

__all__ = [
    "HVAE",
    "NCP",
    "VAE",
    "AbstractModel",
    "Draw",
    "Group",
    "WrappedVAE",
    "frozen",
    "gated_hvae",
    "gated_vae",
    "wrap",
]
