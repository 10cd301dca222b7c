"""The likelihood of a model: its evidence lower bound, and its estimate by importance sampling.

Letters: ``N`` images, ``S`` importance samples, ``B`` images of a chunk.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from priorwise.distributions import log_unnorm
from priorwise.estimators.base import Estimate, device_of, standard_error
from priorwise.estimators.blocks import BlockDraws, Chunk, draw_chunks, image_chunks
from priorwise.estimators.journal import Journal, fingerprint
from priorwise.estimators.normalizer import GroupNorms
from priorwise.estimators.processes import gathered, in_turn, my_share
from priorwise.models import NCP, AbstractModel, Group, frozen

__all__ = ["elbo", "nll"]

Report: TypeAlias = Callable[[int], None]

_ROWS = 1000
_TRUSTED_ESS = 20.0
_TRUSTED_WEIGHT = 0.2


def _check(model: AbstractModel, x: Tensor, samples: int, rows: int) -> None:
    """Refuse what cannot be estimated."""
    if not isinstance(model, AbstractModel):
        raise TypeError(
            f"expected a priorwise model with `top_down` and `likelihood`; got {type(model).__name__}. Inherit from "
            "priorwise.models.AbstractModel, or use priorwise.wrap(encode=..., decode=...)."
        )
    if samples < 1:
        raise ValueError(f"expected at least 1 of `samples`; got {samples}.")
    if len(x) < 1:
        raise ValueError("expected at least one example in `x`; got none.")
    if rows < 1:
        raise ValueError(f"expected `rows` of at least 1; got {rows}.")


def _known_log_norm(model: AbstractModel) -> tuple[float, float]:
    """The log normaliser and its error, or a refusal that names the call that estimates it."""
    if model.log_norm is None or model.log_norm_stderr is None:
        raise ValueError(
            "expected a normalised prior; the log normaliser of this model is not known yet. Estimate it first with "
            "priorwise.estimators.log_norm(model, samples=...)."
        )
    return float(model.log_norm), float(model.log_norm_stderr)


def _passes(
    model: AbstractModel, x: Tensor, images: Chunk, *, samples: int, seed: int, rows: int
) -> Iterator[tuple[list[Group], Tensor]]:
    """Posterior passes over one chunk of images, a chunk of draws at a time."""
    part = x[images.start : images.stop].to(device_of(model))
    like = part if part.is_floating_point() else part[:0].float()
    for draws in draw_chunks(samples, rows):
        draw = BlockDraws(seed, "posterior", images, draws, like)
        yield model.top_down(draw, (len(draws), len(images)), part), part


def _log_qz(groups: list[Group]) -> Tensor:
    log_q = [group.posterior.log_prob(group.z) for group in groups if group.posterior is not None]
    return torch.stack(log_q).sum(0)


# -- evidence lower bound -------------------------------------------------------------------------------------------------


def _elbo_terms(model: AbstractModel, groups: list[Group], x: Tensor) -> dict[str, Tensor]:
    """Distortion and rates, ``(S, B)`` each, in nats."""
    terms = {"distortion": -model.likelihood(groups).log_prob(x)}
    for group in groups:
        assert group.posterior is not None
        terms[f"rate_{group.index}"] = group.posterior.log_prob(group.z) - log_unnorm(group.prior, group.z)
    return terms


def elbo(model: AbstractModel, x: Tensor, *, samples: int = 1, seed: int = 0, rows: int = _ROWS) -> Estimate:
    r"""The evidence lower bound, a lower bound of log p(x), averaged over ``x``.

    .. math:: \mathbb{E}_{q(z|x)}\big[\log p(x|z) + \log p(z) - \log q(z|x)\big]

    ``diagnostics`` holds its parts: ``distortion`` and one ``rate_k`` a group, in nats. The same seed gives the same random
    numbers to every model, so two models, or two epochs, are compared with common noise.

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014), equation 3.

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``.
        samples: Draws from the posterior of each.
        seed: Seed of the draws.
        rows: Draws x images that are evaluated at once, not fewer than 1000; no influence on the numbers beyond rounding.

    Raises:
        ValueError: for a tilted model whose ``log_norm`` is unknown.
    """
    _check(model, x, samples, rows)
    log_norm, log_norm_stderr = _known_log_norm(model)
    sums: dict[str, list[Tensor]] = {}
    bound_squares: list[Tensor] = []
    with frozen(model), torch.no_grad():
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
    per_example = -torch.stack(list(means.values())).sum(0) - log_norm
    spread = torch.cat(bound_squares) - (per_example + log_norm).square()
    noise = (spread.clamp(min=0) / max(1, samples - 1)).sum().sqrt() / len(x) if samples > 1 else math.nan
    return Estimate(
        value=float(per_example.mean()),
        stderr=math.hypot(float(noise), log_norm_stderr),
        count=len(x),
        stderr_data=standard_error(per_example),
        per_example=per_example,
        diagnostics={name: float(mean.mean()) for name, mean in means.items()},
        protocol={"estimator": "ELBO", "samples": samples, "seed": seed},
    )


# -- importance sampling --------------------------------------------------------------------------------------------------


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
    """Per image: log sum w, log sum w^2, log max w, sum log w; ``(4, B)`` float64 on the CPU."""
    state: Tensor | None = None
    for groups, part in _passes(model, x, images, samples=samples, seed=seed, rows=rows):
        log_w = model.log_joint(groups, part) - _log_qz(groups)
        log_w = (log_w if norms is None else log_w - norms(groups)).double().cpu()
        new = torch.stack([log_w.logsumexp(0), (2 * log_w).logsumexp(0), log_w.amax(0), log_w.sum(0)])
        if state is None:
            state = new
        else:
            state = torch.stack(
                [
                    torch.logaddexp(state[0], new[0]),
                    torch.logaddexp(state[1], new[1]),
                    torch.maximum(state[2], new[2]),
                    state[3] + new[3],
                ]
            )
    assert state is not None
    return state


def nll(
    model: AbstractModel,
    x: Tensor,
    *,
    samples: int = 5000,
    seed: int = 0,
    density: Literal["global", "groups"] = "global",
    normalizer_samples: int = 100,
    rows: int = _ROWS,
    resume: str | Path | None = None,
    report: Report | None = None,
) -> Estimate:
    r"""The negative log-likelihood by importance sampling from the posterior, in nats, averaged over ``x``.

    .. math:: -\log p(x) \approx \log S - \log \sum_{s=1}^{S} \frac{p(x | z_s)\, p(z_s)}{q(z_s | x)} + \log Z,
              \qquad z_s \sim q(z | x)

    An upper bound in expectation, tighter with every sample (log Z is 0 unless the prior is tilted; an estimated one is too
    low in expectation, which makes the number too good by about half its squared error). Each image is encoded once a chunk
    of draws, priors once in all; memory grows with ``rows``, not with ``samples``.

    A tilted prior of several groups has two densities: the published one, with a single global Z, and the one from which
    drawing group after group samples, with one Z a group and context. ``density`` says which; for one group they are the same.

    ``stderr`` is the Monte-Carlo error, by the delta method from the weights, log Z included; ``stderr_data`` the error over
    the images. ``diagnostics``: the smallest and the median effective sample size, the largest single weight, how many images
    fail either bound (ESS under 20, a weight over 0.2), and the ELBO from the same draws. Heavy-tailed weights make the
    number too high and its error too small; then ``warnings`` says so.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), equation 8; VAE with a VampPrior (Tomczak & Welling, 2018),
        section 5, with 5000 samples.

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``, already binarised where the likelihood is Bernoulli.
        samples: Importance samples S of each image, exactly.
        seed: Seed of the draws.
        density: ``"global"``, with the stored ``log_norm``, or ``"groups"``, with normalisers estimated for every context.
        normalizer_samples: Draws behind each normaliser of ``"groups"``; the cost grows with it. The error that they
            leave is not in ``stderr``.
        rows: Draws x images that are evaluated at once, not fewer than 1000; no influence on the numbers beyond rounding.
        resume: File in which finished images are kept; a call that was killed goes on from it.
        report: Called with the number of images just finished, for a progress bar.

    Raises:
        ValueError: for a tilted model whose ``log_norm`` is unknown, or a resume file of another computation.
    """
    if density not in ("global", "groups"):
        raise ValueError(f"expected `density` as 'global' or 'groups'; got {density!r}.")
    _check(model, x, samples, rows)
    by_group = density == "groups" and isinstance(model, NCP)
    log_norm, log_norm_stderr = (0.0, 0.0) if by_group else _known_log_norm(model)
    journal = None
    if resume is not None:
        identity = {"samples": samples, "seed": seed, "density": density, "of": fingerprint(model, x)}
        journal = in_turn(lambda: Journal(Path(resume), identity))
    done = {} if journal is None else in_turn(journal.read)
    columns: dict[int, list[float]] = dict(done)
    with frozen(model), torch.no_grad():
        norms = GroupNorms(model, normalizer_samples, seed) if by_group and isinstance(model, NCP) else None
        for images in my_share(list(image_chunks(len(x), samples, rows))):
            wanted = range(images.start, images.stop)
            if all(index in done for index in wanted):
                _tell(report, len(images))
                continue
            result = _streamed(model, x, images, norms, samples=samples, seed=seed, rows=rows).T.tolist()
            columns.update(zip(wanted, result, strict=True))
            if journal is not None:
                journal.append(dict(zip(wanted, result, strict=True)))
            _tell(report, len(images))
    columns = gathered(columns)
    table = torch.tensor([columns[index] for index in range(len(x))], dtype=torch.float64).T
    protocol: dict[str, str | int | float | None] = {
        "estimator": "importance sampling from q(z|x)",
        "samples": samples,
        "seed": seed,
        "density": f"Z per group, {normalizer_samples} draws each" if by_group else "global Z",
    }
    return _nll_estimate(table, protocol, samples, log_norm, log_norm_stderr)


def _tell(report: Report | None, count: int) -> None:
    if report is not None:
        report(count)


def _nll_estimate(
    table: Tensor,
    protocol: dict[str, str | int | float | None],
    samples: int,
    log_norm: float,
    log_norm_stderr: float,
) -> Estimate:
    log_sum, log_squares, log_max, total = table
    count = table.shape[1]
    ess = (2 * log_sum - log_squares).exp()
    largest = (log_max - log_sum).exp()
    spread = samples / (samples - 1) if samples > 1 else math.nan  # one weight does not tell its own error
    variance = (1 / ess - 1 / samples).clamp(min=0) * spread
    per_example = math.log(samples) - log_sum + log_norm
    doubtful = int(((ess < _TRUSTED_ESS) | (largest > _TRUSTED_WEIGHT)).sum())
    warnings: tuple[str, ...] = ()
    if doubtful:
        warnings = (
            f"{doubtful} of {count} images have an effective sample size under {_TRUSTED_ESS:.0f} or one weight over "
            f"{_TRUSTED_WEIGHT}: their NLL is likely too high, and the Monte-Carlo error too small. Use more samples.",
        )
    return Estimate(
        value=float(per_example.mean()),
        stderr=math.hypot(float(variance.sum().sqrt()) / count, log_norm_stderr),
        count=count,
        stderr_data=standard_error(per_example),
        per_example=per_example,
        diagnostics={
            "ess_min": float(ess.min()),
            "ess_median": float(ess.median()),
            "largest_weight": float(largest.max()),
            "doubtful_images": float(doubtful),
            "elbo": float((total / samples).mean()) - log_norm,
            "log_norm": log_norm,
            "log_norm_stderr": log_norm_stderr,
        },
        protocol=protocol,
        warnings=warnings,
    )
