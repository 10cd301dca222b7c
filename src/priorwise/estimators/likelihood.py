"""The likelihood of a model, estimated by importance sampling.

Letters: ``N`` images, ``S`` importance samples.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.choices import Precision
from priorwise.distributions import is_normalised
from priorwise.estimators.base import (
    Estimate,
    device_of,
    jackknife_error,
    standard_error,
    with_cause,
)
from priorwise.estimators.blocks import Chunk, draw_chunks, image_chunks, tile_rows
from priorwise.estimators.doubts import NOT_FINITE, enough_samples
from priorwise.estimators.journal import Journal, fingerprint
from priorwise.estimators.normalizer import GroupNorms, require_log_norm
from priorwise.estimators.processes import gathered, in_turn, my_share
from priorwise.estimators.rounding import rounding_of
from priorwise.estimators.weights import (
    ROWS,
    CompiledLogWeights,
    LogWeights,
    check_images,
    streamed,
)
from priorwise.models import AbstractModel, checked_observations, example_pass, frozen
from priorwise.progress import tell
from priorwise.randomness import seeded
from priorwise.storage import content_hash
from priorwise.tilts import LogNorm

__all__ = ["nll"]

Report: TypeAlias = Callable[[int], None]

_TRUSTED_ESS = 20.0
_TRUSTED_WEIGHT = 0.2
_PROBE_IMAGES, _PROBE_DRAWS = 4, 8


@dataclass(frozen=True)
class _Normalisers:
    """How log Z enters: one number for all, or group by group for every context."""

    known: LogNorm
    by_group: GroupNorms | None

    @property
    def shared(self) -> LogNorm:
        """What all images share: the one log Z, or that of the top group."""
        return self.known if self.by_group is None else self.by_group.top


def _probe(weights: LogWeights, x: Tensor, rows: int) -> Tensor:
    """Log-weights of a few images under fixed noise, which change with every setting."""
    places = torch.linspace(0, len(x) - 1, min(_PROBE_IMAGES, len(x))).long()
    some, images = x[places.to(x.device)], Chunk(0, len(places))
    with seeded(0, "probe"):
        return streamed(weights, some, images, samples=_PROBE_DRAWS, seed=0, rows=rows)


def nll(
    model: AbstractModel,
    x: Array,
    *,
    samples: int = 5000,
    seed: int = 0,
    density: Literal["global", "groups"] = "global",
    normalizer_samples: int = 100,
    precision: Precision = "no",
    compile: bool = False,
    rows: int | None = None,
    resume: str | Path | None = None,
    report: Report | None = None,
) -> Estimate:
    r"""The negative log-likelihood in nats by importance sampling from the posterior.

    It is the mean over ``x`` of

    .. math:: -\log p(x) \approx
              \log S - \log \sum_{s=1}^{S} \frac{p(x | z_s)\, p(z_s)}{q(z_s | x)} + \log Z,
              \qquad z_s \sim q(z | x)

    In expectation this is an upper bound, which tightens with every sample. log Z is 0 unless the
    prior is tilted. An estimated log Z is too low in expectation, which makes the number too good
    by about half of its squared error. Each image is encoded once per chunk of draws, and priors
    are built once in all. Memory grows with ``rows``, not with ``samples``.

    A tilted prior of several groups has two densities: the published one with a single global Z,
    and the one that sampling group after group draws from, with one Z per group and context.
    ``density`` chooses between them. For one group they are the same, and both use the log
    normaliser that the model keeps.

    ``stderr`` is the Monte-Carlo error. It comes from the weights by the delta method and includes
    the error of log Z. With ``density="groups"``, the errors of the lower groups' normalisers come
    from a jackknife over their draws. ``stderr_data`` is the error over the images.
    ``diagnostics`` has the smallest and the median effective sample size, the largest single
    weight, the number of images that fail either bound (ESS under 20, a weight over 0.2), and the
    ELBO from the same draws. Heavy-tailed weights make the number too high and its error too
    small; ``warnings`` then says so.

    With ``precision="bf16"`` the networks of p(x|z) multiply in bfloat16, and everything else stays
    in float32. Up to 50 images are computed both ways with the same noise; ``diagnostics`` has the
    difference as ``bf16_difference`` (bf16 minus float32, in nats) and ``bf16_difference_stderr``.
    A difference beyond the Monte-Carlo error is a warning.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), equation 8.
        https://arxiv.org/abs/1509.00519
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5, with 5000 samples.
        https://arxiv.org/abs/1705.07120

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``, already binarised where the likelihood is Bernoulli.
        samples: Importance samples S of each image, exactly.
        seed: Seed of the draws.
        density: ``"global"``, with the stored ``log_norm``, or ``"groups"``, with normalisers
            estimated for every context.
        normalizer_samples: Draws behind each normaliser of ``"groups"`` below the top; the cost
            grows with it. The top group has one normaliser for all images, from 100,000 draws.
        precision: ``"no"``, or ``"bf16"`` for the networks of p(x|z).
        compile: Whether to compile the work on a tile with ``torch.compile``, which takes tens of
            seconds and a C++ compiler. The numbers change by rounding.
        rows: Draws x images that are evaluated at once; no influence on the numbers beyond
            rounding. If None, 2000 or as many as take a tile of 256 MB.
        resume: File in which finished images are kept; a call that was killed goes on from it.
        report: Called with the number of images just finished, for a progress bar.

    Raises:
        ValueError: for a prior whose normaliser is unknown, a resume file of another computation,
            or densities that stay in half precision under bf16.
        CompilationError: if the model cannot be compiled here; a ``ValueError``.

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
    if precision not in get_args(Precision):
        raise ValueError(f"expected `precision` as 'no' or 'bf16'; got {precision!r}.")
    check_images(model, x, samples, rows)
    x, doubts = checked_observations(model, x)
    own = torch.autocast(device_of(model).type, enabled=False)  # whatever the caller opened
    with frozen(model), torch.no_grad(), own:
        rows = tile_rows(model, ROWS, x) if rows is None else rows
        norms = _normalisers(model, density, normalizer_samples, seed)
        weights = LogWeights(model, norms.by_group, precision)
        rounding = None
        if precision == "bf16":
            rounding = rounding_of(model, x, norms.by_group, samples=samples, rows=rows)
        chunks = list(image_chunks(len(x), samples, rows))
        worker: LogWeights | CompiledLogWeights = weights
        if compile:
            full = len(next(draw_chunks(samples, rows))), len(chunks[0])
            worker = CompiledLogWeights(weights, x, full)
        journal = None
        if resume is not None:
            identity = _nll_identity(model, x, samples, seed, norms) | {
                "precision": precision,
                "compile": compile,
            }
            table = _probe(weights, x, rows)
            probe, shape = table[:4].flatten().tolist(), (len(x), len(table))
            journal = in_turn(lambda: Journal(Path(resume), identity, probe, shape=shape))
        done = {} if journal is None else in_turn(journal.read)
        columns: dict[int, list[float]] = dict(done)
        for images in my_share(chunks):
            wanted = range(images.start, images.stop)
            if all(index in done for index in wanted):
                tell(report, len(images))
                continue
            result = streamed(worker, x, images, samples=samples, seed=seed, rows=rows).T.tolist()
            columns.update(zip(wanted, result, strict=True))
            if journal is not None:
                journal.append(dict(zip(wanted, result, strict=True)))
            tell(report, len(images))
    columns = gathered(columns)
    table = torch.tensor([columns[index] for index in range(len(x))], dtype=torch.float64).T
    estimate = with_cause(_nll_estimate(table, samples, seed, norms), model)
    if rounding is not None:
        estimate = replace(
            estimate, diagnostics=estimate.diagnostics | rounding.diagnostics()
        ).with_warnings(*rounding.doubts(estimate.stderr))
    return replace(
        estimate.with_warnings(*doubts, *norms.shared.doubts),
        protocol=estimate.protocol
        | {"precision": precision}
        | ({"compiled": True} if compile else {}),
        data=content_hash({"x": x}),
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
    """Every setting on which the log-weights of an image depend; log Z is added at the end."""
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
        warnings=(*_doubts(ess, largest, samples), *_bias_doubts(bias, stderr)),
    )


def _bias_doubts(bias: float, stderr: float) -> tuple[str, ...]:
    if not abs(bias) > 0.5 * stderr:
        return ()
    return (
        f"the normalisers of the groups make the number wrong by about {bias:+.3f} nats "
        f"(jackknife), beside an error of {stderr:.3f}: their logs are too low. Use more "
        "`normalizer_samples`.",
    )


def _doubts(ess: Tensor, largest: Tensor, samples: int) -> tuple[str, ...]:
    missing = (~ess.isfinite()).nonzero().flatten().tolist()
    if missing:
        return (
            f"{NOT_FINITE}: {len(missing)} of {len(ess)} images have no finite likelihood, the "
            f"first is image {missing[0]}. Encoder or decoder overflow there: look at its values, "
            "and at the range that the model was trained on.",
        )
    doubtful = int(((ess < _TRUSTED_ESS) | (largest > _TRUSTED_WEIGHT)).sum())
    if not doubtful:
        return ()
    # a weight falls like 1 over the number of samples, as does the share of ESS that is needed
    worst = float(torch.minimum(ess, _TRUSTED_ESS * _TRUSTED_WEIGHT / largest).min())
    enough = enough_samples(samples, worst, _TRUSTED_ESS)
    if samples <= _TRUSTED_ESS:
        return (
            f"{samples} samples are too few for an effective sample size of {_TRUSTED_ESS:.0f}: "
            f"the NLL is likely too high, and the Monte-Carlo error too small. {enough}",
        )
    return (
        f"{doubtful} of {len(ess)} images have an effective sample size under {_TRUSTED_ESS:.0f} "
        f"or one weight over {_TRUSTED_WEIGHT}: their NLL is likely too high, and the Monte-Carlo "
        f"error too small. {enough}",
    )
