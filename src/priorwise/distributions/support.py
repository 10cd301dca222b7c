"""Checks that observations lie in the support of a likelihood.

Our densities run in hot loops and check nothing, so they return a number even for a value that no
draw can take. Observations are therefore checked once, before the loop.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints
from torch.distributions.constraints import Constraint

from priorwise.distributions.rows import UnflattenedRows

__all__ = ["has_whole_numbers", "is_binary", "require_event_shape", "require_support"]

_Check: TypeAlias = Callable[[Tensor], Tensor]

_CHUNK = 1 << 20  # values to check at once


def is_binary(distribution: Distribution) -> bool:
    """Whether all draws consist of zeros and ones."""
    return _is_boolean(_support(distribution))


def has_whole_numbers(distribution: Distribution) -> bool:
    """Whether all draws consist of whole numbers, such as counts."""
    support = _support(distribution)
    return support is not None and bool(support.is_discrete)


def require_support(distribution: Distribution, x: Tensor, what: str = "x") -> tuple[str, ...]:
    r"""Refuse observations of a wrong shape, with NaN or infinity, or outside the support.

    One pass over ``x`` finds the lowest and the highest value, which is enough for every support
    that is an interval. Other supports (whole numbers, points of a simplex) need a second pass over
    the single values. It runs in chunks, so that no temporary tensor grows with ``x``. If the
    bounds of the support differ within the batch, ``x`` is refused only where no bound allows its
    lowest or its highest value.

    Bernoulli pixels accept all values in [0, 1], since training on grey images is cross-entropy.
    For values between 0 and 1, :math:`x l - \log(1 + e^l)` is not a log probability; this is
    returned as a doubt for ``Estimate.warnings``.

    Arguments:
        distribution: The likelihood p(x|z) of some latents, of any batch shape.
        x: Observations ``(N, *event)``, on any device.
        what: The name of the observations in messages.

    Returns:
        tuple[str, ...]: Doubts in words; empty if there are none.

    Raises:
        ValueError: with the shape or range of ``x`` and what to do.

    Example:
        >>> from torch.distributions import Bernoulli
        >>> pixels = Independent(Bernoulli(logits=torch.zeros(5, 4)), 1)
        >>> require_support(pixels, torch.eye(4))
        ()
        >>> require_support(pixels, 255 * torch.eye(4))
        Traceback (most recent call last):
        ...
        ValueError: expected `x` in [0, 1] for Bernoulli; got values from 0 to 255. Divide by ...
    """
    require_event_shape(distribution, x, what)
    if not x.numel():
        return ()
    low, high = _range(x, what)
    support = _support(distribution)
    if support is None:
        return ()
    name, words = _name(distribution), _range_words(low, high)
    if _is_boolean(support):
        return _check_binary(x, low, high, f"`{what}`", name)
    if not support.event_dim:
        message = f"expected `{what}` {_where(support)} for {name}; got {words}."
        _check_bounds(support, low, high, f"{message} {_advice(support, low)}")
        if support.is_discrete and not _all(x, _is_whole):
            raise ValueError(
                f"expected whole numbers in `{what}` for {name}; got fractions among {words}. Use "
                "the original counts, or take a likelihood of real values."
            )
    elif not _all(x, support.check):
        raise ValueError(
            f"expected observations in `{what}` inside the support of {name}; got {words}, and "
            "some of them lie outside. Take a likelihood of such values, or other data."
        )
    return ()


def require_event_shape(distribution: Distribution, x: Tensor, what: str = "x") -> None:
    """Refuse observations of a shape that is not the event shape: densities would broadcast.

    Arguments:
        distribution: The likelihood p(x|z), of any batch shape.
        x: Observations ``(N, *event)``.
        what: The name of the observations in messages.

    Raises:
        ValueError: with both shapes and the call that brings ``x`` into shape.
    """
    event = tuple(distribution.event_shape)
    if x.dim() and tuple(x.shape[1:]) == event:
        return
    missing = len(distribution.batch_shape) - 1
    advice = _shape_advice(tuple(x.shape), event, what)
    if not event and x.dim() > 1 and missing:
        advice = (
            f"Its likelihood has batch shape {tuple(distribution.batch_shape)}: join the "
            "dimensions of one observation with torch.distributions.Independent."
        )
    raise ValueError(
        f"expected `{what}` as observations (N, *event) of event shape {event}, which the "
        f"likelihood has; got shape {tuple(x.shape)}. {advice}"
    )


def _shape_advice(shape: tuple[int, ...], event: tuple[int, ...], what: str) -> str:
    """What to do about observations of a wrong shape."""
    if shape == event:
        return f"For a single observation, use {what}.unsqueeze(0)."
    if event[:1] == (1,) and shape[1:] == event[1:]:
        return f"Use {what}.unsqueeze(1), which adds the channel."
    if len(shape) == 4 and len(event) == 3 and (shape[3], *shape[1:3]) == event:
        return f"Use {what}.permute(0, 3, 1, 2), which moves the channels to the front."
    if event and math.prod(shape[1:]) == math.prod(event):
        return f"Use {what}.reshape(-1, {', '.join(map(str, event))})."
    return f"Reshape `{what}`, or build the model for its shape."


def _range(x: Tensor, what: str) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value as scalar tensors on the CPU; both must be finite."""
    low, high = x.detach().aminmax()  # both are NaN if any value is
    low, high = low.cpu(), high.cpu()
    if bool(low.isnan()):
        first = next(index for index, row in enumerate(x) if bool(row.isnan().any()))
        raise ValueError(
            f"expected numbers in `{what}`; got NaN, first in observation {first}. Leave such "
            "observations out, or fill in the missing values."
        )
    if not bool(low.isfinite() & high.isfinite()):
        raise ValueError(
            f"expected finite numbers in `{what}`; got {_range_words(low, high)}. Leave such "
            "observations out, or look for a division by zero."
        )
    return low, high


def _range_words(low: Tensor, high: Tensor) -> str:
    return f"values from {float(low):.6g} to {float(high):.6g}"


# -- supports --------------------------------------------------------------------------------------


def _support(distribution: Distribution) -> Constraint | None:
    """The constraint on the values of an event; None if unknown.

    It applies to each value, or to a whole event where the values depend on each other.
    """
    try:
        support = distribution.support
    except NotImplementedError:  # torch raises this where the support is not defined
        return None
    while isinstance(support, type(constraints.independent(constraints.real, 0))):
        support = support.base_constraint
    return None if support is None or constraints.is_dependent(support) else support


def _is_boolean(support: Constraint | None) -> bool:
    return isinstance(support, type(constraints.boolean))


def _name(distribution: Distribution) -> str:
    """The name of a likelihood, without the wrappers that only regroup its dimensions."""
    while isinstance(distribution, (Independent, UnflattenedRows)):
        distribution = (
            distribution.base_dist if isinstance(distribution, Independent) else distribution.rows
        )
    return type(distribution).__name__.removeprefix("Independent")


def _where(support: Constraint) -> str:
    if isinstance(support, type(constraints.unit_interval)):
        low, high = support.lower_bound, support.upper_bound
        if not isinstance(low, Tensor) and not isinstance(high, Tensor):
            return f"in [{low:.6g}, {high:.6g}]"
    return "inside the support"


def _check_bounds(support: Constraint, low: Tensor, high: Tensor, message: str) -> None:
    """Refuse if the lowest or the highest value lies outside every bound of the batch."""
    for value in (low, high):
        if not bool(support.check(value).any()):
            raise ValueError(message)


def _advice(support: Constraint, low: Tensor) -> str:
    if not isinstance(support, type(constraints.unit_interval)):
        return "Take a likelihood of such values, or other data."
    if float(low) < 0:
        return (
            "Shift and scale the data, by (x + 1) / 2 if they lie in [-1, 1], or take a Gaussian "
            "likelihood."
        )
    return "Divide by the largest possible value, 255 for bytes, or take a Gaussian likelihood."


def _check_binary(x: Tensor, low: Tensor, high: Tensor, what: str, name: str) -> tuple[str, ...]:
    message = f"expected {what} in [0, 1] for {name}; got {_range_words(low, high)}."
    unit = constraints.unit_interval
    _check_bounds(unit, low, high, f"{message} {_advice(unit, low)}")
    if not x.is_floating_point() or _all(x, _is_whole):
        return ()
    return (
        f"{what} has values between 0 and 1. For these, Bernoulli pixels give a cross-entropy and "
        "no likelihood: do not compare the number with one of binarised images. Binarise the "
        "images (`binarize` of the data), or take a likelihood of grey values, such as "
        "DiscretizedLogistic.",
    )


# -- single values ---------------------------------------------------------------------------------


def _is_whole(x: Tensor) -> Tensor:
    return x == x.round() if x.is_floating_point() else torch.ones((), dtype=torch.bool)


def _all(x: Tensor, holds: _Check) -> bool:
    """Whether the check holds for every value of ``x``, chunk by chunk."""
    rows = max(1, _CHUNK * len(x) // x.numel())
    return all(bool(holds(part).all()) for part in x.detach().split(rows))
