"""Observations of the user's: numpy or torch, of any type, and refused in words if they do not fit
the model.
"""

import math

import members
import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, Poisson

from priorwise import NCP, estimators, wrap
from priorwise.models import along, as_observations, between, encodings, latent_range
from priorwise.objectives import ELBO

SHAPE = (1, 4, 4)


def wrapped():
    """Its encoder flattens, so that a missing channel goes unnoticed there."""
    encode = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    return wrap(
        encode=lambda x: Independent(Normal(encode(x), 0.3), 1),
        decode=nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, SHAPE)),
        latent=2,
        likelihood=lambda mean: Independent(Normal(mean, 0.5), 3),
    )


MODEL = wrapped()
TILTED = NCP(MODEL, hidden_features=(8,))
X = torch.randint(0, 2, (50, *SHAPE), generator=torch.Generator().manual_seed(0)).float()
FACTORS = torch.stack([torch.arange(50) % 2, torch.arange(50) % 5], 1)

USES = {
    "nll": lambda x: estimators.nll(MODEL, x, samples=2).value,
    "elbo": lambda x: estimators.elbo(MODEL, x).value,
    "active_units": lambda x: estimators.active_units(MODEL, x)[0].variance.tolist(),
    "symmetric_kl": lambda x: estimators.symmetric_kl(MODEL, x).value,
    "leakage": lambda x: estimators.leakage(MODEL, x, draws=20).at(math.inf).value,
    "leakage reference": lambda x: (
        estimators.leakage(MODEL, X, reference=x, draws=20).at(math.inf).value
    ),
    "pockets": lambda x: estimators.low_posterior_samples(
        MODEL, x, count=2, draws=4
    ).log_q.tolist(),
    "leaks": lambda x: estimators.high_posterior_samples(MODEL, x, count=2, draws=4).log_p.tolist(),
    "held_out_bce": lambda x: estimators.held_out_bce(TILTED, x).value,
    "contrast": lambda x: estimators.contrast(TILTED, x, proposals=(5,), contexts=2)[0].bce,
    "two-sample test": lambda x: (
        estimators.classifier_two_sample(MODEL, x, classifier=FirstNumber()).z_score
    ),
    "encodings": lambda x: encodings(MODEL, x).tolist(),
    "between": lambda x: between(MODEL, x[:2], x[2:4], steps=2).z.tolist(),
    "latent_range": lambda x: latent_range(MODEL, x).tolist(),
    "reconstruct": lambda x: MODEL.reconstruct(x, seed=0).tolist(),
}
LIKE_X = {
    "numpy float32": X.numpy(),
    "numpy float64": X.double().numpy(),
    "numpy big-endian": X.numpy().astype(">f4"),
    "numpy uint8": X.numpy().astype(np.uint8),
    "torch float64": X.double(),
    "torch bool": X.bool(),
}


class FirstNumber:
    """A classifier that needs no fit."""

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        second = np.where(np.asarray(x)[:, 0] > 0, 0.7, 0.3)
        return np.stack([1 - second, second], 1)


@pytest.mark.parametrize("use", USES)
def test_every_kind_of_array_gives_the_same_number(use):
    """Fault: torch's "mat1 and mat2 must have the same dtype"."""
    expected = USES[use](X)
    for name, x in LIKE_X.items():
        assert USES[use](x) == expected, name


@pytest.mark.parametrize("use", USES)
def test_a_missing_channel_and_bytes_are_refused(use):
    """Fault: (50, 4, 4) broadcasts against (50, 1, 4, 4), to a number that nobody doubts."""
    advice = r"event shape \(1, 4, 4\).*got shape .*unsqueeze\(1\), which adds the channel"
    with pytest.raises(ValueError, match=advice):
        USES[use](X[:, 0])
    if use != "reconstruct":
        with pytest.raises(
            ValueError, match=r"units of the training data; got uint8 from 0 to 255"
        ):
            USES[use]((255 * X).to(torch.uint8))


@pytest.mark.parametrize("use", sorted(USES.keys() - {"between", "reconstruct"}))
@pytest.mark.parametrize("x", [torch.tensor(0.5), X[:0]], ids=["0-d", "empty"])
def test_what_is_no_set_of_observations_is_refused(use, x):
    """Fault: torch's "len() of a 0-d tensor", which names neither the argument nor its form."""
    with pytest.raises(ValueError, match="expected"):
        USES[use](x)


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((7, 16), r"x\.reshape\(-1, 1, 4, 4\)"),
        ((1, 4, 4), r"x\.unsqueeze\(0\)"),
        ((7, 4, 4, 1), r"x\.permute\(0, 3, 1, 2\)"),
        ((7, 5), "Reshape `x`, or build the model for its shape"),
    ],
)
def test_a_wrong_shape_comes_with_the_call_that_mends_it(shape, advice):
    with pytest.raises(ValueError, match=advice):
        as_observations(MODEL, torch.zeros(shape))


def test_objectives_and_joint_densities_refuse_to_broadcast():
    """Fault: a loss of thousands of nats, which trains."""
    for refused in (
        lambda: ELBO(MODEL)(X[:, 0]),
        lambda: MODEL.log_joint(MODEL.infer(X[:, 0]), X[:, 0]),
    ):
        with pytest.raises(ValueError, match="adds the channel"):
            refused()


def test_counts_stay_counts_for_a_likelihood_of_counts():
    model = wrap(
        encode=nn.Linear(3, 2),
        decode=lambda z: Independent(Poisson(z.exp().sum(-1, keepdim=True).expand(-1, 3)), 1),
        latent=2,
        modules=(),
    )
    counts = np.array([[3, 0, 7]])
    assert as_observations(model, counts).tolist() == [[3.0, 0.0, 7.0]]


def test_what_is_no_array_of_numbers_is_refused():
    with pytest.raises(TypeError, match=r"`x` as a tensor or a numpy array.*got an array of <U1"):
        as_observations(MODEL, np.array([["a"]]))


def test_arrays_of_points_and_codes():
    points = torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    others = points.flip(0) + 1
    for number in (
        lambda *sets: estimators.knn_kl(*sets).value,
        lambda *sets: estimators.c2st(*sets, classifier=FirstNumber()).z_score,
    ):
        assert number(points.numpy(), others.numpy()) == number(points, others)
    codes = points[:50]
    for score in (estimators.mig, estimators.factor_vae_score):
        assert score(codes.numpy(), FACTORS.numpy()).value == score(codes, FACTORS).value
    scores = estimators.disentanglement_scores(MODEL, X.double().numpy(), FACTORS.numpy())
    assert scores.mig.value == estimators.mig(encodings(MODEL, X), FACTORS).value


def test_an_hvae_takes_numpy_too():
    x = members.images(20)
    assert estimators.elbo(members.hvae(), x.numpy()).count == 20
    assert along(MODEL, encodings(MODEL, X.numpy())[0], [0], torch.zeros(2)).x.shape == (
        1,
        2,
        *SHAPE,
    )
