"""Flows against autograd, quadrature, zuko and the closed form of equation 5 of the dpVAE paper.

False-alarm rate of each statistical test: 1e-6 (``priorwise.testing.ALPHA``).
"""

import copy
import math

import pytest
import torch
from members import identity_flow
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from priorwise.backbones import AffineCoupling, CouplingFlow
from priorwise.conditionals import Conditional
from priorwise.distributions import (
    AbstractBijection,
    NormalizingFlow,
    Tilted,
    from_noise,
    has_noise_form,
)
from priorwise.likelihoods import Gaussian
from priorwise.models import VAE
from priorwise.objectives import ELBO
from priorwise.priors import FlowPrior, StandardNormal
from priorwise.samplers import Langevin
from priorwise.testing import check_mean
from priorwise.testing.laws import draws_follow_density, jittered

BENT = 0.15  # added to every parameter, so that scales and shifts are far from zero


def bent(features: int = 2, **options: object) -> CouplingFlow:
    return jittered(CouplingFlow(features, **options), BENT)


# -- the map ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("features", "count"), [(2, 53_784), (10, 66_168), (60, 143_568)])
def test_parameters_as_many_as_the_papers(features, count):
    """Fault: one network for scale and shift, a layer too few, a block too many."""
    assert sum(parameter.numel() for parameter in CouplingFlow(features).parameters()) == count


@pytest.mark.parametrize("features", [2, 3, 5])
def test_log_det_is_that_of_the_jacobian(features):
    """Fault: a sign, a block left out, the kept half counted too."""
    flow = bent(features).double()
    for z in 2 * torch.randn(20, features, dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(lambda point: flow(point)[0], z)
        sign, expected = torch.linalg.slogdet(jacobian)
        assert sign == 1
        torch.testing.assert_close(flow(z)[1], expected, rtol=1e-9, atol=1e-9)


def test_log_det_is_no_trifle():
    """Fault: an oracle that a map without a scale would pass."""
    assert float(bent()(torch.randn(100, 2))[1].detach().std()) > 0.1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
@pytest.mark.parametrize("features", [2, 3, 10])
def test_inverse_is_exact(features, dtype, tolerance):
    """Fault: blocks undone in the wrong order, the shift taken off after the scale. Both ways,
    leading dimensions too.
    """
    flow = bent(features).to(dtype)
    z = 2 * torch.randn(4, 50, features, dtype=dtype)
    torch.testing.assert_close(flow.inverse(flow(z)[0]), z, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(flow(flow.inverse(z))[0], z, rtol=tolerance, atol=tolerance)


def test_every_dimension_is_moved_and_kept():
    """Fault: masks that do not alternate. The first half is the larger one of an odd number."""
    masks = [block.mask.tolist() for block in CouplingFlow(3, blocks=4).blocks]
    assert masks == [[1, 1, 0], [0, 0, 1]] * 2


def test_one_block_by_hand():
    """Fault: networks that see the half that they move, a bound that is not kept."""
    block = jittered(AffineCoupling(torch.tensor([1.0, 0.0]), (8,)), BENT)
    z = torch.randn(50, 2)
    kept = torch.stack([z[:, 0], torch.zeros(50)], 1)
    s, t = block.scale(kept)[:, 1], block.shift(kept)[:, 1]
    z0, log_det = block(z)
    torch.testing.assert_close(z0, torch.stack([z[:, 0], z[:, 1] * s.exp() + t], 1))
    torch.testing.assert_close(log_det, s)
    far = block(1e6 * torch.randn(50, 2))[1]
    assert bool((far.abs() <= 1).all())


# -- the density -----------------------------------------------------------------------------------


def grid(loc: Tensor, half: Tensor, points: int = 301) -> tuple[Tensor, float]:
    """Midpoints of a grid around ``loc``, ``(points^2, 2)``, and the area of a cell; float64."""
    loc, half = loc.detach().double(), half.detach().double()
    ticks = (torch.arange(points, dtype=torch.float64) + 0.5) / points * 2 - 1
    return torch.cartesian_prod(ticks, ticks) * half + loc, float((2 * half / points).prod())


def test_mass_is_one():
    """Fault: a constant, or a log-determinant of the wrong sign (which gives another mass), by
    quadrature.
    """
    flow = bent(hidden_features=(16,)).double()
    law = NormalizingFlow(flow)
    z, area = grid(torch.zeros(2), 1.5 * law.sample((10_000,)).abs().amax(0))
    with torch.no_grad():
        mass = area * float(law.log_prob(z).exp().sum())
        wrong = area * float((law.log_prob(z) - 2 * flow(z)[1]).exp().sum())
    assert mass == pytest.approx(1, abs=1e-3)
    assert wrong != pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("features", [2, 5])
def test_draws_follow_the_density(features):
    """Fault: draws by the map in place of its inverse."""
    draws_follow_density(NormalizingFlow(bent(features)))


def test_draws_follow_no_other_density():
    """Fault: a law so close to normal that the test above sees nothing."""

    class Turned(AbstractBijection):
        def __init__(self, inner: CouplingFlow) -> None:
            super().__init__()
            self.inner, self.features = inner, inner.features

        def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return self.inner(z)

        def inverse(self, z0: Tensor) -> Tensor:
            return self.inner(z0)[0]

    with pytest.raises(AssertionError, match="standard errors away"):
        draws_follow_density(NormalizingFlow(Turned(bent())))


def test_identity_flow_is_the_standard_normal():
    """Fault: a constant of the density; noise from elsewhere in the random stream."""
    flow, plain = identity_flow(3), StandardNormal(3)
    z = 3 * torch.randn(100, 3)
    assert torch.equal(flow.to_generation(z), z)
    assert torch.equal(flow.to_representation(z), z)
    torch.testing.assert_close(flow().log_prob(z), plain().log_prob(z), rtol=1e-6, atol=1e-6)
    state = torch.get_rng_state()
    drawn = flow().sample((7,))
    torch.set_rng_state(state)
    assert torch.equal(drawn, plain().sample((7,)))


def test_prior_has_two_spaces():
    """Fault: the two directions swapped. Draws of the prior are normal in the space of
    generation.
    """
    prior = jittered(FlowPrior(3), BENT)
    z = prior().sample((20_000,))
    with torch.no_grad():
        z0 = prior.to_generation(z)
    torch.testing.assert_close(prior.to_representation(z0), z, rtol=1e-4, atol=1e-4)
    for dim in range(3):
        check_mean(z0[:, dim], 0.0, f"dimension {dim} of z0", comparisons=6)
        check_mean(z0[:, dim].square(), 1.0, f"the square of dimension {dim} of z0", comparisons=6)


def test_draws_stay_in_single_precision():
    """Fault: a map in bfloat16, whose draws are not those of the density."""
    law = NormalizingFlow(bent())
    eps = torch.randn(50, 2)
    with torch.autocast("cpu", torch.bfloat16):
        z = law.from_noise(eps)
        log_prob = law.log_prob(z)
    assert torch.equal(z, law.from_noise(eps))
    assert torch.equal(log_prob, law.log_prob(z))


# -- other people's maps ---------------------------------------------------------------------------


class Doubling(AbstractBijection):
    """z0 = 2 z, without parameters."""

    features = 3

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * z, torch.full(z.shape[:-1], 3 * math.log(2))

    def inverse(self, z0: Tensor) -> Tensor:
        return z0 / 2


def test_own_bijection_without_parameters():
    """Fault: a prior that looks for a parameter to learn its type from.
    N(0, 1/4) in closed form.
    """
    prior, z = FlowPrior(Doubling()), torch.randn(10, 3)
    expected = Independent(Normal(torch.zeros(3), torch.full((3,), 0.5)), 1)
    torch.testing.assert_close(prior().log_prob(z), expected.log_prob(z))
    check_mean(prior().sample((20_000,)).square().sum(-1), 0.75, "the squared length")


@pytest.mark.parametrize("flow", ["MAF", "NSF"])
def test_zuko_flows_drop_in(zuko, flow):
    """Fault: the map for its inverse, a base that is left out. zuko's own density and noise form
    say the same.
    """
    module = jittered(getattr(zuko.flows, flow)(3, transforms=2, hidden_features=(8,)), 0.1)
    prior, z = FlowPrior(module), torch.randn(4, 25, 3)
    torch.testing.assert_close(prior().log_prob(z), module().log_prob(z), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        prior.to_representation(prior.to_generation(z)), z, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(from_noise(prior(), z), from_noise(module(), z))
    draws_follow_density(prior(), draws=5000)


def test_zuko_flow_of_one_dimensional_maps(zuko):
    """Fault: log-derivatives of the dimensions that are not summed, which broadcast to another
    shape.
    """
    zeros, ones = torch.zeros(3), torch.ones(3)
    scale = zuko.lazy.UnconditionalTransform(
        zuko.transforms.MonotonicAffineTransform, torch.randn(3), torch.randn(3)
    )
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, zeros, ones, buffer=True
    )
    module, z = zuko.lazy.Flow(scale, base), torch.randn(10, 3)
    torch.testing.assert_close(FlowPrior(module)().log_prob(z), module().log_prob(z))


def test_zuko_flow_over_another_base_is_refused(zuko):
    """Fault: a density whose constant is another's."""
    module = zuko.flows.NSF(2, transforms=1, hidden_features=(8,))
    module.base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(2), 2 * torch.ones(2), buffer=True
    )
    with pytest.raises(ValueError, match="expected a zuko flow over a standard normal base; got"):
        FlowPrior(module)


class Elsewhere(nn.Module):
    def forward(self) -> Distribution:
        return Normal(torch.zeros(2), torch.ones(2))


def test_refusals():
    """Fault: a flow that could move nothing, or a module that is no flow."""
    with pytest.raises(
        ValueError, match="expected at least 2 `features`, so that one half moves the other; got 1"
    ):
        FlowPrior(1)
    with pytest.raises(
        ValueError, match="expected at least 2 `blocks`, so that both halves are moved; got 1"
    ):
        FlowPrior(2, blocks=1)
    with pytest.raises(
        TypeError,
        match=r"an unconditional zuko flow; got Elsewhere, which returns Normal\. A module",
    ):
        FlowPrior(Elsewhere())


# -- equation 5 ------------------------------------------------------------------------------------


class Constant(nn.Module):
    """The same q(z|x) for every x."""

    def __init__(self, loc: list[float], scale: list[float]) -> None:
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.tensor(loc)), nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Distribution:
        law = Independent(Normal(self.loc, self.scale, validate_args=False), 1, validate_args=False)
        return law.expand(x.shape[:-1])


@pytest.fixture
def rates():
    """A model with a bent flow, 20,000 rates of either kind at the same draws, and those draws."""
    decoder = Conditional(nn.Linear(2, 4), Gaussian(4, (3,)))
    model = VAE(
        Constant([0.7, -1.1], [0.4, 0.9]),
        decoder,
        jittered(FlowPrior(2, hidden_features=(16, 16)), BENT),
    )
    x = torch.zeros(20_000, 3)
    state, terms = torch.get_rng_state(), {}
    with torch.no_grad():
        for kl in ("sample", "entropy"):
            torch.set_rng_state(state)
            terms[kl] = ELBO(model, kl=kl)(x).per_example["rate_1"]
        torch.set_rng_state(state)
        terms["z"] = model.infer(x)[0].z
    return model, terms


def equation_5(model: VAE, z: Tensor) -> Tensor:
    r"""The rate at one draw, written out block by block:
    (5) has these terms, and -L/2, which the text drops.
    """
    scale = model.encoder.scale
    total = -0.5 * scale.square().log().sum() - scale.numel() / 2
    for block in model.prior.bijection.blocks:
        s = block.scale(block.mask * z)
        total = total - ((1 - block.mask) * s).sum(-1)
        t = block.shift(block.mask * z)
        z = block.mask * z + (1 - block.mask) * (z * s.exp() + t)
    return total + 0.5 * z.square().sum(-1)


def exact_rate(model: VAE) -> float:
    """KL(q || p) by quadrature in the plane, in float64."""
    model = copy.deepcopy(model).double()
    q, p = model.encoder(torch.zeros(3)), model.prior()
    z, area = grid(q.mean, 7 * q.stddev)
    with torch.no_grad():
        log_q = q.log_prob(z)
        return area * float((log_q.exp() * (log_q - p.log_prob(z))).sum())


def test_equation_5_with_its_constant(rates):
    """Fault: the sum of s over the kept half, an entropy of variances, -L/2 left out (the next
    test).
    """
    model, terms = rates
    with torch.no_grad():
        expected = equation_5(model, terms["z"])
    torch.testing.assert_close(terms["entropy"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kl", ["sample", "entropy"])
def test_rate_has_the_mean_that_it_should(rates, kl):
    """Fault: the closed form without -L/2, as it stands in the paper's text, is off by 1 nat in the
    plane.
    """
    model, terms = rates
    truth = exact_rate(model)
    check_mean(terms[kl], truth, f"the rate by kl={kl!r}")
    with pytest.raises(AssertionError, match="standard errors away"):
        check_mean(terms[kl] + 2 / 2, truth, "the rate without -L/2")


def test_rates_agree_in_the_mean(rates):
    """Fault: an entropy of another distribution. The difference at a draw is log q + entropy, of
    mean 0.
    """
    _, terms = rates
    assert float((terms["sample"] - terms["entropy"]).std()) > 0.1
    check_mean(terms["sample"] - terms["entropy"], 0.0, "the difference of the two rates")


# -- noise -----------------------------------------------------------------------------------------


def test_noise_form_is_the_inverse_map():
    """Fault: the map in place of its inverse."""
    prior, eps = jittered(FlowPrior(3), BENT), torch.randn(10, 3)
    assert has_noise_form(prior())
    assert torch.equal(from_noise(prior(), eps), prior.to_representation(eps))


def test_langevin_over_a_flow():
    """Fault: a Jacobian in the target of the noise. A tilt by a . g(z) moves the noise to N(a, I),
    whatever the flow.
    """
    prior, slope = jittered(FlowPrior(2, hidden_features=(16,)), BENT), torch.tensor([0.8, -0.5])
    tilted = Tilted(prior(), lambda z: (prior.to_generation(z) * slope).sum(-1))
    z, info = Langevin(30, step_size=0.5, adjusted=True).run(tilted, (2000,))
    assert info.details["space"] == "noise"
    with torch.no_grad():
        eps = prior.to_generation(z)
    for dim in range(2):
        check_mean(eps[:, dim], float(slope[dim]), f"noise {dim}", comparisons=4)
        check_mean(
            (eps[:, dim] - slope[dim]).square(), 1.0, f"the variance of noise {dim}", comparisons=4
        )
