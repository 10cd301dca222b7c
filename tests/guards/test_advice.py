"""Every refusal that says what to do instead: who does it is not refused again."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import members
import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from priorwise import distributions, estimators, likelihoods, objectives, samplers, wrap
from priorwise.data import DataSpec, Splits, from_arrays
from priorwise.features import Raw
from priorwise.models import NCP, VAE, AbstractModel, between
from priorwise.priors import GaussianMixture
from priorwise.reporting.pictures import save_samples

Case = tuple[Callable[[], object], str, list[Callable[[], object]]]
X = (
    torch.arange(100 * 6)
    .mul(7919)
    .remainder(10007)
    .remainder(2)
    .float()
    .reshape(100, *members.SHAPE)
)
GREY = torch.linspace(0, 1, 600).reshape(100, *members.SHAPE)


def mixture_vae() -> AbstractModel:
    return members.vae(GaussianMixture(members.LATENT, 3))


def ncp(base: AbstractModel | None = None, **options: float) -> NCP:
    model = members.vae() if base is None else base
    return NCP(model, hidden_features=(8,) * (2 if base is not None else 1), **options)


def with_log_norm(model: NCP) -> NCP:
    estimators.log_norm(model, samples=500)
    return model


def deterministic() -> AbstractModel:
    decode = nn.Sequential(nn.Linear(2, 6), nn.Unflatten(1, members.SHAPE))
    return wrap(encode=nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), decode=decode, latent=2)


def two_flows() -> AbstractModel:
    class Both(VAE):
        pass

    model = Both(members.encoder(), members.vae().decoder, members.flow())
    model.other = members.flow()
    return model


def real(**changes: str) -> DataSpec:
    return DataSpec(
        "real",
        (3,),
        None,
        **({"likelihood": "gaussian", "binarize": "none", "scaling": "none"} | changes),
    )


def made_splits(spec: DataSpec, x: torch.Tensor) -> Splits:
    return Splits(x, x, x, spec)


WIDE = 3 * torch.randn(20, 3)
DIRECT = DataSpec("real", (3,), None, "gaussian", "none", "none")
LEARNED = distributions.DiagonalGaussianMixture(
    torch.zeros(3, 2), torch.ones(3, 2), torch.zeros(3, requires_grad=True).log_softmax(0)
)
CODES, FACTORS = torch.randn(3000, 2), torch.arange(3000)[:, None] % torch.tensor([25, 7])

# what is refused, what the message advises, and who follows the advice, in each way that it names
CASES: dict[str, Case] = {
    "leakage without a generation space": (
        lambda: estimators.leakage(mixture_vae(), X, space="generation"),
        "Use space='representation'",
        [lambda: estimators.leakage(mixture_vae(), X, space="representation")],
    ),
    "leakage of a tilted prior": (
        lambda: estimators.leakage(ncp(), X),
        "Estimate it first with priorwise.estimators.log_norm",
        [lambda: estimators.leakage(with_log_norm(ncp()), X)],
    ),
    "leakage of a tilted hierarchy": (
        lambda: estimators.leakage(with_log_norm(ncp(members.hvae())), X),
        "use classifier_two_sample or symmetric_kl(method='knn')",
        [
            lambda: estimators.classifier_two_sample(ncp(members.hvae()), X),
            lambda: estimators.symmetric_kl(
                ncp(members.hvae()), torch.rand(100, *members.SHAPE), method="knn"
            ),
        ],
    ),
    "leakage of a deterministic encoder": (
        lambda: estimators.leakage(deterministic(), X),
        "use the k-NN estimators or the two-sample test",
        [
            lambda: estimators.symmetric_kl(deterministic(), torch.rand(100, *members.SHAPE)),
            lambda: estimators.classifier_two_sample(deterministic(), X),
        ],
    ),
    "density of an unnormalised prior": (
        lambda: estimators.symmetric_kl(ncp(), X, method="density"),
        "use method='knn'",
        [lambda: estimators.symmetric_kl(ncp(), torch.rand(100, *members.SHAPE), method="knn")],
    ),
    "likelihood of an unnormalised prior": (
        lambda: estimators.nll(ncp(), X, samples=5),
        "Estimate it first with priorwise.estimators.log_norm(model, samples=...)",
        [lambda: estimators.nll(with_log_norm(ncp()), X, samples=5)],
    ),
    "closed form that there is not": (
        lambda: objectives.ELBO(mixture_vae(), kl="analytic")(X, 0),
        "Use kl='sample'",
        [lambda: objectives.ELBO(mixture_vae(), kl="sample")(X, 0)],
    ),
    "two flows": (
        lambda: between(two_flows(), X[:2], X[2:4]),
        "Walk in space 'representation'",
        [lambda: between(two_flows(), X[:2], X[2:4], space="representation")],
    ),
    "no flow": (
        lambda: between(members.vae(), X[:2], X[2:4], space="generation"),
        "Choose 'representation', or train it with prior=FlowPrior",
        [
            lambda: between(members.vae(), X[:2], X[2:4], space="representation"),
            lambda: between(members.vae(members.flow()), X[:2], X[2:4], space="generation"),
        ],
    ),
    "temperature of a flow": (
        lambda: members.vae(members.flow()).sample(3, samplers.Ancestral(0.7)),
        "Use temperature=1",
        [lambda: members.vae(members.flow()).sample(3, samplers.Ancestral(1.0))],
    ),
    "ancestral draws of a tilted prior": (
        lambda: ncp().sample(3, samplers.Ancestral()),
        "Use priorwise.samplers.SIR, Rejection or Langevin, or sample the untilted model",
        [
            lambda: ncp().sample(3, samplers.SIR(10)),
            lambda: ncp(max_logit=1.0).sample(3, samplers.Rejection()),
            lambda: ncp().sample(3, samplers.Langevin(3)),
            lambda: ncp().base.sample(3, samplers.Ancestral()),
        ],
    ),
    "rejection without a bound": (
        lambda: ncp().sample(3, samplers.Rejection()),
        "build the classifier with `max_logit=`, or use priorwise.samplers.SIR",
        [
            lambda: ncp().sample(3, samplers.Rejection(log_bound=5.0)),
            lambda: ncp(max_logit=1.0).sample(3, samplers.Rejection()),
            lambda: ncp().sample(3, samplers.SIR(10)),
        ],
    ),
    "rejection that takes too long": (
        lambda: ncp().sample(3, samplers.Rejection(log_bound=6.0, max_proposals=1)),
        "Use priorwise.samplers.SIR, or raise `max_proposals`",
        [lambda: ncp().sample(3, samplers.Rejection(log_bound=6.0, max_proposals=100_000))],
    ),
    "reparameterised draws of learned weights": (
        lambda: LEARNED.rsample((3,)),
        "Use `sample`, or a mixture with `log_weights=None`",
        [
            lambda: LEARNED.sample((3,)),
            lambda: distributions.DiagonalGaussianMixture(
                torch.zeros(3, 2), torch.ones(3, 2)
            ).rsample((3,)),
        ],
    ),
    "likelihood of a decoder that ends in pixels": (
        lambda: likelihoods.Gaussian(None, (4,), scale="predicted"),
        "Use Bernoulli, or Gaussian with another scale",
        [
            lambda: likelihoods.Bernoulli(None, (4,)),
            lambda: [
                likelihoods.Gaussian(None, (4,), scale=scale)
                for scale in (0.5, "learned", "per_output")
            ],
        ],
    ),
    "Bernoulli pixels of real values": (
        lambda: real(likelihood="bernoulli"),
        "Set `binarize` to 'dynamic' or 'threshold', or take another likelihood",
        [
            lambda: real(likelihood="bernoulli", binarize="dynamic"),
            lambda: real(likelihood="bernoulli", binarize="threshold"),
        ],
    ),
    "binarised data of a Gaussian": (
        lambda: real(binarize="dynamic"),
        "Set `binarize` to 'none', or `likelihood` to 'bernoulli'",
        [lambda: real(binarize="none"), lambda: real(binarize="dynamic", likelihood="bernoulli")],
    ),
    "grey levels of real values": (
        lambda: real(likelihood="discretized_logistic"),
        "Give the pixels as integers 0..255, or take the Gaussian likelihood",
        [
            lambda: replace(
                real(), levels=256, likelihood="discretized_logistic", scaling="midpoint"
            ),
            lambda: real(likelihood="gaussian"),
        ],
    ),
    "binarising of values beyond 1": (
        lambda: made_splits(real(likelihood="bernoulli", binarize="dynamic"), WIDE),
        "Rescale them, or take another likelihood and set `binarize` to 'none'",
        [
            lambda: made_splits(real(likelihood="bernoulli", binarize="dynamic"), WIDE.sigmoid()),
            lambda: made_splits(real(likelihood="gaussian", binarize="none"), WIDE),
        ],
    ),
    "a split of another type": (
        lambda: made_splits(DIRECT, WIDE.double()),
        "Convert it, or use from_arrays",
        [lambda: made_splits(DIRECT, WIDE.double().float()), lambda: from_arrays(WIDE.double())],
    ),
    "a list of numbers": (
        lambda: from_arrays(torch.randn(20)),
        "Add a dimension",
        [lambda: from_arrays(torch.randn(20)[:, None])],
    ),
    "integers beyond bytes": (
        lambda: from_arrays(np.arange(600).reshape(100, 6)),
        "Rescale them, or convert them to real numbers if they are not grey levels",
        [
            lambda: from_arrays(np.arange(600).reshape(100, 6) % 256),
            lambda: from_arrays(np.arange(600.0).reshape(100, 6)),
        ],
    ),
    "an alpha channel": (
        lambda: from_arrays(np.random.RandomState(0).rand(100, 5, 5, 4)),
        "Drop an alpha channel, or flatten other data to vectors",
        [
            lambda: from_arrays(np.random.RandomState(0).rand(100, 5, 5, 4)[..., :3]),
            lambda: from_arrays(np.random.RandomState(0).rand(100, 100)),
        ],
    ),
    "distance of images without features": (
        lambda: estimators.frechet_distance(X, X),
        "Pass one, or pass the features of both sets",
        [lambda: estimators.frechet_distance(X, X, Raw())],
    ),
    "raw pixels": (
        lambda: distributions.require_support(members.vae().decode(torch.zeros(1, 2)), 255 * X),
        "Divide by the largest possible value, 255 for bytes, or take a Gaussian likelihood",
        [
            lambda: distributions.require_support(
                members.vae().decode(torch.zeros(1, 2)), 255 * X / 255
            ),
            lambda: distributions.require_support(
                members.vae(likelihood=likelihoods.Gaussian).decode(torch.zeros(1, 2)), 255 * X
            ),
        ],
    ),
    "pixels from -1": (
        lambda: distributions.require_support(members.vae().decode(torch.zeros(1, 2)), 2 * X - 1),
        "(x + 1) / 2",
        [
            lambda: distributions.require_support(
                members.vae().decode(torch.zeros(1, 2)), ((2 * X - 1) + 1) / 2
            )
        ],
    ),
    "pixels that nobody joined": (
        lambda: distributions.require_support(Normal(torch.zeros(2, 4), 1.0), torch.zeros(5, 4)),
        "with torch.distributions.Independent",
        [
            lambda: distributions.require_support(
                Independent(Normal(torch.zeros(2, 4), 1.0), 1), torch.zeros(5, 4)
            )
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_advice_is_taken(name):
    """Fault: "Use space='latent'", which is refused as well."""
    refused, words, advised = CASES[name]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        refused()
    for follow in advised:
        follow()


def test_a_picture_of_numbers(tmp_path):
    """Fault: another ending that is refused as well."""
    with pytest.raises(ValueError, match=re.escape("Choose a file that ends in .npz")):
        save_samples(WIDE, tmp_path / "x.png")
    assert save_samples(WIDE, tmp_path / "x.npz") == Path(tmp_path / "x.npz")


DOUBTS = {
    "few images": (
        lambda count: (
            estimators.frechet_distance(
                torch.randn(count, 40), torch.randn(count, 40) + 5, Raw()
            ).warnings
        ),
        r"Use at least (\d+) images",
        30,
    ),
    "few bins": (
        lambda bins: estimators.mig(CODES, FACTORS, bins=bins).warnings,
        r"use more bins, mig\(codes, factors, bins=(\d+)\)",
        20,
    ),
    "grey pixels": (
        lambda binarized: distributions.require_support(
            members.vae().decode(torch.zeros(1, 2)), GREY.round() if binarized else GREY
        ),
        r"Binarise the images()",
        False,
    ),
    "grey pixels of another likelihood": (
        lambda grey: distributions.require_support(
            members.vae(
                likelihood=likelihoods.DiscretizedLogistic if grey else likelihoods.Bernoulli
            ).decode(torch.zeros(1, 2)),
            GREY,
        ),
        r"take a likelihood of grey values, such as DiscretizedLogistic()",
        False,
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_doubts_go_away(name):
    """Fault: a number that is advised and does not help, or an option that there is not."""
    compute, words, first = DOUBTS[name]
    (told,) = [match for doubt in compute(first) if (match := re.search(words, doubt))]
    advised = int(told[1]) if told[1] else True
    assert not any(re.search(words, doubt) for doubt in compute(advised))
