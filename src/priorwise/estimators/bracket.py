"""A log normaliser between two ends, from the log weights of forward and backward paths.

Letters: ``N`` paths in each direction, ``w`` the log weight of a path, read forward.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import NormalDist

import torch
from torch import Tensor

from priorwise.estimators.base import Estimate, effective_sample_size
from priorwise.refusals import UnavailableError

__all__ = ["Bracket", "Paths", "bracket_of", "clustered_error", "log_mean"]

_QUANTILE = NormalDist().inv_cdf(0.975)
_TRUSTED_ESS = 20.0
_TRUSTED_R_HAT = 1.2
_TRUSTED_ACCEPTANCE = (0.3, 0.95)
_NOTABLE_GAP = 3.0  # standard errors; a larger gap between the ends gives a warning
_NOTABLE_MOVE = 4.0  # standard errors; a larger change of the mean tilt gives a warning


@dataclass(frozen=True)
class Paths:
    """The log weights of the paths of a run, and how the paths were started.

    Attributes:
        forward: Log weights of the paths from the base, ``(N,)`` float64.
        backward: Log weights of the paths from the tilted law, ``(N,)`` float64.
        origin: The draw that each backward path descends from, ``(N,)`` integers; numbers under N
            are forward paths. Paths with the same origin are not independent.
        starts: How the draws from the tilted law were made: ``"exact"``, or a description.
        inherits: Whether the backward paths start at ends of forward paths. They then share the
            errors of the forward paths, unless the chains in between have mixed.
        diagnostics: Other numbers that show whether the result can be trusted.
    """

    forward: Tensor
    backward: Tensor
    origin: Tensor
    starts: str
    inherits: bool = False
    diagnostics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bracket:
    """A log normaliser between a lower and an upper end, in nats.

    Attributes:
        value: log Z by Bennett's acceptance ratio, which combines forward and backward paths with
            less bias and less variance than either end.
        stderr: Standard error of ``value`` over the paths. It is at least half the gap between the
            ends where the gap is larger than their errors explain, and at least the error of
            ``forward`` where the other end inherits it.
        lower: ``forward`` minus 1.96 of its standard errors: above log Z in about 2.5 % of runs.
        upper: ``backward`` plus 1.96 of its standard errors: below log Z in about 2.5 % of runs if
            the backward paths start at exact draws; otherwise only if their starts are right. Where
            the starts are ends of forward paths that have not mixed, they inherit the forward
            error, and this is the higher of the two ends plus 1.96 of both errors.
        forward: log mean exp w of the paths from the base, too low in expectation.
        backward: -log mean exp(-w) of the paths from the tilted law, too high in expectation.
        divergence: The mean of w over backward paths minus that over forward paths: the Jeffreys
            divergence between the two kinds of paths. It falls like 1 / temperatures, whatever N.
        exact_starts: Whether the backward paths start at exact draws.
        gradients: Number of evaluations of the tilt with its gradient, over all chains and the
            pilot run.
        proposals: Number of evaluations of the tilt alone, by rejection.
        diagnostics: Acceptance along the path, and how well the starts mixed if they are not exact.
        protocol: What is needed to repeat the computation.
        warnings: Reasons for doubt, in words; empty when there are none.
    """

    value: float
    stderr: float
    lower: float
    upper: float
    forward: Estimate
    backward: Estimate
    divergence: float
    exact_starts: bool
    gradients: int
    proposals: int
    diagnostics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, str | int | float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.value:.3f} ± {self.stderr:.3f} nats, "
        if self.exact_starts:
            return text + f"95 % in [{self.lower:.3f}, {self.upper:.3f}]"
        return (
            text + f"at least {self.lower:.3f}, and at most {self.upper:.3f} if the starts of the "
            "backward paths are right"
        )

    @property
    def gap(self) -> float:
        """``backward`` minus ``forward``, in nats; negative by chance or with wrong starts."""
        return self.backward.value - self.forward.value

    def estimate(self) -> Estimate:
        """The value as an ``Estimate``, with the ends in its diagnostics."""
        ends = {
            "lower": self.lower,
            "upper": self.upper,
            "forward": self.forward.value,
            "backward": self.backward.value,
            "divergence": self.divergence,
            "ess": min(self.forward.diagnostics["ess"], self.backward.diagnostics["ess"]),
            "gradients": float(self.gradients),
        }
        return Estimate(
            value=self.value,
            stderr=self.stderr,
            count=self.forward.count,
            diagnostics=ends | self.diagnostics,
            protocol=self.protocol,
            warnings=self.warnings,
        )


def log_mean(log_w: Tensor) -> float:
    """The log of the mean weight, from ``(N,)`` log weights."""
    return float(log_w.logsumexp(0)) - math.log(len(log_w))


def clustered_error(influence: Tensor, cluster: Tensor) -> float:
    """The standard error of a mean of centred terms ``(N,)`` that are dependent within clusters.

    Terms of different clusters are independent. NaN for fewer than two clusters.
    """
    _, index = cluster.unique(return_inverse=True)
    count = int(index.max()) + 1
    if count < 2:
        return math.nan
    sums = torch.zeros(count, dtype=influence.dtype).index_add(0, index, influence)
    return float(sums.square().sum().sqrt()) / len(influence) * math.sqrt(count / (count - 1))


def _end(log_w: Tensor, cluster: Tensor, sign: int) -> Estimate:
    """One end, sign * log mean exp(sign * w), with its error by the delta method."""
    weights = (sign * log_w).softmax(0)
    return Estimate(
        value=sign * log_mean(sign * log_w),
        stderr=clustered_error(len(log_w) * weights - 1, cluster),
        count=len(log_w),
        diagnostics={
            "ess": effective_sample_size(sign * log_w),
            "largest_weight": float(weights.max()),
            "mean_log_weight": float(log_w.mean()),
        },
        protocol={
            "estimator": f"annealed importance sampling, {'forward' if sign > 0 else 'backward'}"
        },
    )


def _bennett(
    forward: Tensor, backward: Tensor, clusters: tuple[Tensor, Tensor]
) -> tuple[float, float]:
    """Bennett's value and its error.

    The value is the c with mean sigmoid(w_forward - c) = mean sigmoid(c - w_backward), found by
    bisection.
    """
    both = torch.cat([forward, backward])
    low, high = float(both.min()) - 50, float(both.max()) + 50
    for _ in range(100):
        c = 0.5 * (low + high)
        more_above = float(torch.sigmoid(forward - c).sum() - torch.sigmoid(c - backward).sum()) > 0
        low, high = (c, high) if more_above else (low, c)
    above, below = torch.sigmoid(forward - c), torch.sigmoid(c - backward)
    slope = float((above * (1 - above)).mean() + (below * (1 - below)).mean())
    influence = torch.cat([above - above.mean(), below.mean() - below])
    # `clustered_error` divides by 2 N, but each of the two means is over N paths.
    error = 2 * clustered_error(influence, torch.cat(clusters))
    return c, error / slope if slope > 0 else math.inf


def bracket_of(
    paths: Paths, *, gradients: int, proposals: int, protocol: dict[str, str | int | float | None]
) -> Bracket:
    """The two ends with the value between them, their errors, and the reasons for doubt.

    Raises:
        ValueError: for a log weight that is not finite.
    """
    if not bool(paths.forward.isfinite().all() and paths.backward.isfinite().all()):
        raise UnavailableError(
            "expected a tilt that is finite along the paths; got a log weight that is not finite."
        )
    clusters = torch.arange(len(paths.forward)), paths.origin
    forward, backward = _end(paths.forward, clusters[0], 1), _end(paths.backward, clusters[1], -1)
    value, stderr = _bennett(paths.forward, paths.backward, clusters)
    gap, error = backward.value - forward.value, math.hypot(forward.stderr, backward.stderr)
    upper = backward.value + _QUANTILE * backward.stderr
    if gap > _NOTABLE_GAP * error:
        stderr = max(stderr, 0.5 * gap)
    if paths.inherits and not paths.diagnostics.get("r_hat", math.inf) < _TRUSTED_R_HAT:
        stderr = max(stderr, forward.stderr)
        upper = max(forward.value, backward.value) + _QUANTILE * (forward.stderr + backward.stderr)
    return Bracket(
        value=value,
        stderr=stderr,
        lower=forward.value - _QUANTILE * forward.stderr,
        upper=upper,
        forward=forward,
        backward=backward,
        divergence=float(paths.backward.mean() - paths.forward.mean()),
        exact_starts=paths.starts == "exact",
        gradients=gradients,
        proposals=proposals,
        diagnostics=paths.diagnostics,
        protocol=protocol,
        warnings=(
            *_doubts_of_weights(forward, backward),
            *_doubts_of_chains(paths.diagnostics),
            *([] if paths.starts == "exact" else _doubts_of_starts(paths)),
        ),
    )


def _doubts_of_weights(forward: Estimate, backward: Estimate) -> Iterator[str]:
    for name, end in (("forward", forward), ("backward", backward)):
        if end.diagnostics["ess"] < _TRUSTED_ESS:
            yield (
                f"the effective sample size of the {name} paths is {end.diagnostics['ess']:.1f} of "
                f"{end.count}: a few paths decide that end. Use more temperatures or more chains."
            )
    gap, error = backward.value - forward.value, math.hypot(forward.stderr, backward.stderr)
    if gap > _NOTABLE_GAP * error:
        yield (
            f"the ends lie {gap:.3f} nats apart, more than their errors of {error:.3f} explain: "
            "log Z is known only up to that gap. Use more temperatures."
        )
    if gap < -_NOTABLE_GAP * error:
        yield (
            f"the lower end lies {-gap:.3f} nats above the upper one, more than their errors of "
            f"{error:.3f} explain: the backward paths did not start at draws from the tilted law. "
            "Use a longer `burn_in`."
        )


def _doubts_of_chains(diagnostics: dict[str, float]) -> Iterator[str]:
    low, high = _TRUSTED_ACCEPTANCE
    if "acceptance" in diagnostics and not low < diagnostics["acceptance"] < high:
        yield (
            f"the chains accept {100 * diagnostics['acceptance']:.0f} % of their steps, while 57 % "
            "is best: they hardly move. Change `step_size`, or leave it to the pilot run."
        )


def _doubts_of_starts(paths: Paths) -> Iterator[str]:
    yield (
        f"the backward paths start at {paths.starts}, not at exact draws: the upper end is only as "
        "good as their mixing, and a mode that none of them found is missing from both ends."
    )
    diagnostics = paths.diagnostics
    moves = {"drift": "over the last half of the burn-in"}
    if paths.inherits:  # only these starts should follow the tilted law from the beginning
        moves["shift"] = "after the ends of the forward paths"
    for name, when in moves.items():
        move, error = diagnostics.get(name, 0.0), diagnostics.get(f"{name}_stderr", math.inf)
        if abs(move) > _NOTABLE_MOVE * error:
            yield (
                f"the mean tilt moves by {move:+.3f} ± {error:.3f} nats {when}: the chains have "
                "not reached the tilted law. Use a longer `burn_in`."
            )
    if diagnostics.get("r_hat", 0.0) > _TRUSTED_R_HAT:
        yield (
            f"R-hat over the starts is {diagnostics['r_hat']:.2f}: each chain stays near where it "
            "began, so the modes keep the shares that they had at the start of the burn-in. Use a "
            "longer `burn_in`, or `starts` from elsewhere."
        )
