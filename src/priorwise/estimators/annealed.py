"""The log normaliser of a tilted prior by annealed importance sampling, forward and backward.

Letters: ``C`` chains of a tile, ``N`` chains each way, ``n`` temperatures, ``w`` the log weight of
a path.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.estimators.bracket import Bracket, Paths, bracket_of, clustered_error, log_mean
from priorwise.progress import tell
from priorwise.randomness import seeded
from priorwise.samplers.path import AnnealingPath, PathState
from priorwise.samplers.pilot import Pilot, pilot_run

__all__ = ["annealed_log_norm"]

_TILE = 100
_MAX_PROPOSALS = 10_000.0  # that a draw by rejection may cost, on average
_ELSEWHERE = 1 << 40  # added to origins that are no forward paths


@torch.no_grad()
def annealed_log_norm(
    tilted: Tilted,
    *,
    temperatures: int = 1000,
    chains: int = 1000,
    transitions: int = 1,
    step_size: float | None = None,
    burn_in: int = 500,
    starts: Tensor | None = None,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Bracket:
    r"""The log normaliser of a tilted prior between two ends, in nats.

    .. math:: w = \sum_{i=0}^{n-1} (b_{i+1} - b_i)\, t(z_i), \qquad
              \mathbb{E}_\mathrm{forward}[e^{w}] = Z, \qquad \mathbb{E}_\mathrm{backward}[e^{-w}] = 1 / Z

    A forward path starts at an exact draw of the base and moves through :math:`p_0 e^{b t}`, b from
    0 to 1, by Metropolis-adjusted Langevin steps. A backward one starts at a draw of the tilted law
    and returns. By Jensen's inequality :math:`\log \overline{e^{w}}` is too low in expectation and
    :math:`-\log \overline{e^{-w}}` too high. With one temperature the lower end is plain importance
    sampling.

    The tilted law is drawn exactly by rejection where the tilt has a ``log_bound`` and a draw costs
    at most 10,000 proposals. Otherwise the forward end points are resampled by their weights and
    continued by adjusted chains. The upper end is then only as good as their mixing, which
    ``diagnostics`` measures and ``warnings`` tells: the ``drift`` of the mean tilt over the last
    half of the burn-in, its ``shift`` from the start on, and the worst split ``r_hat`` of a
    coordinate. A mode that no forward path found is missing from both ends; ``starts`` in that mode
    bring it to light.

    A pilot of 100 chains, under an address of its own, sets the temperatures so that each adds the
    same spread of log weights, and the step of each to an acceptance of 0.57. Then both are fixed,
    so the expectations above are exact. Chains run in tiles of 100, each under its own address: the
    first n chains are the same for every ``chains``, the cost is that of whole tiles, and the
    memory that of one tile's evaluation of the tilt with its gradient.

    References:
        Annealed Importance Sampling (Neal, 2001), section 2; Sandwiching the marginal likelihood
        using bidirectional Monte Carlo (Grosse et al., 2015); for the value, Efficient Estimation
        of Free Energy Differences from Monte Carlo Data (Bennett, 1976).

    Arguments:
        tilted: The distribution, of batch shape ``()``; its own ``log_norm`` is not read.
        temperatures: Number n of steps from b = 0 to 1; bias and variance of the ends fall like 1 /
            n.
        chains: Number N of paths each way.
        transitions: Langevin steps at each temperature.
        step_size: One step for all temperatures, in units of the space where the chains move; from
            the pilot if None.
        burn_in: Steps of the adjusted chains before the backward paths, where rejection is not
            used.
        starts: Points near the tilted law, ``(M, *event)``, where these chains begin instead, such
            as codes of data under an NCP. They are used in a random order.
        seed: Seed of all draws.
        report: Called with the number of paths just finished, 2 N in all, for a progress bar.

    Raises:
        ValueError: for settings that cannot be used, or a tilt that is not finite.
    """
    _check(tilted, temperatures, chains, transitions, step_size, burn_in, starts)
    with seeded(seed, "annealed", "pilot"):
        path = AnnealingPath(tilted)
        pilot = pilot_run(path, step_size)
    run = _Run(path, pilot, pilot.schedule(temperatures), transitions, burn_in, starts, seed)
    tiles = [
        run.tile(start // _TILE, min(_TILE, chains - start), report)
        for start in range(0, chains, _TILE)
    ]
    origin, how = torch.cat([tile.origin for tile in tiles]), run.how
    return bracket_of(
        Paths(
            forward=torch.cat([tile.forward for tile in tiles]),
            backward=torch.cat([tile.backward for tile in tiles]),
            origin=origin,
            starts=how,
            inherits=starts is None and how != "exact",
            diagnostics=(_acceptance(tiles) if transitions else {}) | _mixing(tiles, origin),
        ),
        gradients=pilot.gradients + sum(tile.gradients for tile in tiles),
        proposals=sum(tile.proposals for tile in tiles),
        protocol={
            "estimator": "annealed importance sampling both ways, Bennett's acceptance ratio",
            "temperatures": temperatures,
            "chains": chains,
            "transitions": transitions,
            "step_size": step_size,
            "space": path.space,
            "starts": "exact, by rejection" if how == "exact" else how,
            "seed": seed,
        },
    )


def _check(
    tilted: Tilted,
    temperatures: int,
    chains: int,
    transitions: int,
    step_size: float | None,
    burn_in: int,
    starts: Tensor | None,
) -> None:
    if not isinstance(tilted, Tilted):
        raise TypeError(f"expected a Tilted distribution; got {type(tilted).__name__}.")
    least = {
        "temperatures": (temperatures, 1),
        "chains": (chains, 2),
        "transitions": (transitions, 0),
    }
    for name, (value, smallest) in (least | {"burn_in": (burn_in, 0)}).items():
        if value < smallest:
            raise ValueError(f"expected at least {smallest} of `{name}`; got {value}.")
    if step_size is not None and not step_size > 0:
        raise ValueError(f"expected a positive `step_size`; got {step_size}.")
    if starts is not None and (starts.shape[1:] != tilted.event_shape or not len(starts)):
        raise ValueError(
            f"expected `starts` of shape (M, {', '.join(map(str, tilted.event_shape))}); got "
            f"{tuple(starts.shape)}."
        )


@dataclass(frozen=True)
class _Mixing:
    """How one tile's starts mixed: changes of the tilt along each chain ``(C,)``, the worst R-hat."""

    drift: Tensor
    shift: Tensor
    r_hat: float


@dataclass(frozen=True)
class _Tile:
    """What one tile tells; see ``Paths``. ``accepted`` is the share of moves at b_1 to b_n, ``(n,)``."""

    forward: Tensor
    backward: Tensor
    origin: Tensor
    accepted: Tensor
    mixing: _Mixing | None
    gradients: int
    proposals: int


@dataclass
class _Run:
    """Forward and backward paths, tile by tile; the first tile decides how the backward ones start."""

    path: AnnealingPath
    pilot: Pilot
    betas: list[float]
    transitions: int
    burn_in: int
    starts: Tensor | None
    seed: int
    how: str = ""

    def tile(self, index: int, used: int, report: Callable[[int], None] | None) -> _Tile:
        """The paths of one tile, of which the first ``used`` are kept."""
        with seeded(self.seed, "annealed", "forward", index):
            end, forward, accepted = self._forward()
        tell(report, used)
        if not self.how:
            self.how = self._way_to_start(forward)
        mixing, proposals, own = None, 0, _TILE * index + torch.arange(_TILE)
        with seeded(self.seed, "annealed", "starts", index):
            if self.how == "exact":
                start, proposals = self._rejection()
                origin = _ELSEWHERE + own
            elif self.starts is None:
                ancestor = _resampled(forward)
                origin = own[ancestor]
                start, mixing = self._continued(end.rows(ancestor))
            else:
                with seeded(self.seed, "annealed", "order"):
                    order = torch.randperm(len(self.starts))[own % len(self.starts)]
                origin = _ELSEWHERE + order
                start, mixing = self._continued(
                    self.path.state(self.path.positions(self.starts[order]))
                )
        with seeded(self.seed, "annealed", "backward", index):
            backward = self._backward(start)
        tell(report, used)
        moves = (2 * len(accepted) - 1) * self.transitions
        extra = (0 if self.how == "exact" else self.burn_in) + (
            self.how == "exact" or self.starts is not None
        )
        return _Tile(
            forward=forward[:used],
            backward=backward[:used],
            origin=origin[:used],
            accepted=accepted,
            mixing=mixing,
            gradients=_TILE * (1 + moves + extra),
            proposals=proposals,
        )

    def _move(self, state: PathState, b: float, steps: int) -> tuple[PathState, float]:
        """Steps at one temperature: the chains, and the share of moves that were accepted."""
        step_size, accepted = self.pilot.step_size(b), 0.0
        for _ in range(steps):
            state, moved = self.path.step(state, b, step_size)
            accepted += float(moved.double().mean()) / steps
        return state, accepted

    def _forward(self) -> tuple[PathState, Tensor, Tensor]:
        """From the base: end points, log weights, and the acceptance at each temperature."""
        state = self.path.start(_TILE)
        log_w = torch.zeros_like(state.log_tilt, dtype=torch.float64)
        accepted = []
        for low, high in pairwise(self.betas):
            log_w += (high - low) * state.log_tilt.double()
            state, share = self._move(state, high, self.transitions)
            accepted.append(share)
        return state, log_w.cpu(), torch.tensor(accepted)

    def _backward(self, state: PathState) -> Tensor:
        """From the tilted law to the base: the log weights of the same paths, read forward."""
        log_w = torch.zeros_like(state.log_tilt, dtype=torch.float64)
        for high, low in pairwise(reversed(self.betas)):
            log_w += (high - low) * state.log_tilt.double()
            if low > 0:
                state, _ = self._move(state, low, self.transitions)
        return log_w.cpu()

    def _way_to_start(self, forward: Tensor) -> str:
        if self.starts is not None:
            return f"given points, continued for {self.burn_in} adjusted steps"
        bound = self.path.tilted.log_bound
        if bound is not None and bound - log_mean(forward) < math.log(_MAX_PROPOSALS):
            return "exact"
        return f"resampled ends of forward paths, continued for {self.burn_in} adjusted steps"

    def _rejection(self) -> tuple[PathState, int]:
        """Exact draws of the tilted law, and the number of proposals behind them."""
        bound = self.path.tilted.log_bound
        assert bound is not None
        kept: list[Tensor] = []
        proposals = 0
        while sum(map(len, kept)) < _TILE:
            u = self.path.base_draws(10 * _TILE)
            log_tilt = self.path.tilted.log_tilt(self.path.to_z(u))
            if bool((log_tilt > bound + 1e-4).any()):
                raise ValueError(
                    f"expected a tilt of at most {bound:.4f} nats, its `log_bound`; got "
                    f"{float(log_tilt.max()):.4f}. Rejection is exact only under a true bound: "
                    "correct it, or leave it out."
                )
            kept.append(u[torch.rand_like(log_tilt).log() < log_tilt - bound])
            proposals += len(u)
        return self.path.state(torch.cat(kept)[:_TILE]), proposals

    def _continued(self, state: PathState) -> tuple[PathState, _Mixing | None]:
        """The chains after the burn-in, and how they moved in the third and the last quarter of it."""
        first, quarter = state.log_tilt.double(), self.burn_in // 4
        state, _ = self._move(state, 1.0, self.burn_in - 2 * quarter)
        if quarter < 2:
            state, _ = self._move(state, 1.0, 2 * quarter)
            return state, None
        tilts, means, variances = [], [], []
        for _ in range(2):
            tilt = torch.zeros_like(first)
            mean = torch.zeros(
                len(first), state.u[0].numel() + 1, dtype=torch.float64, device=first.device
            )
            square = torch.zeros_like(mean)
            for _ in range(quarter):
                state, _ = self._move(state, 1.0, 1)
                seen = torch.cat(
                    [state.u.flatten(1), state.log_tilt[:, None]], 1
                ).double()  # modes may share a centre
                tilt, mean, square = (
                    tilt + state.log_tilt.double(),
                    mean + seen,
                    square + seen.square(),
                )
            tilts.append(tilt / quarter)
            means.append(mean / quarter)
            variances.append((square / quarter - means[-1].square()) * quarter / (quarter - 1))
        r_hat = _split_r_hat(torch.cat(means), torch.cat(variances), quarter)
        return state, _Mixing((tilts[1] - tilts[0]).cpu(), (tilts[1] - first).cpu(), r_hat)


def _resampled(log_w: Tensor) -> Tensor:
    """Numbers of chains in proportion to their weights, by systematic resampling, ``(C,) -> (C,)``."""
    share = log_w.softmax(0).cumsum(0)
    grid = (torch.arange(len(log_w)) + torch.rand((), dtype=share.dtype)) / len(log_w)
    return torch.searchsorted(share, grid).clamp(max=len(log_w) - 1)


def _split_r_hat(means: Tensor, variances: Tensor, length: int) -> float:
    """The worst R-hat of a coordinate, from the means and variances of half chains, ``(2C, *event)``.

    References:
        Bayesian Data Analysis (Gelman et al., 2013), section 11.4.
    """
    within = variances.mean(0).clamp(min=1e-300)
    return float(((length - 1) / length + means.var(0) / within).sqrt().max())


def _acceptance(tiles: list[_Tile]) -> dict[str, float]:
    """Of the moves at b_1 to b_(n-1), on which the weights rest; nothing for one temperature."""
    accepted = torch.stack([tile.accepted for tile in tiles]).mean(0)[:-1]
    if not len(accepted):
        return {}
    return {"acceptance": float(accepted.mean()), "acceptance_min": float(accepted.min())}


def _mixing(tiles: list[_Tile], origin: Tensor) -> dict[str, float]:
    """Changes of the mean tilt along the adjusted chains with their errors, and the worst R-hat."""
    kept = [tile.mixing for tile in tiles if tile.mixing is not None]
    if not kept:
        return {}
    found = {"r_hat": max(mixing.r_hat for mixing in kept)}
    for name in ("drift", "shift"):
        values = torch.cat([getattr(mixing, name) for mixing in kept])[: len(origin)]
        found[name] = float(values.mean())
        found[f"{name}_stderr"] = clustered_error(values - values.mean(), origin)
    return found
