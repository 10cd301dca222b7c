"""Observations that a likelihood does not fit are refused in words, and what fits goes through."""

import math

import members
import pytest
import torch
from torch import distributions as td

from priorwise import distributions as ours
from priorwise import likelihoods, wrap
from priorwise.distributions import is_binary, require_support
from priorwise.models import NCP, require_observations
from priorwise.storage import content_hash


def pixels(*batch: int, event: tuple[int, ...] = (3, 4)) -> ours.IndependentBernoulli:
    return ours.IndependentBernoulli(torch.randn(*batch, *event), len(event))


def logistic(*batch: int) -> ours.DiscretizedLogistic:
    return ours.DiscretizedLogistic(
        torch.rand(*batch, 3, 4), torch.tensor(-2.0), levels=256, event_dims=2
    )


def normal(*shape: int, dims: int) -> td.Distribution:
    return td.Independent(td.Normal(torch.zeros(shape), 1.0), dims)


def torch_bernoulli() -> td.Distribution:
    return td.Independent(td.Bernoulli(logits=torch.zeros(2, 3, 4)), 2)


BINARY = {
    "ours": lambda: pixels(5, 2),
    "torch": torch_bernoulli,
    "rows": lambda: ours.UnflattenedRows(pixels(6), (2, 3)),
    "rows of torch": lambda: ours.UnflattenedRows(torch_bernoulli(), (2, 1)),
}
UNIT = {**BINARY, "logistic": lambda: logistic(2), "continuous Bernoulli": lambda: td.Independent(
    td.ContinuousBernoulli(torch.full((2, 3, 4), 0.4)), 2
)}  # fmt: skip


@pytest.mark.parametrize("name", UNIT)
def test_values_that_are_no_pixels_are_refused(name):
    """Fault: raw pixels 0..255, or [-1, 1], given to a density that is wrong there and says
    nothing.
    """
    distribution = UNIT[name]()
    x = torch.rand(7, 3, 4).round()
    x[3, 1, 1] = 1
    with pytest.raises(
        ValueError,
        match=r"expected `x` in \[0, 1\] for .*; got values from 0 to 255\. "
        r"Divide by .* 255 for bytes",
    ):
        require_support(distribution, 255 * x)
    with pytest.raises(ValueError, match=r"got values from -1 to 1\. .*\(x \+ 1\) / 2"):
        require_support(distribution, 2 * x - 1)
    with pytest.raises(ValueError, match="`images` in"):
        require_support(distribution, (255 * x).to(torch.uint8), "images")
    assert require_support(distribution, x) == ()
    assert require_support(distribution, x.to(torch.uint8)) == ()


@pytest.mark.parametrize("name", BINARY)
def test_grey_values_are_a_doubt_for_bernoulli_pixels(name):
    """Fault: a cross-entropy of grey images printed as a likelihood; one grey pixel among the first
    thousands of bits.
    """
    x = torch.zeros(4, 3, 4)
    assert require_support(BINARY[name](), x) == ()
    x[-1, -1, -1] = 1e-7
    (doubt,) = require_support(BINARY[name](), x, "images")
    assert "`images` has values between 0 and 1" in doubt
    assert "no likelihood" in doubt
    assert is_binary(BINARY[name]())


def test_grey_values_are_no_doubt_elsewhere():
    x = torch.rand(4, 3, 4)
    for name in ("logistic", "continuous Bernoulli"):
        assert require_support(UNIT[name](), x) == ()
        assert not is_binary(UNIT[name]())
    assert not is_binary(normal(2, 3, dims=1))
    assert not is_binary(ours.Delta(torch.zeros(2, 3)))


REAL = {
    "normal": lambda: normal(2, 3, 4, dims=2),
    "Delta": lambda: ours.Delta(torch.zeros(2, 3, 4), 2),
    "bits": lambda: pixels(2),
    "unknown": lambda: Silent(3, 4),
    "dependent": lambda: Silent(3, 4, support=td.constraints.dependent),
    "None": lambda: Silent(3, 4, support=None),
}


class Silent(td.Distribution):
    """Somebody's distribution that does not say where it lives."""

    arg_constraints = {}

    def __init__(self, *event: int, **support: object) -> None:
        super().__init__(torch.Size(), torch.Size(event), validate_args=False)
        self._told = support

    @property
    def support(self) -> object:
        if "support" not in self._told:
            raise NotImplementedError
        return self._told["support"]


@pytest.mark.parametrize("name", REAL)
def test_what_is_no_number_is_refused(name):
    """Fault: NaN or infinity in the data, from which the average becomes one without a word."""
    x = torch.zeros(5, 3, 4)
    assert require_support(REAL[name](), x) == ()
    x[3, 0, 0] = math.nan
    with pytest.raises(
        ValueError, match="expected numbers in `x`; got NaN, first in observation 3"
    ):
        require_support(REAL[name](), x)
    x[3, 0, 0] = -math.inf
    with pytest.raises(
        ValueError, match="expected finite numbers in `x`; got values from -inf to 0"
    ):
        require_support(REAL[name](), x)


@pytest.mark.parametrize("name", {**UNIT, **REAL})
@pytest.mark.parametrize("shape", [(5, 12), (5, 4, 3), (5, 4), (5, 1, 3, 4), (3, 4), (5,), ()])
def test_other_shapes_are_refused(name, shape):
    """Fault: a missing channel or a flattened image, which broadcasts to a plausible number."""
    distribution = {**UNIT, **REAL}[name]()
    with pytest.raises(
        ValueError, match=r"expected `x` as observations \(N, \*event\) of event shape \(3, 4\)"
    ):
        require_support(distribution, torch.zeros(shape))


def test_one_channel_of_three():
    """Fault: (N, 1, H, W) against (3, H, W): every channel of the model judged by the same one."""
    with pytest.raises(
        ValueError,
        match=r"event shape \(3, 2, 2\), which the likelihood has; got shape \(5, 1, 2, 2\)",
    ):
        require_support(pixels(2, event=(3, 2, 2)), torch.zeros(5, 1, 2, 2))


def test_forgotten_independent_is_named():
    """Fault: a likelihood whose pixels are batch dimensions; the advice would be to reshape x."""
    with pytest.raises(
        ValueError, match=r"batch shape \(2, 4\): .*torch.distributions.Independent"
    ):
        require_support(td.Normal(torch.zeros(2, 4), 1.0), torch.zeros(5, 4))


def event(distribution: td.Distribution) -> td.Distribution:
    return td.Independent(distribution, 1)


# a distribution, what it takes, what it does not, and the words
OTHERS = {
    "Gamma": (
        lambda: event(td.Gamma(torch.ones(2, 3), 1.0)),
        [[0.1, 2, 3]],
        [[-0.1, 2, 3]],
        "inside the support for Gamma",
    ),
    "Beta": (
        lambda: event(td.Beta(torch.ones(2, 3), 1.0)),
        [[0.1, 0.2, 0.3]],
        [[0.1, 0.2, 1.3]],
        r"in \[0, 1\] for Beta",
    ),
    "Poisson": (
        lambda: event(td.Poisson(torch.ones(2, 3))),
        [[0, 2, 30]],
        [[0, 2.5, 3]],
        "whole numbers.*Poisson",
    ),
    "Poisson, negative": (
        lambda: event(td.Poisson(torch.ones(2, 3))),
        [[0, 2, 30]],
        [[0, -2, 3]],
        "from -2 to 3",
    ),
    "Categorical": (
        lambda: event(td.Categorical(logits=torch.zeros(2, 3, 5))),
        [[0, 2, 4]],
        [[0, 2, 5]],
        "Categorical",
    ),
    "Uniform": (
        lambda: event(td.Uniform(torch.zeros(2, 3), 2.0)),
        [[0, 1, 2]],
        [[0, 1, 2.5]],
        "for Uniform",
    ),
    "log normal": (
        lambda: event(td.LogNormal(torch.zeros(2, 3), 1.0)),
        [[1, 1, 2]],
        [[0, 1, -2]],
        "for LogNormal",
    ),
    "Dirichlet": (
        lambda: td.Dirichlet(torch.ones(2, 3)),
        [[0.2, 0.3, 0.5]],
        [[0.2, 0.3, 0.6]],
        "inside the support of Dirichlet",
    ),
    "one hot": (
        lambda: td.OneHotCategorical(logits=torch.zeros(2, 3)),
        [[0, 1, 0]],
        [[1, 1, 0]],
        "support of OneHotCategorical",
    ),
    "mixture": (
        lambda: td.MixtureSameFamily(
            td.Categorical(torch.ones(2, 4)), event(td.Gamma(torch.ones(2, 4, 3), 1.0))
        ),
        [[0.1, 2, 3]],
        [[-0.1, 2, 3]],
        "MixtureSameFamily; got values from -0.1 to 3",
    ),
    "logistic mixture": (
        lambda: ours.UnflattenedRows(
            members.DISTRIBUTIONS["DiscretizedLogisticMixture"][0](), (1, 2)
        ),
        [[[[0.1, 0.2], [0.3, 0.4]]]],
        [[[[0, 1], [2, 3.0]]]],
        r"in \[0, 1\] for DiscretizedLogisticMixture",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_kind_of_support(name):
    """Fault: a support that is an interval, whole numbers or a set of events, taken for the real
    line.
    """
    make, inside, outside, words = OTHERS[name]
    inside, outside = torch.tensor(inside), torch.tensor(outside)
    assert require_support(make(), inside.repeat(4, *[1] * (inside.dim() - 1))) == ()
    with pytest.raises(ValueError, match=words):
        require_support(make(), torch.cat([inside.to(outside), outside]))


def test_bounds_that_differ_in_the_batch():
    """Fault: the bounds of one image taken for all: refused is what no bound allows."""
    wide = event(td.Uniform(torch.zeros(2, 1), torch.tensor([[1.0], [5.0]])))
    assert require_support(wide, torch.tensor([[0.5], [4.0]])) == ()
    with pytest.raises(ValueError, match=r"from 0\.5 to 6"):
        require_support(wide, torch.tensor([[0.5], [6.0]]))


@pytest.mark.parametrize("name", members.LIKELIHOODS)
def test_every_likelihood_takes_its_own_draws(name):
    """Fault: a support that leaves out what the distribution draws,
    or names another event shape.
    """
    part = members.LIKELIHOODS[name]()
    for batch in [(6,), (2, 6)]:
        distribution = part(members.features(name, *batch))
        x = distribution.sample().reshape(-1, *distribution.event_shape)
        assert require_support(distribution, x) == ()


def test_only_a_part_is_looked_at_at_once(monkeypatch):
    """Fault: a temporary of the size of x; parts that are cut in the wrong place, or rows that are
    larger than a part.
    """
    from priorwise.distributions import support

    for chunk in (1, 12, 25, 10**6):
        monkeypatch.setattr(support, "_CHUNK", chunk)
        for place in (0, 4, 9):
            x = torch.zeros(10, 3, 4)
            x[place, 0, 0] = 0.5
            assert len(require_support(pixels(2), x)) == 1
        assert require_support(pixels(2), torch.zeros(10, 3, 4)) == ()


def test_no_observations_and_no_copy():
    """Fault: the lowest of nothing."""
    assert require_support(pixels(2), torch.zeros(0, 3, 4)) == ()


# -- models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", members.MODELS)
def test_every_model_takes_its_own_observations(name):
    """Fault: a model that is moved by being asked, or a random stream; a tilted prior that has no
    draws.
    """
    model, x = members.MODELS[name](), members.observations(name, 5)
    before, state = content_hash(model.state_dict()), torch.get_rng_state()
    assert require_observations(model, x) == ()
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert content_hash(model.state_dict()) == before
    with pytest.raises(ValueError, match=r"expected `images` as observations \(N, \*event\)"):
        require_observations(model, torch.zeros(5, 7), "images")


def test_a_model_refuses_before_a_network_fails():
    """Fault: "mat1 and mat2 shapes cannot be multiplied" in place of the shape that was
    expected.
    """
    with pytest.raises(
        ValueError,
        match=r"of event shape \(1, 3, 2\), which the likelihood has; got shape \(4, 3, 2\)",
    ):
        require_observations(members.vae(), torch.zeros(4, 3, 2))
    with pytest.raises(ValueError, match="from 0 to 255"):
        require_observations(NCP(members.hvae(), hidden_features=(8, 8)), 255 * members.images(20))
    (doubt,) = require_observations(members.vae(), 0.5 * members.images(20))
    assert "cross-entropy" in doubt
    assert (
        require_observations(
            members.vae(likelihood=likelihoods.DiscretizedLogistic), 0.5 * members.images(20)
        )
        == ()
    )


def test_a_decoder_without_likelihood_takes_real_values():
    """Fault: Delta, whose density refuses in its own words, refused here in others."""
    model = wrap(encode=lambda x: x, decode=lambda z: z, latent=2, modules=())
    assert require_observations(model, 100 * torch.randn(4, 2)) == ()
