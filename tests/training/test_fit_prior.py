"""Priors fitted to codes: by expectation maximisation, in one call with a tilt, to plain codes, to
codes that are images.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal
from torch.utils.data import Dataset
from toys import splits, with_batch_norm, wrong

import priorwise as pw
from priorwise.distributions import (
    DiagonalGaussianMixture,
    FullCovarianceMixture,
    Reshaped,
    diagonal_gaussian,
    from_noise,
    to_noise,
)
from priorwise.priors import FlowPrior, FullGaussianMixture, GaussianMixture, VampPrior
from priorwise.training import AbstractCallback

QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 20, "lr": 0.02, "progress": False}
SHAPE = (2, 1, 2)


def small_flow(features: Any = 2) -> FlowPrior:
    return FlowPrior(features, blocks=2, hidden_features=(8,))


# -- the distributions -----------------------------------------------------------------------------


def full_mixture() -> tuple[FullCovarianceMixture, MixtureSameFamily]:
    """Ours, and the same law by torch."""
    torch.manual_seed(0)
    loc, log_weights = torch.randn(4, 3).double(), torch.randn(4).double().log_softmax(0)
    scale_tril = torch.randn(4, 3, 3).double().tril(-1)
    scale_tril = scale_tril + torch.diag_embed(0.2 + torch.rand(4, 3).double())
    return FullCovarianceMixture(loc, scale_tril, log_weights), MixtureSameFamily(
        Categorical(logits=log_weights), MultivariateNormal(loc, scale_tril=scale_tril)
    )


def test_full_covariances_have_the_density_and_moments_of_torch():
    """Fault: a factor for its transpose, a missing log-determinant, weights left out."""
    ours, theirs = full_mixture()
    z = theirs.sample((5, 7))
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close(ours.expand((7,)).log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, theirs.variance)
    draws = ours.sample((20_000,))
    covariance = theirs.sample((20_000,)).T.cov()
    torch.testing.assert_close(draws.T.cov(), covariance, atol=0.2, rtol=0.1)
    torch.testing.assert_close(draws.mean(0), theirs.mean, atol=0.1, rtol=0)


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_half_precision_changes_no_draw_and_no_moment(kind):
    """Fault: draws and moments in bfloat16, which has three digits."""
    law: FullCovarianceMixture | DiagonalGaussianMixture = full_mixture()[0]
    law = FullCovarianceMixture(law.loc.float(), law.scale_tril.float(), law.log_weights.float())
    if kind == "diagonal":
        law = DiagonalGaussianMixture(law.loc, law.scale_tril.diagonal(dim1=-2, dim2=-1))

    def numbers() -> tuple[Tensor, ...]:
        with pw.seeded(0):
            return law.sample((5,)), law.mean, law.variance

    plain = numbers()
    with torch.autocast("cpu", torch.bfloat16):
        half = numbers()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(half, plain, strict=True))


def test_a_reshaped_law_is_that_of_the_vectors():
    """Fault: another order of the numbers; a density of one dimension; moments of another shape."""
    vectors = diagonal_gaussian(torch.arange(4.0), torch.rand(4) + 0.1)
    images = Reshaped(vectors, SHAPE)
    z = vectors.sample((3,))
    assert images.event_shape == SHAPE
    torch.testing.assert_close(images.log_prob(z.view(3, *SHAPE)), vectors.log_prob(z))
    assert images.expand((3,)).log_prob(z.view(3, *SHAPE)).shape == (3,)
    assert torch.equal(images.mean, torch.arange(4.0).view(SHAPE))
    assert torch.equal(images.stddev.flatten(), vectors.stddev)
    eps = torch.randn(5, *SHAPE)
    torch.testing.assert_close(to_noise(images, from_noise(images, eps)), eps)
    with pytest.raises(ValueError, match=r"as the vectors have, \(4,\); got \(3, 2\)"):
        Reshaped(vectors, (3, 2))


# -- codes alone -----------------------------------------------------------------------------------


def skewed(count: int = 400) -> Tensor:
    """Codes of a correlated Gaussian far from the origin."""
    torch.manual_seed(3)
    return torch.randn(count, 2) @ torch.tensor([[2.0, 1.5], [0.0, 0.5]]) + torch.tensor([30.0, -4])


@pytest.mark.parametrize("kind", [Tensor, np.ndarray])
def test_one_full_gaussian_has_the_moments_of_the_codes(kind):
    """Fault: codes of the held-out tenth that are fitted too; a biased covariance; a prior that is
    not the one that was given. Closed form: the mean and covariance of the training codes.
    """
    z, prior = skewed(), FullGaussianMixture(2, 1)
    result = pw.fit_prior(z if kind is Tensor else z.numpy(), prior, progress=False)
    assert result.prior is prior
    assert result.model.prior is prior
    train = z[torch.cdist(z, _held_out(z)).min(1).values > 0]
    assert len(train) == 360
    ridge = 1e-4 * train.var(0, correction=0)
    covariance = train.T.cov(correction=0) + ridge.diag()
    law = MultivariateNormal(train.mean(0), covariance)
    torch.testing.assert_close(prior().log_prob(z).detach(), law.log_prob(z), rtol=1e-4, atol=1e-4)
    assert result.best == pytest.approx(-float(law.log_prob(_held_out(z)).mean()), abs=1e-4)
    assert result.metric == "cross_entropy"
    assert (result.stopped, result.epochs) == ("solved", 1)
    assert result.history[0]["train"]["cross_entropy"] == pytest.approx(
        -float(law.log_prob(train).mean()), abs=1e-4
    )


@pytest.mark.parametrize("kind", [GaussianMixture, FullGaussianMixture])
def test_the_unit_of_the_codes_does_not_matter(kind):
    """Fault: a range of variances, or a ridge, in the unit of the codes. Closed form: the
    cross-entropy changes by the logarithms of the units.
    """
    torch.manual_seed(0)
    z, scale = torch.randn(300, 2), torch.tensor([1000.0, 0.001])
    torch.manual_seed(5)
    plain, scaled = kind(2, 4), kind(2, 4)
    scaled.load_state_dict(plain.state_dict())
    bests = [
        pw.fit_prior(codes, prior, epochs=3, progress=False).best
        for codes, prior in ((z, plain), (z * scale + 5, scaled))
    ]
    assert bests[1] - float(scale.log().sum()) == pytest.approx(bests[0], abs=0.01)


def test_too_many_components_are_told():
    """Fault: a mixture that knows its codes by heart, without a word."""
    torch.manual_seed(0)
    result = pw.fit_prior(torch.randn(200, 10), FullGaussianMixture(10, 8), progress=False)
    assert result.best > result.history[0]["train"]["cross_entropy"] + 1
    assert "Use fewer `components`" in result.warnings[0]
    few = pw.fit_prior(torch.randn(2000, 10), FullGaussianMixture(10, 1), progress=False)
    assert few.warnings == ()


def _held_out(z: Tensor) -> Tensor:
    """The tenth that a fit to codes holds out."""
    with pw.seeded(0, "split of codes"):
        return z[torch.randperm(len(z))][: len(z) // 10]


def test_expectation_maximisation_finds_the_modes_and_depends_on_its_seed_alone():
    """Fault: factors that are no Cholesky factors; weights that are no logarithms; draws from
    outside the seed.
    """
    torch.manual_seed(1)
    centres = torch.tensor([[-5.0, 0.0], [5.0, 0.0], [0.0, 6.0]])
    rows = torch.randint(3, (900,))
    z = centres[rows] + 0.5 * torch.randn(900, 2)
    fits = []
    for _ in range(2):
        prior = FullGaussianMixture(2, 3)
        torch.randn(3)
        fits.append(pw.fit_prior(z, prior, progress=False, seed=4))
    first, second = (fit.prior for fit in fits)
    assert torch.equal(first.loc, second.loc)
    assert float(torch.cdist(first.loc.detach(), centres).min(0).values.max()) < 0.2
    torch.testing.assert_close(first.logits.softmax(0), torch.full((3,), 1 / 3), atol=0.05, rtol=0)
    law = FullCovarianceMixture(
        centres, 0.5 * torch.eye(2).expand(3, 2, 2), torch.full((3,), 1 / 3).log()
    )
    assert fits[0].best == pytest.approx(-float(law.log_prob(_held_out(z)).mean()), abs=0.06)


def test_codes_are_standardised_for_a_flow():
    """Fault: a flow whose couplings reach a few units only, for codes far from the origin; mean
    and scale that a checkpoint loses.
    """
    torch.manual_seed(0)
    z = 200 + 0.01 * torch.randn(400, 2)
    prior = small_flow()
    result = pw.fit_prior(z, prior, **QUICK)
    entropy = 2 * math.log(0.01) + math.log(2 * math.pi * math.e)
    assert result.best == pytest.approx(entropy, abs=0.5)
    twin = small_flow()
    twin.expect_codes()
    twin.load_state_dict(prior.state_dict())
    torch.testing.assert_close(twin().log_prob(z), prior().log_prob(z))
    torch.testing.assert_close(
        prior.to_representation(prior.to_generation(z)), z, rtol=0, atol=1e-3
    )


def test_values_of_a_fitted_prior_can_be_kept():
    """Fault: a prior that starts anew although it was fitted before."""
    z, prior = skewed(), GaussianMixture(2, 4)
    pw.fit_prior(z, prior, **QUICK)
    before = prior.loc.detach().clone()
    pw.fit_prior(z, prior, from_codes=False, **QUICK | {"lr": 1e-30})
    torch.testing.assert_close(prior.loc.detach(), before)
    pw.fit_prior(z, prior, **QUICK | {"lr": 1e-30, "seed": 5})
    assert not torch.allclose(prior.loc.detach(), before)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_solved_fit_can_be_called_again(ema, tmp_path):
    """Fault: a demand for the state of an optimiser that never stepped, or for an average."""
    z, options = torch.randn(50, 2), {"out": tmp_path, "ema": ema, "progress": False}
    first, again = (pw.fit_prior(z, FullGaussianMixture(2, 1), epochs=2, **options) for _ in "ab")
    assert (again.stopped, again.best) == ("solved", first.best)
    assert torch.equal(again.prior.loc, first.prior.loc)
    with pytest.warns(UserWarning, match="was solved without steps, so more epochs change nothing"):
        more = pw.fit_prior(z, FullGaussianMixture(2, 1), epochs=4, **options)
    assert (more.stopped, more.best) == ("solved", first.best)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((torch.randn(50),), r"codes of shape \(N, \*latent\); got \(50,\)"),
        ((torch.full((50, 2), torch.nan),), "expected finite codes"),
        ((torch.randn(50, 2), torch.randn(50, 3)), "codes and `data`. Leave one out"),
        ((wrong(),), "expected the `data` that LinearGaussianVAE was trained on"),
        ((torch.randn(50, 3),), r"latents of shape \(3,\); got one over \(2,\)"),
        ((torch.randn(4, 2),), "at least as many codes as components; got 3 codes and 5"),
    ],
)
def test_codes_that_cannot_be_fitted_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        pw.fit_prior(given[0], FullGaussianMixture(2, 5), *given[1:], progress=False)


# -- codes that are images -------------------------------------------------------------------------


class ToImages(nn.Module):
    """Three numbers to a Gaussian over latents of shape ``SHAPE``."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_var = self.linear(x).unflatten(-1, (2, *SHAPE)).unbind(-4)
        return loc, log_var


def of_images() -> pw.models.WrappedVAE:
    torch.manual_seed(0)
    decode = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    return pw.wrap(
        encode=ToImages(),
        decode=decode,
        latent=SHAPE,
        likelihood=lambda mean: diagonal_gaussian(mean, torch.ones_like(mean)),
    )


IMAGE_PRIORS: dict[str, Callable[[], nn.Module]] = {
    "mixture": lambda: GaussianMixture(SHAPE, 4),
    "full mixture": lambda: FullGaussianMixture(SHAPE, 2),
    "flow": lambda: small_flow(SHAPE),
    "vamp": lambda: VampPrior.random(5, (3,), mean=0.5, std=0.2),
}


@pytest.mark.parametrize("name", IMAGE_PRIORS)
def test_every_prior_takes_latents_that_are_images(name):
    """Fault: "'tuple' object is not callable"; a density that broadcasts over the image."""
    model = of_images()
    data = torch.rand(60, 3)
    result = pw.fit_prior(model, IMAGE_PRIORS[name](), data, tilt=_small_ncp, **QUICK)
    assert list(result.stages) == ["cross_entropy", "held_out_bce"]
    untilted = result.model.untilted
    law = untilted.prior(untilted._posterior)
    assert law.event_shape == SHAPE
    assert law.sample((6,)).shape == (6, *SHAPE)
    assert law.log_prob(law.sample((6,))).shape == (6,)
    pw.estimators.log_norm(result.model, samples=2000)
    x = torch.rand(5, 3)
    assert math.isfinite(pw.estimators.nll(result.model, x, samples=5).value)
    assert result.model.sample(3, seed=0).shape == (3, 3)


def test_a_flow_over_images_is_that_over_their_numbers():
    """Fault: numbers in another order, in the density or on the way to the noise."""
    torch.manual_seed(0)
    images, vectors = small_flow(SHAPE), small_flow(4)
    vectors.load_state_dict(images.state_dict())
    z = torch.randn(7, *SHAPE)
    torch.testing.assert_close(images().log_prob(z), vectors().log_prob(z.flatten(1)))
    noise = images.to_generation(z)
    torch.testing.assert_close(noise, vectors.to_generation(z.flatten(1)))
    torch.testing.assert_close(images.to_representation(noise), z)


# -- a tilt over the fitted prior ------------------------------------------------------------------


def _small_ncp(model: pw.models.AbstractModel) -> pw.NCP:
    return pw.NCP(model, hidden_features=(8,))


def test_a_tilt_is_fitted_in_the_same_call_and_goes_on(tmp_path):
    """Fault: a tilt over the old prior; a first stage that is trained again; a classifier that
    depends on torch's state; an encoder that moves.
    """
    torch.manual_seed(0)
    model, data = with_batch_norm(), splits(200, 50)
    before = copy.deepcopy(model.state_dict())
    start = small_flow()

    def fitted() -> tuple[Any, FlowPrior]:
        prior = copy.deepcopy(start)
        torch.randn(3)
        return pw.fit_prior(
            model, prior, data, tilt=_small_ncp, tilt_options={"epochs": 2}, out=tmp_path, **QUICK
        ), prior

    result, prior = fitted()
    assert list(result.stages) == ["cross_entropy", "held_out_bce"]
    assert (result.metric, result.best) == ("held_out_bce", result.stages["held_out_bce"].best)
    assert (result.stages["cross_entropy"].epochs, result.epochs) == (3, 2)
    assert result.model.untilted.prior is prior is result.prior
    assert result.model.untilted.encoder is model.encoder
    assert {path.name for path in tmp_path.iterdir()} == {"prior", "tilt"}
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again, _ = fitted()
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    for key, tensor in result.model.state_dict().items():
        assert torch.equal(tensor.nan_to_num(), again.model.state_dict()[key].nan_to_num()), key
    log_norm = pw.estimators.log_norm(result.model, samples=20_000)
    assert abs(log_norm.value) < 1
    assert result.model.known_log_norm() is not None
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


class Watched(AbstractCallback):
    """Counts the lines of each fit."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_line(self, moment, line) -> None:
        self.lines += line["validation"]


def test_both_stages_take_callbacks_and_an_optimiser_of_ones_own():
    """Fault: a second stage that fails after hours of the first."""
    watched = Watched()
    result = pw.fit_prior(
        torch.randn(60, 2),
        GaussianMixture(2, 2),
        tilt=_small_ncp,
        callbacks=iter([watched]),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.01),
        schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3),
        schedule_every="step",
        epochs=2,
        progress=False,
    )
    assert watched.lines == ["cross_entropy"] * 2 + ["held_out_bce"] * 2
    assert list(result.stages) == ["cross_entropy", "held_out_bce"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 2}, "Did you mean 'epochs'"),
        ({"lr": -1.0}, "lr"),
        ({"schedule_every": "step"}, "with a `schedule` of your own"),
    ],
)
def test_options_of_the_second_stage_are_read_before_the_first(options, words, tmp_path):
    with pytest.raises((TypeError, ValueError), match=words):
        pw.fit_prior(
            torch.randn(60, 2),
            GaussianMixture(2, 2),
            tilt=_small_ncp,
            tilt_options=options,
            out=tmp_path / "out",
            **QUICK,
        )
    assert not (tmp_path / "out").exists()


def test_a_data_set_of_torch_is_drawn_afresh():
    """Fault: augmented examples that are drawn once for all epochs."""

    class Counted(Dataset):
        calls = 0

        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> Tensor:
            Counted.calls += 1
            return torch.randn(3)

    pw.fit_prior(of_images(), GaussianMixture(SHAPE, 2), Counted(), epochs=4, progress=False)
    assert Counted.calls > 4 * 40


def test_pseudo_inputs_start_in_their_own_range():
    """Fault: noise and a clamp by the range of a few examples; values outside the range of the
    prior, where their gradient is zero.
    """
    x = 30 * torch.rand(40, 3)
    wide = VampPrior.random(40, (3,), mean=0.5, value_range=(0.0, 300.0))
    torch.manual_seed(0)
    wide.start_from(torch.zeros(40, 2), x)
    assert float(wide.pseudo_inputs.detach().max()) > 30.5  # noise of a hundredth of 300
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got values from .* range of the data"):
        VampPrior.random(5, (3,)).start_from(torch.zeros(40, 2), x)
