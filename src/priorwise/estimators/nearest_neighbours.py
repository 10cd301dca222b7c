"""Nearest neighbours between two sets of points, and the KL from them, with groups left out.

Letters: ``N`` and ``M`` points, ``T`` points of a tile, ``D`` dimensions, ``G`` groups of a
jackknife. Tensors with ``G + 1`` rows hold one row for all points, then one row for each group that
is left out. Masks ``included`` tell which points a row counts.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from priorwise.progress import tell
from priorwise.refusals import UnavailableError

__all__ = ["dealt", "jackknife_words", "knn_values", "without_groups"]

_TILE = 512
GROUPS = 40
_SPARE = 4  # extra neighbours to look at, since some are left out
_EXACT = "donot_use_mm_for_euclid_dist"  # matrix products lose all digits between near points


# -- the jackknife ---------------------------------------------------------------------------------


def dealt(sources: Tensor, others: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Masks of the included points of two sets, ``(G + 1, N)`` and ``(G + 1, M)``.

    Sources are dealt to groups at random, so that all points of a source are in the same group. A
    group is left out of both sets at once. Only the first row remains where a group would leave too
    few points.
    """
    groups = min(GROUPS, len(sources.unique()), len(others.unique()))
    masks = without_groups(sources, groups), without_groups(others, groups)
    fewest = min(int(included.sum(1).min()) for included in masks)
    return masks if groups > 1 and fewest > neighbours else (masks[0][:1], masks[1][:1])


def without_groups(sources: Tensor, groups: int) -> Tensor:
    """Masks ``(G + 1, N)``: all points, then all but those of each random group of sources."""
    kinds, place = sources.unique(return_inverse=True)
    group = (torch.randperm(len(kinds)) % groups)[place]
    everyone = torch.ones(1, len(sources), dtype=torch.bool)
    return torch.cat([everyone, group != torch.arange(groups)[:, None]])


def jackknife_words(included: Tensor) -> str:
    """How an error was computed, for the protocol."""
    groups = len(included) - 1
    return f"jackknife, {groups} groups of both sets" if groups else "unknown, too few points"


# -- nearest neighbours ----------------------------------------------------------------------------


def _nearest(
    points: Tensor,
    others: Tensor | None,
    included: Tensor,
    rank: int,
    report: Callable[[int], None] | None,
) -> Tensor:
    """Distances of points to their ``rank``-th nearest included neighbour, ``(G + 1, N)``.

    Neighbours are the others. Without others they are the points themselves, where no point is its
    own neighbour.
    """
    parts = []
    for tile in torch.arange(len(points), device=points.device).split(_TILE):
        distances = (
            _distances_within(points, tile) if others is None else _distances(points[tile], others)
        )
        parts.append(_ranked(distances, included, rank))
        tell(report, len(tile))
    return torch.cat(parts, 1)


def _distances(points: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(points, others, compute_mode=_EXACT)


def _distances_within(points: Tensor, tile: Tensor) -> Tensor:
    distances = _distances(points[tile], points)
    distances[torch.arange(len(tile), device=tile.device), tile] = math.inf
    return distances


def _ranked(distances: Tensor, included: Tensor, rank: int) -> Tensor:
    """The ``rank``-th smallest included distance of each row.

    Maps ``(T, M)`` distances and ``(G + 1, M)`` masks to ``(G + 1, T)``.
    """
    looked_at = rank + _SPARE
    while True:
        nearest, who = distances.topk(min(looked_at, distances.shape[1]), 1, largest=False)
        order = included[:, who].cumsum(2)
        if bool((order[..., -1] >= rank).all()):
            place = (order >= rank).byte().argmax(2)
            return nearest.expand_as(order).gather(2, place[..., None]).squeeze(2)
        looked_at *= 2


def knn_values(
    points: Tensor,
    others: Tensor,
    included: Tensor,
    others_included: Tensor,
    neighbours: int,
    names: tuple[str, str],
    report: Callable[[int], None] | None = None,
) -> Tensor:
    """KL(P || Q) from all points and without each group of both sets, ``(G + 1,)`` on the CPU."""
    included, others_included = included.to(points.device), others_included.to(points.device)
    within = _nearest(points, None, included, neighbours, report)
    across = _nearest(points, others, others_included, neighbours, report)
    _check_distinct(within[0], across[0], names, neighbours)
    counts, others_counts = included.sum(1), others_included.sum(1)
    sums = torch.where(included, (across / within).log(), 0.0).sum(1)
    return (points.shape[1] * sums / counts + (others_counts / (counts - 1).double()).log()).cpu()


def _check_distinct(
    within: Tensor, across: Tensor, names: tuple[str, str], neighbours: int
) -> None:
    copies, shared = int((within == 0).sum()), int((across == 0).sum())
    if copies or shared:
        raise UnavailableError(
            f"expected distinct points, as a distance of 0 has no logarithm; got {copies} of "
            f"{len(within)} {names[0]} that coincide with others of them, and {shared} that "
            f"coincide with {names[1]}. Leave out copies: repeated observations, or draws that a "
            "sampler repeats. If they come from rounding (float32 in one dimension has few "
            f"numbers), use `neighbours` of {neighbours + 1} or more."
        )
