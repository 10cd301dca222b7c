"""The noise contrastive prior: the base stays as it is, and the optimal classifier is known for
Gaussians.
"""

from copy import deepcopy
from dataclasses import astuple

import pytest
import torch
from members import SHAPE, encoder, hvae, images, vae
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from priorwise.conditionals import Conditional
from priorwise.distributions import Tilted
from priorwise.likelihoods import Bernoulli
from priorwise.models import NCP, VAE, AbstractModel, Group, frozen
from priorwise.objectives import NCE, nce
from priorwise.objectives.nce import contrast_logits
from priorwise.priors import StandardNormal, VampPrior
from priorwise.samplers import SIR, Langevin, Rejection
from priorwise.testing import LadderVAE, LinearGaussianVAE


class Zero(nn.Module):
    """A classifier that cannot tell anything apart."""

    def forward(self, z: Tensor, context: Tensor | None) -> Tensor:
        return z.sum(-1) * 0


class Recorder(nn.Module):
    """A linear logit that writes down what it is given."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.slope, self.seen = slope, []

    def forward(self, z: Tensor, context: Tensor | None) -> Tensor:
        self.seen.append((z, context))
        return self.slope * z.sum(-1)


def with_batch_norm() -> VAE:
    """A model whose encoder has running statistics, dropout, a hook and a frozen parameter.

    Its prior calls the encoder, so that the statistics move whenever the base is not frozen.
    """
    inner = encoder()
    body = nn.Sequential(*inner.body, nn.BatchNorm1d(8), nn.Dropout(0.2))
    prior = VampPrior.random(3, SHAPE, mean=0.5)
    model = VAE(
        Conditional(body, inner.head), Conditional(nn.Identity(), Bernoulli(2, SHAPE)), prior
    )
    model.encoder.head.linear.bias.requires_grad_(False)
    model.decoder.eval()
    model.encoder.register_forward_hook(lambda *_: None)
    return model


def everything(model):
    """All that "unchanged" covers."""
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "flags": {name: parameter.requires_grad for name, parameter in model.named_parameters()},
        "grads": {name: parameter.grad for name, parameter in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "hooks": {name: list(module._forward_hooks) for name, module in model.named_modules()},
        "names": sorted(vars(model)),
    }


def assert_unchanged(before, after):
    for kind in ("flags", "grads", "modes", "hooks", "names"):
        assert after[kind] == before[kind], kind
    for name, value in before["values"].items():
        assert torch.equal(value, after["values"][name]), name


# --- the base


def test_construction_and_use_leave_the_base_alone():
    """Fault: a constructor that freezes, evaluates, draws or hooks; a fit that leaves statistics or
    modes behind.
    """
    base = with_batch_norm()
    x = images(8)
    before, state = everything(base), torch.get_rng_state()
    ncp = NCP(base, [Zero()])
    assert torch.equal(torch.get_rng_state(), state)
    assert_unchanged(before, everything(base))
    ncp = NCP(base, hidden_features=(8,))
    assert_unchanged(before, everything(base))
    objective = NCE(ncp)
    optimizer = torch.optim.Adam(objective.trained.parameters())
    with objective.running():
        for step in range(3):
            optimizer.zero_grad()
            objective(x, step).loss().backward()
            optimizer.step()
    assert_unchanged(before, everything(base))
    ncp.sample(3, SIR(5))
    assert_unchanged(before, everything(base))


@pytest.mark.parametrize("build", [vae, hvae, LadderVAE, lambda: vae(VampPrior.random(3, SHAPE))])
def test_without_a_tilt_it_is_the_base(build):
    """Fault: a pass of its own, or a density with another constant."""
    base = build()
    x = torch.randn(4, 5) if isinstance(base, LadderVAE) else images(4)
    ncp = NCP(base, [Zero() for _ in base.generate(1)])
    torch.manual_seed(0)
    groups = base.infer(x, (3,))
    torch.manual_seed(0)
    tilted = ncp.infer(x, (3,))
    for ours, theirs in zip(tilted, groups, strict=True):
        assert torch.equal(ours.z, theirs.z)
        assert isinstance(ours.prior, Tilted)
        assert ours.context is theirs.context or torch.equal(ours.context, theirs.context)
    torch.testing.assert_close(ncp.log_joint(tilted, x), base.log_joint(groups, x), rtol=0, atol=0)
    torch.testing.assert_close(
        ncp.likelihood(tilted).mean, base.likelihood(groups).mean, rtol=0, atol=0
    )


def test_the_tilt_is_added_to_the_joint():
    """Fault: a tilt that is subtracted, or halved. Slope 0.5 on standardised z: the sum of z / 2
    for N(0, I).
    """
    base, x = vae(), images(4)
    ncp = NCP(base, [Recorder(0.5)])
    (group,) = groups = ncp.infer(x)
    torch.testing.assert_close(ncp.log_joint(groups, x) - base.log_joint(groups, x), torch.zeros(4))
    plain = Group(1, group.prior.base)
    plain.z = group.z
    difference = ncp.log_joint(groups, x) - base.log_joint([plain], x)
    torch.testing.assert_close(difference, 0.5 * group.z.sum(-1), rtol=1e-3, atol=1e-4)


def test_the_classifier_sees_latents_in_units_of_their_prior():
    """Fault: a scale that multiplies, or a prior's mean that stays in."""
    base = hvae()
    recorders = [Recorder(), Recorder()]
    ncp = NCP(base, recorders)
    top, bottom = ncp.infer(images(4), (3,))
    bottom.prior.log_tilt(bottom.z)
    z, context = recorders[1].seen[-1]
    normal = bottom.prior.base.base_dist
    assert z.shape == bottom.z.shape, "a classifier sees latents in the shape of their event"
    torch.testing.assert_close(z * normal.scale + normal.loc, bottom.z, rtol=1e-4, atol=1e-4)
    assert torch.equal(context, top.z), "and the context once, however many latents there are"


def test_every_classifier_sees_its_ancestors():
    """Fault: contexts of another group, of other examples, or of other samples, in a ladder of
    three groups.
    """
    base, x = LadderVAE(latent=2), torch.randn(4, 5)
    recorders = [Recorder() for _ in range(3)]
    ncp = NCP(base, recorders)
    groups = ncp.infer(x, (6,))
    ncp.log_joint(groups, x)
    assert recorders[0].seen[-1][1] is None
    for k in (1, 2):
        z, context = recorders[k].seen[-1]
        assert z.shape == (6, 4, 2)
        assert torch.equal(context, torch.cat([group.z for group in groups[:k]], -1))
    sizes = [
        None if part.context is None else part.context.in_features for part in NCP(base).classifiers
    ]
    assert sizes == [None, 2, 4]


def test_contexts_and_latents_may_be_feature_maps():
    """Fault: a context that is not flattened as the latents are; convolutional hierarchies have
    maps (C, H, W).
    """

    class Maps(AbstractModel):
        def __init__(self) -> None:
            super().__init__()
            self.prior = StandardNormal((2, 3, 3))

        def top_down(self, draw, batch_shape, x=None):
            groups = []
            for index in (1, 2):
                prior = self.prior().expand(torch.Size(batch_shape))
                context = groups[0].z.tanh() if groups else None
                posterior = None if x is None else Independent(Normal(prior.mean + 0.5, 1.0), 3)
                group = Group(index, prior, posterior, context)
                group.z = draw(group)
                groups.append(group)
            return groups

        def likelihood(self, groups):
            return Independent(Normal(groups[1].z, 1.0), 3)

    ncp, x = NCP(Maps(), hidden_features=(8,)), torch.randn(4, 2, 3, 3)
    assert ncp.log_joint(ncp.infer(x, (5,)), x).shape == (5, 4)
    assert ncp.sample(3, SIR(10), seed=0).shape == (3, 2, 3, 3)
    assert NCE(ncp)(x).per_example["bce_2"].shape == (4,)


def test_ncp_of_ncp_is_refused_and_counts_are_checked():
    """Fault: two tilts of which only one is estimated; a group without a classifier."""
    base = hvae()
    with pytest.raises(TypeError, match="expected a model that is not an NCP itself"):
        NCP(NCP(base))
    for count in (1, 3):
        with pytest.raises(
            ValueError, match=f"expected 2 `classifiers`, one per latent group; got {count}"
        ):
            NCP(base, [Zero()] * count)


def test_log_norm_is_kept_forgotten_and_saved():
    """Fault: an estimate that survives a new fit, or that is lost by a checkpoint."""
    ncp = NCP(vae(), hidden_features=(8,))
    assert ncp.known_log_norm() is None
    ncp.set_log_norm(0.25, 0.01)
    other = NCP(vae(), hidden_features=(8,))
    other.load_state_dict(ncp.state_dict())
    assert astuple(other.known_log_norm())[:2] == (0.25, 0.01)
    assert vae().known_log_norm().value == 0.0


# --- the classifiers


def test_positives_come_from_the_posterior_and_negatives_from_the_prior():
    """Fault: labels that are swapped; negatives whose ancestors are not the positives'."""
    base, x = LadderVAE(latent=2), torch.randn(6, 5)
    recorders = [Recorder() for _ in range(3)]
    objective = NCE(NCP(base, recorders))
    torch.manual_seed(0)
    with objective.running():
        pairs = contrast_logits(objective.ncp, x)
    torch.manual_seed(0)
    first = objective.ncp.infer(x)[0]
    both, context = recorders[0].seen[0]
    assert both.shape == (2, 6, 2)
    torch.testing.assert_close(both[0], first.z)
    assert context is None
    for k in (1, 2):
        both, context = recorders[k].seen[0]
        assert context.shape == (6, 2 * k)
    torch.testing.assert_close(pairs[0][0], first.z.sum(-1))


def test_cross_entropy_by_hand(monkeypatch):
    """Fault: a mean of the two halves in place of their sum; 2 log 2 where nothing can be told
    apart.
    """
    terms = NCE(NCP(LadderVAE(), [Zero() for _ in range(3)]))(torch.randn(4, 5))
    assert list(terms.per_example) == ["bce_1", "bce_2", "bce_3"]
    for term in terms.per_example.values():
        torch.testing.assert_close(term, torch.full((4,), 1.386294))
    objective = NCE(NCP(vae(), [Recorder(2.0)]))
    positive, negative = torch.randn(5), torch.randn(5)
    monkeypatch.setattr(nce, "contrast_logits", lambda model, x: [(positive, negative)])
    expected = -positive.sigmoid().log() - (1 - negative.sigmoid()).log()
    torch.testing.assert_close(
        objective(images(5)).per_example["bce_1"], expected, rtol=1e-4, atol=1e-4
    )


class Shifted(AbstractModel):
    """One latent, p = N(0, 1) and q(z|x) = N(m, 1) for every x:
    the optimal logit is m z - m^2 / 2.
    """

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.prior, self.shift = StandardNormal(1), shift

    def top_down(self, draw, batch_shape, x=None):
        prior = self.prior().expand(torch.Size(batch_shape))
        group = Group(
            1, prior, None if x is None else Independent(Normal(prior.mean + self.shift, 1.0), 1)
        )
        group.z = draw(group)
        return [group]

    def likelihood(self, groups: list[Group]) -> Distribution:
        return Independent(Normal(groups[0].z, 1.0), 1)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.linear(z).squeeze(-1)


def fit(ncp, x, steps, rate):
    objective = NCE(ncp)
    optimizer = torch.optim.Adam(objective.trained.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with objective.running():
        for step in range(steps):
            optimizer.zero_grad()
            objective(x, step).loss().backward()
            optimizer.step()
            schedule.step()


@pytest.mark.parametrize("shift", [1.0, -0.7])
def test_the_optimal_logit_is_learned(shift):
    """Fault: swapped labels (a slope of -m), a missing half, a base that leaks into the tilt.

    The logit of the optimum is log q - log p = m z - m^2 / 2, whose Z is 1. 300 steps on 2000
    pairs: the error of the slope is near sqrt(2 / 0.2 / 600000) < 0.005, and the tolerance twenty
    times that.
    """
    ncp = NCP(Shifted(shift), [Line()])
    fit(ncp, torch.zeros(2000, 1), 300, 0.05)
    linear = ncp.classifiers[0].linear
    assert float(linear.weight.detach()) == pytest.approx(shift, abs=0.1)
    assert float(linear.bias.detach()) == pytest.approx(-(shift**2) / 2, abs=0.1)
    z = ncp.generate(2000, SIR(200))[0].z.detach()
    assert float(z.mean()) == pytest.approx(shift, abs=0.2)


def test_what_cannot_be_told_apart_costs_two_log_two():
    """Fault: a classifier that gains from the wrong draws, such as positives for one x against
    negatives for all.

    Under data of its own the aggregate posterior of the exact encoder is the prior; that of a
    shifted one is not.
    """
    exact, wrong = LinearGaussianVAE(1, 2), LinearGaussianVAE(1, 2, shift=2.0)
    x = exact.sample(2000, mean=False, seed=0)
    losses = []
    for base in (exact, wrong):
        ncp = NCP(base, [Line()])
        fit(ncp, x, 60, 0.1)
        with torch.no_grad():
            losses.append(float(NCE(ncp)(x).loss()))
    assert losses[0] == pytest.approx(1.386, abs=0.02)
    assert losses[1] < 1.36


# --- draws


def test_generation_tilts_every_group_of_a_ladder():
    """Fault: a tilt for the top group only; group k + 1 conditioned on proposals instead of what
    was chosen.

    Slope 1 in units of each prior: every standardised group of SIR draws has mean 1 - 0.0055 (M =
    500) in each of its two dimensions, whatever the networks are.
    """
    ncp = NCP(LadderVAE(latent=2), [Recorder() for _ in range(3)])
    with frozen(ncp), torch.no_grad():
        groups = ncp.generate(1500, SIR(500))
        for group in groups:
            normal = group.prior.base.base_dist
            u = (group.z - normal.loc) / normal.scale
            assert float(u.mean()) == pytest.approx(1.0, abs=0.15)
            assert float(u.var()) == pytest.approx(1.0, abs=0.15)
            assert group.info.method == "SIR with 500 proposals"


@pytest.mark.parametrize("sampler", [SIR(20), Rejection(), Langevin(5, step_size=0.2)], ids=repr)
def test_every_sampler_draws_from_a_bounded_hierarchy(sampler):
    """Fault: a bound that is not handed to the tilt."""
    ncp = NCP(hvae(), hidden_features=(8,), max_logit=1.0)
    groups = ncp.generate(5, sampler)
    assert [group.prior.log_bound for group in groups] == [1.0, 1.0]
    assert ncp.sample(5, sampler, seed=0).shape == (5, *SHAPE)


def test_default_sampler_is_sir():
    assert repr(NCP(vae()).default_sampler) == "SIR(proposals=1000)"


def test_a_copy_is_independent():
    """Fault: state that deep copies share."""
    ncp = NCP(vae(), hidden_features=(8,))
    copy = deepcopy(ncp)
    ncp.set_log_norm(1.0, 0.1)
    assert copy.known_log_norm() is None
