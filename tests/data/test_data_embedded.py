"""Data that need no file: sizes, reproducibility, and the laws that they are drawn from."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from priorwise.data import gaussians25_log_prob, load
from priorwise.testing import check_mean

SIZES = {
    "digits": (1297, 200, 300),
    "two_moons": (2000, 200, 2000),
    "gaussians25": (50_000, 5_000, 10_000),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_reproducibility(name):
    data, again = load(name), load(name)
    assert (len(data.train), len(data.validation), len(data.test)) == SIZES[name]
    assert data.fingerprint() == again.fingerprint()
    assert data.spec.name == name


def test_digits_are_all_of_scikit_learns_each_once():
    from sklearn.datasets import load_digits

    data = load("digits")
    ours = torch.cat([data.train, data.validation, data.test]).flatten(1)
    theirs = torch.from_numpy(load_digits().data).to(torch.uint8)
    assert torch.equal(
        ours.unique(dim=0, return_counts=True)[1], theirs.unique(dim=0, return_counts=True)[1]
    )
    assert int(ours.max()) == 16
    assert data.spec.levels == 17
    assert data.spec.shape == (1, 8, 8)


def test_splits_of_the_digits_are_alike():
    # A split by order or by class would put whole digits on one side; the mean of a random 300 is
    # within chance.
    data = load("digits")
    whole = torch.cat([data.train, data.validation, data.test]).float().flatten(1).mean(1)
    check_mean(
        data.test.float().flatten(1).mean(1),
        float(whole.mean()),
        "the mean grey of the test digits",
    )


def test_two_moons_lie_on_their_half_circles():
    data = load("two_moons")
    x = data.train
    upper = (x.square().sum(1).sqrt() - 1).abs()
    lower = ((x - torch.tensor([1.0, 0.5])).square().sum(1).sqrt() - 1).abs()
    assert float(torch.minimum(upper, lower).max()) < 6 * 0.05


def mixture25() -> MixtureSameFamily:
    grid = torch.cartesian_prod(torch.arange(-2.0, 3.0), torch.arange(-2.0, 3.0)).double()
    return MixtureSameFamily(
        Categorical(logits=torch.zeros(25, dtype=torch.float64)),
        Independent(Normal(grid, torch.full_like(grid, 0.05)), 1),
    )


def test_the_density_of_25_gaussians_is_their_mixtures():
    x = 5 * torch.rand(2000, 2, dtype=torch.float64) - 2.5
    torch.testing.assert_close(gaussians25_log_prob(x), mixture25().log_prob(x))
    assert gaussians25_log_prob(x.reshape(20, 100, 2)).shape == (20, 100)


def test_the_mean_log_density_of_25_gaussians_is_their_negative_entropy():
    # The components are 20 standard deviations apart, so the entropy is log 25 + log(2 pi e
    # sigma^2): about -0.0653 nats. Catches: a dropped log 25 or 2 pi, sigma for sigma squared, and
    # data of another width than the density.
    entropy = math.log(25) + math.log(2 * math.pi * math.e * 0.05**2)
    assert -entropy == pytest.approx(-0.0653, abs=1e-4)
    data = load("gaussians25")
    for name in ("train", "validation", "test"):
        log_prob = gaussians25_log_prob(getattr(data, name).double())
        check_mean(log_prob, -entropy, f"the mean log density of the {name} split", comparisons=3)


def test_25_gaussians_are_equally_likely():
    train = load("gaussians25").train
    cell = (train.round() + 2).long() @ torch.tensor([5, 1])
    for index in range(25):
        check_mean(
            (cell == index).double(), 1 / 25, f"the share of component {index}", comparisons=25
        )


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
def test_the_density_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expected `x` of shape \(\*batch, 2\)"):
        gaussians25_log_prob(torch.zeros(shape))
