"""Walks through the top latents: from one observation to another, or along one dimension.

Letters: ``R`` walks, ``T`` steps, ``N`` observations, ``D`` latent dimensions of the top group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.choices import Space
from priorwise.distributions import picture
from priorwise.models.base import AbstractModel, frozen
from priorwise.priors import FlowPrior
from priorwise.randomness import seeded

__all__ = ["Traversal", "along", "between", "encodings", "flow_prior", "in_space", "latent_range"]

_BLOCK = 500


@dataclass(frozen=True)
class Traversal:
    """Walks through the top latents, and what the decoder makes of them.

    Attributes:
        z: The latents on the way, ``(R, T, *latent)``.
        u: The same in the space where the walk is straight: z itself, or z0 of a flow prior, ``(R,
            T, *latent)``.
        x: The decoder's means, or draws where it has none, ``(R, T, *event)``.
        at: Where a step stands: the share of the way, or the value of the dimension that varies,
            ``(R, T)``.
        space: ``"representation"`` if u is z, ``"generation"`` if it is z0.
    """

    z: Tensor
    u: Tensor
    x: Tensor
    at: Tensor
    space: Space


@dataclass(frozen=True)
class _Coordinates:
    """A space for walks, and the two ways between it and z."""

    space: Space
    enter: Callable[[Tensor], Tensor]
    leave: Callable[[Tensor], Tensor]


def flow_prior(model: AbstractModel) -> FlowPrior | None:
    """The flow over the model's top latents, also under a tilt; None without one.

    Raises:
        ValueError: if there are several flows, so that none is *the* prior.
    """
    found = [module for module in model.modules() if isinstance(module, FlowPrior)]
    if len(found) > 1:
        raise ValueError(
            f"expected one FlowPrior in the model; got {len(found)}. Walk in space "
            "'representation'."
        )
    return found[0] if found else None


def _coordinates(model: AbstractModel, space: Space | None) -> _Coordinates:
    if space not in (None, "representation", "generation"):
        raise ValueError(
            f"expected `space` as 'representation', 'generation' or None; got {space!r}."
        )
    flow = None if space == "representation" else flow_prior(model)
    if flow is not None:
        return _Coordinates("generation", flow.to_generation, flow.to_representation)
    if space == "generation":
        raise ValueError(
            "expected a model with a FlowPrior for space 'generation'; this one has no generation "
            "space. Choose 'representation', or train it with prior=FlowPrior(...)."
        )
    return _Coordinates("representation", torch.Tensor.clone, torch.Tensor.clone)


def in_space(model: AbstractModel, z: Tensor, space: Space) -> Tensor:
    """Top latents as they are, or carried to the z0 of the model's flow prior: ``(*, *latent)`` to the same shape."""
    return _coordinates(model, space).enter(z)


def encodings(model: AbstractModel, x: Tensor, *, space: Space = "representation") -> Tensor:
    """The means of q(z|x) for the top group, in z or carried to z0: ``(N, *event) -> (N, *latent)``."""
    with (
        frozen(model),
        torch.no_grad(),
        seeded(0, "encodings"),
    ):  # groups below the top are drawn on the way
        means = torch.cat(
            [model.encode(x[start : start + _BLOCK]).mean for start in range(0, len(x), _BLOCK)]
        )
        return in_space(model, means, space)


def between(
    model: AbstractModel,
    first: Tensor,
    second: Tensor,
    *,
    steps: int = 10,
    space: Space | None = None,
    seed: int = 0,
) -> Traversal:
    r"""From the encoding of one observation to that of another, for R pairs at once.

    .. math:: u_t = (1 - t)\, u(x_1) + t\, u(x_2), \qquad t = 0, \dots, 1

    where u is the mean of q(z|x): for a flow prior carried to z0, where the prior is normal, so
    that the way is straight there and curved in z; else z itself. The ends are the encodings,
    exactly.

    References:
        dpVAE: decoupled prior for VAEs (Bhalodia et al., 2020), whose traversals are straight in
        z0.

    Arguments:
        model: The model; of a hierarchy the top group walks, and the groups below keep their noise
            on the way.
        first: Where walks begin, ``(R, *event)``.
        second: Where they end, ``(R, *event)``.
        steps: Number T of latents on the way, both ends included.
        space: Where the way is straight; if None, in z0 where there is a flow prior, else in z.
        seed: Seed of the groups below the top.

    Raises:
        ValueError: if the two differ in shape, for fewer than 2 steps, or for z0 without a flow
            prior.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"expected `first` and `second` of one shape; got {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )
    if steps < 2:
        raise ValueError(f"expected at least 2 `steps`, both ends included; got {steps}.")
    chosen = _coordinates(model, space)
    with frozen(model), torch.no_grad():
        start, end = encodings(model, first), encodings(model, second)
        at = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
        weight = at.view(-1, *[1] * (start.dim() - 1))
        u = torch.lerp(chosen.enter(start)[:, None], chosen.enter(end)[:, None], weight)
        z = chosen.leave(u)
        z[:, 0], z[:, -1] = start, end  # there and back would round
        return Traversal(z, u, _decoded(model, z, seed), at.expand(len(start), steps), chosen.space)


def along(
    model: AbstractModel,
    z: Tensor,
    dimensions: Sequence[int],
    values: Tensor,
    *,
    space: Space = "representation",
    seed: int = 0,
) -> Traversal:
    """One dimension of the top latents takes given values while all others stay exactly as they are; a walk for each.

    Arguments:
        model: The model; of a hierarchy the top group walks, and the groups below keep their noise
            on the way.
        z: The latents to start from, ``(*latent)``, for example ``encodings(model, x)[0]``.
        dimensions: Which dimensions vary, one a walk, counted from 0; latents of several axes are
            counted flat.
        values: What they become: ``(T,)`` for all alike, or ``(R, T)``, for example between the two
            ends of ``latent_range``.
        space: Whether dimensions of z are meant or those of a flow prior's z0.
        seed: Seed of the groups below the top.

    Raises:
        ValueError: for a dimension that there is not, values that do not fit, or z0 without a flow
            prior.
    """
    chosen = _coordinates(model, space)
    _check_point(model, z)
    rows, columns = _rows(dimensions, z.numel())
    if values.dim() not in (1, 2) or (values.dim() == 2 and len(values) != len(rows)):
        raise ValueError(
            f"expected `values` of shape (T,) or ({len(rows)}, T), a row for each dimension; got "
            f"{tuple(values.shape)}."
        )
    with frozen(model), torch.no_grad():
        at = values.to(z).expand(len(rows), values.shape[-1])
        u = chosen.enter(z).flatten().repeat(*at.shape, 1)
        u[rows, :, columns] = at
        u = u.unflatten(-1, z.shape)
        walked = chosen.leave(u)
        return Traversal(walked, u, _decoded(model, walked, seed), at, chosen.space)


def latent_range(
    model: AbstractModel,
    x: Tensor,
    *,
    mass: float = 0.98,
    space: Space = "representation",
    seed: int = 0,
) -> Tensor:
    """Between which values each dimension of the aggregate posterior keeps ``mass``: the low and the high ends, ``(2, D)``.

    This is the range that pictures of one dimension show. The decoder was trained on draws of the
    aggregate posterior, so what it makes of them is its own. Three standard deviations of the prior
    may lie beyond or well inside what it has ever seen, and a mixture or a flow has no one standard
    deviation. A dimension that is not used has the prior's own range.

    Arguments:
        model: The model.
        x: Observations whose encodings make q(z), of which one draw each is taken, ``(N, *event)``.
        mass: Share of the draws between the two ends.
        space: Whether dimensions of z are meant or those of a flow prior's z0.
        seed: Seed of the draws.

    Raises:
        ValueError: for a mass outside (0, 1), or z0 without a flow prior.
    """
    if not 0 < mass < 1:
        raise ValueError(f"expected `mass` between 0 and 1; got {mass}.")
    chosen = _coordinates(model, space)
    draws = []
    with frozen(model), torch.no_grad():
        for block, start in enumerate(range(0, len(x), _BLOCK)):
            with seeded(seed, "latent_range", block):
                draws.append(model.infer(x[start : start + _BLOCK])[0].z)
        u = chosen.enter(torch.cat(draws)).flatten(1)
        return torch.quantile(u, u.new_tensor([(1 - mass) / 2, (1 + mass) / 2]), dim=0)


def _decoded(model: AbstractModel, z: Tensor, seed: int) -> Tensor:
    """What the decoder makes of them, ``(R, T, *event)``; all steps share their noise, so that the walk alone is seen."""
    steps = []
    for step in z.unbind(1):
        with seeded(seed, "traversal"):
            steps.append(picture(model.decode(step)))
    return torch.stack(steps, 1)


def _check_point(model: AbstractModel, z: Tensor) -> None:
    shape = model.top_down(
        lambda group: z.new_zeros(group.prior.batch_shape + group.prior.event_shape), (1,)
    )[0].z.shape
    if z.shape != shape[1:]:
        raise ValueError(
            f"expected `z` as one point of shape {tuple(shape[1:])}; got {tuple(z.shape)}."
        )


def _rows(dimensions: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """The index of every walk and of the dimension that it varies."""
    if not len(dimensions):
        raise ValueError("expected at least one of `dimensions`; got none.")
    for dimension in dimensions:
        if not 0 <= dimension < count:
            raise ValueError(f"expected `dimensions` from 0 to {count - 1}; got {dimension}.")
    return torch.arange(len(dimensions)), torch.tensor(list(dimensions))
