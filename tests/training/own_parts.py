"""A user's file, for the tests of parts of one's own: it writes a mark wherever it is executed."""

TEXT = """
import os
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Independent, Normal

import priorwise as pw
from priorwise.config import *
from priorwise.objectives import ELBO

if "MARK" in os.environ:
    Path(os.environ["MARK"]).write_text(__file__)

NOISE = torch.randn(3)  # must not move the initial weights


class Shifted(pw.priors.AbstractPrior):
    def __init__(self, latent, scale=1.0):
        super().__init__()
        self.loc = nn.Parameter(0.1 * torch.randn(latent))
        self.scale = scale

    def _distribution(self, encode_top):
        return Independent(Normal(self.loc, self.scale), 1)


class Plain(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(latent))

    def forward(self):
        return Independent(Normal(self.loc, 1.0), 1)


def mixture(latent, components):
    return pw.priors.GaussianMixture(latent, components)


def pair(spec, latent=2):
    likelihood = pw.likelihoods.Gaussian
    return pw.models.gated_vae(spec.shape, likelihood=likelihood, latent=latent, hidden=8)


class Halved(ELBO):
    def __init__(self, model, share=0.5):
        super().__init__(model, beta=share)


def mine():
    return Run(
        name="mine",
        data=DataConfig(name="digits"),
        model=VAEConfig(latent=2, hidden=8, prior=OwnPriorConfig(path=Shifted)),
        training=TrainingConfig(epochs=1),
        evaluation=EvaluationConfig(samples=2, images=5),
    )


def both():
    parts = {"model": OwnModelConfig(path=pair), "objective": OwnObjectiveConfig(path=Halved)}
    return mine().model_copy(update=parts)


def number(first, **options):
    return 3


def longer(latent):
    return pw.priors.StandardNormal(latent + 1)


def fails(latent):
    return {}["x"]
"""
