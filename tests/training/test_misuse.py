"""What users do that was not meant: each call does what it says, or tells why not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from toys import OPTIONS, checks_off, splits, with_batch_norm, wrong

from priorwise import HVAE, NCP, VAE, fit, priors, wrap
from priorwise.models import AbstractModel, Group
from priorwise.objectives import ELBO
from priorwise.reporting.pictures import save_samples
from priorwise.samplers import SIR


class Fixed(AbstractModel):
    """A model without a single parameter."""

    def top_down(self, draw: Callable, batch_shape: tuple, x: Tensor | None = None) -> list[Group]:
        def normal(loc: Tensor) -> Distribution:
            return Independent(Normal(loc, 1.0), 1).expand(torch.Size(batch_shape))

        group = Group(1, normal(torch.zeros(3)), None if x is None else normal(x))
        group.z = draw(group)
        return [group]

    def likelihood(self, groups: list[Group]) -> Distribution:
        return Independent(Normal(groups[0].z, 1.0), 1)


class Mine(nn.Module):
    """A prior from elsewhere: a module that returns a distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(2))

    def forward(self) -> Distribution:
        return Independent(Normal(self.loc, 1.0), 1)


def wrapped() -> AbstractModel:
    encoder = nn.Linear(3, 4)
    return wrap(
        encode=lambda x: encoder(x).chunk(2, -1),
        decode=nn.Linear(2, 3),
        latent=2,
        likelihood=lambda mean: Independent(Normal(mean, 1.0), 1),
    )


def test_a_model_without_parameters(tmp_path):
    """Fault: a crash, or a folder for nothing; an NCP over it has parameters and is fitted."""
    with pytest.raises(ValueError, match="at least one parameter to train; all have"):
        fit(Fixed(), splits(), out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()
    assert fit(NCP(Fixed(), hidden_features=(4,)), splits(), **OPTIONS).epochs == 3


@pytest.mark.parametrize("model", [with_batch_norm, wrapped], ids=["VAE", "wrapped"])
def test_a_prior_may_be_replaced(model):
    """Fault: a module from elsewhere that is called with an encoder, or an objective from before
    that trains the old prior.
    """
    model, mine = model(), Mine()
    objective = ELBO(model)
    model.prior = mine
    fit(model, splits(), objective, **OPTIONS)
    assert bool((mine.loc != 0).any())
    assert model.sample(2, seed=0).shape == (2, 3)
    model.prior = own = priors.GaussianMixture(2, 3)
    assert model.prior is own


@pytest.mark.parametrize("value", [None, Mine, Independent(Normal(torch.zeros(2), 1.0), 1)])
@pytest.mark.parametrize("kind", ["VAE", "HVAE", "wrapped"])
def test_what_is_no_prior_is_refused_at_once(kind, value):
    """Fault: a model that fails at its first pass."""
    part = nn.Identity()
    model = {
        "VAE": with_batch_norm,
        "HVAE": lambda: HVAE(part, part, part, part, priors.StandardNormal(2)),
        "wrapped": wrapped,
    }[kind]()
    with checks_off(), pytest.raises(TypeError, match="expected `prior` as a module that returns"):
        model.prior = value


def test_an_ncp_has_the_prior_of_its_base():
    """Fault: a prior that is registered and never used."""
    with pytest.raises(TypeError, match=r"build the NCP over it anew: NCP\(base\)"):
        NCP(wrong(), hidden_features=(4,)).prior = priors.StandardNormal(2)


X = torch.ones(1, 3)
CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "class as objective": (
        lambda: fit(wrong(), splits(), ELBO),
        r"expected an objective .*; got ELBO\. .*ELBO\(model\)",
    ),
    "function as objective": (lambda: fit(wrong(), splits(), abs), "an objective .*; got builtin"),
    "text as number": (lambda: wrong().sample("3"), "`n` as a whole number; got '3'"),
    "class as sampler": (lambda: wrong().sample(3, SIR), r"such as SIR\(1000\); got <class"),
    "name as sampler": (lambda: wrong().sample(3, "sir"), r"such as SIR\(1000\); got 'sir'"),
    "encoder of tensors": (
        lambda: VAE(nn.Linear(3, 2), nn.Identity(), priors.StandardNormal(2)).encode(X),
        r"`encoder` to return a torch Distribution; got Tensor.*wrap\(",
    ),
    "decoder of tensors": (
        lambda: VAE(nn.Identity(), nn.Linear(2, 3), priors.StandardNormal(2)).sample(2),
        "`decoder` to return a torch Distribution; got Tensor",
    ),
    "latent as text": (
        lambda: wrap(encode=nn.Identity(), decode=nn.Identity(), latent="2"),
        "`latent` as a whole number or a tuple of such; got '2'",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_misuse_is_told(name):
    """Fault: an error from deep inside torch, without the name of the argument."""
    call, words = CALLS[name]
    with checks_off(), pytest.raises(TypeError, match=words):
        call()


def test_samples_are_saved_to_a_path_of_text(tmp_path):
    """Fault: a path that must be a Path, and a picture of nothing."""
    x = torch.rand(4, 1, 8, 8)
    with checks_off():
        assert save_samples(x, str(tmp_path / "a.png")) == tmp_path / "a.png"
        assert save_samples(x.numpy(), str(tmp_path / "a.npz")).exists()
        with pytest.raises(ValueError, match="at least one sample"):
            save_samples(x[:0], str(tmp_path / "b.png"))
        with pytest.raises(ValueError, match=r"ends in \.png or \.npz; got 'b\.jpg'"):
            save_samples(x, "b.jpg")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["x"], x.numpy())
