"""A prior fitted to the codes of a frozen encoder: it learns them, and nothing else moves."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from autoencoder import autoencoder
from kills import assert_same_run, killed_before_each_write, same_bits
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from toys import marks, splits, with_batch_norm, wrong

import priorwise as pw
from priorwise.conditionals import Conditional, GaussianHead
from priorwise.distributions import Tilted
from priorwise.likelihoods import Gaussian
from priorwise.models import HVAE, NCP, AbstractModel
from priorwise.nn import MLP
from priorwise.objectives import ExPostPrior
from priorwise.priors import (
    AbstractPrior,
    FlowPrior,
    FullGaussianMixture,
    GaussianMixture,
    StandardNormal,
    VampPrior,
)
from priorwise.testing import LinearGaussianVAE
from priorwise.training import AbstractCallback, Moment, fit_prior
from priorwise.training.stage import judged

QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 20, "lr": 0.05, "progress": False}


class Merged(nn.Module):
    """Two vectors to a Gaussian over two dimensions, through batch statistics and dropout."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(MLP(features, 6, (6,)), nn.BatchNorm1d(6), nn.Dropout(0.3))
        self.head = GaussianHead(6, 2)

    def forward(self, *given: Tensor) -> Distribution:
        return self.head(self.body(torch.cat(given, -1)))


class Observed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = Conditional(nn.Linear(4, 6), Gaussian(6, (3,)))

    def forward(self, bottom: Tensor, top: Tensor) -> Distribution:
        return self.decoder(torch.cat([bottom, top], -1))


def hvae() -> HVAE:
    return HVAE(Merged(3), Merged(5), Merged(2), Observed(), StandardNormal(2))


def wrapped() -> AbstractModel:
    encoder = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 4))
    decoder = nn.Linear(2, 3)
    return pw.wrap(
        encode=lambda x: tuple(encoder(x).chunk(2, -1)),
        decode=decoder,
        latent=2,
        likelihood=lambda mean: Independent(Normal(mean, 1.0, validate_args=False), 1),
    )


def wrapped_modules() -> AbstractModel:
    """The same with parts that the model knows, the encoder by a method of its own."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 4)
            )

        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            loc, log_var = self.body(x).chunk(2, -1)
            return loc, log_var

    return pw.wrap(encode=Encoder().encode, decode=nn.Linear(2, 3), latent=2)


MODELS: dict[str, Callable[[], AbstractModel]] = {
    "VAE": with_batch_norm,
    "HVAE": hvae,
    "wrapped": wrapped_modules,
    "linear": wrong,
    "autoencoder": autoencoder,
}
PRIORS: dict[str, Callable[[], nn.Module]] = {
    "mixture": lambda: GaussianMixture(2, 4),
    "flow": lambda: FlowPrior(2, blocks=2, hidden_features=(8,)),
    "full mixture": lambda: FullGaussianMixture(2, 3),
    "vamp": lambda: VampPrior.random(5, (3,), mean=0.5, std=0.02, value_range=(-20.0, 20.0)),
}


# -- what it learns --------------------------------------------------------------------------------


def test_one_gaussian_learns_the_moments_of_the_codes():
    """Fault: the posterior's mean for its draw, a sum over the batch, codes of the validation data.

    The best Gaussian has the mean and variance of all codes, the variance within each posterior
    included.
    """
    model = LinearGaussianVAE(2, 3, shift=2.0, stretch=2.0)
    data = splits(2000, 500)
    with torch.no_grad():
        posterior = model.encode(data.train)
        loc = posterior.mean.mean(0)
        variance = posterior.mean.var(0) + posterior.variance.mean(0)
        inner = posterior.variance.mean(0)
    assert bool((inner > 0.2 * variance).all())  # else means would do
    prior = GaussianMixture(2, 1)
    result = fit_prior(model, prior, data, epochs=40, batch_size=100, lr=0.05, progress=False)
    law = prior()
    torch.testing.assert_close(law.mean.detach(), loc, atol=0.06, rtol=0)
    torch.testing.assert_close(law.variance.detach(), variance, rtol=0.1, atol=0)
    entropy = float(0.5 * (2 * torch.pi * torch.e * variance).log().sum())
    assert result.metric == "cross_entropy"
    assert result.best == pytest.approx(entropy, abs=0.15)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", MODELS)
def test_every_prior_on_every_encoder(name, prior):
    """Fault: a parameter of the prior without a gradient; codes that are the same at every step."""
    if prior == "vamp" and name in ("autoencoder", "linear"):
        pytest.skip("a VampPrior is a mixture of Gaussian posteriors")
    torch.manual_seed(0)
    model, fitted = MODELS[name](), PRIORS[prior]()
    fitted.expect_codes()
    before = {key: parameter.detach().clone() for key, parameter in fitted.named_parameters()}
    result = fit_prior(model, fitted, splits(), **QUICK)
    assert result.model.prior is fitted
    for key, parameter in fitted.named_parameters():
        assert not torch.equal(parameter, before[key]), key
    assert result.history[0]["train"].keys() == {"cross_entropy"}
    assert result.best == judged(ExPostPrior(result.model), splits().validation, 20)
    assert result.model.sample(3, seed=0).shape == (3, 3)
    if prior == "full mixture":
        assert (result.stopped, result.epochs) == ("solved", 1)
        return
    still = [
        line["train"]["cross_entropy"]
        for line in fit_prior(
            model, copy.deepcopy(fitted), splits(), from_codes=False, **QUICK | {"lr": 1e-30}
        ).history
    ]
    assert (max(still) - min(still) < 1e-5) == (name == "autoencoder")  # whose codes are points


# -- what it leaves alone --------------------------------------------------------------------------


@pytest.mark.parametrize("out", [True, False], ids=["in a folder", "in memory"])
@pytest.mark.parametrize("prior", ["mixture", "vamp"])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_else_moves(name, prior, out, tmp_path):
    """Fault: batch statistics that move, dropout at work, a flag that stays, the old model with the
    new prior.
    """
    if prior == "vamp" and name in ("autoencoder", "linear"):
        pytest.skip("a VampPrior is a mixture of Gaussian posteriors")
    torch.manual_seed(0)
    model = MODELS[name]()
    state, told, old = copy.deepcopy(model.state_dict()), marks(model), model.prior
    parts, prior_module = dict(model.named_children()), PRIORS[prior]()
    random = torch.get_rng_state()
    seen: list[tuple[bool, bool]] = []
    encoder = (
        model._owners[0].body
        if name == "wrapped"
        else parts.get("encoder", parts.get("encoder_top"))
    )
    hook = encoder.register_forward_hook(
        lambda module, given, result: seen.append(
            (
                any(part.training for part in module.modules()),
                any(p.requires_grad for p in module.parameters()),
            )
        )
    )
    result = fit_prior(model, prior_module, splits(), out=tmp_path if out else None, **QUICK)
    hook.remove()
    assert set(seen) == {(False, False)}
    assert marks(model) == told
    assert model.prior is old
    assert all(same_bits(tensor, state[key]) for key, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    for key, part in result.model.named_children():
        assert part is (parts[key] if key != "prior" else result.model.prior)
    result.model.register_forward_hook(lambda module, given, result: None)
    result.model.eval()
    assert marks(model)["hooks"] == told["hooks"]


def test_an_encoder_that_the_model_cannot_see_is_used_as_it_is():
    """Fault: a wrapped function that is called in another way than the model calls it."""
    model = wrapped()
    result = fit_prior(model, GaussianMixture(2, 2), splits(), **QUICK)
    assert result.best is not None


def test_gradients_pass_through_the_frozen_encoder():
    """Fault: codes and components both without gradients; an encoder that takes some; a model that
    is told it trains.
    """
    torch.manual_seed(0)
    model = with_batch_norm()
    model.prior = VampPrior.random(4, (3,), mean=0.5, std=0.2)
    objective = ExPostPrior(model)
    model.prior.train()
    with objective.running():
        assert [name for name, module in model.named_modules() if module.training] == ["prior"]
        objective(splits().train[:20]).loss().backward()
    assert model.prior.pseudo_inputs.grad.abs().sum() > 0
    assert all(p.grad is None for part in (model.encoder, model.decoder) for p in part.parameters())
    assert model.training


@pytest.mark.parametrize("seconds", [1e-9, 1e9], ids=["often", "seldom"])
def test_killed_fit_ends_as_a_quiet_one(seconds, tmp_path):
    """Fault: codes from another stream after a kill; killed before every second write."""
    torch.manual_seed(0)
    model, start = with_batch_norm(), FlowPrior(2, blocks=2, hidden_features=(4,))
    options = QUICK | {"checkpoint_seconds": seconds}
    quiet, resumed = killed_before_each_write(
        lambda out: fit_prior(model, copy.deepcopy(start), splits(), out=out, **options),
        tmp_path,
        every=2,
    )
    for result in resumed:
        for key, tensor in quiet.model.state_dict().items():
            assert same_bits(result.model.state_dict()[key], tensor)


class Fails(AbstractCallback):
    """Raises at the first line."""

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        raise RuntimeError("mine")


def test_a_solved_fit_goes_on_after_a_callback_failed(tmp_path):
    """Fault: an error of the fit instead of the callback's; a solution that is computed again, or
    stepped on, after the resume.
    """
    model, start = LinearGaussianVAE(2, 3), FullGaussianMixture(2, 2)
    quiet = fit_prior(model, copy.deepcopy(start), splits(), out=tmp_path / "quiet", **QUICK)
    with pytest.raises(RuntimeError, match="mine"):
        fit_prior(
            model,
            copy.deepcopy(start),
            splits(),
            out=tmp_path / "run",
            callbacks=[Fails()],
            **QUICK,
        )
    again = fit_prior(model, copy.deepcopy(start), splits(), out=tmp_path / "run", **QUICK)
    assert quiet.stopped == again.stopped == "solved"
    assert again.history == quiet.history
    assert again.best == quiet.best
    assert_same_run(tmp_path / "quiet", tmp_path / "run")


# -- what is refused -------------------------------------------------------------------------------


class Unnormalised(AbstractPrior):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(2))

    def _distribution(self, encode_top: object) -> Distribution:
        base = Independent(Normal(torch.zeros(2), torch.ones(2), validate_args=False), 1)
        return Tilted(base, lambda z: (z * self.slope).sum(-1))


class Dependent(nn.Module):
    """A prior that holds the encoder."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.loc = nn.Parameter(torch.zeros(2))

    def forward(self) -> Distribution:
        return Independent(Normal(self.loc, 1.0, validate_args=False), 1)


class Bare(LinearGaussianVAE):
    """A model without a prior of its own."""

    def __init__(self) -> None:
        super().__init__(2, 3)
        del self.prior


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: (wrong(), Unnormalised()),
            ValueError,
            "expected a `log_norm` for a normalised density",
        ),
        (
            lambda: (wrong(), GaussianMixture(1, 3)),
            ValueError,
            r"latents of shape \(2,\); got one over \(1,\)",
        ),
        (lambda: (wrong(), StandardNormal(2)), ValueError, "at least one parameter to train"),
        (
            lambda: (NCP(wrong()), GaussianMixture(2, 3)),
            TypeError,
            "`prior` that can be replaced.*NCP has none",
        ),
        (
            lambda: (Bare(), GaussianMixture(2, 3)),
            TypeError,
            "`prior` that can be replaced.*Bare has none",
        ),
        (
            lambda: (nn.Linear(2, 2), GaussianMixture(2, 3)),
            TypeError,
            "expected a model of priorwise",
        ),
        (
            lambda: (model := wrong(), Dependent(model.encoder)),
            ValueError,
            "shares some with the model",
        ),
        (
            lambda: (autoencoder(), VampPrior.random(3, (3,), mean=0.5, std=0.1)),
            TypeError,
            "Independent Normal",
        ),
    ],
    ids=["unnormalised", "shape", "nothing", "NCP", "bare", "no model", "shared", "vamp of points"],
)
def test_what_cannot_be_fitted_is_refused(make, error, words, tmp_path):
    """Fault: a density made up, latents that broadcast, an encoder that moves; a folder made before
    the refusal.
    """
    model, prior = make()
    with pytest.raises(error, match=words):
        fit_prior(model, prior, splits(), out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_the_prior_of_the_model_itself_is_refused():
    """Fault: a model that is said to be left alone and is not. A copy will do, and an objective of
    its own too.
    """
    torch.manual_seed(0)
    model = pw.VAE(with_batch_norm().encoder, with_batch_norm().decoder, GaussianMixture(2, 3))
    before = model.prior.loc.detach().clone()
    with pytest.raises(ValueError, match=r"shares some with the model.*copy\.deepcopy"):
        fit_prior(model, model.prior, splits(), **QUICK)
    result = fit_prior(model, copy.deepcopy(model.prior), splits(), from_codes=False, **QUICK)
    assert torch.equal(model.prior.loc, before)
    assert not torch.equal(result.model.prior.loc, before)
    pw.fit(model, splits(), ExPostPrior(model), warmup_epochs=0, **QUICK)
    assert torch.equal(model.prior.loc, result.model.prior.loc)


def test_objective_refuses_what_has_no_prior():
    with pytest.raises(TypeError, match="Bare has none"):
        ExPostPrior(Bare())
    with pytest.raises(TypeError, match="got one tilted by NCP"):
        ExPostPrior(NCP(wrong()))
    model = with_batch_norm()
    model.prior = pw.priors.WrappedPrior(Dependent(model.encoder))
    with pytest.raises(ValueError, match="prior with its own parameters"):
        ExPostPrior(model)


def test_a_tilted_model_is_sent_to_its_own_fit():
    """Fault: "fit a copy" as the advice about an NCP, which is no prior at all."""
    model = wrong()
    with pytest.raises(TypeError, match=r"has a fit of its own: priorwise\.fit\(priorwise\.NCP\("):
        fit_prior(model, NCP(model), splits())
