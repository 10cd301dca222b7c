"""The log normaliser of a tilted law, by importance sampling from its base.

Letters: ``S`` draws, ``B`` batch, ``G`` groups of a jackknife.
"""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from priorwise.distributions import Tilted, from_noise, has_noise_form, is_normalised
from priorwise.estimators.annealed import annealed_log_norm
from priorwise.estimators.base import Estimate, effective_sample_size
from priorwise.estimators.blocks import rows_within
from priorwise.estimators.doubts import enough_samples
from priorwise.models import AbstractModel, Group, draw_untilted, frozen
from priorwise.progress import tell
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError
from priorwise.tilts import AbstractTilt, LogNorm

__all__ = ["GroupNorms", "log_norm", "require_log_norm"]

_BLOCK = 100  # draws with one seed
_ROWS = 1000
_TRUSTED_ESS = 200.0
_TRUSTED_SHARE = 0.01
_FOLDS = 10

Method: TypeAlias = Literal["importance", "annealed"]
_OfLaw: TypeAlias = Callable[[Tilted, int, int], Estimate]


def require_log_norm(model: AbstractModel) -> LogNorm:
    """The log normaliser that the model's ``log_joint`` leaves out.

    Raises:
        ValueError: if it is unknown. The message names the call that estimates it, or says that no
            module stores it.
    """
    log_norm = model.known_log_norm()
    if log_norm is not None:
        return log_norm
    if None not in model.owners():
        raise UnavailableError(
            "expected a normalised prior; the log normaliser of this model is unknown, or was "
            "estimated for other weights. Estimate it first with "
            "priorwise.estimators.log_norm(model, samples=...)."
        )
    raise UnavailableError(
        "expected a normalised prior; a Tilted prior of this model has no `log_norm`, and no "
        "module stores it. Pass `log_norm` to the Tilted if you know it, or let the module that "
        "holds the tilt inherit priorwise.AbstractTilt and be the `owner` of the Tilted."
    )


@torch.no_grad()
def log_norm(
    what: AbstractModel | AbstractTilt | Tilted,
    *,
    method: Method = "importance",
    samples: int = 100_000,
    chains: int = 1000,
    temperatures: int = 1000,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Estimate:
    r"""The log normaliser of a tilted law, in nats.

    .. math:: \log Z = \log \mathbb{E}_{p_0(z)}\Big[\prod_k e^{t_k(z_k)}\Big]
              \approx \log \frac{1}{S} \sum_{s=1}^{S} \prod_k e^{t_k(z_{s,k})}

    For a hierarchy this is the single global Z over ancestral draws from the base. The estimate by
    ``"importance"`` is too low in expectation, by about half its squared error. If few draws
    dominate the sum, the contribution of a heavier tail is unknown. ``"annealed"`` runs annealed
    importance sampling from the base and back, so that log Z lies between two ends, one too low and
    one too high in expectation: ``diagnostics`` has them as ``lower`` and ``upper``. The lower end
    always holds. The upper end holds only if the backward paths start at draws from the tilted law;
    ``warnings`` says when this is uncertain. See ``annealed_log_norm``.

    The module that owns the tilt stores the estimate, also in checkpoints, until one of its tensors
    changes. A model whose priors are all normalised has log Z = 0.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), section 5.1. https://arxiv.org/abs/2010.02917

    Arguments:
        what: A model, each of whose ``owners`` is estimated and stores its estimate; a module that
            tilts; or a ``Tilted`` of batch shape ``()``.
        method: ``"importance"``, or ``"annealed"``.
        samples: Number of draws from the base, for ``"importance"``; the paper uses 1000, which
            leaves an error of up to 0.23 nats.
        chains: Number of paths in each direction, for ``"annealed"``.
        temperatures: Number of steps of a path, for ``"annealed"``; more of them bring the ends
            closer together.
        seed: Seed of the draws; the first n draws are the same for every ``samples``.
        report: Called with the number of draws or paths that were just finished, for a progress
            bar.

    Raises:
        TypeError: if ``what`` is something else.
        ValueError: for a model with an unnormalised prior that no module owns, or a tilt that is
            NaN or positive infinity at a draw.

    Example:
        N(0, 1) tilted by exp(z) has log Z = 1/2.

        >>> from priorwise.testing.oracles import GaussianTilt
        >>> log_z = log_norm(GaussianTilt().tilted(), samples=10_000)
        >>> abs(log_z.value - 0.5) < 3 * log_z.stderr
        True
    """
    if samples < 1:
        raise ValueError(f"expected `samples` of at least 1; got {samples}.")
    if method not in get_args(Method):
        raise ValueError(f"expected `method` as 'importance' or 'annealed'; got {method!r}.")

    def estimate(law: Tilted, rows: int, place: int) -> Estimate:
        if method == "importance":
            return _estimate(_log_weights(law, samples, seed, report, rows, place), seed)
        bracket = annealed_log_norm(
            law, chains=chains, temperatures=temperatures, seed=seed + place, report=report
        )
        return bracket.estimate()

    if isinstance(what, Tilted):
        if what.batch_shape:
            raise ValueError(f"expected a Tilted of batch shape (); got {tuple(what.batch_shape)}.")
        return estimate(what, _ROWS, 0)
    if isinstance(what, AbstractModel):
        return _of_model(what, estimate)
    if isinstance(what, AbstractTilt):
        return _of_tilt(what, estimate)
    raise TypeError(
        "expected a model, a module that tilts or a Tilted distribution; got "
        f"{type(what).__name__}."
    )


def _of_model(model: AbstractModel, estimate: _OfLaw) -> Estimate:
    """The sum over the owners; each has its own random numbers, so their variances add up."""
    owners = model.owners()
    if not owners:
        return Estimate(0.0, 0.0, 0, protocol={"estimator": "exact: the prior is normalised"})
    if None in owners:
        require_log_norm(model)
    different = [owner for owner in dict.fromkeys(owners) if owner is not None]
    with frozen(model):
        estimates = [_of_tilt(owner, estimate, place) for place, owner in enumerate(different)]
    if len(owners) == 1:
        return estimates[0]
    times = [owners.count(owner) for owner in different]
    parts = list(zip(times, estimates, strict=True))
    sums = {
        name: math.fsum(n * one.diagnostics.get(name, math.nan) for n, one in parts)
        for name in ("lower", "upper")
    }
    return Estimate(
        value=math.fsum(n * one.value for n, one in parts),
        stderr=math.hypot(*(n * one.stderr for n, one in parts)),
        count=parts[0][1].count,
        diagnostics={"ess": min(one.diagnostics["ess"] for _, one in parts)}
        | {name: value for name, value in sums.items() if not math.isnan(value)},
        protocol=parts[0][1].protocol | {"tilts": len(owners)},
        warnings=tuple(warning for _, one in parts for warning in one.warnings),
    )


def _of_tilt(tilt: AbstractTilt, estimate: _OfLaw, place: int = 0) -> Estimate:
    with frozen(tilt):
        law = tilt.law()
        log_z = estimate(law, _rows(tilt, law), place)
    diagnostics = log_z.diagnostics
    tilt.set_log_norm(
        log_z.value,
        log_z.stderr,
        ess=diagnostics["ess"],
        ends=(diagnostics["lower"], diagnostics["upper"]) if "lower" in diagnostics else None,
        is_doubtful=bool(log_z.warnings),
    )
    return log_z


def _rows(tilt: AbstractTilt, law: Tilted) -> int:
    """How many draws are evaluated at once."""

    def one_row() -> list[Tensor]:
        with seeded(0, "tile"):
            u = law.base.sample(torch.Size((1,)))
        law.log_tilt(u)
        return [u]

    one_row()  # encodes pseudo-inputs, which are not rows
    return rows_within(tilt, _ROWS, one_row)


def _log_weights(
    law: Tilted,
    samples: int,
    seed: int,
    report: Callable[[int], None] | None,
    rows: int,
    place: int,
) -> Tensor:
    """The log tilt at draws from the base, ``(S,)`` float64 on the CPU.

    ``rows`` draws are evaluated at once; the numbers do not depend on it.
    """
    parts: list[Tensor] = []
    blocks = math.ceil(samples / _BLOCK)
    together = max(1, rows // _BLOCK)
    for start in range(0, blocks, together):
        draws = []
        for block in range(start, min(start + together, blocks)):
            with seeded(seed, "log_norm", *([place] if place else []), block):
                draws.append(law.base.sample(torch.Size((_BLOCK,))))
        parts += [
            law.checked_log_tilt(tile).double().cpu() for tile in torch.cat(draws).split(rows)
        ]
        tell(report, min(len(draws) * _BLOCK, samples - start * _BLOCK))
    return torch.cat(parts)[:samples]


def _estimate(log_w: Tensor, seed: int) -> Estimate:
    count = len(log_w)
    ess = effective_sample_size(log_w)
    correction = count / (count - 1) if count > 1 else math.nan  # one weight shows no error
    stderr = math.sqrt(max(0.0, 1 / ess - 1 / count) * correction)
    warnings: tuple[str, ...] = ()
    if ess < _TRUSTED_ESS:
        warnings = (
            f"the effective sample size is {ess:.1f} of {count} draws: log Z is likely too low, "
            f"and likelihoods that use it are too good. {enough_samples(count, ess, _TRUSTED_ESS)} "
            "method='annealed' brackets log Z.",
        )
    elif ess < _TRUSTED_SHARE * count:
        warnings = (
            f"the effective sample size is {ess:.0f} of {count} draws: the error covers only the "
            "draws that were seen, and a heavier tail beyond them would make log Z larger. "
            "method='annealed' brackets it.",
        )
    return Estimate(
        value=float(log_w.logsumexp(0)) - math.log(count),
        stderr=stderr,
        count=count,
        diagnostics={"ess": ess, "bias": -0.5 * stderr**2},
        protocol={"estimator": "importance sampling from the base", "samples": count, "seed": seed},
        warnings=warnings,
    )


class GroupNorms:
    r"""The normalisers of a tilted hierarchy by group, :math:`\sum_k \log Z_k(z_{<k})`, in nats.

    .. math:: Z_k(z_{<k}) = \mathbb{E}_{p(z_k | z_{<k})}[r_k(z_k, z_{<k})]

    Drawing group after group (SIR, Langevin, rejection) targets :math:`\prod_k r_k p_k /
    Z_k(z_{<k})`; these normalisers make that density computable. Where the prior is a transform of
    noise, every context gets the same noise, so the numbers do not depend on how the work is split
    (any other prior is drawn anew for every chunk). The error due to this noise is common to all
    images; it is estimated by leaving out a tenth of the draws in turn.

    Arguments:
        model: A model whose groups have tilted priors.
        samples: Number of draws for each normaliser below the top; each log is too low by about
            half the squared error of its mean.
        top_samples: Number of draws for the normaliser of the top group, which all images share.
        seed: Seed of the draws.

    Attributes:
        top: Log Z of the top group, with its error.
        folds: Number of parts of the draws that are left out in turn.
    """

    def __init__(
        self, model: AbstractModel, samples: int, seed: int, *, top_samples: int = 100_000
    ) -> None:
        if samples < 1:
            raise ValueError(f"expected `normalizer_samples` of at least 1; got {samples}.")
        self.samples = samples
        self.seed = seed
        self.folds = min(_FOLDS, samples)
        self.top = self._top(model, top_samples)

    @torch.no_grad()
    def _top(self, model: AbstractModel, samples: int) -> LogNorm:
        parts = []
        for block in range(math.ceil(samples / _BLOCK)):
            with seeded(self.seed, "group_norm", 1, block):
                group = model.top_down(draw_untilted, (_BLOCK,))[0]
            if not isinstance(group.prior, Tilted) or is_normalised(group.prior):
                return LogNorm()
            parts.append(group.prior.checked_log_tilt(group.z).double().cpu())
        estimate = _estimate(torch.cat(parts)[:samples], self.seed)
        ess, is_doubtful = estimate.diagnostics["ess"], bool(estimate.warnings)
        return LogNorm(estimate.value, estimate.stderr, ess, is_doubtful=is_doubtful)

    def __call__(self, groups: list[Group]) -> Tensor:
        """The sum for a pass, with all draws and then without each fold, ``(1 + G, *batch)``."""
        total = groups[0].z.new_full((1 + self.folds, *groups[0].prior.batch_shape), self.top.value)
        for group in groups[1:]:
            if isinstance(group.prior, Tilted) and not is_normalised(group.prior):
                total = total + self._below(group, group.prior)
        return total

    def _below(self, group: Group, tilted: Tilted) -> Tensor:
        sums: list[Tensor | None] = [None] * self.folds
        for draw in range(self.samples):
            with seeded(self.seed, "group_norm", group.index, draw):
                if has_noise_form(tilted.base):
                    z = from_noise(
                        tilted.base,
                        torch.randn(tilted.event_shape, dtype=group.z.dtype, device=group.z.device),
                    )
                else:
                    z = tilted.base.sample()
            logit, fold = tilted.log_tilt(z), draw % self.folds
            before = sums[fold]
            sums[fold] = logit if before is None else torch.logaddexp(before, logit)
        each = torch.stack([part for part in sums if part is not None])
        counts = [len(range(fold, self.samples, self.folds)) for fold in range(self.folds)]
        rows = [each.logsumexp(0) - math.log(self.samples)]
        for fold, count in enumerate(counts):
            others = torch.cat([each[:fold], each[fold + 1 :]])
            rows.append(
                others.logsumexp(0) - math.log(self.samples - count) if len(others) else rows[0]
            )
        return torch.stack(rows)
