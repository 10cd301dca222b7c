"""The likelihood of a model: its evidence lower bound, and its estimate by importance sampling.

Letters: ``N`` images, ``S`` importance samples, ``B`` images of a chunk.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from priorwise.distributions import is_normalised, log_unnorm
from priorwise.estimators.base import Estimate, device_of, jackknife_error, standard_error
from priorwise.estimators.blocks import BlockDraws, Chunk, draw_chunks, image_chunks, tile_rows
from priorwise.estimators.journal import Journal, fingerprint
from priorwise.estimators.normalizer import GroupNorms, require_log_norm
from priorwise.estimators.processes import gathered, in_turn, my_share
from priorwise.models import AbstractModel, Group, example_pass, frozen, require_observations
from priorwise.progress import tell
from priorwise.randomness import seeded
from priorwise.storage import content_hash
from priorwise.tilts import LogNorm

__all__ = ["elbo", "nll"]

Report: TypeAlias = Callable[[int], None]

_ROWS = 1000
_TRUSTED_ESS = 20.0
_TRUSTED_WEIGHT = 0.2
_PROBE_IMAGES, _PROBE_DRAWS = 4, 8


def _check(model: AbstractModel, x: Tensor, samples: int, rows: int | None) -> None:
    """Refuse what cannot be estimated."""
    if not isinstance(model, AbstractModel):
        raise TypeError(
            "expected a priorwise model with `top_down` and `likelihood`; got "
            f"{type(model).__name__}. Inherit from priorwise.models.AbstractModel, or use "
            "priorwise.wrap(encode=..., decode=...)."
        )
    if samples < 1:
        raise ValueError(f"expected at least 1 of `samples`; got {samples}.")
    if len(x) < 1:
        raise ValueError("expected at least one example in `x`; got none.")
    if rows is not None and rows < 1:
        raise ValueError(f"expected `rows` of at least 1; got {rows}.")


def _passes(
    model: AbstractModel, x: Tensor, images: Chunk, *, samples: int, seed: int, rows: int
) -> Iterator[tuple[list[Group], Tensor]]:
    """Posterior passes over one chunk of images, a chunk of draws at a time."""
    part = x[images.start : images.stop].to(device_of(model))
    like = part if part.is_floating_point() else part[:0].float()
    for draws in draw_chunks(samples, rows):
        draw = BlockDraws(seed, "posterior", images, draws, like)
        yield model.top_down(draw, (len(draws), len(images)), part), part


# -- evidence lower bound --------------------------------------------------------------------------


def _elbo_terms(model: AbstractModel, groups: list[Group], x: Tensor) -> dict[str, Tensor]:
    """Distortion and rates, ``(S, B)`` each, in nats."""
    rates = {f"rate_{group.index}": group.rate() for group in groups}
    return {"distortion": -log_unnorm(model.likelihood(groups), x)} | rates


def elbo(
    model: AbstractModel, x: Tensor, *, samples: int = 1, seed: int = 0, rows: int | None = None
) -> Estimate:
    r"""The evidence lower bound, a lower bound of log p(x), averaged over ``x``.

    .. math:: \mathbb{E}_{q(z|x)}\big[\log p(x|z) + \log p(z) - \log q(z|x)\big]

    ``diagnostics`` holds its parts: ``distortion`` and one ``rate_k`` a group, in nats. The same
    seed gives the same random numbers to every model, so two models, or two epochs, are compared
    with common noise.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014), equation 3.

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``.
        samples: Draws from the posterior of each.
        seed: Seed of the draws.
        rows: Draws x images that are evaluated at once; no influence on the numbers beyond
            rounding. If None, 1000 or as many as take a tile of 256 MB.

    Raises:
        ValueError: for a prior whose normaliser is unknown.

    Example:
        With the exact posterior the bound is the log-likelihood.

        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3)
        >>> with seeded(0, "example"):
        ...     x = model.marginal().sample((100,)).float()
        >>> abs(elbo(model, x).value - float(model.log_px(x).mean())) < 1e-4
        True
    """
    _check(model, x, samples, rows)
    sums: dict[str, list[Tensor]] = {}
    bound_squares: list[Tensor] = []
    with frozen(model), torch.no_grad():
        doubts = require_observations(model, x)
        known = require_log_norm(model)
        rows = tile_rows(model, _ROWS, x) if rows is None else rows
        for images in image_chunks(len(x), samples, rows):
            totals: dict[str, Tensor] = {}
            squares = torch.zeros(len(images), dtype=torch.float64)
            for groups, part in _passes(model, x, images, samples=samples, seed=seed, rows=rows):
                terms = _elbo_terms(model, groups, part)
                for name, term in terms.items():
                    totals[name] = totals.get(name, 0) + term.double().sum(0).cpu()
                squares += torch.stack(list(terms.values())).sum(0).double().square().sum(0).cpu()
            for name, total in totals.items():
                sums.setdefault(name, []).append(total / samples)
            bound_squares.append(squares / samples)
    means = {name: torch.cat(parts) for name, parts in sums.items()}
    per_example = -torch.stack(list(means.values())).sum(0) - known.value
    spread = torch.cat(bound_squares) - (per_example + known.value).square()
    noise = (
        (spread.clamp(min=0) / max(1, samples - 1)).sum().sqrt() / len(x)
        if samples > 1
        else math.nan
    )
    return Estimate(
        value=float(per_example.mean()),
        stderr=math.hypot(float(noise), known.stderr),
        count=len(x),
        stderr_data=standard_error(per_example),
        per_example=per_example,
        diagnostics={name: float(mean.mean()) for name, mean in means.items()},
        protocol={"estimator": "ELBO", "samples": samples, "seed": seed},
        warnings=(*doubts, *known.doubts),
        data=content_hash({"x": x}),
    )


# -- importance sampling ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Normalisers:
    """How log Z enters: one number for all, or group by group for every context."""

    known: LogNorm
    by_group: GroupNorms | None

    @property
    def shared(self) -> LogNorm:
        """What all images share: the one log Z, or that of the top group."""
        return self.known if self.by_group is None else self.by_group.top


def _streamed(
    model: AbstractModel,
    x: Tensor,
    images: Chunk,
    norms: GroupNorms | None,
    *,
    samples: int,
    seed: int,
    rows: int,
) -> Tensor:
    """Per image: log sum w, log sum w^2, log max w, sum log w, then log sum w without each fold of the normaliser draws.

    ``(4 + G, B)`` float64 on the CPU.
    """
    state: Tensor | None = None
    for groups, part in _passes(model, x, images, samples=samples, seed=seed, rows=rows):
        log_q = torch.stack([group.log_posterior() for group in groups]).sum(0)
        log_w = (model.log_joint(groups, part) - log_q).double()
        each = log_w.unsqueeze(0) if norms is None else log_w - norms(groups).double()
        each = each.cpu()
        log_w = each[0]
        new = torch.stack(
            [
                log_w.logsumexp(0),
                (2 * log_w).logsumexp(0),
                log_w.amax(0),
                log_w.sum(0),
                *each[1:].logsumexp(1),
            ]
        )
        state = new if state is None else _merged(state, new)
    assert state is not None
    return state


def _merged(state: Tensor, new: Tensor) -> Tensor:
    sums = torch.logaddexp(state, new)
    sums[2], sums[3] = torch.maximum(state[2], new[2]), state[3] + new[3]
    return sums


def _probe(model: AbstractModel, x: Tensor, norms: GroupNorms | None, rows: int) -> list[float]:
    """Log-weights of a few images under fixed noise: what the model gives, whatever its settings are called."""
    places = torch.linspace(0, len(x) - 1, min(_PROBE_IMAGES, len(x))).long()
    some, images = x[places.to(x.device)], Chunk(0, len(places))
    with seeded(0, "probe"):
        table = _streamed(model, some, images, norms, samples=_PROBE_DRAWS, seed=0, rows=rows)
    return table[:4].flatten().tolist()


def nll(
    model: AbstractModel,
    x: Tensor,
    *,
    samples: int = 5000,
    seed: int = 0,
    density: Literal["global", "groups"] = "global",
    normalizer_samples: int = 100,
    rows: int | None = None,
    resume: str | Path | None = None,
    report: Report | None = None,
) -> Estimate:
    r"""The negative log-likelihood by importance sampling from the posterior, in nats, averaged over ``x``.

    .. math:: -\log p(x) \approx \log S - \log \sum_{s=1}^{S} \frac{p(x | z_s)\, p(z_s)}{q(z_s | x)} + \log Z,
              \qquad z_s \sim q(z | x)

    An upper bound in expectation, tighter with every sample (log Z is 0 unless the prior is tilted;
    an estimated one is too low in expectation, which makes the number too good by about half its
    squared error). Each image is encoded once a chunk of draws, priors once in all; memory grows
    with ``rows``, not with ``samples``.

    A tilted prior of several groups has two densities: the published one, with a single global Z,
    and the one from which drawing group after group samples, with one Z a group and context.
    ``density`` says which; for one group they are the same, and both use the ``log_norm`` that the
    model keeps.

    ``stderr`` is the Monte-Carlo error, by the delta method from the weights, log Z included (of
    ``"groups"`` that of the top group, and that of the others by a jackknife over their draws);
    ``stderr_data`` the error over the images. ``diagnostics``: the smallest and the median
    effective sample size, the largest single weight, how many images fail either bound (ESS under
    20, a weight over 0.2), and the ELBO from the same draws. Heavy-tailed weights make the number
    too high and its error too small; then ``warnings`` says so.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), equation 8; VAE with a VampPrior
        (Tomczak & Welling, 2018), section 5, with 5000 samples.

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``, already binarised where the likelihood is Bernoulli.
        samples: Importance samples S of each image, exactly.
        seed: Seed of the draws.
        density: ``"global"``, with the stored ``log_norm``, or ``"groups"``, with normalisers
            estimated for every context.
        normalizer_samples: Draws behind each normaliser of ``"groups"`` below the top; the cost
            grows with it. The top group has one normaliser for all images, from 100,000 draws.
        rows: Draws x images that are evaluated at once; no influence on the numbers beyond
            rounding. If None, 1000 or as many as take a tile of 256 MB.
        resume: File in which finished images are kept; a call that was killed goes on from it.
        report: Called with the number of images just finished, for a progress bar.

    Raises:
        ValueError: for a prior whose normaliser is unknown, or a resume file of another
            computation.

    Example:
        The encoder of this model is too wide, so the weights vary.

        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3, stretch=1.5)
        >>> with seeded(0, "example"):
        ...     x = model.marginal().sample((100,)).float()
        >>> estimate = nll(model, x, samples=200)
        >>> abs(estimate.value + float(model.log_px(x).mean())) < 3 * estimate.stderr
        True
    """
    if density not in ("global", "groups"):
        raise ValueError(f"expected `density` as 'global' or 'groups'; got {density!r}.")
    _check(model, x, samples, rows)
    with frozen(model), torch.no_grad():
        doubts = require_observations(model, x)
        rows = tile_rows(model, _ROWS, x) if rows is None else rows
        norms = _normalisers(model, density, normalizer_samples, seed)
        journal = None
        if resume is not None:
            identity = _nll_identity(model, x, samples, seed, norms)
            probe = _probe(model, x, norms.by_group, rows)
            journal = in_turn(lambda: Journal(Path(resume), identity, probe))
        done = {} if journal is None else in_turn(journal.read)
        columns: dict[int, list[float]] = dict(done)
        for images in my_share(list(image_chunks(len(x), samples, rows))):
            wanted = range(images.start, images.stop)
            if all(index in done for index in wanted):
                tell(report, len(images))
                continue
            result = _streamed(
                model, x, images, norms.by_group, samples=samples, seed=seed, rows=rows
            ).T.tolist()
            columns.update(zip(wanted, result, strict=True))
            if journal is not None:
                journal.append(dict(zip(wanted, result, strict=True)))
            tell(report, len(images))
    columns = gathered(columns)
    table = torch.tensor([columns[index] for index in range(len(x))], dtype=torch.float64).T
    estimate = _nll_estimate(table, samples, seed, norms)
    return replace(
        estimate.with_warnings(*doubts, *norms.shared.doubts), data=content_hash({"x": x})
    )


def _normalisers(model: AbstractModel, density: str, samples: int, seed: int) -> _Normalisers:
    if density == "groups":
        groups = example_pass(model)
        if len(groups) > 1 and is_normalised(model.likelihood(groups)):
            return _Normalisers(LogNorm(), GroupNorms(model, samples, seed))
    return _Normalisers(require_log_norm(model), None)


def _nll_identity(
    model: AbstractModel, x: Tensor, samples: int, seed: int, norms: _Normalisers
) -> dict[str, str | int]:
    """Every setting on which the log-weights of an image depend; log Z itself is added after the last image."""
    draws = 0 if norms.by_group is None else norms.by_group.samples
    return {
        "estimator": "nll",
        "samples": samples,
        "seed": seed,
        "normalizer_samples": draws,
        "of": fingerprint(model, x),
    }


def _nll_estimate(table: Tensor, samples: int, seed: int, norms: _Normalisers) -> Estimate:
    log_sum, log_squares, log_max, total = table[:4]
    count = table.shape[1]
    ess = (2 * log_sum - log_squares).exp()
    largest = (log_max - log_sum).exp()
    spread = (
        samples / (samples - 1) if samples > 1 else math.nan
    )  # one weight does not tell its own error
    variance = (1 / ess - 1 / samples).clamp(min=0) * spread
    per_example = math.log(samples) - log_sum + norms.known.value
    without = -table[4:].mean(1)
    bias = (len(without) - 1) * float(without.mean() + log_sum.mean()) if len(without) > 1 else 0.0
    stderr = math.hypot(
        float(variance.sum().sqrt()) / count,
        norms.shared.stderr,
        jackknife_error(without) if len(without) else 0.0,
    )
    return Estimate(
        value=float(per_example.mean()),
        stderr=stderr,
        count=count,
        stderr_data=standard_error(per_example),
        per_example=per_example,
        diagnostics={
            "ess_min": float(ess.min()),
            "ess_median": float(ess.median()),
            "largest_weight": float(largest.max()),
            "doubtful_images": float(((ess < _TRUSTED_ESS) | (largest > _TRUSTED_WEIGHT)).sum()),
            "elbo": float((total / samples).mean()) - norms.known.value,
            "log_norm": norms.known.value,
            "log_norm_stderr": norms.shared.stderr,
        }
        | ({"normalizer_bias": bias} if len(without) else {}),
        protocol={
            "estimator": "importance sampling from q(z|x)",
            "samples": samples,
            "seed": seed,
            "density": "global Z"
            if norms.by_group is None
            else f"Z per group, {norms.by_group.samples} draws each",
        },
        warnings=(*_doubts(ess, largest), *_bias_doubts(bias, stderr)),
    )


def _bias_doubts(bias: float, stderr: float) -> tuple[str, ...]:
    if not abs(bias) > 0.5 * stderr:
        return ()
    return (
        f"the normalisers of the groups make the number wrong by about {bias:+.3f} nats "
        f"(jackknife), beside an error of {stderr:.3f}: their logs are too low. Use more "
        "`normalizer_samples`.",
    )


def _doubts(ess: Tensor, largest: Tensor) -> tuple[str, ...]:
    missing = (~ess.isfinite()).nonzero().flatten().tolist()
    if missing:
        return (
            f"{len(missing)} of {len(ess)} images have no finite likelihood, the first is image "
            f"{missing[0]}: encoder or decoder overflow there. Look at its values, and at the "
            "range that the model was trained on.",
        )
    doubtful = int(((ess < _TRUSTED_ESS) | (largest > _TRUSTED_WEIGHT)).sum())
    if not doubtful:
        return ()
    return (
        f"{doubtful} of {len(ess)} images have an effective sample size under {_TRUSTED_ESS:.0f} "
        f"or one weight over {_TRUSTED_WEIGHT}: their NLL is likely too high, and the Monte-Carlo "
        "error too small. Use more samples.",
    )
