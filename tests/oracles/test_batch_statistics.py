"""Batch statistics belong to the data: passes of pseudo-inputs, and second passes over a batch,
leave no trace in them.
"""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from members import LATENT, OBJECTIVES, SHAPE, small_discriminator
from torch import Tensor, nn
from torch.distributions import Distribution, kl_divergence

from priorwise.conditionals import Conditional, GaussianHead
from priorwise.likelihoods import Gaussian
from priorwise.models import HVAE, VAE, AbstractModel, Group, conv_vae, wrap
from priorwise.nn import FlattenEvent, running_statistics, unmoved_statistics
from priorwise.objectives import (
    ELBO,
    IWAE,
    AbstractObjective,
    AnnealedVAE,
    BetaTCVAE,
    BetaVAE,
    FactorVAE,
    InfoVAE,
)
from priorwise.priors import StandardNormal, VampPrior
from priorwise.randomness import seeded

FEATURES = 6

pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor"
)  # torch.compile looks at it


def dense(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(FlattenEvent(SHAPE), nn.Linear(FEATURES, 8), *layers, nn.SiLU())


def convolutional(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), *layers, nn.SiLU(), nn.Flatten(), nn.Linear(48, 8)
    )


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: dense(nn.BatchNorm1d(8)),
    "BatchNorm1d, cumulative": lambda: dense(nn.BatchNorm1d(8, momentum=None)),
    "BatchNorm1d, not affine": lambda: dense(nn.BatchNorm1d(8, affine=False)),
    "BatchNorm2d": lambda: convolutional(nn.BatchNorm2d(8)),
    "two of them": lambda: dense(nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 8), nn.BatchNorm1d(8)),
    "LazyBatchNorm1d": lambda: dense(nn.LazyBatchNorm1d()),
    "InstanceNorm2d": lambda: convolutional(nn.InstanceNorm2d(8, track_running_stats=True)),
    "torch.compile": lambda: torch.compile(dense(nn.BatchNorm1d(8)), backend="eager"),
}


def encoder(body: nn.Module) -> nn.Module:
    return Conditional(body, GaussianHead(8, LATENT))


def decoder() -> nn.Module:
    return Conditional(nn.Linear(LATENT, 8), Gaussian(8, SHAPE))


def vamp() -> VampPrior:
    return VampPrior.random(5, SHAPE, mean=0.5, std=0.2)


def data(count: int = 16) -> Tensor:
    """Far from the pseudo-inputs, so that the statistics of the two differ."""
    return 3 + 2 * torch.randn(count, *SHAPE)


def two_levels(body: nn.Module, prior: nn.Module) -> HVAE:
    class Two(nn.Module):
        def __init__(self, head: nn.Module, features: int) -> None:
            super().__init__()
            self.linear, self.head = nn.Linear(features, 8), head

        def forward(self, *inputs: Tensor) -> Distribution:
            start = inputs[-1].shape[:-1]
            return self.head(
                self.linear(torch.cat([part.reshape(*start, -1) for part in inputs], -1))
            )

    bottom = Two(GaussianHead(8, LATENT), FEATURES + LATENT)
    below, decoded = Two(GaussianHead(8, LATENT), LATENT), Two(Gaussian(8, SHAPE), 2 * LATENT)
    return HVAE(encoder(body), bottom, below, decoded, prior)


def behind_lambdas(body: nn.Module, prior: nn.Module) -> AbstractModel:
    law, likelihood = encoder(body), decoder()
    return wrap(encode=lambda x: law(x), decode=lambda z: likelihood(z), latent=LATENT, prior=prior)


class WithLambda(AbstractModel):
    """A user's model, which gives its prior a function of its own, before the data are encoded."""

    def __init__(self, body: nn.Module, prior: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior = encoder(body), decoder(), prior

    def top_down(self, draw, batch_shape, x=None):
        size = torch.Size(batch_shape)
        prior = self.prior(lambda u: self.encoder(u)).expand(size)
        group = Group(1, prior, None if x is None else self.encoder(x).expand(size))
        group.z = draw(group)
        return [group]

    def likelihood(self, groups):
        return self.decoder(groups[0].z)


MODELS: dict[str, Callable[[nn.Module, nn.Module], AbstractModel]] = {
    "VAE": lambda body, prior: VAE(encoder(body), decoder(), prior),
    "HVAE": two_levels,
    "wrapped functions": behind_lambdas,
    "a user's": WithLambda,
}


def statistics(module: nn.Module) -> dict[str, Tensor]:
    kept = ("running_mean", "running_var", "num_batches_tracked")
    return {name: tensor.clone() for name, tensor in module.named_buffers() if name.endswith(kept)}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def modes(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()]


# -- pseudo-inputs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layers", LAYERS)
def test_pseudo_inputs_leave_no_trace(layers, name):
    """Fault: running statistics of half data and half pseudo-inputs. They equal those under a
    standard prior, bit for bit.
    """
    traces = []
    for prior in (vamp(), StandardNormal(LATENT)):
        with seeded(0, "model"):
            model = MODELS[name](LAYERS[layers](), prior).train()
            for _ in range(4):
                model.infer(data())
        traces.append((statistics(model), modes(model.train())))
        assert all(part.training for part in model.modules())
    assert traces[0][0]
    assert same(traces[0][0], traces[1][0])


@pytest.mark.parametrize("layers", LAYERS)
def test_mixture_is_made_of_the_encoder_that_evaluation_uses(layers):
    """Fault: pseudo-inputs that are normalised by the statistics of their own batch."""
    model = MODELS["VAE"](LAYERS[layers](), vamp()).train()
    for _ in range(4):
        model.infer(data())
    training = model.prior(model.encoder)
    model.eval()
    torch.testing.assert_close(training.loc, model.encoder(model.prior.pseudo_inputs).mean)
    torch.testing.assert_close(training.loc, model.prior(model.encoder).loc)
    torch.testing.assert_close(training.scale, model.prior(model.encoder).scale)


@pytest.mark.parametrize("layers", ["BatchNorm1d", "BatchNorm2d", "InstanceNorm2d"])
def test_gradients_of_the_mixture_are_those_of_the_pass(layers):
    """Fault: no gradient to pseudo-inputs or encoder; a backward pass through statistics that moved
    since the forward pass.
    """
    model = MODELS["VAE"](LAYERS[layers](), vamp()).train()
    model.infer(data())
    learned = [model.prior.pseudo_inputs, *model.encoder.parameters()]

    def gradients(*, later: bool) -> tuple[Tensor, ...]:
        mixture = copy.deepcopy(model).eval() if not later else model
        value = mixture.prior(mixture.encoder).log_prob(torch.ones(3, LATENT)).sum()
        if later:
            model.encoder(data())
        parameters = [mixture.prior.pseudo_inputs, *mixture.encoder.parameters()]
        return torch.autograd.grad(value, parameters)

    expected, computed = gradients(later=False), gradients(later=True)
    assert len(expected) == len(learned)
    for first, second in zip(expected, computed, strict=True):
        assert bool(second.any())
        torch.testing.assert_close(second, first)


def test_dropout_meets_pseudo_inputs_as_it_meets_data():
    """Fault: an encoder in evaluation mode as a whole."""
    model = MODELS["VAE"](dense(nn.BatchNorm1d(8), nn.Dropout(0.5)), vamp()).train()
    assert not torch.equal(model.prior(model.encoder).loc, model.prior(model.encoder).loc)
    model.eval()
    assert torch.equal(model.prior(model.encoder).loc, model.prior(model.encoder).loc)


def test_everything_is_put_back_after_an_error():
    """Fault: layers that stay in evaluation mode, or with borrowed statistics, once an encoder has
    failed.
    """
    model = MODELS["VAE"](dense(nn.BatchNorm1d(8), nn.Dropout(0.5)), vamp()).train()
    model.encoder.body[2].eval()  # a mixture of modes
    buffers, told = dict(model.named_buffers()), modes(model)
    with pytest.raises(RuntimeError):
        model.prior(lambda u: model.encoder(u[..., :1]))
    assert all(tensor is buffers[name] for name, tensor in model.named_buffers())
    assert modes(model) == told


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_an_encoder_whose_law_depends_on_the_batch_is_refused(mode):
    """Fault: a mixture that changes with the number of its components, in training or in evaluation
    alone.
    """
    model = MODELS["VAE"](dense(nn.BatchNorm1d(8, track_running_stats=False)), vamp()).train(mode)
    with pytest.raises(
        ValueError, match=r"BatchNorm1d .*no running statistics.*`track_running_stats=True`"
    ):
        model.infer(data())
    hooks = [part._forward_pre_hooks for part in model.modules()]
    assert not any(hooks)


def test_layers_without_running_statistics_elsewhere_are_no_reason_to_refuse():
    """Fault: a refusal over a decoder's layer, or over one that looks at each image alone."""
    for layer in (nn.InstanceNorm2d(8), nn.GroupNorm(2, 8)):
        MODELS["VAE"](convolutional(layer), vamp()).infer(data())
    law, plain = (
        encoder(dense()),
        nn.Sequential(nn.BatchNorm1d(LATENT, track_running_stats=False), decoder()),
    )
    model = wrap(encode=lambda x: law(x), decode=lambda z: plain(z), latent=LATENT, prior=vamp())
    ELBO(model)(data()).loss().backward()


# -- second passes over a batch --------------------------------------------------------------------


def regularised(kind: str) -> AbstractObjective:
    model = VAE(encoder(dense(nn.BatchNorm1d(8))), decoder(), vamp())
    return {
        "ELBO": lambda: ELBO(model),
        "IWAE": lambda: IWAE(model, samples=3),
        "BetaVAE": lambda: BetaVAE(model),
        "AnnealedVAE": lambda: AnnealedVAE(model),
        "BetaTCVAE": lambda: BetaTCVAE(model, 50),
        "FactorVAE": lambda: FactorVAE(model, LATENT, discriminator=small_discriminator()),
        "InfoVAE": lambda: InfoVAE(model),
    }[kind]()


KINDS = ["ELBO", "IWAE", "BetaVAE", "AnnealedVAE", "BetaTCVAE", "FactorVAE", "InfoVAE"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_counts_its_batch_once(kind):
    """Fault: statistics that move once for each player of a step, or for each draw from the
    posterior.
    """
    objective = regularised(kind).train()
    for step in range(3):
        x = data()
        objective(x, step).loss().backward()
        for player in objective.players[1:]:
            objective(x, step, player=player.name).loss().backward()
    (counted,) = [
        tensor for name, tensor in objective.named_buffers() if name.endswith("num_batches_tracked")
    ]
    assert int(counted) == 3


def test_every_objective_of_a_model_is_looked_at():
    """Fault: a new objective whose passes nobody counts. Those whose encoder is frozen are not
    among them.
    """
    known = {name.partition(",")[0] for name in OBJECTIVES}
    assert known == {*KINDS, "NCE", "ExPostPrior"}


def test_discriminator_sees_the_codes_that_it_is_asked_about():
    """Fault: a second pass that is normalised in another way than the first one: another q(z) for
    the discriminator.
    """
    objective = regularised("FactorVAE").train()
    model, x = objective.model, data()
    seen: list[Tensor] = []
    objective.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.encoder.head.linear.weight.data[LATENT:] = 0
    model.encoder.head.linear.bias.data[
        LATENT:
    ] = -6.0  # a deviation of 0.05: draws are their means, nearly
    with torch.no_grad():
        first = model.encoder(x)
        objective(x, 0, player="discriminator")
    z = seen[0][: len(x)]
    assert float(((z - first.mean) / first.stddev).abs().max()) < 6


TRACKING = [nn.BatchNorm1d(3), nn.SyncBatchNorm(3), nn.InstanceNorm1d(3, track_running_stats=True)]


@pytest.mark.parametrize("manager", [running_statistics, unmoved_statistics])
@pytest.mark.parametrize("layer", TRACKING, ids=repr)
def test_managers_hold_every_layer_of_torch(manager, layer):
    """Fault: a kind of layer that is overlooked."""
    layer = copy.deepcopy(layer).train()
    with manager([nn.Sequential(layer)]):
        assert layer.training != (manager is running_statistics)
        assert layer.track_running_stats == (manager is running_statistics)
        with manager([layer]):
            pass
        assert layer.training != (manager is running_statistics)
    assert layer.training
    assert layer.track_running_stats


def test_unmoved_statistics_normalise_by_the_batch():
    """Fault: running statistics in place of the batch's own; a trace of the batch."""
    layer, x = nn.BatchNorm1d(3), 2 + 5 * torch.randn(10, 3)
    before = statistics(layer)
    with unmoved_statistics([layer]):
        y = layer(x)
    assert same(statistics(layer), before)
    torch.testing.assert_close(y, nn.BatchNorm1d(3)(x))


# -- training --------------------------------------------------------------------------------------


def gap(model: VAE, x: Tensor) -> float:
    """Mean KL of the encoder in training mode from the one in evaluation mode, nats."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        return float(kl_divergence(model.train().encoder(x), model.eval().encoder(x)).mean())


def trained(prior: nn.Module | None, x: Tensor) -> tuple[VAE, list[float]]:
    """A convolutional VAE with batch normalisation after 60 steps, and its losses."""
    with seeded(0, "model"):
        model = conv_vae("svhn", prior=prior).train()
    objective, losses = ELBO(model), []
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(60):
        with seeded(0, "train", step):
            loss = objective(x[torch.randint(len(x), (32,))]).loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def test_a_vamp_prior_trains_over_batch_normalisation():
    """Fault: an encoder that is another one in evaluation than in training.

    Over 4 seeds this KL came to 0.1 to 0.3 nats with either prior; with pseudo-inputs in the
    statistics to 39 and 78, and the loss in evaluation was 18 nats above that of training. The
    running statistics begin at 0 and 1, far from the data's.
    """
    with seeded(0, "images"):
        x = nn.functional.interpolate(torch.rand(400, 3, 4, 4), (32, 32), mode="bilinear")
        prior = VampPrior.random(20, (3, 32, 32))
    for model, losses in (trained(prior, x), trained(None, x)):
        assert all(map(math.isfinite, losses))
        assert sum(losses[-10:]) / 10 < min(losses[:10])
        assert gap(model, x[:100]) < 3
        with torch.no_grad(), seeded(0, "evaluation"):
            assert ELBO(model.eval())(x).loss().item() < sum(losses[-10:]) / 10
