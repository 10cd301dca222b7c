"""A VAE from anywhere: every form that its encoder and decoder may take."""

import copy
import math
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from members import images
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from priorwise.distributions import Delta
from priorwise.models import NCP, AbstractModel, wrap
from priorwise.objectives import ELBO, NCE, AbstractObjective, Terms
from priorwise.priors import GaussianMixture, VampPrior
from priorwise.randomness import seeded
from priorwise.testing import LinearGaussianVAE, check_mean, check_model
from priorwise.training import fit

ORACLE = LinearGaussianVAE(2, 4)


def as_pair(x: Tensor) -> tuple[Tensor, Tensor]:
    posterior = ORACLE.encoder(x)
    return posterior.mean, 2 * posterior.stddev.log()


def not_yet_independent(x: Tensor) -> Distribution:
    return ORACLE.encoder(x).base_dist


@pytest.mark.parametrize(
    "encode", [ORACLE.encoder, as_pair, not_yet_independent], ids=["law", "pair", "normal"]
)
def test_encoders_that_mean_the_same(encode):
    """Fault: a log-variance taken for a log standard deviation, batch dimensions where events
    should be.

    The wrapped oracle's bound is its likelihood, at every draw.
    """
    model = wrap(encode=encode, decode=ORACLE.decoder, latent=2)
    x = ORACLE.sample(5, mean=False, seed=0)
    (group,) = model.infer(x, (3,))
    assert (group.posterior.batch_shape, group.posterior.event_shape) == ((3, 5), (2,))
    bound = model.log_joint([group], x) - group.posterior.log_prob(group.z)
    torch.testing.assert_close(bound.double(), ORACLE.log_px(x).expand(3, 5), rtol=1e-4, atol=1e-4)


def test_means_become_a_likelihood():
    """Fault: samples and batch mixed up on the way through the rows."""
    scale = float(ORACLE.decoder.log_scale.detach().exp())
    model = wrap(
        encode=ORACLE.encoder,
        decode=lambda z: ORACLE.decoder(z).mean,
        latent=2,
        likelihood=lambda mean: Independent(Normal(mean, scale), 1),
    )
    x = ORACLE.sample(5, mean=False, seed=0)
    groups = model.infer(x, (3,))
    torch.testing.assert_close(
        model.log_joint(groups, x), ORACLE.log_joint(groups, x), rtol=1e-4, atol=1e-4
    )


def test_a_decoder_that_takes_rows_of_images():
    """Fault: (S, B) latents handed to a convolution; rows that come back in another order."""
    network = nn.Sequential(
        nn.Linear(2, 12), nn.Unflatten(1, (2, 3, 2)), nn.ConvTranspose2d(2, 1, 1)
    )
    model = wrap(
        encode=nn.Sequential(nn.Flatten(), nn.Linear(6, 2)),
        decode=lambda z: Independent(Bernoulli(logits=network(z)), 3),
        latent=2,
    )
    x = images(4)
    assert model.infer(x)[0].posterior.event_shape == (2,)
    z = torch.randn(5, 4, 2)
    (group,) = model.top_down(lambda group: z, (5, 4), x)
    observed = model.likelihood([group])
    assert (observed.batch_shape, observed.event_shape) == ((5, 4), (1, 3, 2))
    for s in range(5):
        expected = Independent(Bernoulli(logits=network(z[s])), 3).log_prob(x)
        torch.testing.assert_close(observed.log_prob(x)[s], expected)


@pytest.mark.parametrize("latent", [(2, 3), (2, 3, 2)])
def test_latents_of_any_shape(latent):
    """Fault: a prior over the last dimension only."""
    size = math.prod(latent)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2 * size)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            loc, log_var = self.linear(x).chunk(2, -1)
            return loc.unflatten(-1, latent), log_var.unflatten(-1, latent)

    model = wrap(
        encode=Encoder(),
        decode=nn.Sequential(nn.Flatten(), nn.Linear(size, 4)),
        latent=latent,
        likelihood=lambda mean: Independent(Normal(mean, 1.0), 1),
    )
    check_model(model, torch.randn(3, 4))
    assert model.prior().event_shape == latent


def test_deterministic_encoders_and_decoders():
    """Fault: a density of a point. Samples and reconstructions work, a bound refuses."""
    model = wrap(encode=nn.Linear(4, 2), decode=nn.Linear(2, 4), latent=2)
    x = torch.randn(3, 4)
    assert isinstance(model.encode(x), Delta)
    torch.testing.assert_close(model.reconstruct(x), model._decode(model._encode(x)).detach())
    assert model.sample(5, seed=0).shape == (5, 4)
    with pytest.raises(ValueError, match=r"a Delta .* has no density"):
        ELBO(model)(x)


def test_the_default_prior_is_standard_normal():
    """Fault: another prior than the one that the model was trained with."""
    model = wrap(encode=nn.Linear(4, 2), decode=nn.Linear(2, 4), latent=2)
    z = model.generate(8000)[0].z
    check_mean(z.flatten(), 0.0, "the mean", comparisons=2)
    check_mean(z.flatten().square(), 1.0, "the variance", comparisons=2)
    assert isinstance(
        wrap(encode=abs, decode=abs, latent=2, prior=GaussianMixture(2, 3), modules=()).prior,
        GaussianMixture,
    )


def test_a_vamp_prior_works_on_a_wrapped_encoder():
    """Fault: pseudo-inputs that see the raw output of `encode`, a pair."""
    model = wrap(encode=as_pair, decode=ORACLE.decoder, latent=2, prior=VampPrior(torch.rand(3, 4)))
    encoded = ORACLE.encoder(model.prior.pseudo_inputs)
    mixture = model.generate(2)[0].prior
    torch.testing.assert_close(mixture.loc, encoded.mean)
    torch.testing.assert_close(mixture.scale, encoded.stddev)


def test_modules_are_registered():
    """Fault: networks that miss `.to(device)`, `.eval()` and the checkpoint."""
    model = wrap(encode=nn.Linear(4, 2), decode=nn.Linear(2, 4), latent=2)
    assert len(list(model.parameters())) == 4
    assert len(model.state_dict()) == 4  # each once


def distribution_of_pixels(z: Tensor) -> Distribution:
    return Normal(ORACLE.decoder(z).mean, 0.5)


def test_a_decoder_that_forgets_independent_is_taken_as_the_encoder_is():
    """Fault: a decoder that returns Normal(mean, s), of batch shape (rows, 4), and fails deep
    inside torch.
    """
    model = wrap(encode=ORACLE.encoder, decode=distribution_of_pixels, latent=2)
    x = ORACLE.sample(5, mean=False, seed=0)
    groups = model.infer(x, (3,))
    expected = Independent(distribution_of_pixels(groups[0].z), 1).log_prob(x)
    torch.testing.assert_close(model.likelihood(groups).log_prob(x), expected)


def test_an_encoder_of_another_size():
    """Fault: an error about shapes far from its cause."""
    model = wrap(encode=nn.Linear(4, 3), decode=nn.Linear(2, 4), latent=2)
    with pytest.raises(
        ValueError, match=r"to return latents of shape \(2,\), as in `latent`; got \(3,\)"
    ):
        model.infer(torch.randn(3, 4))


# -- functions that use networks -------------------------------------------------------------------


def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder and a decoder of which every pass in training mode leaves a trace."""
    encoder = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 4))
    decoder = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
    encoder[2].eval()  # a mixture of modes, so that restoring them is seen
    return encoder, decoder


def halves(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    loc, log_var = encoder(x).chunk(2, -1)
    return loc, log_var


class Codec:
    """Somebody's object that holds a pair of networks in a dictionary."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        self.parts = {"encoder": [encoder], "decoder": [decoder]}

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return halves(self.parts["encoder"][0], x)

    def decode(self, z: Tensor) -> Tensor:
        return self.parts["decoder"][0](z)


class Inherited(nn.Module):
    """Both networks in one module, used by two of its methods."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return halves(self.encoder, x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


def unit(mean: Tensor) -> Distribution:
    return Independent(Normal(mean, 1.0, validate_args=False), mean.dim() - 1, validate_args=False)


def as_lambdas(encoder: nn.Module, decoder: nn.Module, **options: object) -> AbstractModel:
    return wrap(
        encode=lambda x: halves(encoder, x),
        decode=lambda z: decoder(z),
        latent=2,
        likelihood=unit,
        **options,
    )


def as_partials(encoder: nn.Module, decoder: nn.Module) -> AbstractModel:
    return wrap(encode=partial(halves, encoder), decode=partial(decoder), latent=2, likelihood=unit)


def as_object(encoder: nn.Module, decoder: nn.Module) -> AbstractModel:
    codec = Codec(encoder, decoder)
    return wrap(encode=codec.encode, decode=codec.decode, latent=2, likelihood=unit)


def as_methods(encoder: nn.Module, decoder: nn.Module) -> AbstractModel:
    both = Inherited(encoder, decoder)
    return wrap(encode=both.encode, decode=both.decode, latent=2, likelihood=unit)


def as_method_and_module(encoder: nn.Module, decoder: nn.Module) -> AbstractModel:
    both = Inherited(encoder, decoder)
    return wrap(encode=both.encode, decode=both.decoder, latent=2, likelihood=unit)


def in_the_likelihood(encoder: nn.Module, decoder: nn.Module) -> AbstractModel:
    return wrap(
        encode=lambda x: halves(encoder, x),
        decode=nn.Identity(),
        latent=2,
        likelihood=lambda z: unit(decoder(z)),
    )


FORMS = [as_lambdas, as_partials, as_object, as_methods, as_method_and_module, in_the_likelihood]


@pytest.mark.parametrize("form", FORMS)
def test_networks_behind_functions_are_registered(form):
    """Fault: networks behind a function that miss `.eval()`, `.to()`, `frozen` and the checkpoint,
    or are there twice.
    """
    encoder, decoder = networks()
    model = form(encoder, decoder)
    wanted = {id(parameter) for parameter in [*encoder.parameters(), *decoder.parameters()]}
    listed = [id(parameter) for parameter in model.parameters()]
    assert set(listed) == wanted
    assert len(listed) == len(wanted)
    assert set(encoder.modules()) | set(decoder.modules()) <= set(model.modules())
    state = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    model.load_state_dict(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("form", FORMS)
def test_evaluation_leaves_no_trace_in_networks_behind_functions(form):
    """Fault: dropout and batch statistics that stay in training mode, since nobody knows of them:
    draws that differ.
    """
    encoder, decoder = networks()
    model = form(encoder, decoder).train()
    encoder[2].eval()
    before = {
        name: tensor.clone()
        for name, tensor in [*encoder.state_dict().items(), *decoder.state_dict().items()]
    }
    x = torch.randn(5, 3)
    assert torch.equal(model.reconstruct(x, seed=0), model.reconstruct(x, seed=0))
    assert torch.equal(model.sample(4, seed=0), model.sample(4, seed=0))
    after = dict([*encoder.state_dict().items(), *decoder.state_dict().items()])
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert [part.training for part in encoder] == [True, True, False, True]


@pytest.mark.parametrize("form", FORMS)
def test_fitting_an_ncp_leaves_networks_behind_functions_alone(form):
    """Fault: `fit(NCP(wrap(encode=lambda ...)))` that moves `running_mean`, or returns networks in
    another mode.
    """
    both = nn.ModuleList(networks())
    before, modes = copy.deepcopy(both.state_dict()), [part.training for part in both.modules()]
    model = form(*both)
    ncp = NCP(model, hidden_features=(8,))
    fit(ncp, torch.randn(40, 3), epochs=2, batch_size=10, progress=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in both.state_dict().items())
    assert [part.training for part in both.modules()] == modes
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in both.parameters()
    )


class KilledError(BaseException):
    """Stands for a kill: nothing in the library may catch it."""


def stopping(
    kind: type[AbstractObjective], model: AbstractModel, at: int | None
) -> AbstractObjective:
    """An objective that kills the fit when it comes to a step."""

    class Stopping(kind):
        def forward(self, x: Tensor, step: int = 0) -> Terms:
            if step == at:
                raise KilledError
            return super().forward(x, step)

    return Stopping(model)


@pytest.mark.parametrize("kind", [ELBO, NCE])
@pytest.mark.parametrize("form", FORMS)
def test_fits_of_networks_behind_functions_go_on(form, kind, tmp_path):
    """Fault: checkpoints without the networks: a fit that was killed ends in other weights than one
    that ran through.
    """

    def fitted(out: Path, at: int | None = None) -> AbstractModel:
        with seeded(3, "networks"):
            model = form(*networks())
            what = NCP(model, hidden_features=(8,)) if kind is NCE else model
            x = torch.randn(40, 3)
        options = {
            "epochs": 3,
            "batch_size": 10,
            "warmup_epochs": 0,
            "checkpoint_seconds": 1e-9,
            "keep": "last",
            "train": "all",
        }
        fit(what, x, stopping(kind, what, at), out=out, progress=False, **options)
        return what

    whole = fitted(tmp_path / "whole")
    with pytest.raises(KilledError):
        fitted(tmp_path / "killed", at=5)
    resumed = fitted(tmp_path / "killed").state_dict()
    assert list(resumed) == list(whole.state_dict())
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), resumed[name].nan_to_num()), name


def test_fitting_trains_the_networks_behind_functions():
    """Fault: an optimiser that never hears of them, so that only the prior is trained."""
    encoder, decoder = networks()
    before = [
        parameter.detach().clone() for parameter in [*encoder.parameters(), *decoder.parameters()]
    ]
    options = {"epochs": 2, "batch_size": 10, "train": "all", "progress": False}
    fit(as_lambdas(encoder, decoder), torch.randn(40, 3), **options)
    after = [*encoder.parameters(), *decoder.parameters()]
    assert not any(torch.equal(first, second) for first, second in zip(before, after, strict=True))


# -- what the search does not find -----------------------------------------------------------------


class Dynamic:
    """Builds the name under which its network lies at the very moment,
    out of reach of any search.
    """

    def __init__(self, *nets: nn.Module) -> None:
        self.find = iter([*nets] * 100).__next__

    def __call__(self, x: Tensor) -> Tensor:
        return self.find()(x)


def test_a_function_without_modules_is_warned_of_before_anything_runs():
    """Fault: a network out of reach that stays in training mode without a word; a word that comes
    after the fact.
    """

    def never(x: Tensor) -> Tensor:
        raise AssertionError("the function was run")

    net = nn.Linear(3, 2)
    with pytest.warns(
        UserWarning, match=r"no module was found in `encode` and `decode`.* `modules=\[\.\.\.\]`"
    ):
        wrap(encode=never, decode=never, latent=2)
    with pytest.warns(UserWarning, match=r"no module was found in `decode`\. "):
        wrap(encode=net, decode=never, latent=2)
    wrap(encode=never, decode=never, latent=2, modules=())
    wrap(encode=net, decode=never, latent=2, modules=())
    assert set(wrap(encode=never, decode=never, latent=2, modules=net).parameters()) == set(
        net.parameters()
    )


def test_modules_are_added_to_those_that_are_found():
    """Fault: modules by name in place of those that are found;
    one that is named and found, twice.
    """
    encoder, decoder, hidden = nn.Linear(3, 2), nn.Linear(2, 3), nn.BatchNorm1d(3)
    model = wrap(
        encode=lambda x: encoder(x),
        decode=Dynamic(decoder),
        latent=2,
        modules=[decoder, encoder, hidden],
    )
    assert {id(part) for part in model.modules()} >= {id(encoder), id(decoder), id(hidden)}
    assert len(model.state_dict()) == 2 + 2 + 5
    model.eval()
    assert not hidden.training


# -- copies ----------------------------------------------------------------------------------------


def moved(model: AbstractModel) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)


def evaluated(model: AbstractModel, x: Tensor) -> Tensor:
    return model.eval().encode(x).mean.detach()


@pytest.mark.parametrize("form", [as_partials, as_object, as_methods, as_method_and_module])
def test_copies_stand_alone(form):
    """Fault: a copy whose registered networks are not those that its functions use, or that shares
    them.
    """
    model, x = form(*networks()), torch.randn(5, 3)
    before = evaluated(model, x)
    for second in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(second.state_dict()) == list(model.state_dict())
        assert torch.equal(evaluated(second, x), before)
        moved(second)
        assert not torch.allclose(evaluated(second, x), before)
        assert torch.equal(evaluated(model, x), before)


def test_copies_share_what_a_closure_holds():
    """Fault: a copy that registers copies of the networks, while its closures go on using the first
    ones.
    """
    model, x = as_lambdas(*networks(), modules=[nn.Linear(2, 2)]), torch.randn(5, 3)
    second = copy.deepcopy(model)
    assert [id(parameter) for parameter in second.parameters()] == [
        id(parameter) for parameter in model.parameters()
    ]
    before = evaluated(model, x)
    moved(second)
    assert not torch.allclose(evaluated(model, x), before)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(model)


class Unique(nn.Linear):
    """A network that cannot be copied."""

    def __deepcopy__(self, memo: dict) -> nn.Module:
        raise AssertionError("a network was copied that nobody would use")


def test_copies_do_not_copy_what_they_share():
    """Fault: networks of a closure that are copied and thrown away, or that make the copy fail."""
    net = Unique(2, 3)
    model = wrap(encode=nn.Linear(3, 2), decode=lambda z: net(z), latent=2)
    assert set(net.parameters()) <= set(copy.deepcopy(model).parameters())


def test_a_check_does_not_write_into_networks_that_cannot_be_copied():
    """Fault: `check_model` that puts its noise on the user's own weights."""
    encoder, decoder = networks()
    before = copy.deepcopy(encoder.state_dict())
    with pytest.raises(AssertionError, match="expected a module whose copies stand alone"):
        check_model(as_lambdas(encoder, decoder), torch.randn(4, 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
