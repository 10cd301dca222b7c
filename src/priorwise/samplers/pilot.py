"""A pilot run along an annealing path, which tunes its temperatures and step sizes."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from priorwise.samplers.path import AnnealingPath, PathState

__all__ = ["Pilot", "pilot_run"]

_CHAINS = 100
_STEPS = 10  # per temperature
_ACCEPTANCE = 0.57
_SPREAD = 0.5  # standard deviation of the log weights between two temperatures, in nats


@dataclass(frozen=True)
class Pilot:
    """The result of a pilot run.

    Attributes:
        betas: Its inverse temperatures b, from 0 to 1.
        lengths: The length of the path up to each of them: the integral of the tilt's standard
            deviation over b, in nats.
        log_steps: The logarithm of the step size at each of them.
        gradients: How often the tilt and its gradient were evaluated.
    """

    betas: np.ndarray
    lengths: np.ndarray
    log_steps: np.ndarray
    gradients: int

    def schedule(self, temperatures: int) -> list[float]:
        """b_0 = 0 to b_n = 1 in steps of equal length, a tenth of them spread evenly over b."""
        share = self.lengths / self.lengths[-1] if self.lengths[-1] > 0 else self.betas
        grid = np.linspace(0.0, 1.0, temperatures + 1)
        betas = np.interp(grid, 0.9 * share + 0.1 * self.betas, self.betas)
        betas[0], betas[-1] = 0.0, 1.0
        return betas.tolist()

    def step_size(self, inverse_temperature: float) -> float:
        """The step size at a temperature, in units of the space where the chains move."""
        return math.exp(np.interp(inverse_temperature, self.betas, self.log_steps))


def pilot_run(path: AnnealingPath, step_size: float | None = None) -> Pilot:
    """Walk 100 chains from the base to the tilted law to tune the temperatures and the step sizes.

    The next temperature is where the standard deviation of the log weights reaches half a nat, or
    5 % further if that is more. The chains make ten moves per temperature, and the step size is
    tuned to an acceptance rate of 0.57, the optimum of Roberts & Rosenthal. Draws come from torch's
    generator, so open ``seeded`` around the call.

    References:
        Optimal Scaling of Discrete Approximations to Langevin Diffusions (Roberts & Rosenthal,
        1998). https://doi.org/10.1111/1467-9868.00123

    Arguments:
        path: The path.
        step_size: A fixed step size for every temperature; tuned if None.

    Raises:
        ValueError: if the tilt is not finite at draws from the base.
    """
    with torch.no_grad():
        state = path.start(_CHAINS)
    log_step = math.log(step_size or 2.0 * state.u[0].numel() ** (-1 / 3))
    gain = 0.0 if step_size else 1.0
    state, log_step, mean = _tuned(path, state, 0.0, log_step, 3 * _STEPS, gain)
    betas, lengths, log_steps = [0.0], [0.0], [mean]
    while betas[-1] < 1:
        spread = float(state.log_tilt.double().std())
        width = max(_SPREAD / max(spread, 1e-12), betas[-1] / 20, 1e-8)
        width = min(width, 1.0 - betas[-1])
        betas.append(betas[-1] + width if betas[-1] + width < 1 else 1.0)
        lengths.append(lengths[-1] + width * spread)
        state, log_step, mean = _tuned(path, state, betas[-1], log_step, _STEPS, gain)
        log_steps.append(mean)
    moves = _STEPS * (len(betas) + 2)
    return Pilot(np.array(betas), np.array(lengths), np.array(log_steps), _CHAINS * (moves + 1))


def _tuned(
    path: AnnealingPath, state: PathState, b: float, log_step: float, steps: int, gain: float
) -> tuple[PathState, float, float]:
    """Move at one temperature: the chains, the last log step, and its mean over the later half."""
    trace = []
    for _ in range(steps):
        state, moved = path.step(state, b, math.exp(log_step))
        log_step += gain * (float(moved.double().mean()) - _ACCEPTANCE)
        trace.append(log_step)
    later = trace[steps // 2 :]
    return state, log_step, sum(later) / len(later)
