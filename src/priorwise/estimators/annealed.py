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
_MAX_PROPOSALS = 10_000.0  # largest mean cost of a draw by rejection
_ELSEWHERE = 1 << 40  # added to origins that are not forward paths


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
              \mathbb{E}_\mathrm{forward}[e^{w}] = Z, \qquad
              \mathbb{E}_\mathrm{backward}[e^{-w}] = 1 / Z

    A forward path starts at an exact draw from the base and moves through :math:`p_0 e^{b t}`, with
    b from 0 to 1, by Metropolis-adjusted Langevin steps. A backward path starts at a draw from the
    tilted law and returns to the base. By Jensen's inequality, :math:`\log \overline{e^{w}}` is too
    low in expectation and :math:`-\log \overline{e^{-w}}` is too high. With one temperature, the
    lower end is plain importance sampling.

    The tilted law is sampled exactly, by rejection, if the tilt has a ``log_bound`` and a draw
    costs at most 10,000 proposals. Otherwise the ends of the forward paths are resampled by their
    weights and continued by adjusted chains. The upper end is then only as good as the mixing of
    these chains. ``diagnostics`` measures it: the ``drift`` of the mean tilt over the last half of
    the burn-in, its ``shift`` since the start, and the worst split ``r_hat`` of a coordinate.
    ``warnings`` says when the mixing is poor. A mode that no forward path found is missing from
    both ends; ``starts`` in that mode reveal it.

    A pilot run of 100 chains, with random numbers of its own, sets the temperatures so that each
    step adds the same spread of log weights, and sets each step size to an acceptance of 0.57. Both
    are then fixed, so the expectations above are exact. Chains run in tiles of 100, each with
    random numbers of its own: the first n chains are the same for every ``chains``, the cost is
    that of whole tiles, and the memory is that of evaluating the tilt and its gradient for one
    tile.

    References:
        Annealed Importance Sampling (Neal, 2001), section 2. https://arxiv.org/abs/physics/9803008
        Sandwiching the marginal likelihood using bidirectional Monte Carlo (Grosse et al., 2015).
        https://arxiv.org/abs/1511.02543
        Efficient Estimation of Free Energy Differences from Monte Carlo Data (Bennett, 1976), for
        the value. https://doi.org/10.1016/0021-9991(76)90078-4

    Arguments:
        tilted: The distribution, of batch shape ``()``; its own ``log_norm`` is not used.
        temperatures: Number n of steps from b = 0 to 1; bias and variance of the ends fall like
            1 / n.
        chains: Number N of paths in each direction.
        transitions: Number of Langevin steps at each temperature.
        step_size: One step size for all temperatures, in units of the space where the chains move;
            the pilot run sets it if None.
        burn_in: Number of steps of the adjusted chains before the backward paths, where rejection
            is not used.
        starts: Points near the tilted law, ``(M, *event)``, where these chains begin instead, such
            as codes of data under an NCP. They are used in random order.
        seed: Seed of all draws.
        report: Called with the number of paths that were just finished, 2 N in all, for a progress
            bar.

    Raises:
        ValueError: for settings that cannot be used, or a tilt that is not finite.

    Example:
        >>> from priorwise.testing.oracles import GaussianTilt
        >>> oracle = GaussianTilt()
        >>> bracket = annealed_log_norm(oracle.tilted(), temperatures=20, chains=100, burn_in=20)
        >>> bracket.lower < oracle.log_norm < bracket.upper
        True
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
            raise ValueError(f"expected `{name}` of at least {smallest}; got {value}.")
    if step_size is not None and not 0 < step_size < math.inf:
        raise ValueError(f"expected a positive, finite `step_size`; got {step_size}.")
    if starts is not None and (starts.shape[1:] != tilted.event_shape or not len(starts)):
        raise ValueError(
            f"expected `starts` of shape (M, {', '.join(map(str, tilted.event_shape))}); got "
            f"{tuple(starts.shape)}."
        )


@dataclass(frozen=True)
class _Mixing:
    """How the starts of one tile mixed: changes of the tilt per chain ``(C,)``, and worst R-hat."""

    drift: Tensor
    shift: Tensor
    r_hat: float


@dataclass(frozen=True)
class _Tile:
    """The results of one tile, as in ``Paths``.

    ``accepted`` is the share of accepted moves at b_1 to b_n, ``(n,)``.
    """

    forward: Tensor
    backward: Tensor
    origin: Tensor
    accepted: Tensor
    mixing: _Mixing | None
    gradients: int
    proposals: int


@dataclass
class _Run:
    """Forward and backward paths by tiles; the first tile decides how backward paths start."""

    path: AnnealingPath
    pilot: Pilot
    betas: list[float]
    transitions: int
    burn_in: int
    starts: Tensor | None
    seed: int
    how: str = ""

    def tile(self, index: int, used: int, report: Callable[[int], None] | None) -> _Tile:
        """The paths of one tile; the first ``used`` of them are returned."""
        with seeded(self.seed, "annealed", "forward", index):
            end, forward, accepted = self._forward()
        tell(report, used)
        if not self.how:
            self.how = self._way_to_start(forward)
        mixing, proposals, chains = None, 0, _TILE * index + torch.arange(_TILE)
        with seeded(self.seed, "annealed", "starts", index):
            if self.how == "exact":
                start, proposals = self._rejection()
                origin = _ELSEWHERE + chains
            elif self.starts is None:
                ancestor = _resampled(forward)
                origin = chains[ancestor]
                start, mixing = self._continued(end.rows(ancestor))
            else:
                with seeded(self.seed, "annealed", "order"):
                    order = torch.randperm(len(self.starts))[chains % len(self.starts)]
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
        """Take steps at one temperature; return the chains and the share of accepted moves."""
        step_size, accepted = self.pilot.step_size(b), 0.0
        for _ in range(steps):
            state, moved = self.path.step(state, b, step_size)
            accepted += float(moved.double().mean()) / steps
        return state, accepted

    def _forward(self) -> tuple[PathState, Tensor, Tensor]:
        """Paths from the base: end points, log weights, and the acceptance at each temperature."""
        state = self.path.start(_TILE)
        log_w = torch.zeros_like(state.log_tilt, dtype=torch.float64)
        accepted = []
        for low, high in pairwise(self.betas):
            log_w += (high - low) * state.log_tilt.double()
            state, share = self._move(state, high, self.transitions)
            accepted.append(share)
        return state, log_w.cpu(), torch.tensor(accepted)

    def _backward(self, state: PathState) -> Tensor:
        """Log weights, read forward, of paths from the tilted law to the base."""
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
        """Exact draws from the tilted law, and the number of proposals that they took."""
        bound = self.path.tilted.log_bound
        assert bound is not None
        draws: list[Tensor] = []
        proposals = 0
        while sum(map(len, draws)) < _TILE:
            u = self.path.base_draws(10 * _TILE)
            log_tilt = self.path.tilted.log_tilt(self.path.to_z(u))
            if bool((log_tilt > bound + 1e-4).any()):
                raise ValueError(
                    f"expected a tilt of at most {bound:.4f} nats, its `log_bound`; got "
                    f"{float(log_tilt.max()):.4f}. Rejection is exact only with a true bound: "
                    "correct it, or leave it out."
                )
            draws.append(u[torch.rand_like(log_tilt).log() < log_tilt - bound])
            proposals += len(u)
        return self.path.state(torch.cat(draws)[:_TILE]), proposals

    def _continued(self, state: PathState) -> tuple[PathState, _Mixing | None]:
        """The chains after the burn-in, and how they moved in its third and last quarter."""
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
                # The tilt is included because modes may have the same centre.
                coordinates = torch.cat([state.u.flatten(1), state.log_tilt[:, None]], 1).double()
                tilt = tilt + state.log_tilt.double()
                mean, square = mean + coordinates, square + coordinates.square()
            tilts.append(tilt / quarter)
            means.append(mean / quarter)
            variances.append((square / quarter - means[-1].square()) * quarter / (quarter - 1))
        r_hat = _split_r_hat(torch.cat(means), torch.cat(variances), quarter)
        return state, _Mixing((tilts[1] - tilts[0]).cpu(), (tilts[1] - first).cpu(), r_hat)


def _resampled(log_w: Tensor) -> Tensor:
    """Indices of chains in proportion to their weights, by systematic resampling, ``(C,)``."""
    share = log_w.softmax(0).cumsum(0)
    grid = (torch.arange(len(log_w)) + torch.rand((), dtype=share.dtype)) / len(log_w)
    return torch.searchsorted(share, grid).clamp(max=len(log_w) - 1)


def _split_r_hat(means: Tensor, variances: Tensor, length: int) -> float:
    """The worst R-hat of a coordinate, from means and variances of half chains, ``(2C, *event)``.

    References:
        Bayesian Data Analysis (Gelman et al., 2013), section 11.4.
        https://sites.stat.columbia.edu/gelman/book/
    """
    within = variances.mean(0).clamp(min=1e-300)
    return float(((length - 1) / length + means.var(0) / within).sqrt().max())


def _acceptance(tiles: list[_Tile]) -> dict[str, float]:
    """Acceptance at b_1 to b_(n-1), which the weights depend on; empty for one temperature."""
    accepted = torch.stack([tile.accepted for tile in tiles]).mean(0)[:-1]
    if not len(accepted):
        return {}
    return {"acceptance": float(accepted.mean()), "acceptance_min": float(accepted.min())}


def _mixing(tiles: list[_Tile], origin: Tensor) -> dict[str, float]:
    """Changes of the mean tilt along the adjusted chains with their errors, and the worst R-hat."""
    mixings = [tile.mixing for tile in tiles if tile.mixing is not None]
    if not mixings:
        return {}
    diagnostics = {"r_hat": max(mixing.r_hat for mixing in mixings)}
    for name in ("drift", "shift"):
        values = torch.cat([getattr(mixing, name) for mixing in mixings])[: len(origin)]
        diagnostics[name] = float(values.mean())
        diagnostics[f"{name}_stderr"] = clustered_error(values - values.mean(), origin)
    return diagnostics
