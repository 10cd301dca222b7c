"""Models: sizes of the papers, densities by hand, what is computed how often, and what `frozen`
leaves behind.
"""

import math
import re

import pytest
import torch
from members import LATENT, SHAPE, hvae, images, vae
from torch import nn
from torch.distributions import Distribution, Independent, Normal

from priorwise.conditionals import Conditional, GaussianHead
from priorwise.estimators import nll
from priorwise.likelihoods import Gaussian
from priorwise.models import VAE, AbstractModel, frozen, gated_hvae, gated_vae
from priorwise.nn import FlattenEvent
from priorwise.objectives import ELBO
from priorwise.priors import GaussianMixture, StandardNormal, VampPrior
from priorwise.randomness import seeded
from priorwise.samplers import SIR, Ancestral
from priorwise.testing import LadderVAE, LinearGaussianVAE, check_mean


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def calls(module):
    """The shapes of the first input of every call of the module."""
    seen = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    return seen


# --- sizes


def test_sizes_of_the_papers_models():
    """Fault: a layer more or fewer, a bias twice, a prior that registers the encoder again."""
    assert parameters(gated_vae((1, 28, 28))) == 1_116_864
    assert parameters(gated_hvae((1, 28, 28))) == 2_431_024
    prior = VampPrior.random(500, (1, 28, 28))
    assert parameters(prior) == 392_000
    assert parameters(gated_vae((1, 28, 28), prior=prior)) == 1_116_864 + 392_000


# --- priors of a wrong shape


class Returning(nn.Module):
    """Somebody else's prior, without parameters."""

    def __init__(self, distribution):
        super().__init__()
        self.distribution = distribution

    def forward(self):
        return self.distribution


SIZE = 3  # of the latents, of the batch and of the draws: what makes every shape broadcast


def with_prior(prior):
    with seeded(0, "model"):
        encoder = Conditional(nn.Linear(4, 8), GaussianHead(8, SIZE))
        return VAE(encoder, Conditional(nn.Linear(SIZE, 8), Gaussian(8, (4,))), prior)


@pytest.mark.parametrize(
    ("distribution", "came", "wrapped"),
    [
        (
            Normal(torch.zeros(SIZE), 1.0),
            "Normal with batch shape (3,) and event shape ()",
            "Normal(...), 1)",
        ),
        (Normal(0.0, 1.0), "Normal with batch shape () and event shape ()", "Normal(...), 1)"),
        (
            Normal(torch.zeros(SIZE, SIZE), 1.0),
            "Normal with batch shape (3, 3) and event shape ()",
            "Normal(...), 2)",
        ),
        (
            Independent(Normal(torch.zeros(SIZE, SIZE), 1.0), 1),
            "Independent with batch shape (3,) and event shape (3,)",
            "Independent(...), 1)",
        ),
    ],
)
def test_prior_that_is_not_independent_is_refused(distribution, came, wrapped):
    """Fault: a prior of batch shape (D,), whose density broadcasts where D = S, and gives another
    NLL without a word.
    """
    model = with_prior(Returning(distribution))
    message = (
        rf"expected a prior of batch shape \(\) .*; got {re.escape(came)}"
        rf".*Independent\({re.escape(wrapped)}"
    )
    x = torch.randn(SIZE, 4)
    for use in (
        lambda: nll(model, x, samples=SIZE),
        lambda: ELBO(model)(x),
        lambda: model.sample(SIZE),
    ):
        with pytest.raises(ValueError, match=message):
            use()


def test_prior_that_is_independent_gives_the_same_likelihood_as_ours():
    """Fault: a refusal of what is right."""
    x = torch.randn(SIZE, 4)
    theirs = with_prior(Returning(Independent(Normal(torch.zeros(SIZE), 1.0), 1)))
    ours = with_prior(StandardNormal(SIZE))
    assert nll(theirs, x, samples=SIZE).value == pytest.approx(
        nll(ours, x, samples=SIZE).value, rel=1e-6
    )


# --- densities


def by_hand(model, groups, x):
    decoded = model.likelihood(groups)
    total = decoded.log_prob(x)
    for group in groups:
        normal = group.prior.base_dist
        u = (group.z - normal.loc) / normal.scale
        total = total + (-0.5 * u.square() - normal.scale.log() - 0.5 * math.log(2 * math.pi)).sum(
            -1
        )
    return total


@pytest.mark.parametrize("build", [vae, hvae])
@pytest.mark.parametrize("samples", [(), (3,)])
def test_log_joint_by_hand(build, samples):
    """Fault: a prior counted twice or with the wrong sign, a group left out."""
    model, x = build(), images(5)
    groups = model.infer(x, samples)
    torch.testing.assert_close(
        model.log_joint(groups, x), by_hand(model, groups, x), rtol=1e-4, atol=1e-4
    )


def test_hierarchy_conditions_on_the_group_above():
    """Fault: the lower prior or posterior computed from a fresh draw, or groups handed over in the
    wrong order.
    """
    model, x = hvae(), images(4)
    top, bottom = model.infer(x, (2,))
    torch.testing.assert_close(bottom.prior.mean, model.prior_bottom(top.z).mean)
    torch.testing.assert_close(bottom.posterior.mean, model.encoder_bottom(x, top.z).mean)
    torch.testing.assert_close(top.posterior.mean, model.encoder_top(x).mean.expand(2, 4, LATENT))
    assert bottom.context is top.z
    torch.testing.assert_close(
        model.likelihood([top, bottom]).mean, model.decoder(bottom.z, top.z).mean
    )


def test_generation_is_ancestral():
    """Fault: prior draws that ignore the group above. With a wide top prior the lower group follows
    it.
    """

    class Double(nn.Module):
        def forward(self, z: torch.Tensor) -> Distribution:
            return Independent(Normal(2 * z, 1.0), 1)

    model = hvae()
    model.prior_bottom = Double()
    top, bottom = model.generate(8000)
    assert top.posterior is None
    product = (top.z * bottom.z).flatten()
    check_mean(product, 2.0, "the covariance of the groups")
    check_mean(bottom.z.square().flatten(), 5.0, "the variance of the lower group")
    assert top.info.method == bottom.info.method == "ancestral"


def test_infer_draws_from_the_posterior():
    """Fault: draws from the prior, or one draw for all samples."""
    model, x = LinearGaussianVAE(1, 2), torch.randn(1, 2)
    (group,) = model.infer(x, (8000,))
    posterior = model.exact_posterior(x)
    u = ((group.z - posterior.mean) / posterior.stddev).flatten()
    check_mean(u, 0.0, "the mean", comparisons=2)
    check_mean(u.square(), 1.0, "the variance", comparisons=2)
    assert group.z.requires_grad


def test_shorthands():
    """Fault: a top posterior of another group, decoder draws where means are asked for, unseeded
    draws.
    """
    model, x = hvae(), images(3)
    torch.testing.assert_close(model.encode(x).mean, model.encoder_top(x).mean)
    assert model.decode(torch.randn(4, LATENT)).mean.shape == (4, *SHAPE)
    means, draws = model.sample(5, seed=0), model.sample(5, mean=False, seed=0)
    assert ((means > 0) & (means < 1)).all()
    assert set(draws.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(model.reconstruct(x, seed=2), model.reconstruct(x, seed=2))
    assert not torch.equal(model.reconstruct(x, seed=2), model.reconstruct(x, seed=3))
    assert not means.requires_grad


def test_decode_keeps_the_top_latents():
    """Fault: top latents that are drawn anew."""
    model = LinearGaussianVAE(2, 3)
    z = torch.randn(4, 2)
    torch.testing.assert_close(model.decode(z).mean, model.decoder(z).mean)


def test_samplers_reach_every_group():
    """Fault: a sampler for the top group only."""
    model = LadderVAE()
    groups = model.generate(3, Ancestral(0.5))
    assert [group.info.details for group in groups] == [{"temperature": 0.5}] * 3
    assert [group.info.method for group in model.generate(2, SIR(3))] == ["ancestral"] * 3


def test_a_group_without_posterior_cannot_be_inferred():
    with pytest.raises(ValueError, match="expected `n` of at least 1; got 0"):
        vae().generate(0)

    class Forgetful(AbstractModel):
        def __init__(self) -> None:
            super().__init__()
            self.inner = vae()

        def top_down(self, draw, batch_shape, x=None):
            return self.inner.top_down(draw, batch_shape)

        def likelihood(self, groups):
            return self.inner.likelihood(groups)

    with pytest.raises(ValueError, match=r"expected a posterior; got None. Pass `x` to `top_down`"):
        Forgetful().infer(images())


# --- what runs how often


@pytest.mark.parametrize(
    "prior", [StandardNormal(LATENT), GaussianMixture(LATENT, 3)], ids=["standard", "mixture"]
)
def test_x_is_encoded_once(prior):
    """Fault: an encoder that runs once for each sample, or on x repeated S times."""
    model, x = vae(prior), images(4)
    seen = calls(model.encoder)
    model.log_joint(model.infer(x, (6,)), x)
    assert seen == [(4, *SHAPE)]


def test_both_encoders_of_a_hierarchy_see_x_once():
    """Fault: the part of the lower encoder that looks at x only, run on S x B rows."""
    model, x = hvae(), images(4)
    seen = [
        calls(model.encoder_top),
        calls(model.encoder_bottom.body.first),
        calls(model.encoder_bottom.body.second),
    ]
    model.infer(x, (6,))
    assert seen == [[(4, *SHAPE)], [(4, *SHAPE)], [(6, 4, LATENT)]]


def test_features_of_a_ladder_are_computed_once():
    model = LadderVAE()
    seen = calls(model.features)
    model.infer(torch.randn(4, 5), (6,))
    assert seen == [(4, 5)]


def test_vamp_prior_encodes_once_in_a_frozen_block():
    """Fault: K encodings for every tile of an evaluation; old encodings that survive the block."""
    model, x = vae(VampPrior.random(7, SHAPE, mean=0.5)), images(4)
    seen = calls(model.encoder)
    with frozen(model):
        for _ in range(3):
            model.log_joint(model.infer(x), x)
    assert seen.count((7, *SHAPE)) == 1
    seen.clear()
    model.infer(x)
    model.infer(x)
    assert seen.count((7, *SHAPE)) == 2


# --- frozen


def test_frozen_restores_after_an_exception():
    """Fault: a model that stays frozen when an evaluation fails."""
    model = vae(VampPrior.random(3, SHAPE)).train()
    model.decoder.eval()
    model.encoder.head.linear.weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    flags = [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(ValueError, match="expected `n` of at least 1"), frozen(model):
        model.generate(0)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert model.prior._kept is None
    assert not model.prior._keeping


def test_frozen_blocks_may_be_nested():
    """Fault: the inner block that thaws the outer one, or drops what it keeps."""
    model, x = vae(VampPrior.random(7, SHAPE)), images(2)
    seen = calls(model.encoder)
    with frozen(model):
        model.infer(x)
        with frozen(model):
            model.infer(x)
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not model.training
        model.infer(x)
    assert seen.count((7, *SHAPE)) == 1
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_frozen_lets_gradients_through_to_inputs():
    """Fault: no_grad in place of frozen parameters, which blinds Langevin in the latents."""
    model = vae(GaussianMixture(LATENT, 3))
    z = torch.randn(4, LATENT).requires_grad_()
    with frozen(model):
        density = model.prior().log_prob(z).sum() + model.decoder(z).log_prob(images(4)).sum()
        density.backward()
    assert z.grad.isfinite().all()
    assert z.grad.any()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_stops_batch_statistics():
    """Fault: running statistics that an evaluation moves."""
    encoder = Conditional(nn.Sequential(FlattenEvent(SHAPE), nn.BatchNorm1d(6)), GaussianHeadOf6())
    model = VAE(
        encoder, Conditional(nn.Identity(), Gaussian(LATENT, SHAPE)), StandardNormal(LATENT)
    ).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model.sample(3, seed=0)
    model.reconstruct(images(5))
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert model.encoder.body[1].training


class GaussianHeadOf6(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, LATENT)

    def forward(self, features: torch.Tensor) -> Distribution:
        return Independent(Normal(self.linear(features), 1.0), 1)
