"""The tilt's contract, on tilts that the library has never seen: see ``own_tilts``. False alarms:
``ALPHA`` a test.
"""

import copy
import json
import math

import pytest
import torch
from chains import chain_hvae, gaussian
from own_tilts import (
    Known,
    LinearEnergy,
    TiltedImages,
    lower_marginal,
    lower_tilted,
    marginal_under,
    with_prior,
)
from scipy.stats import chi2
from torch import nn

from priorwise import HVAE, NCP, VAE, AbstractTilt, fit, report
from priorwise.distributions import Tilted, is_normalised
from priorwise.estimators import elbo, leakage, log_norm, low_posterior_samples, nll
from priorwise.objectives import ELBO, IWAE, NCE, BetaTCVAE, BetaVAE, InfoVAE, default_objective
from priorwise.priors import AbstractPrior
from priorwise.samplers import SIR, Langevin
from priorwise.testing import LinearGaussianVAE, check_mean, standard_errors
from priorwise.testing.significance import ALPHA, Z_LIMIT
from priorwise.training.checkpoint import (
    load_model,
    model_tensors,
    read_checkpoint,
    write_checkpoint,
)

SLOPE = (0.6, -0.4)
LOG_Z = 0.5 * (0.6**2 + 0.4**2)


def within(estimate, truth):
    error = math.hypot(estimate.stderr, estimate.stderr_data or 0.0)
    assert abs(standard_errors(estimate.value, truth, error)) < Z_LIMIT, (estimate, truth)


# -- normalised tilts ------------------------------------------------------------------------------


def test_a_tilt_that_knows_its_normaliser_is_normalised():
    """Fault: log Z left out of a density that has it. N(0, I) e^5 / e^5 is N(0, I), in every
    estimator.
    """
    plain, tilted = with_prior(gaussian_prior()), with_prior(Known(2, 5.0, 5.0))
    x = torch.randn(20, 3)
    for estimator in (nll, elbo):
        one, other = estimator(plain, x, samples=50), estimator(tilted, x, samples=50)
        assert other.value == pytest.approx(one.value, abs=1e-4)
    assert tilted.known_log_norm().value == 0
    assert log_norm(tilted).value == 0
    tau = 3.0
    assert leakage(tilted, x, draws=50, sampler=SIR(10)).at(tau).value == pytest.approx(
        leakage(plain, x, draws=50).at(tau).value, abs=1e-3
    )


def gaussian_prior() -> nn.Module:
    class Plain(nn.Module):
        def forward(self):
            return gaussian(torch.zeros(2), 1.0)

    return Plain()


def test_a_lower_group_with_a_normaliser_for_every_context():
    """Fault: one that is left out or averaged: 1.95 nats for 6.17 in a model like this."""
    law = lower_marginal(0.7)
    x = law.sample((400,)).float()
    estimate = nll(lower_tilted(0.7, known=True), x, samples=2000)
    within(estimate, float(-law.log_prob(x.double()).mean()))
    unknown = lower_tilted(0.7, known=False)
    grouped = nll(unknown, x[:50], samples=500, density="groups", normalizer_samples=300)
    exact = float(-law.log_prob(x[:50].double()).mean())
    assert abs(standard_errors(grouped.value, exact, grouped.stderr)) < Z_LIMIT


# -- what nobody owns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build", [lambda: with_prior(Known(2, 5.0, None)), lambda: lower_tilted(0.7, known=False)]
)
def test_a_normaliser_that_nobody_owns_is_refused(build):
    """Fault: "0, exact" for log Z, and a likelihood that is off by it."""
    model, x = build(), torch.randn(6, 3)
    assert model.known_log_norm() is None
    for call in (nll, elbo, lambda model, x, samples: log_norm(model, samples=samples)):
        with pytest.raises(ValueError, match=r"no module stores it.*AbstractTilt"):
            call(model, x, samples=5)


OBJECTIVES = {
    "ELBO": ELBO,
    "ELBO, entropy": lambda model: ELBO(model, kl="entropy"),
    "IWAE": lambda model: IWAE(model, 3),
    "BetaVAE": BetaVAE,
    "BetaTCVAE": lambda model: BetaTCVAE(model, 50),
    "InfoVAE": InfoVAE,
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_objective_trains_what_is_not_normalised(name):
    """Fault: a tilt that its own loss raises without bound."""
    with pytest.raises(ValueError, match=r"normaliser.*unknown"):
        OBJECTIVES[name](with_prior(Known(2, 5.0, None)))(torch.randn(6, 3))
    with pytest.raises(TypeError, match=r"tilted by LinearEnergy"):
        OBJECTIVES[name](with_prior(LinearEnergy(SLOPE)))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_objective_trains_a_likelihood_that_is_not_normalised(name):
    """Fault: a tilt of p(x|z) that nobody owns, which IWAE could raise without bound."""

    class Raised(nn.Module):
        def forward(self, z):
            return Tilted(gaussian(z @ torch.ones(2, 3), 1.0), lambda x: x[..., 0] * 0 + 5.0)

    plain = with_prior(gaussian_prior())
    with pytest.raises(ValueError, match="expected a `log_norm` for a normalised density"):
        OBJECTIVES[name](VAE(plain.encoder, Raised(), plain.prior))(torch.randn(6, 3))


# -- a prior of one's own --------------------------------------------------------------------------


def test_a_tilted_prior_is_estimated_kept_and_used():
    """Fault: an estimator that asks for an NCP."""
    model = with_prior(LinearEnergy(SLOPE), stretch=1.3)
    law = marginal_under(model, torch.tensor(SLOPE))
    x = law.sample((300,)).float()
    with pytest.raises(ValueError, match=r"priorwise\.estimators\.log_norm"):
        nll(model, x, samples=5)
    estimate = log_norm(model, samples=50_000)
    assert abs(standard_errors(estimate.value, LOG_Z, estimate.stderr)) < Z_LIMIT
    assert model.known_log_norm().value == pytest.approx(estimate.value)
    within(nll(model, x, samples=2000), float(-law.log_prob(x.double()).mean()))
    bound = elbo(model, x, samples=100)
    assert bound.value < float(law.log_prob(x.double()).mean())


@pytest.mark.parametrize(
    "sampler", [SIR(400), Langevin(200, step_size=0.3, adjusted=True)], ids=repr
)
def test_a_tilted_prior_is_drawn(sampler):
    """Fault: draws of the base. The target is N(slope, I)."""
    model = with_prior(LinearEnergy(SLOPE))
    assert repr(model.default_sampler) == "SIR(proposals=1000)"
    z = model.generate(4000, sampler)[0].z.detach()
    for column, slope in zip(z.T, SLOPE, strict=True):
        check_mean(
            column - (0.005 if isinstance(sampler, SIR) else 0.0), slope, "the mean", comparisons=2
        )


def test_temperature_is_that_of_the_base():
    """Fault: a temperature that ancestral sampling alone knows.
    N(0, T^2) e^{az} is N(T^2 a, T^2).
    """
    model = with_prior(LinearEnergy(SLOPE))
    for sampler in (
        SIR(400, temperature=0.5),
        Langevin(150, step_size=0.3, adjusted=True, temperature=0.5),
    ):
        group = model.generate(4000, sampler)[0]
        assert group.info.details["temperature"] == 0.5
        assert not group.info.exact
        check_mean(group.z[:, 0].detach(), 0.25 * SLOPE[0], "the mean")
        check_mean((group.z[:, 0].detach() - 0.25 * SLOPE[0]).square(), 0.25, "the variance")


CHANGES = {
    "another step": lambda model: model.prior.slope.data.add_(0.1),
    "load_state_dict": lambda model: model.load_state_dict(
        {
            name: 2 * value if "slope" in name else value
            for name, value in model.state_dict().items()
        }
    ),
    "a fresh start": lambda model: nn.init.zeros_(model.prior.slope),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_estimate_lasts_as_long_as_its_tensors(name):
    """Fault: the log Z of other weights. Encoder and decoder do not matter for a prior's own."""
    model = with_prior(LinearEnergy(SLOPE))
    log_norm(model, samples=100)
    with torch.no_grad():
        model.decoder.bias.add_(1.0)
        assert model.known_log_norm() is not None
        CHANGES[name](model)
    assert model.known_log_norm() is None
    with pytest.raises(ValueError, match="estimated for other weights"):
        nll(model, torch.zeros(3, 3), samples=5)


def test_it_comes_back_with_a_checkpoint(tmp_path):
    """Fault: a normaliser that is lost on the disk, or that another model's weights inherit."""
    model = with_prior(LinearEnergy(SLOPE))
    estimate = log_norm(model, samples=100)
    write_checkpoint(tmp_path / "model", model_tensors(model), {})
    other = with_prior(LinearEnergy((0.0, 0.0)))
    load_model(other, read_checkpoint(tmp_path / "model")[0], tmp_path / "model")
    for same in (other, copy.deepcopy(model)):
        assert same.known_log_norm().value == pytest.approx(estimate.value, abs=1e-6)


# -- a model of one's own, drawn as a whole --------------------------------------------------------


def images_model() -> TiltedImages:
    return TiltedImages(LinearGaussianVAE(2, 3), torch.tensor([0.3, -0.5, 0.2]))


def test_a_tilted_model_has_a_likelihood():
    """Fault: a tilt on observations that estimators do not see, or a group's normaliser in its
    place.
    """
    model = images_model()
    law = model.tilted_marginal()
    x = law.sample((200,)).float()
    estimate = log_norm(model, samples=100_000)
    assert abs(standard_errors(estimate.value, model.exact_log_norm(), estimate.stderr)) < Z_LIMIT
    within(nll(model, x, samples=500), float(-law.log_prob(x.double()).mean()))


def test_a_model_may_say_that_it_is_drawn_as_a_whole():
    """Fault: draws group after group, which know nothing of a tilt on the observation; an
    observation drawn anew.
    """
    model = images_model()
    chain = Langevin(300, step_size=0.2, adjusted=True)
    assert model.generate(2, chain)[0].info.method == "Metropolis-adjusted Langevin"
    x = model.sample(4000, chain, mean=False, seed=0)
    law = model.tilted_marginal()
    for column, mean, variance in zip(x.T, law.loc, law.covariance_matrix.diag(), strict=True):
        check_mean(column, float(mean), "the mean of the observations", comparisons=6)
        check_mean((column - mean).square(), float(variance), "their variance", comparisons=6)


def test_a_model_that_is_drawn_as_a_whole_is_shown():
    """Fault: means that ask a tilted likelihood for its own; pockets and reconstructions that
    abort.
    """
    model = images_model()
    x = torch.randn(6, 3)
    assert model.sample(3, seed=0).shape == model.reconstruct(x[:3]).shape == (3, 3)
    assert low_posterior_samples(model, x, count=2, sampler=SIR(5)).x.shape == (2, 3)


def test_an_owner_answers_for_all_that_is_inside():
    """Fault: log Z summed over a law and a part of it: 1.96 for 0.59 in a tilt over a tilt."""
    with pytest.raises(
        TypeError, match="expected a base without a tilt of its own; TiltedImages owns one"
    ):
        NCP(images_model())

    class Outer(TiltedImages):
        """Holds another owner, whose normaliser is part of its own."""

    inner = images_model()
    outer = Outer(inner.base, torch.zeros(3))
    outer.other = inner
    assert outer.tilts == (outer,)


def test_a_contrastive_tilt_of_ones_own_is_fitted():
    """Fault: an objective that is known to one class by name."""

    class Own(NCP):
        pass

    assert isinstance(default_objective(Own(LinearGaussianVAE(2, 3), hidden_features=(4,))), NCE)


def test_the_report_takes_any_tilt(tmp_path):
    """Fault: a page that knows NCPs alone."""
    model = with_prior(LinearEnergy(SLOPE))
    x = marginal_under(model, torch.tensor(SLOPE)).sample((120,)).float()
    path = report(
        model,
        x,
        tmp_path / "page.html",
        samples=50,
        images=40,
        log_norm_samples=2000,
        hole_classifier=False,
        progress=False,
    )
    record = json.loads(path.with_suffix(".json").read_text())["models"]["model"]
    assert record["log_norm"]["value"] == pytest.approx(LOG_Z, abs=0.1)
    assert record["nll"]["diagnostics"]["log_norm"] == pytest.approx(record["log_norm"]["value"])


def test_fit_asks_for_an_objective(tmp_path):
    """Fault: the ELBO of an unnormalised prior as the default."""
    model = with_prior(LinearEnergy(SLOPE))
    with pytest.raises(TypeError, match="tilted by LinearEnergy"):
        fit(model, torch.randn(60, 3), epochs=1, progress=False)


def test_what_is_normalised_is_seen_through_wrappers():
    """Fault: a tilt hidden in Independent or in another tilt."""
    base = gaussian(torch.zeros(2), 1.0)
    known = Tilted(base, lambda z: z[..., 0] * 0, 0.0)
    unknown = Tilted(base, lambda z: z[..., 0])
    assert is_normalised(known)
    assert not is_normalised(unknown)
    assert not is_normalised(Tilted(unknown, lambda z: z[..., 0], 1.0))
    assert not is_normalised(torch.distributions.Independent(unknown.expand((3,)), 1))
    with pytest.raises(ValueError, match="expected a `log_norm`"):
        Tilted(unknown, lambda z: z[..., 0], 1.0).log_prob(torch.zeros(2))


def test_both_classes_are_models():
    assert isinstance(with_prior(LinearEnergy(SLOPE)), VAE)
    assert isinstance(lower_tilted(0.1, known=True), HVAE)


# -- several tilts in one model --------------------------------------------------------------------


class Lower(AbstractTilt):
    """An energy for the lower group of the chain, N(SLOPE top, 1) tilted by a.(z - SLOPE top): the
    same log Z everywhere.
    """

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope]))

    def forward(self, top):
        return Tilted(gaussian(0.8 * top, 1.0), lambda z: (z - 0.8 * top) @ self.slope, owner=self)

    def law(self):
        return Tilted(gaussian(torch.zeros(1), 1.0), lambda z: z @ self.slope)


def with_energies(top, lower):
    model = chain_hvae()
    model.prior, model.prior_bottom = top, lower
    return model


def test_every_unknown_normaliser_needs_an_owner():
    """Fault: one owner's estimate that answers for a tilt that nobody owns."""
    model = with_energies(LinearEnergy((0.5,)), lower_tilted(2.0, known=False).prior_bottom)
    model.prior.set_log_norm(0.125, 0.0)
    for call in (nll, elbo):
        with pytest.raises(ValueError, match="no module stores it"):
            call(model, torch.randn(4, 3), samples=5)
    with pytest.raises(ValueError, match="no module stores it"):
        log_norm(model, samples=100)


def test_what_is_not_used_is_not_counted():
    """Fault: log Z summed over all modules, used or not: 4.04 for 0.26."""

    class Choice(AbstractPrior):
        def __init__(self) -> None:
            super().__init__()
            self.energies = nn.ModuleList([LinearEnergy(SLOPE), LinearEnergy((2.0, 2.0))])

        def _distribution(self, encode_top):
            return self.energies[0]()

    estimate = log_norm(with_prior(Choice()), samples=20_000)
    assert abs(standard_errors(estimate.value, LOG_Z, estimate.stderr)) < Z_LIMIT


def test_an_owner_that_tilts_two_groups_counts_twice():
    """Fault: one normaliser for two tilts; independent errors where both err alike."""

    class Shared(LinearEnergy):
        def forward(self, given=None):
            return (
                super().forward(None)
                if given is None or callable(given)
                else self._distribution(None).expand(given.shape[:-1])
            )

    energy = Shared((0.6,))
    model = with_energies(energy, energy)
    estimate = log_norm(model, samples=20_000)
    assert abs(standard_errors(estimate.value, 2 * 0.18, estimate.stderr)) < Z_LIMIT
    assert model.known_log_norm().value == pytest.approx(estimate.value)
    assert estimate.stderr == pytest.approx(2 * log_norm(energy, samples=20_000).stderr)


def test_owners_err_independently():
    """Fault: two owners that are estimated from the same draws. Chi-squared over 100 seeds,
    ``ALPHA`` / 2 a tail.
    """
    model = with_energies(LinearEnergy((0.7,)), Lower(0.7))
    total = 0.0
    for seed in range(100):
        estimate = log_norm(model, samples=1000, seed=seed)
        total += ((estimate.value - 0.49) / estimate.stderr) ** 2
    assert chi2.ppf(ALPHA / 2, 100) < total < chi2.ppf(1 - ALPHA / 2, 100)


# -- doubts and shapes -----------------------------------------------------------------------------


def test_a_doubt_about_log_norm_reaches_the_likelihood():
    """Fault: an estimate that warned, kept as a bare number: an NLL that is nats too good, without
    a word.
    """
    model = with_prior(LinearEnergy((3.0, -2.0)))
    assert log_norm(model, samples=500).warnings
    x = torch.randn(5, 3)
    for found in (
        nll(model, x, samples=50),
        elbo(model, x, samples=50),
        nll(copy.deepcopy(model), x, samples=50),
    ):
        assert any("was doubtful when it was estimated" in warning for warning in found.warnings)
        assert "(! " in str(found)
    sure = with_prior(LinearEnergy((0.1, 0.1)))
    log_norm(sure, samples=5000)
    assert not any("doubtful when" in warning for warning in nll(sure, x, samples=50).warnings)


def test_a_tilt_of_another_shape_is_refused():
    """Fault: a network that ends in one output, whose (S, B, 1) broadcasts into S x B x B weights:
    15.4 nats for 16.2.
    """
    base = gaussian(torch.zeros(2), 1.0)
    with pytest.raises(
        ValueError, match=r"got \(5, 1\)\. A network that ends in one output needs `\.squeeze"
    ):
        Tilted(base, nn.Linear(2, 1)).log_unnorm(torch.zeros(5, 2))
    with pytest.raises(
        ValueError, match=r"broadcast with the batch shape \(4,\); got shape \(4, 1\)"
    ):
        Tilted(base.expand((4,)), lambda z: z[..., 0], torch.zeros(4, 1))


def test_buffers_that_are_not_saved_belong_to_the_estimate():
    """Fault: log Z of another temperature, which a state_dict does not hold."""
    model = with_prior(LinearEnergy(SLOPE))
    model.prior.register_buffer("temperature", torch.ones(()), persistent=False)
    log_norm(model, samples=100)
    assert model.known_log_norm() is not None
    model.prior.temperature.fill_(3.0)
    assert model.known_log_norm() is None
