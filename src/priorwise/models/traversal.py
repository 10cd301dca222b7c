"""Walks through the top latents: from one observation to another, or along one dimension.

Letters: ``R`` walks, ``T`` steps, ``N`` observations, ``D`` latent dimensions of the top group.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.choices import Space
from priorwise.distributions import picture
from priorwise.models.base import AbstractModel, frozen
from priorwise.models.observations import as_observations
from priorwise.priors import FlowPrior
from priorwise.randomness import seeded

__all__ = ["Traversal", "along", "between", "encodings", "flow_prior", "in_space", "latent_range"]

_BLOCK = 500


@dataclass(frozen=True)
class Traversal:
    """Walks through the top latents, and their decoded observations.

    Attributes:
        z: The latents of each step, ``(R, T, *latent)``.
        u: The same latents in the space where the walk is straight, ``(R, T, *latent)``: z itself,
            or z0 of a flow prior.
        x: The decoder's means, or draws if it has no mean, ``(R, T, *event)``.
        at: The position of each step, ``(R, T)``: the fraction of the way, or the value of the
            dimension that varies.
        space: ``"representation"`` if u is z, ``"generation"`` if it is z0.
    """

    z: Tensor
    u: Tensor
    x: Tensor
    at: Tensor
    space: Space


@dataclass(frozen=True)
class _Coordinates:
    """A space for walks, and the maps from z to it and back."""

    space: Space
    enter: Callable[[Tensor], Tensor]
    leave: Callable[[Tensor], Tensor]


def flow_prior(model: AbstractModel) -> FlowPrior | None:
    """The flow prior of the model's top latents, also below a tilt; None if it has none.

    Raises:
        ValueError: if the model has several flow priors.
    """
    flows = [module for module in model.modules() if isinstance(module, FlowPrior)]
    if len(flows) > 1:
        raise ValueError(
            f"expected one FlowPrior in the model; got {len(flows)}. Walk in space "
            "'representation'."
        )
    return flows[0] if flows else None


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
    """Top latents ``(*, *latent)`` in a space, in the same shape.

    They stay as they are, or the model's flow prior maps them to z0.
    """
    return _coordinates(model, space).enter(z)


def encodings(model: AbstractModel, x: Array, *, space: Space = "representation") -> Tensor:
    """The means of q(z|x) for the top group, as z or z0: ``(N, *event) -> (N, *latent)``."""
    x = as_observations(model, x)
    # Seeded, since a pass also draws the groups below the top.
    with frozen(model), torch.no_grad(), seeded(0, "encodings"):
        means = torch.cat(
            [model.encode(x[start : start + _BLOCK]).mean for start in range(0, len(x), _BLOCK)]
        )
        return in_space(model, means, space)


def between(
    model: AbstractModel,
    first: Array,
    second: Array,
    *,
    steps: int = 10,
    space: Space | None = None,
    seed: int = 0,
) -> Traversal:
    r"""Walk from the encoding of one observation to that of another, for R pairs at once.

    .. math:: u_t = (1 - t)\, u(x_1) + t\, u(x_2), \qquad t = 0, \dots, 1

    u(x) is the mean of q(z|x). A flow prior maps it to z0, where the prior is normal; the walk is
    then straight in z0 and curved in z. Without a flow prior it is straight in z. The ends are
    exactly the encodings.

    References:
        dpVAEs: Fixing Sample Generation for Regularized VAEs (Bhalodia et al., 2020), whose
        traversals are straight in z0. https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model. In a hierarchy the top group walks, and the groups below keep their noise.
        first: The observations where the walks begin, ``(R, *event)``.
        second: The observations where they end, ``(R, *event)``.
        steps: Number of steps T, both ends included.
        space: The space where the walk is straight. If None, z0 of the flow prior if there is one,
            else z.
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
    coordinates = _coordinates(model, space)
    with frozen(model), torch.no_grad():
        start, end = encodings(model, first), encodings(model, second)
        at = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
        weight = at.view(-1, *[1] * (start.dim() - 1))
        u = torch.lerp(coordinates.enter(start)[:, None], coordinates.enter(end)[:, None], weight)
        z = coordinates.leave(u)
        z[:, 0], z[:, -1] = start, end  # mapping there and back rounds
        at = at.expand(len(start), steps)
        return Traversal(z, u, _decoded(model, z, seed), at, coordinates.space)


def along(
    model: AbstractModel,
    z: Tensor,
    dimensions: Sequence[int],
    values: Tensor,
    *,
    space: Space = "representation",
    seed: int = 0,
) -> Traversal:
    """Vary one dimension of the top latents per walk, while all others stay exactly as they are.

    Arguments:
        model: The model. In a hierarchy the top group walks, and the groups below keep their noise.
        z: The latents to start from, ``(*latent)``, for example ``encodings(model, x)[0]``.
        dimensions: The dimension that varies in each walk, counted from 0; latents with several
            axes are flattened.
        values: The values of these dimensions: ``(T,)`` for all walks, or ``(R, T)``, for example
            between the two ends of ``latent_range``.
        space: Whether the dimensions are those of z or of a flow prior's z0.
        seed: Seed of the groups below the top.

    Raises:
        ValueError: for a dimension out of range, values of a wrong shape, or z0 without a flow
            prior.
    """
    coordinates = _coordinates(model, space)
    _check_point(model, z)
    rows, columns = _rows(dimensions, z.numel())
    if values.dim() not in (1, 2) or (values.dim() == 2 and len(values) != len(rows)):
        raise ValueError(
            f"expected `values` of shape (T,) or ({len(rows)}, T), one row per dimension; got "
            f"{tuple(values.shape)}."
        )
    with frozen(model), torch.no_grad():
        at = values.to(z).expand(len(rows), values.shape[-1])
        u = coordinates.enter(z).flatten().repeat(*at.shape, 1)
        u[rows, :, columns] = at
        u = u.unflatten(-1, z.shape)
        latents = coordinates.leave(u)
        return Traversal(latents, u, _decoded(model, latents, seed), at, coordinates.space)


def latent_range(
    model: AbstractModel,
    x: Array,
    *,
    mass: float = 0.98,
    space: Space = "representation",
    seed: int = 0,
) -> Tensor:
    """The central range of the aggregate posterior in each dimension: both ends, ``(2, D)``.

    Pictures of one dimension show this range. The decoder was trained on draws of the aggregate
    posterior, so it has seen the whole range. Three standard deviations of the prior may reach
    beyond what it has seen, or stay well inside, and a mixture or a flow has no single standard
    deviation. An unused dimension has the range of the prior.

    Arguments:
        model: The model.
        x: Observations, ``(N, *event)``. One draw from the posterior of each makes up q(z).
        mass: Share of the draws between the two ends.
        space: Whether the dimensions are those of z or of a flow prior's z0.
        seed: Seed of the draws.

    Raises:
        ValueError: for a mass outside (0, 1), or z0 without a flow prior.
    """
    if not 0 < mass < 1:
        raise ValueError(f"expected `mass` between 0 and 1; got {mass}.")
    x = as_observations(model, x)
    coordinates = _coordinates(model, space)
    draws = []
    with frozen(model), torch.no_grad():
        for block, start in enumerate(range(0, len(x), _BLOCK)):
            with seeded(seed, "latent_range", block):
                draws.append(model.infer(x[start : start + _BLOCK])[0].z)
        u = coordinates.enter(torch.cat(draws)).flatten(1)
        return torch.quantile(u, u.new_tensor([(1 - mass) / 2, (1 + mass) / 2]), dim=0)


def _decoded(model: AbstractModel, z: Tensor, seed: int) -> Tensor:
    """The decoded observations, ``(R, T, *event)``.

    All steps share their noise, so that they differ by the walk alone.
    """
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
    """The index of each walk, and of the dimension that it varies."""
    if not len(dimensions):
        raise ValueError("expected at least one of `dimensions`; got none.")
    for dimension in dimensions:
        if not 0 <= dimension < count:
            raise ValueError(f"expected `dimensions` from 0 to {count - 1}; got {dimension}.")
    return torch.arange(len(dimensions)), torch.tensor(list(dimensions))
