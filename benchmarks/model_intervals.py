"""The intervals of the estimators that judge a model or its latents, for the coverage study."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import priorwise as pw
from benchmarks.readings import Reading, Setting
from priorwise import NCP, estimators
from priorwise.estimators import Estimate
from priorwise.testing import GaussianTilt, LinearGaussianVAE

__all__ = ["settings"]


class Linear(nn.Module):
    """The logit ``slope * z``, which moves N(m, 1) to N(m + slope, 1) in every dimension."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """``(*, D) -> (*)``, in nats."""
        return self.slope * z.sum(-1)


def _observations(model: LinearGaussianVAE, count: int, seed: int) -> Tensor:
    """New observations, ``(count, observed)``."""
    with pw.seeded(seed, "coverage", "observations"):
        return model.marginal().sample((count,)).float()


def _entropy(law: MultivariateNormal) -> float:
    return float(law.entropy().detach())


# -- likelihood ------------------------------------------------------------------------------------

_IMAGES = 50
_KNOWN = -1  # the seed of observations that stay the same


def _gap(model: LinearGaussianVAE) -> float:
    """How far the bound lies below the likelihood, the same for every observation."""
    x = _observations(model, 1, _KNOWN)
    return float((model.log_px(x) - model.exact_elbo(x)).detach())


def _elbo() -> Iterator[Setting]:
    model = LinearGaussianVAE(shift=0.5, stretch=1.3)
    known = _observations(model, _IMAGES, _KNOWN)
    law = -_entropy(model.marginal()) - _gap(model)

    def given(seed: int) -> dict[str, Reading]:
        estimate = estimators.elbo(model, known, samples=10, seed=seed)
        return {
            "stderr": Reading.of(estimate, "data", float(model.exact_elbo(known).mean().detach()))
        }

    def anew(seed: int) -> dict[str, Reading]:
        estimate = estimators.elbo(
            model, _observations(model, _IMAGES, seed), samples=10, seed=seed
        )
        return {"stderr_data": Reading.over_data(estimate, "law", law)}

    yield Setting("elbo", "50 images, 10 draws", given)
    yield Setting("elbo", "50 images, 10 draws", anew)


def _nll() -> Iterator[Setting]:
    models = {
        "light weights (q 1.3 times too wide)": LinearGaussianVAE(stretch=1.3),
        "heavy weights (q half as wide as it should be)": LinearGaussianVAE(stretch=0.5),
    }
    for words, model in models.items():
        known = _observations(model, _IMAGES, _KNOWN)

        def given(
            seed: int, model: LinearGaussianVAE = model, known: Tensor = known
        ) -> dict[str, Reading]:
            estimate = estimators.nll(model, known, samples=200, seed=seed)
            return {
                "stderr": Reading.of(estimate, "data", -float(model.log_px(known).mean().detach()))
            }

        yield Setting("nll", f"50 images, 200 samples, {words}", given, 0.1)
    yield from _nll_over_data(models["light weights (q 1.3 times too wide)"])
    yield _nll_of_ncp()


def _nll_over_data(model: LinearGaussianVAE) -> Iterator[Setting]:
    def anew(seed: int) -> dict[str, Reading]:
        estimate = estimators.nll(
            model, _observations(model, _IMAGES, seed), samples=200, seed=seed
        )
        return {"stderr_data": Reading.over_data(estimate, "law", _entropy(model.marginal()))}

    yield Setting("nll", "50 images, 200 samples, light weights", anew, 0.1)


def _nll_of_ncp() -> Setting:
    """Log Z is estimated anew with every seed; its error is in ``stderr``."""
    slope = 0.8
    ncp = NCP(LinearGaussianVAE(stretch=1.3), [Linear(slope)])
    known = _observations(ncp.base, _IMAGES, _KNOWN)
    plain = ncp.base.marginal()
    loc = plain.loc + slope * ncp.base.decoder.weight.double().sum(1)
    truth = -float(
        MultivariateNormal(loc, plain.covariance_matrix).log_prob(known.double()).mean().detach()
    )

    def run(seed: int) -> dict[str, Reading]:
        estimators.log_norm(ncp, samples=1000, seed=seed)
        estimate = estimators.nll(ncp, known, samples=200, seed=seed)
        return {"stderr": Reading.of(estimate, "data", truth)}

    return Setting("nll", "an NCP, 50 images, 200 samples, log Z from 1000 draws", run, 0.1)


def _minus() -> Iterator[Setting]:
    first, second = (
        LinearGaussianVAE(shift=0.6, stretch=1.4),
        LinearGaussianVAE(scale=0.7, stretch=1.4),
    )
    known = _observations(second, _IMAGES, _KNOWN)
    law = _entropy(second.marginal())
    cross = _cross_entropy(second.marginal(), first.marginal())

    def pair(x: Tensor, seed: int) -> Estimate:
        return estimators.nll(first, x, samples=50, seed=seed).minus(
            estimators.nll(second, x, samples=50, seed=seed)
        )

    exact = first.log_px(known).mean() - second.log_px(known).mean()

    def given(seed: int) -> dict[str, Reading]:
        difference = pair(known, seed)
        return {"stderr": Reading.of(difference, "data", -float(exact.detach()))}

    def anew(seed: int) -> dict[str, Reading]:
        difference = pair(_observations(second, _IMAGES, seed), seed)
        return {"stderr_data": Reading.over_data(difference, "law", cross - law)}

    yield Setting(
        "Estimate.minus", "nll of two models, common noise, 50 images, 50 samples", given, 0.1
    )
    yield Setting("Estimate.minus", "nll of two models, 50 images, 50 samples", anew, 0.1)


def _cross_entropy(truth: MultivariateNormal, model: MultivariateNormal) -> float:
    return float((truth.entropy() + torch.distributions.kl_divergence(truth, model)).detach())


def _log_norm() -> Iterator[Setting]:
    for words, tilt in {
        "mild tilt (ESS 780 of 1000)": GaussianTilt(slope=0.5),
        "sharp tilt (ESS 56 of 1000)": GaussianTilt(slope=1.2, features=2),
        "very sharp tilt (ESS 5 of 1000 or fewer)": GaussianTilt(slope=2.3),
    }.items():

        def run(seed: int, tilt: GaussianTilt = tilt) -> dict[str, Reading]:
            estimate = estimators.log_norm(tilt.tilted(), samples=1000, seed=seed)
            return {"stderr": Reading.of(estimate, "law", tilt.log_norm)}

        yield Setting("log_norm", words, run)
    ncp = NCP(LinearGaussianVAE(), [Linear(0.5)])

    def of_ncp(seed: int) -> dict[str, Reading]:
        estimate = estimators.log_norm(ncp, samples=1000, seed=seed)
        return {"stderr": Reading.of(estimate, "law", 0.25)}

    yield Setting("log_norm", "an NCP of 2 dimensions, 1000 draws", of_ncp)


# -- divergence ------------------------------------------------------------------------------------

_LAWS = {"one law": (0.0, 1.0), "shifted": (0.7, 1.0), "narrower": (0.0, 0.6)}
_FAR_LAW = {"far away": (1.5, 1.0)}


def _gaussian_kl(loc: float, scale: float, dimensions: int) -> float:
    """The KL of N(loc, scale^2) in every dimension from N(0, 1)."""
    return dimensions * (0.5 * (scale**2 + loc**2 - 1) - math.log(scale))


def _knn_kl() -> Iterator[Setting]:
    for dimensions in (2, 10, 40):
        for words, (loc, scale) in (_LAWS | (_FAR_LAW if dimensions == 40 else {})).items():
            for count in (200, 1000):
                yield _neighbours(words, dimensions, count, loc, scale)


def _neighbours(words: str, dimensions: int, count: int, loc: float, scale: float) -> Setting:
    truth = _gaussian_kl(loc, scale, dimensions)

    def run(seed: int) -> dict[str, Reading]:
        with pw.seeded(seed, "coverage", "points"):
            q, p = torch.randn(2, count, dimensions, dtype=torch.float64)
        estimate = estimators.knn_kl(loc + scale * q, p, seed=seed)
        return {"stderr": Reading.of(estimate, "mean", bias_of=truth)}

    return Setting("knn_kl", f"D = {dimensions}, {words}, {count} points", run, 0.02 * count / 200)


# Aggregate posteriors N(shift std, 1 + (stretch^2 - 1) std^2), with std near 1. Densities are
# refused far from the prior.
_BY_KNN = {"one law": (0.0, 1.0), "shifted": (0.7, 1.0), "narrower": (0.0, 0.6)}
_FAR_BY_KNN = {"far away": (2.1, 1.0), "much narrower": (0.0, 0.05)}
_BY_DENSITY = {"one law": (0.0, 1.0), "shifted": (0.2, 1.0), "wider": (0.0, 1.1)}


def _symmetric_kl() -> Iterator[Setting]:
    for dimensions in (2, 5, 10, 40):
        for words, (shift, stretch) in (_BY_KNN | (_FAR_BY_KNN if dimensions == 2 else {})).items():
            for count in (200, 1000):
                yield _symmetric("knn", words, dimensions, count, shift, stretch)
    for dimensions in (2, 10, 40):
        for words, (shift, stretch) in _BY_DENSITY.items():
            yield _symmetric("density", words, dimensions, 1000, shift, stretch)


def _symmetric(
    method: Literal["knn", "density"],
    words: str,
    dimensions: int,
    count: int,
    shift: float,
    stretch: float,
) -> Setting:
    model = LinearGaussianVAE(dimensions, dimensions, scale=3.0, shift=shift, stretch=stretch)
    truth = _symmetric_truth(model, shift, stretch)

    def run(seed: int) -> dict[str, Reading]:
        estimate = estimators.symmetric_kl(
            model, _observations(model, count, seed), method=method, seed=seed
        )
        return {"stderr": Reading.of(estimate, "mean", bias_of=truth)}

    cost = 0.2 if method == "density" else 0.03 * count / 200
    return Setting(
        f"symmetric_kl, {method}", f"D = {dimensions}, {words}, {count} images", run, cost
    )


def _symmetric_truth(model: LinearGaussianVAE, shift: float, stretch: float) -> float:
    """Of the aggregate posterior N(shift std, 1 + (stretch^2 - 1) std^2)."""
    std = (
        model.exact_posterior(torch.zeros(1, model.decoder.weight.shape[0]))
        .base_dist.scale[0]
        .detach()
        .double()
    )
    variance, loc = 1 + (stretch**2 - 1) * std.square(), shift * std
    terms = 0.5 * (variance + loc.square() - 1) + 0.5 * ((1 + loc.square()) / variance - 1)
    return float(terms.sum())


def _leakage() -> Iterator[Setting]:
    model = LinearGaussianVAE(2, 2, scale=1.0, shift=1.0)
    known = _observations(model, 200, _KNOWN)
    for threshold, draws in ((math.inf, 300), (-4.0, 300), (-4.0, 3000)):
        words = "every draw" if math.isinf(threshold) else f"threshold {threshold:.0f}"

        def given(
            seed: int, threshold: float = threshold, draws: int = draws
        ) -> dict[str, Reading]:
            estimate = estimators.leakage(model, known, draws=draws, seed=seed).at(threshold)
            return {"stderr": Reading.of(estimate, "mean")}

        def anew(seed: int, threshold: float = threshold, draws: int = draws) -> dict[str, Reading]:
            estimate = estimators.leakage(
                model, _observations(model, 200, seed), draws=draws, seed=seed
            ).at(threshold)
            return {"stderr_data": Reading.over_data(estimate, "mean")}

        yield Setting("leakage.at", f"{words}, {draws} draws of 200 given images", given)
        yield Setting("leakage.at", f"{words}, {draws} draws of 200 new images", anew)


# -- classifiers -----------------------------------------------------------------------------------


def _c2st() -> Iterator[Setting]:
    for words, loc in (("one law", 0.0), ("shifted", 0.7)):

        def run(seed: int, loc: float = loc) -> dict[str, Reading]:
            with pw.seeded(seed, "coverage", "points"):
                q, p = torch.randn(300, 2), loc + torch.randn(300, 2)
                many_q, many_p = torch.randn(20_000, 2), loc + torch.randn(20_000, 2)
            judge = LogisticRegression()
            verdict = estimators.c2st(q, p, classifier=judge, seed=seed)
            of_q, of_p = (
                torch.as_tensor(judge.predict_proba(many.double().numpy()))
                for many in (many_q, many_p)
            )
            right = (
                float((of_q[:, 1] <= 0.5).double().mean())
                + float((of_p[:, 1] > 0.5).double().mean())
            ) / 2
            jsd = math.log(2) + float(of_q[:, 0].log().mean() + of_p[:, 1].log().mean()) / 2
            readings = {
                "accuracy, of this classifier": Reading.of(verdict.accuracy, "law", right),
                "jsd, of this classifier": Reading.of(verdict.jsd, "law", jsd),
                "accuracy, over classifiers": Reading.of(verdict.accuracy, "mean"),
                "jsd, over classifiers": Reading.of(verdict.jsd, "mean"),
            }
            if loc == 0.0:
                readings["z_score, N(0, 1)"] = Reading(verdict.z_score, 1.0, "law", 0.0)
            return readings

        yield Setting("c2st", f"2 x 300 points in 2 dimensions, {words}, logistic regression", run)


def _expected(function: Callable[[Tensor], Tensor], loc: float, scale: float) -> float:
    """The mean of a function of a normal variable, by a sum over a fine grid."""
    u = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    weights = torch.softmax(-0.5 * u.square(), 0)
    return float((weights * function(loc + scale * u)).sum())


def _contrast() -> Iterator[Setting]:
    softplus = nn.functional.softplus
    for words, slope in (("mild classifier", 0.4), ("sharp classifier", 1.5)):
        base = LinearGaussianVAE(2, 2, shift=1.0)
        ncp = NCP(base, [Linear(slope)])
        std = base.exact_posterior(torch.zeros(1, 2)).base_dist.scale[0].detach()
        loc, scale = slope * float(std.sum()), slope * math.sqrt(2)  # of the logits
        bce = _expected(lambda t: softplus(-t), loc, scale) + _expected(softplus, 0.0, scale)
        ratio = math.exp(0.5 * scale**2)

        def run(
            seed: int,
            base: LinearGaussianVAE = base,
            ncp: NCP = ncp,
            bce: float = bce,
            ratio: float = ratio,
        ) -> dict[str, Reading]:
            x = _observations(base, 300, seed)
            (group,) = estimators.contrast(ncp, x, proposals=(2,), contexts=2, seed=seed)
            estimate = estimators.held_out_bce(ncp, x, seed=seed)
            return {
                "bce_stderr": Reading(group.bce, group.bce_stderr, "law", bce),
                "jsd": Reading(group.jsd, group.bce_stderr / 2, "law", math.log(2) - bce / 2),
                "calibration_stderr": Reading(
                    group.calibration, group.calibration_stderr, "law", ratio
                ),
                "held_out_bce, stderr": Reading.of(estimate, "law", bce),
                "held_out_bce, stderr_data": Reading.over_data(estimate, "law", bce),
            }

        yield Setting("contrast", f"{words}, 300 images", run)


def settings() -> Iterator[Setting]:
    """All settings of this file."""
    for part in (
        _elbo,
        _nll,
        _minus,
        _log_norm,
        _knn_kl,
        _symmetric_kl,
        _leakage,
        _c2st,
        _contrast,
    ):
        yield from part()
