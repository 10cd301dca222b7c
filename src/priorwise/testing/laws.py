"""The single laws of the contract checks; each raises an ``AssertionError`` that says what broke.

Letters: ``N`` draws, ``S`` samples, ``B`` batch.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.distributions import Tilted, diagonal_gaussian, log_unnorm
from priorwise.models import frozen
from priorwise.testing.significance import check_mean
from priorwise.typing import Shape

__all__ = [
    "draws_follow_density",
    "expands",
    "frozen_leaves_no_trace",
    "gradients_reach_all",
    "is_finite",
    "jittered",
    "modes_agree",
    "names_itself",
    "points_of",
    "require",
    "same_values",
    "samples_have_shape",
    "state_is_complete",
]

Module = TypeVar("Module", bound=nn.Module)
Evaluate: TypeAlias = Callable[[nn.Module], Tensor]

_COORDINATES = 64  # checked one by one, drawn at random if an event has more


def require(condition: object, message: str) -> None:
    """Raise the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def same_values(
    actual: Tensor, expected: Tensor, what: str, *, rtol: float = 1e-4, atol: float = 1e-4
) -> None:
    """Two tensors agree in shape and, up to rounding, in value."""
    shapes = tuple(actual.shape), tuple(expected.shape)
    require(shapes[0] == shapes[1], f"expected {what} of shape {shapes[1]}; got {shapes[0]}.")
    if not torch.allclose(actual, expected, rtol=rtol, atol=atol):
        worst = float((actual - expected).detach().abs().max())
        raise AssertionError(
            f"expected {what} to agree; got values that differ by up to {worst:.3g}."
        )


def is_finite(values: Tensor, what: str, shape: Shape) -> None:
    """The tensor has this shape, and all its values are finite."""
    require(
        values.shape == shape,
        f"expected {what} of shape {tuple(shape)}; got {tuple(values.shape)}.",
    )
    broken = values[~values.isfinite()].detach()
    if len(broken):
        raise AssertionError(f"expected {what} to be finite; got {float(broken[0])} among them.")


def names_itself(part: object) -> None:
    """The printed form names the class."""
    name = type(part).__name__
    require(name in repr(part), f"expected the printed form to name {name}; got {repr(part)!r}.")


def jittered(module: Module, amount: float = 0.02) -> Module:
    """A copy with a little noise on every parameter, so that none is zero by initialisation."""
    copy = deepcopy(module)
    shared = {id(parameter) for parameter in module.parameters()} & {
        id(parameter) for parameter in copy.parameters()
    }
    require(
        not shared,
        f"expected a module whose copies stand alone; a copy of this {type(module).__name__} "
        f"shares {len(shared)} parameters with it, which happens when a function holds them. Use "
        "modules or their methods instead of lambdas.",
    )
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.add_(amount * torch.randn_like(parameter))
    return copy


def points_of(distribution: Distribution, shape: Shape = ()) -> Tensor:
    """Draws, where the density should be positive; a tilted distribution draws from its base."""
    base = distribution.base if isinstance(distribution, Tilted) else distribution
    return base.sample(torch.Size(shape))


def samples_have_shape(distribution: Distribution) -> None:
    """Draws and densities have shape sample + batch (+ event), for any sample shape."""
    batch, event = tuple(distribution.batch_shape), tuple(distribution.event_shape)
    for shape in [(), (5,), (2, 3)]:
        points = points_of(distribution, shape)
        is_finite(points, f"draws for a sample shape of {shape}", (*shape, *batch, *event))
        is_finite(
            log_unnorm(distribution, points), f"log densities of {shape} draws", (*shape, *batch)
        )


def expands(distribution: Distribution, batch_shape: Shape) -> None:
    """A larger batch shape repeats the same law: shapes grow, densities do not change."""
    wide = distribution.expand(torch.Size(batch_shape))
    what = f"after `expand({tuple(batch_shape)})`"
    require(
        wide.batch_shape == batch_shape,
        f"expected the batch shape {tuple(batch_shape)} {what}; got {tuple(wide.batch_shape)}.",
    )
    samples_have_shape(wide)
    points = points_of(wide, (2,))
    same_values(log_unnorm(wide, points), log_unnorm(distribution, points), f"log densities {what}")


def draws_follow_density(
    distribution: Distribution, other: Distribution | None = None, draws: int = 20_000
) -> None:
    r"""Draws follow the density, and its constant is right relative to another law.

    .. math:: \mathbb{E}_p\!\left[g \frac{r}{p + r}\right] =
              \mathbb{E}_r\!\left[g \frac{p}{p + r}\right]

    for every bounded g; here g is 1, tanh and tanh^2 of standardised coordinates. Both sides are
    bounded, so the error is known in any number of dimensions. r is a Gaussian fitted to other
    draws, or ``other``.

    References:
        Simulating Ratios of Normalizing Constants via a Simple Identity: A Theoretical Exploration
        (Meng & Wong, 1996), equation 2.2.
        http://www3.stat.sinica.edu.tw/statistica/j6n4/j6n43/j6n43.htm
    """
    count = max(200, draws // max(1, distribution.batch_shape.numel()))
    with torch.no_grad():
        fitted = distribution.sample(torch.Size((count,)))
        loc, scale = fitted.mean(0), fitted.std(0) + 1e-6
        dims = len(distribution.event_shape)
        r = diagonal_gaussian(loc, scale, dims) if other is None else other
        coordinates = torch.randperm(distribution.event_shape.numel())[:_COORDINATES]
        sides = []
        for law, against in ((distribution, r), (r, distribution)):
            z = law.sample(torch.Size((count,)))
            share = torch.sigmoid((against.log_prob(z) - law.log_prob(z)).double()).unsqueeze(-1)
            bounded = (
                torch.tanh((z - loc) / scale).flatten(z.dim() - dims)[..., coordinates].double()
            )
            sides.append(
                torch.cat([share, share * bounded, share * bounded.square()], -1).flatten(0, -2)
            )
    for index, column in enumerate((sides[0] - sides[1]).T):
        what = "the mass under the draws minus the mass of the density"
        what = what if index == 0 else f"{what}, weighted by function {index} of a coordinate,"
        check_mean(column, 0.0, what, comparisons=sides[0].shape[1])


def gradients_reach_all(module: nn.Module, loss: Callable[[], Tensor], what: str) -> None:
    """A backward pass gives every trainable parameter a finite gradient that is not all zero."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        return
    module.zero_grad(set_to_none=True)
    with torch.enable_grad():
        loss().backward()
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        gradient = parameter.grad
        require(
            gradient is not None,
            f"expected {what} to reach every parameter; `{name}` got no gradient.",
        )
        assert gradient is not None
        require(
            gradient.isfinite().all(), f"expected {what} to be finite; that of `{name}` is not."
        )
        require(
            gradient.any(), f"expected {what} to reach every parameter; `{name}` got only zeros."
        )
    module.zero_grad(set_to_none=True)


def modes_agree(module: nn.Module, evaluate: Evaluate) -> None:
    """Training and evaluation mode give the same values, unless a layer differs by design."""
    differing = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    if any(isinstance(part, differing) for part in module.modules()):
        return
    training, evaluating = deepcopy(module).train(), deepcopy(module).eval()
    same_values(evaluate(training), evaluate(evaluating), "values in training and evaluation mode")


def state_is_complete(module: nn.Module, evaluate: Evaluate) -> None:
    """A second module of the same kind takes over every value through ``state_dict``."""
    second = jittered(module, 0.1)
    second.load_state_dict(module.state_dict())
    same_values(
        evaluate(second), evaluate(module), "values after a state_dict was saved and loaded"
    )


def _trace(module: nn.Module) -> dict[str, object]:
    """The state that an evaluation must not change, as plain data that compares with ``==``."""
    state: dict[str, object] = {"the random state": torch.get_rng_state().tolist()}
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        # As text, in which NaN equals itself.
        state[f"`{name}`"] = repr(value.detach().flatten().tolist())
        state[f"requires_grad of `{name}`"] = value.requires_grad
        state[f"the gradient of `{name}`"] = None if value.grad is None else value.grad.tolist()
    for name, part in module.named_modules():
        state[f"the mode of `{name}`"] = part.training
        hooks = (
            part._forward_hooks,
            part._forward_pre_hooks,
            part._backward_hooks,
            part._backward_pre_hooks,
        )
        state[f"the hooks of `{name}`"] = [list(kind) for kind in hooks]
    return state


def frozen_leaves_no_trace(module: nn.Module, evaluate: Evaluate) -> None:
    """An evaluation inside ``frozen`` changes nothing, draws nothing, keeps no distribution."""
    module = deepcopy(module).train()
    # Different flags, so that a wrong restoration shows.
    for parameter in list(module.parameters())[::2]:
        parameter.requires_grad = False
    fresh = jittered(module, 0.1)
    before = _trace(module)
    with frozen(module):
        evaluate(module)
    after = _trace(module)
    changed = [name for name in before if before[name] != after.get(name)]
    require(
        not changed, f"expected `frozen` to leave no trace; it changed {', '.join(changed[:3])}."
    )
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), fresh.parameters(), strict=True):
            parameter.copy_(value)
    same_values(
        evaluate(module), evaluate(fresh), "values after `frozen` and a step of the parameters"
    )
