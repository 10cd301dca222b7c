"""Chains on the path from a base to a tilted distribution, at any inverse temperature.

Letters: ``C`` chains. ``u`` is the position in the space where a chain moves.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.distributions import Tilted, to_noise
from priorwise.refusals import UnavailableError
from priorwise.samplers.langevin import is_accepted, proposal, space_of

__all__ = ["AnnealingPath", "PathState"]


@dataclass(frozen=True)
class PathState:
    """The current state of a set of chains.

    Base and tilt are kept apart, so that a new temperature costs no evaluation.

    Attributes:
        u: Positions, ``(C, *event)``.
        log_base: Log density of the base at ``u``, up to a constant, ``(C,)``.
        log_tilt: The tilt at ``u``, in nats, ``(C,)``.
        base_gradient: Gradient of ``log_base``, of the shape of ``u``.
        tilt_gradient: Gradient of ``log_tilt``, of the shape of ``u``.
    """

    u: Tensor
    log_base: Tensor
    log_tilt: Tensor
    base_gradient: Tensor
    tilt_gradient: Tensor

    def log_density(self, inverse_temperature: float) -> Tensor:
        """Log f_b, up to a constant, ``(C,)``."""
        return self.log_base + inverse_temperature * self.log_tilt

    def gradient(self, inverse_temperature: float) -> Tensor:
        """The gradient of log f_b, of the shape of ``u``."""
        return self.base_gradient + inverse_temperature * self.tilt_gradient

    def where(self, mask: Tensor, other: "PathState") -> "PathState":
        """This state where ``mask (C,)`` holds, the other one elsewhere."""
        wide = mask.reshape(-1, *[1] * (self.u.dim() - 1))
        return PathState(
            torch.where(wide, self.u, other.u),
            torch.where(mask, self.log_base, other.log_base),
            torch.where(mask, self.log_tilt, other.log_tilt),
            torch.where(wide, self.base_gradient, other.base_gradient),
            torch.where(wide, self.tilt_gradient, other.tilt_gradient),
        )

    def rows(self, index: Tensor) -> "PathState":
        """The chains with these indices, which may repeat."""
        return PathState(*[getattr(self, name)[index] for name in self.__dataclass_fields__])


class AnnealingPath:
    r"""The unnormalised densities between a base and its tilted law, with chains for each.

    .. math:: f_b(z) = p_0(z) \, e^{b\, t(z)}, \qquad 0 \le b \le 1

    The chains leave each density invariant. They move in the same space as those of ``Langevin``:
    in whitened noise where the base is a Gaussian or a flow, else in z divided by its standard
    deviation. One step costs one evaluation of the tilt and its gradient.

    References:
        Annealed Importance Sampling (Neal, 2001), section 2. https://arxiv.org/abs/physics/9803008

        For the step: Exponential Convergence of Langevin Distributions and Their Discrete
        Approximations (Roberts & Tweedie, 1996). https://doi.org/10.2307/3318418

    Arguments:
        tilted: The end of the path, of batch shape ``()``. Dtype and device are those of a draw
            from its base.
    """

    def __init__(self, tilted: Tilted) -> None:
        if tilted.batch_shape:
            raise ValueError(
                f"expected a Tilted of batch shape (); got {tuple(tilted.batch_shape)}."
            )
        if not tilted.event_shape:
            raise UnavailableError(
                "expected a Tilted over vectors or arrays; got one over single numbers, with event "
                "shape ()."
            )
        self.tilted = tilted
        self._space = space_of(tilted)
        self._example = tilted.base.sample()

    @property
    def space(self) -> str:
        """The space where the chains move: ``"noise"`` or ``"z / stddev"``."""
        return self._space.name

    def to_z(self, u: Tensor) -> Tensor:
        """The points z of positions, ``(C, *event)``."""
        return self._space.to_z(u)

    def base_draws(self, chains: int) -> Tensor:
        """The positions of exact draws from the base, ``(C, *event)``."""
        if self.space == "noise":
            return torch.randn(
                chains, *self._example.shape, dtype=self._example.dtype, device=self._example.device
            )
        return self.tilted.base.sample(torch.Size((chains,))) / self.tilted.base.stddev

    def positions(self, z: Tensor) -> Tensor:
        """The positions of points z, ``(C, *event)``."""
        return (
            to_noise(self.tilted.base, z) if self.space == "noise" else z / self.tilted.base.stddev
        )

    def state(self, u: Tensor) -> PathState:
        """Densities and gradients at positions ``(C, *event)``."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            log_base, log_tilt = self._space.log_base(u), self.tilted.log_tilt(self._space.to_z(u))
            gradients = [_gradient(value, u) for value in (log_base, log_tilt)]
        return PathState(u.detach(), log_base.detach(), log_tilt.detach(), *gradients)

    def start(self, chains: int) -> PathState:
        """Chains at exact draws from the base.

        Raises:
            ValueError: if the tilt is not finite there, since b * tilt would not be 0 at b = 0.
        """
        state = self.state(self.base_draws(chains))
        not_finite = ~state.log_tilt.isfinite()
        if bool(not_finite.any()):
            raise UnavailableError(
                "expected a tilt that is finite at draws from the base; got "
                f"{float(state.log_tilt[not_finite][0])}. Bound it from below to anneal it."
            )
        return state

    def step(
        self, state: PathState, inverse_temperature: float, step_size: float
    ) -> tuple[PathState, Tensor]:
        """One Metropolis-adjusted Langevin step: the chains, and which of them moved, ``(C,)``."""
        u, noise = proposal(state.u, state.gradient(inverse_temperature), step_size)
        proposed = self.state(u)
        moved = is_accepted(
            state.u,
            u,
            proposed.gradient(inverse_temperature),
            noise,
            proposed.log_density(inverse_temperature) - state.log_density(inverse_temperature),
            step_size,
        )
        return proposed.where(moved, state), moved


def _gradient(value: Tensor, u: Tensor) -> Tensor:
    """The gradient of each row's value; zero where the value does not depend on the position."""
    if not value.requires_grad:
        return torch.zeros_like(u)
    return torch.autograd.grad(value.sum(), u, materialize_grads=True)[0]
