"""The models of the papers, put together from parts."""

import math
from collections.abc import Callable

from torch import nn

from priorwise.backbones import TwoBranch, gated_body, gated_image_body
from priorwise.conditionals import Conditional, GaussianHead
from priorwise.likelihoods import Bernoulli
from priorwise.models.hierarchical import HVAE
from priorwise.models.vae import VAE
from priorwise.nn import FlattenEvent, GatedDense, he_normal_
from priorwise.priors import StandardNormal
from priorwise.typing import Shape

__all__ = ["gated_hvae", "gated_vae"]

Likelihood = Callable[[int, Shape], nn.Module]


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
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5. With 784 binary pixels it has 1,116,864 parameters
        without the prior.

    Arguments:
        shape: Shape of one observation.
        prior: The prior of ``latent`` dimensions; standard normal if None.
        likelihood: Called with the size of the features and ``shape``: a class of ``priorwise.likelihoods``.
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
        VAE with a VampPrior (Tomczak & Welling, 2018), sections 4 and 5. With 784 binary pixels it has 2,431,024
        parameters without the prior.

    Arguments:
        shape: Shape of one observation.
        prior: The prior of the top ``latent`` dimensions; standard normal if None.
        likelihood: Called with the size of the features and ``shape``: a class of ``priorwise.likelihoods``.
        latent: Number of latent dimensions of each of the two groups.
        hidden: Size of the hidden layers.
    """
    from_x = nn.Sequential(FlattenEvent(shape), GatedDense(math.prod(shape), hidden))
    encoder_top = Conditional(gated_image_body(shape, hidden), GaussianHead(hidden, latent))
    encoder_bottom = Conditional(TwoBranch(from_x, GatedDense(latent, hidden), hidden), GaussianHead(hidden, latent))
    prior_bottom = Conditional(gated_body(latent, hidden), GaussianHead(hidden, latent))
    decoder = Conditional(
        TwoBranch(GatedDense(latent, hidden), GatedDense(latent, hidden), hidden), likelihood(hidden, shape)
    )
    for part in (encoder_top, encoder_bottom, prior_bottom, decoder):
        he_normal_(part)
    return HVAE(encoder_top, encoder_bottom, prior_bottom, decoder, StandardNormal(latent) if prior is None else prior)
