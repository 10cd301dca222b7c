"""Every exported concrete class, with a way to build a small one without arguments.

``test_every_member`` fails when a class is exported and stands in none of these dictionaries.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from priorwise import distributions, likelihoods, models, objectives, priors, samplers
from priorwise.backbones import CouplingFlow, PixelCNN
from priorwise.conditionals import Conditional, GaussianHead, PixelConditional
from priorwise.features import AbstractExtractor, Raw, TrainedClassifier
from priorwise.nn import MLP, FlattenEvent
from priorwise.testing import GaussianTilt, LadderVAE, LinearGaussianVAE

SHAPE = (1, 3, 2)  # of one observation
PLANES = (4, 3, 2)  # of the features of a convolutional decoder
LATENT = 2


def images(count: int = 4) -> Tensor:
    """Observations in [0, 1]; binary, so that every likelihood takes them."""
    return torch.bernoulli(torch.full((count, *SHAPE), 0.4))


def encoder(latent: int = LATENT) -> nn.Module:
    return Conditional(nn.Sequential(FlattenEvent(SHAPE), MLP(6, 8, (8,))), GaussianHead(8, latent))


def gaussian(*batch: int, event: tuple[int, ...] = (LATENT,)) -> Distribution:
    loc = torch.randn(*batch, *event)
    return Independent(
        Normal(loc, 0.5 + torch.rand(*batch, *event), validate_args=False), len(event)
    )


class NormalModule(nn.Module):
    """Somebody else's unconditional distribution: learned, and called without arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(LATENT))
        self.log_scale = nn.Parameter(torch.zeros(LATENT))

    def forward(self) -> Distribution:
        return Independent(Normal(self.loc, self.log_scale.exp(), validate_args=False), 1)


PRIORS: dict[str, Callable[[], nn.Module]] = {
    "StandardNormal": lambda: priors.StandardNormal(LATENT),
    "GaussianMixture": lambda: priors.GaussianMixture(LATENT, 5),
    "GaussianMixture, learned weights": lambda: priors.GaussianMixture(
        LATENT, 5, learn_weights=True
    ),
    "FullGaussianMixture": lambda: priors.FullGaussianMixture(LATENT, 3),
    "VampPrior": lambda: priors.VampPrior.random(4, SHAPE, mean=0.5, std=0.2),
    "VampPrior, data": lambda: priors.VampPrior.from_data(images(6), 4),
    "FlowPrior": lambda: priors.FlowPrior(LATENT),
    "FlowPrior, small": lambda: priors.FlowPrior(LATENT, blocks=2, hidden_features=(8,)),
    "WrappedPrior": lambda: priors.WrappedPrior(NormalModule()),
}

SAMPLERS: dict[str, Callable[[], samplers.AbstractSampler]] = {
    "Ancestral": lambda: samplers.Ancestral(),
    "SIR": lambda: samplers.SIR(200),
    "SIR, in chunks": lambda: samplers.SIR(50, rows=70),
    "Rejection": lambda: samplers.Rejection(),
    "Langevin": lambda: samplers.Langevin(60, step_size=0.1),
    "Langevin, adjusted": lambda: samplers.Langevin(40, step_size=0.3, adjusted=True),
}


def _mixture() -> Distribution:
    log_weights = torch.randn(5).log_softmax(0)
    return distributions.DiagonalGaussianMixture(
        torch.randn(5, 3), 0.3 + torch.rand(5, 3), log_weights
    )


def _full_mixture() -> Distribution:
    scale_tril = torch.randn(4, 3, 3).tril(-1) + torch.diag_embed(0.3 + torch.rand(4, 3))
    log_weights = torch.randn(4).log_softmax(0)
    return distributions.FullCovarianceMixture(torch.randn(4, 3), scale_tril, log_weights)


def _logistic_mixture(channels: int) -> Distribution:
    links = torch.rand(2, 4, channels * (channels - 1) // 2, 2, 2) if channels > 1 else None
    return distributions.DiscretizedLogisticMixture(
        torch.randn(2, 4, 2, 2),
        torch.rand(2, 4, channels, 2, 2),
        -2 + torch.rand(2, 4, channels, 2, 2),
        links,
        levels=16,
    )


def _autoregressive(channels: int, *, published: bool = False) -> Distribution:
    network = PixelCNN(channels, 1, features=6, layers=2, published=published).eval()
    law = PixelConditional(nn.Identity(), network, likelihoods.Bernoulli, (channels, 2, 2))
    return law(torch.randn(3, 4, 1, 2, 2))


# name -> (constructor, whether it has a density over real numbers)
DISTRIBUTIONS: dict[str, tuple[Callable[[], Distribution], bool]] = {
    "AggregatePosterior": (lambda: distributions.AggregatePosterior(gaussian(7), tile=3), True),
    "Autoregressive": (lambda: _autoregressive(2), False),
    "Autoregressive, published": (lambda: _autoregressive(1, published=True), False),
    "DiagonalGaussianMixture": (_mixture, True),
    "DiscretizedLogistic": (
        lambda: distributions.DiscretizedLogistic(
            torch.rand(2, 3, 4), torch.tensor(-2.0), levels=16
        ),
        False,
    ),
    "DiscretizedLogisticMixture": (lambda: _logistic_mixture(1), False),
    "DiscretizedLogisticMixture, colour": (lambda: _logistic_mixture(3), False),
    "IndependentBernoulli": (
        lambda: distributions.IndependentBernoulli(torch.randn(2, 3, 4), 2),
        False,
    ),
    "NormalizingFlow": (lambda: distributions.NormalizingFlow(CouplingFlow(3)), True),
    "FullCovarianceMixture": (_full_mixture, True),
    "Reshaped": (lambda: distributions.Reshaped(_mixture(), (3, 1)), True),
    "Tilted": (lambda: GaussianTilt(features=2).tilted((3,)), True),
    "UnflattenedRows": (lambda: distributions.UnflattenedRows(gaussian(6), (2, 3)), True),
    "UnflattenedRows, pixels": (
        lambda: distributions.UnflattenedRows(
            Independent(Bernoulli(logits=torch.randn(6, 4)), 1), (2, 3)
        ),
        False,
    ),
}
WITHOUT_DENSITY: dict[str, Callable[[], Distribution]] = {
    "Delta": lambda: distributions.Delta(torch.randn(3, 2))
}

LIKELIHOODS: dict[str, Callable[[], nn.Module]] = {
    "Bernoulli": lambda: likelihoods.Bernoulli(8, SHAPE),
    "Gaussian": lambda: likelihoods.Gaussian(8, SHAPE),
    "Gaussian, fixed": lambda: likelihoods.Gaussian(8, SHAPE, scale=0.5),
    "Gaussian, per output": lambda: likelihoods.Gaussian(8, SHAPE, scale="per_output"),
    "Gaussian, of pixels": lambda: likelihoods.Gaussian(None, (8,), scale=0.5),
    "Bernoulli, of pixels": lambda: likelihoods.Bernoulli(None, (8,)),
    "Gaussian, predicted": lambda: likelihoods.Gaussian(8, SHAPE, scale="predicted"),
    "DiscretizedLogistic": lambda: likelihoods.DiscretizedLogistic(8, SHAPE),
    "DiscretizedLogistic, 16 levels": lambda: likelihoods.DiscretizedLogistic(8, SHAPE, levels=16),
    "DiscretizedLogisticMixture": lambda: likelihoods.DiscretizedLogisticMixture(
        8, SHAPE, components=3
    ),
    "DiscretizedLogisticMixture, colour": lambda: likelihoods.DiscretizedLogisticMixture(
        8, (3, 2, 2), components=3, levels=16
    ),
    "Bernoulli, of planes": lambda: likelihoods.Bernoulli(PLANES, SHAPE),
    "Gaussian, predicted, of planes": lambda: likelihoods.Gaussian(
        PLANES, SHAPE, scale="predicted"
    ),
    "PixelConditional, of planes": lambda: PixelConditional(
        nn.Identity(), PixelCNN(1, PLANES[0], features=6, layers=2), likelihoods.Bernoulli, SHAPE
    ),
    "DiscretizedLogistic, of planes": lambda: likelihoods.DiscretizedLogistic(PLANES, SHAPE),
    "DiscretizedLogisticMixture, of planes": lambda: likelihoods.DiscretizedLogisticMixture(
        PLANES, (3, *SHAPE[1:]), components=2
    ),
}


def features(name: str, *batch: int) -> Tensor:
    """Features that the likelihood of this name takes."""
    return torch.randn(*batch, *(PLANES if "of planes" in name else (8,)))


def vae(
    prior: nn.Module | None = None, likelihood: models.presets.Likelihood = likelihoods.Bernoulli
) -> models.VAE:
    return models.gated_vae(SHAPE, prior=prior, likelihood=likelihood, latent=LATENT, hidden=8)


def hvae(prior: nn.Module | None = None) -> models.HVAE:
    return models.gated_hvae(SHAPE, prior=prior, latent=LATENT, hidden=8)


def pixel_hvae(prior: nn.Module | None = None, *, published: bool = False) -> models.HVAE:
    return models.pixel_hvae(
        SHAPE, prior=prior, latent=LATENT, hidden=8, features=8, published=published
    )


def _wrapped() -> models.WrappedVAE:
    """A convolutional decoder, which takes rows only, and an encoder that returns (mean,
    log-variance).
    """

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 2 * LATENT)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            loc, log_var = self.linear(x.flatten(1)).chunk(2, -1)
            return loc, log_var

    decoder = nn.Sequential(nn.Linear(LATENT, 12), nn.Unflatten(1, (2, 3, 2)), nn.Conv2d(2, 1, 1))
    return models.wrap(
        encode=Encoder(),
        decode=decoder,
        latent=LATENT,
        likelihood=lambda mean: Independent(Normal(mean, 0.5, validate_args=False), 3),
    )


MODELS: dict[str, Callable[[], models.AbstractModel]] = {
    "VAE": vae,
    "VAE, residual": lambda: models.residual_vae(
        SHAPE, likelihood=likelihoods.DiscretizedLogistic, latent=LATENT, width=4
    ),
    "HVAE": hvae,
    "HVAE, convolutions": lambda: models.conv_hvae(SHAPE, latent=LATENT, hidden=8),
    "HVAE, pixels": lambda: pixel_hvae(),
    "HVAE, pixels, published": lambda: pixel_hvae(published=True),
    "WrappedVAE": _wrapped,
    "NCP": lambda: models.NCP(vae(), hidden_features=(8,)),
    "NCP, two groups": lambda: models.NCP(hvae(), hidden_features=(8, 8)),
    "LinearGaussianVAE": lambda: LinearGaussianVAE(2, 6),
    "LadderVAE": lambda: LadderVAE(6),
    "NCP, three groups": lambda: models.NCP(LadderVAE(6), hidden_features=(8,), max_logit=2.0),
}
VECTOR_MODELS = {
    "LinearGaussianVAE",
    "LadderVAE",
    "NCP, three groups",
}  # these observe vectors of 6


def observations(name: str, count: int = 4) -> Tensor:
    """Observations that the model of this name takes."""
    return images(count).flatten(1) if name in VECTOR_MODELS else images(count)


def flow() -> nn.Module:
    return priors.FlowPrior(LATENT, blocks=2, hidden_features=(8,))


def identity_flow(features: int = LATENT) -> priors.FlowPrior:
    """A flow prior whose map is the identity: the last layers of its networks are zero."""
    prior = priors.FlowPrior(features)
    for name, parameter in prior.named_parameters():
        if ".0.4." in name:
            nn.init.zeros_(parameter)
    return prior


def small_discriminator() -> nn.Module:
    return objectives.Discriminator(LATENT, (8, 8))


OBJECTIVES: dict[str, Callable[[], objectives.AbstractObjective]] = {
    "ELBO": lambda: objectives.ELBO(vae()),
    "ELBO, two groups": lambda: objectives.ELBO(hvae(priors.GaussianMixture(LATENT, 3)), beta=0.5),
    "ELBO, analytic": lambda: objectives.ELBO(vae(), kl="analytic"),
    "IWAE": lambda: objectives.IWAE(vae(), samples=3),
    "ELBO, entropy, a flow": lambda: objectives.ELBO(vae(flow()), kl="entropy"),
    "BetaVAE": lambda: objectives.BetaVAE(vae(), beta=2.0),
    "BetaVAE, two groups, a flow": lambda: objectives.BetaVAE(hvae(flow()), beta=2.0),
    "AnnealedVAE": lambda: objectives.AnnealedVAE(vae(), gamma=3.0, capacity=1.0, capacity_steps=5),
    "BetaTCVAE": lambda: objectives.BetaTCVAE(vae(), 50),
    "BetaTCVAE, two groups, a flow": lambda: objectives.BetaTCVAE(
        hvae(flow()), 50, weights="balanced"
    ),
    "FactorVAE": lambda: objectives.FactorVAE(vae(), LATENT, discriminator=small_discriminator()),
    "FactorVAE, two groups, a flow": lambda: objectives.FactorVAE(
        hvae(flow()), LATENT, discriminator=small_discriminator()
    ),
    "InfoVAE": lambda: objectives.InfoVAE(vae(), kernel=objectives.RBF()),
    "InfoVAE, two groups, a flow": lambda: objectives.InfoVAE(hvae(flow())),
    "ExPostPrior": lambda: objectives.ExPostPrior(vae(flow())),
    "ExPostPrior, two groups, pseudo-inputs": lambda: objectives.ExPostPrior(
        hvae(priors.VampPrior.random(4, SHAPE, mean=0.5, std=0.2))
    ),
    "NCE": lambda: objectives.NCE(models.NCP(vae(), hidden_features=(8,))),
    "NCE, two groups": lambda: objectives.NCE(models.NCP(hvae(), hidden_features=(8,))),
}

# name -> an extractor and what it takes
EXTRACTORS: dict[str, Callable[[], tuple[AbstractExtractor, Tensor]]] = {
    "Raw": lambda: (Raw(), torch.randn(7, 2)),
    "Raw, images": lambda: (Raw(), images(7)),
    "TrainedClassifier": lambda: (
        TrainedClassifier((1, 12, 9), 3, features=4),
        torch.rand(7, 1, 12, 9),
    ),
    "TrainedClassifier, colour": lambda: (
        TrainedClassifier((3, 16, 16), 4, task="rotations"),
        torch.rand(7, 3, 16, 16),
    ),
}
