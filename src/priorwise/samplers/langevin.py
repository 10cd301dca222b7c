"""Langevin chains, unadjusted and Metropolis-adjusted.

Chains have shape ``(*S, *B, *event)``. ``u`` is the position in the space where a chain moves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from priorwise.distributions import Tilted, from_noise, has_noise_form
from priorwise.progress import tell_sampling
from priorwise.refusals import UnavailableError
from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["Langevin", "LangevinState", "Space", "is_accepted", "proposal", "space_of"]


@dataclass(frozen=True)
class LangevinState:
    """The current state of a set of chains.

    Attributes:
        u: Positions, ``(*S, *B, *event)``.
        log_density: Log density of the target at ``u``, up to a constant, ``(*S, *B)``.
        gradient: Its gradient, of the shape of ``u``.
    """

    u: Tensor
    log_density: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Space:
    """The space where a chain moves.

    Attributes:
        name: Its name.
        to_z: The map to z.
        log_density: The log density of the target.
        log_base: The log density of the base, up to a constant.
    """

    name: str
    to_z: Callable[[Tensor], Tensor]
    log_density: Callable[[Tensor], Tensor]
    log_base: Callable[[Tensor], Tensor]


def _sum_of_event(values: Tensor, event_dims: int) -> Tensor:
    """The sum over the event dimensions, if there are any."""
    return values.flatten(values.dim() - event_dims).sum(-1) if event_dims else values


def _noise_space(tilted: Tilted) -> Space:
    """Whitened noise, z = T(eps), with target N(eps; 0, I) exp(tilt(T(eps))).

    The Jacobian of T cancels.
    """
    event_dims = len(tilted.event_shape)

    def to_z(eps: Tensor) -> Tensor:
        return from_noise(tilted.base, eps)

    def log_density(eps: Tensor) -> Tensor:
        return tilted.log_tilt(to_z(eps)) + log_base(eps)

    def log_base(eps: Tensor) -> Tensor:
        return -0.5 * _sum_of_event(eps.square(), event_dims)

    return Space("noise", to_z, log_density, log_base)


def _scaled_space(tilted: Tilted) -> Space:
    """Z divided by the standard deviation of the base, for a base without a noise form.

    Raises:
        ValueError: if the support of the base is not all real numbers, since a chain would leave
            it.
    """
    support = tilted.base.support
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    if (
        support is not None
        and not constraints.is_dependent(support)
        and support is not constraints.real
    ):
        raise UnavailableError(
            f"expected a base over all real numbers for a chain; got {type(tilted.base).__name__}, "
            f"whose support is {support}. Use priorwise.samplers.SIR or Rejection, and "
            "log_norm(method='importance')."
        )
    scale = tilted.base.stddev

    def to_z(u: Tensor) -> Tensor:
        return u * scale

    def log_density(u: Tensor) -> Tensor:
        return tilted.log_unnorm(to_z(u))

    return Space("z / stddev", to_z, log_density, lambda u: tilted.base.log_prob(to_z(u)))


def space_of(tilted: Tilted) -> Space:
    """Whitened noise if the base has a noise form, else z divided by its standard deviation."""
    return _noise_space(tilted) if has_noise_form(tilted.base) else _scaled_space(tilted)


def proposal(u: Tensor, gradient: Tensor, step_size: float) -> tuple[Tensor, Tensor]:
    r"""A Langevin move and its noise.

    .. math:: u' = u + \tfrac{\epsilon}{2} \nabla \log p(u) + \sqrt{\epsilon}\, \xi

    Arguments:
        u: Positions, ``(*chains, *event)``.
        gradient: The gradient of the log density at ``u``, of its shape.
        step_size: The epsilon above.

    Returns:
        tuple[Tensor, Tensor]: The new positions, and :math:`\sqrt{\epsilon}\, \xi`.
    """
    noise = torch.randn_like(u) * step_size**0.5
    return u + 0.5 * step_size * gradient + noise, noise


def is_accepted(
    u: Tensor,
    proposed: Tensor,
    gradient: Tensor,
    noise: Tensor,
    log_ratio: Tensor,
    step_size: float,
) -> Tensor:
    r"""The Metropolis-Hastings test of a Langevin move: which chains accept it.

    .. math:: \log a = \log \frac{p(u')}{p(u)} + \frac{\lVert \sqrt{\epsilon}\, \xi \rVert^2
              - \lVert u - u' - \tfrac{\epsilon}{2} \nabla \log p(u') \rVert^2}{2 \epsilon}

    References:
        Exponential Convergence of Langevin Distributions and Their Discrete Approximations
        (Roberts & Tweedie, 1996). https://doi.org/10.2307/3318418

    Arguments:
        u: Current positions, ``(*chains, *event)``.
        proposed: Proposed positions.
        gradient: The gradient of the log density at ``proposed``.
        noise: The noise of the move.
        log_ratio: Log density at ``proposed`` minus that at ``u``, ``(*chains)``, in nats.
        step_size: The epsilon above.

    Returns:
        Tensor: Booleans ``(*chains)``.
    """
    back = u - proposed - 0.5 * step_size * gradient
    forth_and_back = _sum_of_event(noise.square() - back.square(), u.dim() - log_ratio.dim())
    log_accept = log_ratio + forth_and_back / (2 * step_size)
    return torch.rand_like(log_accept).log() < log_accept


def _refuse_lost(state: LangevinState) -> None:
    """Refuse chains that ended where there is no density.

    Raises:
        UnavailableError: saying how many of them.
    """
    lost = state.log_density.isnan()
    if bool(lost.any()):
        raise UnavailableError(
            f"expected chains that stay where the density is a number; {int(lost.sum())} of "
            f"{lost.numel()} ended elsewhere. Lower `step_size`, or use `adjusted=True`, which "
            "rejects such steps."
        )


class Langevin(AbstractSampler):
    r"""Gradient steps with noise on the log density of a tilted distribution.

    .. math:: u' = u + \tfrac{\epsilon}{2} \nabla \log p(u) + \sqrt{\epsilon}\, \xi,
              \qquad \xi \sim \mathcal{N}(0, I)

    The unadjusted chain has a bias that does not vanish with its length: on N(0, 1) its variance is
    1 / (1 - step_size / 4). The adjusted chain (MALA) accepts or rejects each step so that the
    target is its exact stationary law. Chains start at draws from the base. They move in whitened
    noise where the base is a Gaussian or a flow, else in z divided by its standard deviation;
    ``info.details["space"]`` reports the space.

    References:
        Exponential Convergence of Langevin Distributions and Their Discrete Approximations
        (Roberts & Tweedie, 1996). https://doi.org/10.2307/3318418

        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), section 3.3. https://arxiv.org/abs/2010.02917

    Arguments:
        steps: Number of steps.
        step_size: The epsilon above.
        adjusted: Whether to accept or reject each step (MALA).
        temperature: Factor of the base's standard deviations; see ``AbstractSampler``. ``init`` and
            ``step`` ignore it.
    """

    def __init__(
        self,
        steps: int = 100,
        *,
        step_size: float = 0.01,
        adjusted: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(temperature)
        if steps < 1:
            raise ValueError(f"expected at least 1 of `steps`; got {steps}.")
        if not 0 < step_size < math.inf:
            raise ValueError(f"expected a positive, finite `step_size`; got {step_size}.")
        self.steps = steps
        self.step_size = step_size
        self.adjusted = adjusted

    def __repr__(self) -> str:
        return f"Langevin(steps={self.steps}, step_size={self.step_size}, adjusted={self.adjusted})"

    def init(self, tilted: Tilted, sample_shape: tuple[int, ...] = ()) -> LangevinState:
        """Chains at draws from the base."""
        space = space_of(tilted)
        shape = torch.Size(sample_shape) + tilted.batch_shape + tilted.event_shape
        example = tilted.base.sample(torch.Size(sample_shape))
        u = (
            torch.randn_like(example.expand(shape))
            if space.name == "noise"
            else example / tilted.base.stddev
        )
        return self._state(space, u)

    def step(self, tilted: Tilted, state: LangevinState) -> tuple[LangevinState, SampleInfo]:
        """One step of every chain; ``info.acceptance`` says which chains accepted it."""
        space = space_of(tilted)
        state, accepted = self._step(space, state)
        return state, SampleInfo(
            self._name(), 1.0, self.adjusted, acceptance=accepted, details={"space": space.name}
        )

    def position(self, distribution: Distribution, state: LangevinState) -> Tensor:
        """The chains' positions as draws z."""
        if not isinstance(distribution, Tilted):
            raise TypeError(
                f"expected the Tilted distribution of the chain; got {type(distribution).__name__}."
            )
        with torch.no_grad():
            return space_of(distribution).to_z(state.u)

    def _run(self, tilted: Tilted, sample_shape: torch.Size) -> tuple[Tensor, SampleInfo]:
        space = space_of(tilted)
        state = self.init(tilted, tuple(sample_shape))
        tilted.checked_log_tilt(space.to_z(state.u))
        accepted = torch.zeros_like(state.log_density)
        for _ in range(self.steps):
            state, moved = self._step(space, state)
            accepted += moved
            tell_sampling(1 / self.steps)
        _refuse_lost(state)
        info = SampleInfo(
            method=self._name(),
            evaluations=float(self.steps + 1),
            exact=False,  # a chain forgets its start only in the limit of infinitely many steps
            acceptance=accepted / self.steps,
            details={"space": space.name, "step_size": self.step_size},
        )
        with torch.no_grad():
            return space.to_z(state.u), info

    def _name(self) -> str:
        return ("Metropolis-adjusted" if self.adjusted else "unadjusted") + " Langevin"

    def _state(self, space: Space, u: Tensor) -> LangevinState:
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            log_density = space.log_density(u)
            (gradient,) = torch.autograd.grad(log_density.sum(), u)
        return LangevinState(u.detach(), log_density.detach(), gradient)

    def _step(self, space: Space, state: LangevinState) -> tuple[LangevinState, Tensor]:
        u, noise = proposal(state.u, state.gradient, self.step_size)
        proposed = self._state(space, u)
        if not self.adjusted:
            return proposed, torch.ones_like(state.log_density)
        log_ratio = proposed.log_density - state.log_density
        accept = is_accepted(state.u, u, proposed.gradient, noise, log_ratio, self.step_size)
        wide = accept.reshape(*accept.shape, *[1] * (u.dim() - accept.dim()))
        moved = LangevinState(
            torch.where(wide, proposed.u, state.u),
            torch.where(accept, proposed.log_density, state.log_density),
            torch.where(wide, proposed.gradient, state.gradient),
        )
        return moved, accept.to(log_ratio.dtype)
