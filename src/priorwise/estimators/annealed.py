"""The log normaliser of a tilted prior between two ends: annealed importance sampling forward and backward.

Letters: ``C`` chains of a tile, ``N`` chains in all, ``n`` temperatures, ``w`` work (a log weight).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.estimators.base import Estimate
from priorwise.randomness import seeded
from priorwise.samplers.path import AnnealingPath, PathState

__all__ = ["Bracket", "annealed_log_norm"]

_TILE = 100
_QUANTILE = NormalDist().inv_cdf(0.975)
_TRUSTED_ESS = 20.0
_TRUSTED_RHAT = 1.2
_NOTABLE_GAP = 3.0  # standard errors from which a gap is told
_NOTABLE_DRIFT = 4.0
_MAX_PROPOSALS = 10_000.0  # a draw by rejection may cost this many, on average

_PILOT_STEPS = 10
_TARGET_ACCEPTANCE = 0.57  # Roberts & Rosenthal (1998)
_PILOT_SPREAD = 0.5  # nats of log weight between two of its temperatures


@dataclass(frozen=True)
class Bracket:
    """A log normaliser between an end that is too low in expectation and one that is too high, in nats.

    Attributes:
        value: log Z by Bennett's acceptance ratio, which weighs the forward and the backward paths against each other; it
            has less bias and less variance than either end.
        stderr: Its standard error over the chains; where the ends lie further apart than their errors explain, half their
            gap if that is more.
        lower: ``forward`` less 1.96 of its standard errors: above log Z in at most 2.5 % of all runs.
        upper: ``backward`` plus 1.96 of its standard errors: below log Z in at most 2.5 %, if the starts are exact.
        forward: log mean exp w of paths from the base, too low in expectation.
        backward: -log mean exp(-w) of paths from the tilted law, too high in expectation if their starts are exact.
        divergence: Mean backward minus mean forward w: the Jeffreys divergence between the two kinds of paths. It falls like
            1 / temperatures, whatever the number of chains.
        exact_starts: Whether the backward paths started at exact draws.
        gradients: Evaluations of the tilt with its gradient, over all chains, pilot included.
        proposals: Evaluations of the tilt alone, for rejection.
        diagnostics: Acceptance along the path, and where the starts are not exact how well they were mixed.
        protocol: What a second person needs to repeat it.
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
        return f"{self.value:.3f} ± {self.stderr:.3f} nats, 95 % in [{self.lower:.3f}, {self.upper:.3f}]"

    @property
    def gap(self) -> float:
        """``backward`` minus ``forward``, in nats; negative only by chance, or where the starts are wrong."""
        return self.backward.value - self.forward.value

    def estimate(self) -> Estimate:
        """The value as an ``Estimate``, with the ends among its diagnostics."""
        ends = {
            "lower": self.lower,
            "upper": self.upper,
            "forward": self.forward.value,
            "backward": self.backward.value,
            "ess": min(self.forward.diagnostics["ess"], self.backward.diagnostics["ess"]),
        }
        return Estimate(
            value=self.value,
            stderr=self.stderr,
            count=self.forward.count,
            diagnostics=ends | self.diagnostics,
            protocol=self.protocol,
            warnings=self.warnings,
        )


@torch.no_grad()
def annealed_log_norm(
    tilted: Tilted,
    *,
    temperatures: int = 1000,
    chains: int = 200,
    transitions: int = 1,
    step_size: float | None = None,
    burn_in: int = 500,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Bracket:
    r"""The log normaliser of a tilted prior between two ends, in nats, by annealed importance sampling both ways.

    .. math:: w = \sum_{i=0}^{n-1} (b_{i+1} - b_i)\, t(z_i), \qquad
              \mathbb{E}_\mathrm{forward}[e^{w}] = Z, \qquad \mathbb{E}_\mathrm{backward}[e^{-w}] = 1 / Z

    A forward path starts at an exact draw of the base and moves through :math:`p_0 e^{b t}`, b from 0 to 1, by
    Metropolis-adjusted Langevin steps; a backward one starts at a draw of the tilted law and returns. By Jensen's inequality
    :math:`\log \overline{e^{w}}` is too low in expectation and :math:`-\log \overline{e^{-w}}` too high. With one temperature
    the forward end is plain importance sampling.

    The tilted law is drawn exactly by rejection, where the tilt has a ``log_bound`` and a draw costs at most 10,000 proposals.
    Otherwise the forward end points are resampled by their weights and continued by adjusted chains. The upper end is then
    only as good as their mixing, and ``warnings`` says so: a mode that no chain found is missing from both ends.

    A pilot of 100 chains, under an address of its own, places the temperatures so that each adds the same spread of
    log weights, and adapts the step to an acceptance of 0.57 at each. Afterwards both are fixed, so the expectations above hold
    exactly. Chains run in tiles of 100, each under its own address; the first n chains are the same for every ``chains``,
    and the cost is that of whole tiles. Memory: one tile's evaluation of the tilt with its gradient.

    References:
        Annealed Importance Sampling (Neal, 2001), equations 10-13; Sandwiching the marginal likelihood using bidirectional
        Monte Carlo (Grosse et al., 2015); Efficient estimation of free energy differences from Monte Carlo data (Bennett, 1976).

    Arguments:
        tilted: The distribution, of batch shape ``()``; its ``log_norm`` is not read.
        temperatures: Number n of steps from b = 0 to 1. The bias of either end and its variance fall like 1 / n.
        chains: Number N of paths each way.
        transitions: Langevin steps at each temperature.
        step_size: One step for all temperatures, in units of the space where the chains move; from the pilot if None.
        burn_in: Steps of the adjusted chains before the backward paths, where rejection is not used.
        seed: Seed of all draws.
        report: Called with the number of paths just finished, 2 N in all, for a progress bar.

    Raises:
        ValueError: for settings that cannot be used, or a tilt that is not finite at draws of the base.
    """
    _check(temperatures, chains, transitions, step_size, burn_in)
    path = AnnealingPath(tilted)
    with seeded(seed, "annealed", "pilot"):
        pilot = _pilot(path, step_size)
    run = _Run(path, pilot, temperatures, transitions, burn_in, seed)
    tiles = []
    for start in range(0, chains, _TILE):
        tiles.append(run.tile(start // _TILE, min(_TILE, chains - start), report))
    return _bracket(run, tiles, chains, seed)


def _check(temperatures: int, chains: int, transitions: int, step_size: float | None, burn_in: int) -> None:
    for name, value, least in (
        ("temperatures", temperatures, 1),
        ("chains", chains, 2),
        ("transitions", transitions, 0),
        ("burn_in", burn_in, 0),
    ):
        if value < least:
            raise ValueError(f"expected at least {least} of `{name}`; got {value}.")
    if step_size is not None and not step_size > 0:
        raise ValueError(f"expected a positive `step_size`; got {step_size}.")


# -- pilot ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pilot:
    """What the pilot learnt: temperatures, the path length up to each (nats), and the logarithm of the step size at each."""

    betas: np.ndarray
    lengths: np.ndarray
    log_steps: np.ndarray
    gradients: int

    def schedule(self, temperatures: int) -> list[float]:
        """b_0 = 0 to b_n = 1 in steps of equal length; a tenth of the steps is spread evenly over b."""
        share = self.lengths / self.lengths[-1] if self.lengths[-1] > 0 else self.betas
        grid = np.linspace(0.0, 1.0, temperatures + 1)
        betas = np.interp(grid, 0.9 * share + 0.1 * self.betas, self.betas)
        betas[0], betas[-1] = 0.0, 1.0
        return betas.tolist()

    def step_size(self, inverse_temperature: float) -> float:
        return math.exp(np.interp(inverse_temperature, self.betas, self.log_steps))


def _pilot(path: AnnealingPath, step_size: float | None) -> _Pilot:
    """Walk from the base to the tilted law in steps of equal spread of the log weights, and tune the step on the way."""
    state = path.state(path.base_draws(_TILE))
    _check_finite(state)
    features = state.u[0].numel()
    log_step = math.log(step_size or 2.0 * features ** (-1 / 3))
    state, log_step, _ = _tune(path, state, 0.0, log_step, 3 * _PILOT_STEPS, fixed=step_size is not None)
    betas, lengths, log_steps, steps = [0.0], [0.0], [log_step], 3 * _PILOT_STEPS
    while betas[-1] < 1:
        b, spread = betas[-1], float(state.log_tilt.double().std())
        width = max(_PILOT_SPREAD / max(spread, 1e-12), b / 20, 1e-8)
        betas.append(min(1.0, b + width))
        lengths.append(lengths[-1] + (betas[-1] - b) * spread)
        state, log_step, mean = _tune(path, state, betas[-1], log_step, _PILOT_STEPS, fixed=step_size is not None)
        log_steps.append(mean)
        steps += _PILOT_STEPS
    return _Pilot(np.array(betas), np.array(lengths), np.array(log_steps), _TILE * (steps + 1))


def _check_finite(state: PathState) -> None:
    if not bool(state.log_tilt.isfinite().all()):
        raise ValueError(
            f"expected a tilt that is finite at draws of the base; got {float(state.log_tilt[~state.log_tilt.isfinite()][0])}. "
            "Annealing needs 0 * tilt = 0 at the start: bound the tilt from below."
        )


def _tune(
    path: AnnealingPath, state: PathState, b: float, log_step: float, steps: int, *, fixed: bool
) -> tuple[PathState, float, float]:
    """Steps at one temperature that follow the acceptance: the chains, the last log step, and the mean over the later half."""
    trace = []
    for _ in range(steps):
        state, moved = path.step(state, b, math.exp(log_step))
        if not fixed:
            log_step += float(moved.double().mean()) - _TARGET_ACCEPTANCE
            log_step = min(max(log_step, -20.0), 5.0)
        trace.append(log_step)
    later = trace[steps // 2 :]
    return state, log_step, sum(later) / len(later)


# -- paths ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mixing:
    """How well one tile's starts were mixed: changes of the tilt along each chain ``(C,)``, and the worst split R-hat."""

    drift: Tensor
    shift: Tensor
    r_hat: float


@dataclass(frozen=True)
class _Tile:
    """What one tile tells.

    Attributes:
        forward: Log weights of the forward paths, ``(C,)`` float64.
        backward: Log weights of the backward paths, ``(C,)`` float64.
        ancestor: Which forward chain each backward path descends from, ``(C,)``; None for exact starts.
        accepted: Acceptance at b_1 to b_n, forward, ``(n,)``.
        mixing: None for exact starts.
        gradients: Evaluations of the tilt with its gradient.
        proposals: Evaluations of the tilt for rejection.
    """

    forward: Tensor
    backward: Tensor
    ancestor: Tensor | None
    accepted: Tensor
    mixing: _Mixing | None
    gradients: int
    proposals: int


class _Run:
    """Forward and backward paths, tile by tile."""

    def __init__(
        self, path: AnnealingPath, pilot: _Pilot, temperatures: int, transitions: int, burn_in: int, seed: int
    ) -> None:
        self.path = path
        self.pilot = pilot
        self.betas = pilot.schedule(temperatures)
        self.transitions = transitions
        self.burn_in = burn_in
        self.seed = seed
        self.exact_starts: bool | None = None  # decided by the first tile, whatever the number of tiles

    def tile(self, index: int, used: int, report: Callable[[int], None] | None) -> _Tile:
        """The paths of one tile, of which the first ``used`` are kept."""
        with seeded(self.seed, "annealed", "forward", index):
            end, forward, accepted = self._forward()
        _tell(report, used)
        if self.exact_starts is None:
            self.exact_starts = self._rejection_pays(forward)
        ancestor, mixing, proposals = None, None, 0
        if self.exact_starts:
            with seeded(self.seed, "annealed", "rejection", index):
                start, proposals = self._rejection()
        else:
            with seeded(self.seed, "annealed", "starts", index):
                ancestor = _resampled(forward)
                start, mixing = self._continued(end.rows(ancestor))
        with seeded(self.seed, "annealed", "backward", index):
            backward = self._backward(start)
        _tell(report, used)
        steps = 2 * len(accepted) * self.transitions - self.transitions + (0 if self.exact_starts else self.burn_in) + 1
        return _Tile(
            forward=forward[:used],
            backward=backward[:used],
            ancestor=None if ancestor is None else ancestor[:used],
            accepted=accepted,
            mixing=mixing,
            gradients=_TILE * (steps + (1 if self.exact_starts else 0)),
            proposals=proposals,
        )

    def _moves(self, state: PathState, b: float, steps: int) -> Iterator[tuple[PathState, Tensor]]:
        """Steps at one temperature."""
        step_size = self.pilot.step_size(b)
        for _ in range(steps):
            state, moved = self.path.step(state, b, step_size)
            yield state, moved

    def _forward(self) -> tuple[PathState, Tensor, Tensor]:
        """From the base: the end points, the log weights and the acceptance at each temperature."""
        state = self.path.state(self.path.base_draws(_TILE))
        _check_finite(state)
        log_w = torch.zeros_like(state.log_tilt, dtype=torch.float64)
        accepted = torch.zeros(len(self.betas) - 1, dtype=torch.float64)
        for index, (low, high) in enumerate(pairwise(self.betas)):
            log_w += (high - low) * state.log_tilt.double()
            rates = []
            for state, moved in self._moves(state, high, self.transitions):  # noqa: B020
                rates.append(float(moved.double().mean()))
            if rates:
                accepted[index] = sum(rates) / len(rates)
        return state, log_w.cpu(), accepted

    def _backward(self, state: PathState) -> Tensor:
        """From draws of the tilted law back to the base: the log weights of the same paths, read forward."""
        log_w = torch.zeros_like(state.log_tilt, dtype=torch.float64)
        for high, low in pairwise(reversed(self.betas)):
            log_w += (high - low) * state.log_tilt.double()
            if low > 0:
                for state, _ in self._moves(state, low, self.transitions):  # noqa: B020
                    pass
        return log_w.cpu()

    # starts of the backward paths

    def _rejection_pays(self, forward: Tensor) -> bool:
        bound = self.path.tilted.log_bound
        return bound is not None and bound - _log_mean(forward) < math.log(_MAX_PROPOSALS)

    def _rejection(self) -> tuple[PathState, int]:
        """Exact draws of the tilted law, and what they cost."""
        bound = self.path.tilted.log_bound
        assert bound is not None
        kept: list[Tensor] = []
        proposals = 0
        while sum(map(len, kept)) < _TILE:
            u = self.path.base_draws(10 * _TILE)
            log_tilt = self.path.tilted.log_tilt(self.path.to_z(u))
            if bool((log_tilt > bound + 1e-4).any()):
                raise ValueError(
                    f"expected a tilt of at most {bound:.4f} nats, its `log_bound`; got {float(log_tilt.max()):.4f}. Rejection "
                    "is exact only under a true bound: correct it, or leave it out."
                )
            kept.append(u[torch.rand_like(log_tilt).log() < log_tilt - bound])
            proposals += len(u)
        return self.path.state(torch.cat(kept)[:_TILE]), proposals

    def _continued(self, state: PathState) -> tuple[PathState, _Mixing | None]:
        """The chains after the burn-in, and how they moved over its last half."""
        first = state.log_tilt.double()
        quarter = self.burn_in // 4
        tilts = torch.zeros(2, _TILE, dtype=torch.float64, device=first.device)
        sums = torch.zeros(2, 2, *state.u.shape, dtype=torch.float64, device=first.device)
        for number, (state, _) in enumerate(self._moves(state, 1.0, self.burn_in)):  # noqa: B020
            part = (number - (self.burn_in - 2 * quarter)) // quarter if quarter else -1
            if part >= 0:
                u = state.u.double()
                tilts[part] += state.log_tilt.double() / quarter
                sums[part] += torch.stack([u, u.square()]) / quarter
        if quarter < 2:
            return state, None
        mixing = _Mixing((tilts[1] - tilts[0]).cpu(), (tilts[1] - first).cpu(), _split_r_hat(sums, quarter))
        return state, mixing


def _tell(report: Callable[[int], None] | None, count: int) -> None:
    if report is not None:
        report(count)


def _resampled(log_w: Tensor) -> Tensor:
    """Numbers of chains drawn in proportion to their weights by systematic resampling, ``(C,) -> (C,)``."""
    share = log_w.softmax(0).cumsum(0)
    grid = (torch.arange(len(log_w), dtype=share.dtype) + torch.rand((), dtype=share.dtype)) / len(log_w)
    return torch.searchsorted(share, grid).clamp(max=len(log_w) - 1)


def _split_r_hat(sums: Tensor, length: int) -> float:
    """The largest R-hat over coordinates, of half chains whose mean and mean square are ``sums[:, 0]`` and ``sums[:, 1]``.

    References:
        Bayesian Data Analysis (Gelman et al., 2013), section 11.4.
    """
    mean, square = sums[:, 0].flatten(0, 1).flatten(1), sums[:, 1].flatten(0, 1).flatten(1)
    within = (square - mean.square()).mean(0) * length / (length - 1)
    between = mean.var(0)
    return float(((length - 1) / length + between / within.clamp(min=1e-300)).sqrt().max())


# -- numbers --------------------------------------------------------------------------------------------------------------


def _log_mean(log_w: Tensor) -> float:
    return float(log_w.logsumexp(0)) - math.log(len(log_w))


def _clustered_error(influence: Tensor, cluster: Tensor) -> float:
    """The standard error of a mean whose terms, centred, are independent only between clusters."""
    sums = torch.zeros(int(cluster.max()) + 1, dtype=influence.dtype).index_add(0, cluster, influence)
    count = len(cluster.unique())
    if count < 2:
        return math.nan
    return float(sums.square().sum().sqrt()) / len(influence) * math.sqrt(count / (count - 1))


def _end(log_w: Tensor, cluster: Tensor, sign: int, seed: int) -> Estimate:
    """One end: sign * log mean exp(sign * w), its error by the delta method, and its effective sample size."""
    weights = (sign * log_w).softmax(0)
    count = len(log_w)
    return Estimate(
        value=sign * _log_mean(sign * log_w),
        stderr=_clustered_error(count * weights - 1, cluster),
        count=count,
        diagnostics={
            "ess": float(weights.square().sum().reciprocal()),
            "largest_weight": float(weights.max()),
            "mean_work": float(log_w.mean()),
        },
        protocol={
            "estimator": "annealed importance sampling, " + ("forward" if sign > 0 else "backward"),
            "seed": seed,
        },
    )


def _bennett(forward: Tensor, backward: Tensor, clusters: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """log Z where as many forward weights lie above it as backward ones below, softly counted; and its error.

    Solves mean sigmoid(w_forward - c) = mean sigmoid(c - w_backward) for c, by bisection.
    """
    both = torch.cat([forward, backward])
    low, high = float(both.min()) - 50, float(both.max()) + 50
    for _ in range(100):
        middle = 0.5 * (low + high)
        if float(torch.sigmoid(forward - middle).sum() - torch.sigmoid(middle - backward).sum()) > 0:
            low = middle
        else:
            high = middle
    above, below = torch.sigmoid(forward - middle), torch.sigmoid(middle - backward)
    slope = float((above * (1 - above)).mean() + (below * (1 - below)).mean())
    influence = torch.cat([above - above.mean(), below.mean() - below])
    # _clustered_error divides by both counts together, where each mean divides by its own
    error = 2 * _clustered_error(influence, torch.cat(clusters))
    return middle, error / slope if slope > 0 else math.inf


def _bracket(run: _Run, tiles: list[_Tile], chains: int, seed: int) -> Bracket:
    forward, backward = torch.cat([tile.forward for tile in tiles]), torch.cat([tile.backward for tile in tiles])
    for log_w in (forward, backward):
        if not bool(log_w.isfinite().all()):
            raise ValueError("expected a tilt that is finite along the path; got a log weight that is not.")
    clusters = torch.arange(chains), _ancestors(tiles, chains)
    ends = _end(forward, clusters[0], 1, seed), _end(backward, clusters[1], -1, seed)
    value, stderr = _bennett(forward, backward, clusters)
    if ends[1].value - ends[0].value > _NOTABLE_GAP * math.hypot(ends[0].stderr, ends[1].stderr):
        stderr = max(stderr, 0.5 * (ends[1].value - ends[0].value))
    diagnostics = _acceptance(tiles) if run.transitions else {}
    diagnostics |= _mixing(tiles, clusters[1])
    exact = bool(run.exact_starts)
    return Bracket(
        value=value,
        stderr=stderr,
        lower=ends[0].value - _QUANTILE * ends[0].stderr,
        upper=ends[1].value + _QUANTILE * ends[1].stderr,
        forward=ends[0],
        backward=ends[1],
        divergence=float(backward.mean() - forward.mean()),
        exact_starts=exact,
        gradients=run.pilot.gradients + sum(tile.gradients for tile in tiles),
        proposals=sum(tile.proposals for tile in tiles),
        diagnostics=diagnostics,
        protocol={
            "estimator": "annealed importance sampling both ways, Bennett's acceptance ratio",
            "temperatures": len(run.betas) - 1,
            "chains": chains,
            "transitions": run.transitions,
            "space": run.path.space,
            "starts": "rejection" if exact else f"resampled forward end points, {run.burn_in} adjusted steps",
            "seed": seed,
        },
        warnings=tuple(_doubts(*ends, exact, diagnostics)),
    )


def _acceptance(tiles: list[_Tile]) -> dict[str, float]:
    """Of the steps between the first temperature and the last, on which the weights rest; none for one temperature."""
    accepted = torch.stack([tile.accepted for tile in tiles]).mean(0)[:-1]
    if not len(accepted):
        return {}
    return {"acceptance": float(accepted.mean()), "acceptance_min": float(accepted.min())}


def _ancestors(tiles: list[_Tile], chains: int) -> Tensor:
    """The forward chain that each backward one descends from; numbers of their own for exact starts."""
    parts = [tile.ancestor + _TILE * index for index, tile in enumerate(tiles) if tile.ancestor is not None]
    return torch.cat(parts) if parts else chains + torch.arange(chains)


def _mixing(tiles: list[_Tile], cluster: Tensor) -> dict[str, float]:
    """Changes of the mean tilt along the adjusted chains with their errors, and the worst R-hat."""
    kept = [tile.mixing for tile in tiles if tile.mixing is not None]
    if not kept:
        return {}
    found = {"r_hat": max(mixing.r_hat for mixing in kept)}
    for name in ("drift", "shift"):
        values = torch.cat([getattr(mixing, name) for mixing in kept])[: len(cluster)]
        found[name] = float(values.mean())
        found[f"{name}_stderr"] = _clustered_error(values - values.mean(), cluster)
    return found


def _doubts(forward: Estimate, backward: Estimate, exact: bool, diagnostics: dict[str, float]) -> Iterator[str]:
    """Reasons for doubt, in words."""
    for name, end in (("forward", forward), ("backward", backward)):
        if end.diagnostics["ess"] < _TRUSTED_ESS:
            yield (
                f"the effective sample size of the {name} paths is {end.diagnostics['ess']:.1f} of {end.count}: a few of them "
                "decide that end. Use more temperatures."
            )
    gap, error = backward.value - forward.value, math.hypot(forward.stderr, backward.stderr)
    if gap > _NOTABLE_GAP * error:
        yield (
            f"the ends lie {gap:.3f} nats apart, more than their errors of {error:.3f} explain: log Z is known to that gap only. "
            "Use more temperatures."
        )
    if gap < -_NOTABLE_GAP * error:
        yield (
            f"the lower end lies {-gap:.3f} nats above the upper one, more than their errors of {error:.3f} explain: the backward "
            "paths did not start at draws of the tilted law. Use a longer `burn_in`."
        )
    if not 0.3 < diagnostics.get("acceptance", _TARGET_ACCEPTANCE) < 0.95:
        yield (
            f"the chains accept {100 * diagnostics['acceptance']:.0f} % of their steps, where about 57 % is best: they hardly move. "
            "Change the `step_size`, or leave it to the pilot."
        )
    if exact:
        return
    yield (
        "the backward paths start at continued forward chains, not at exact draws: the upper end is only as good as their mixing, "
        "and a mode that none of them found is missing from both ends."
    )
    for name, what in (
        ("drift", "over the last half of the burn-in"),
        ("shift", "between the forward end points and the starts"),
    ):
        if name in diagnostics and abs(diagnostics[name]) > _NOTABLE_DRIFT * diagnostics[f"{name}_stderr"]:
            yield (
                f"the mean tilt moves by {diagnostics[name]:+.3f} ± {diagnostics[f'{name}_stderr']:.3f} nats {what}: the chains have "
                "not reached the tilted law. Use a longer `burn_in` or more temperatures."
            )
    if diagnostics.get("r_hat", 0.0) > _TRUSTED_RHAT:
        yield (
            f"R-hat over the starts is {diagnostics['r_hat']:.2f}: each chain stays near where it began, so the shares of the modes "
            "are those of the forward weights alone. Use a longer `burn_in`."
        )
