"""Pictures of walks through the latent space: from one observation to another, and along one dimension at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import torch
from torch import Tensor

from priorwise.choices import Space
from priorwise.data import as_splits
from priorwise.data.subsets import random_part, training_part
from priorwise.estimators.base import device_of
from priorwise.models import (
    AbstractModel,
    Traversal,
    along,
    between,
    encodings,
    flow_prior,
    in_space,
    latent_range,
)
from priorwise.randomness import seeded
from priorwise.reporting.bands import Band, ImageBand, Plane, PlaneBand, banded_figure
from priorwise.reporting.drawing import picture_path, save_figure
from priorwise.reporting.pictures import is_images

__all__ = ["TraversalPicture", "save_traversal"]

_POINTS = 1000  # test data below the lines
_FINE = 8  # steps of a line for each step that is asked for
_LETTER: dict[Space, str] = {"representation": "z", "generation": "z0"}


@dataclass(frozen=True)
class TraversalPicture:
    """What a picture shows.

    Attributes:
        path: Where it is.
        pairs: Places of the two test observations of each walk between two, counted from 0.
        between: Where those walks are straight: ``"representation"`` is z, ``"generation"`` z0;
            None without such walks.
        dimensions: The dimensions that vary, counted from 0.
        variances: The variance of the encodings' means along each of them.
        along: Whether they are dimensions of z or of z0; None without any.
    """

    path: Path
    pairs: list[tuple[int, int]]
    between: Space | None
    dimensions: list[int]
    variances: list[float]
    along: Space | None


def save_traversal(
    model: AbstractModel,
    data: Any,  # noqa: ANN401 - whatever `as_splits` takes
    path: str | Path,
    *,
    pairs: int | Sequence[tuple[int, int]] = 5,
    dimensions: int | Sequence[int] = 10,
    steps: int = 10,
    space: Space | None = None,
    seed: int = 0,
) -> TraversalPicture:
    """Draw walks between pairs of test observations, and along single dimensions from the first one's encoding.

    Images become rows of images, with the test images themselves framed at the ends. Observations
    of two numbers become plots, and so do latents of two dimensions, where a walk that is straight
    in the z0 of a flow prior is seen to be curved in z. A dimension varies over the central 98 % of
    the encodings.

    Arguments:
        model: The model; of a hierarchy the top group walks, and the groups below keep their noise
            on the way.
        data: What ``priorwise.data.load`` returns, or arrays, of which parts are held out.
        path: The picture, a name that ends in .png.
        pairs: How many at most, taken at random without repetition, or the pairs themselves as
            places in the test set.
        dimensions: How many at most, the most active first, or the dimensions themselves. Both are
            counted from 0.
        steps: Steps of each walk, both ends included.
        space: Where the walks are straight and whose dimensions vary. If None, walks between two
            are straight in z0 where there is a flow prior, and dimensions are those of z.
        seed: Seed of pairs and draws.

    Raises:
        ValueError: for pairs, dimensions or steps that there are not, a space that the model lacks,
            data that are neither images nor pairs of numbers, or a name that does not end in .png.
    """
    path = picture_path(path)
    splits = as_splits(data)
    x = splits.evaluation("test").to(device_of(model))
    _check(x, steps)
    scene = _Scene(model, x, training_part(splits, seed).to(x.device), steps, seed)
    chosen = _chosen_pairs(pairs, len(x), seed)
    varied, variances = _chosen_dimensions(scene, dimensions, space or "representation")
    if not chosen and not varied:
        raise ValueError("expected something to draw; got no pairs and no dimensions.")
    straight, bands = _between_bands(scene, chosen, space) if chosen else (None, [])
    if varied:
        start = chosen[0][0] if chosen else 0
        bands += _along_bands(
            scene, start, dict(zip(varied, variances, strict=True)), space or "representation"
        )
    save_figure(banded_figure(bands), path)
    return TraversalPicture(
        path, chosen, straight, varied, variances, (space or "representation") if varied else None
    )


@dataclass(frozen=True)
class _Scene:
    """What all walks of a picture share."""

    model: AbstractModel
    x: Tensor
    reference: Tensor
    steps: int
    seed: int

    @property
    def noun(self) -> str:
        """What an observation is called."""
        return "image" if is_images(self.x) else "point"

    @property
    def shown(self) -> Tensor:
        """The test data that lie below the lines."""
        return random_part(self.x, _POINTS, self.seed)

    @property
    def fine_steps(self) -> int:
        """Steps of a walk that is drawn as a line."""
        return (self.steps - 1) * _FINE + 1

    @property
    def points(self) -> str:
        """What lies below the lines."""
        return "encodings of test images" if is_images(self.x) else "test data and their encodings"


def _check(x: Tensor, steps: int) -> None:
    if steps < 2:
        raise ValueError(f"expected at least 2 `steps`, both ends included; got {steps}.")
    if not is_images(x) and x[0].numel() != 2:
        raise ValueError(
            "expected images with 1 or 3 channels or observations of two numbers, to draw them; "
            f"got shape {tuple(x.shape[1:])}. priorwise.models.between and along give the numbers."
        )


# -- what is walked --------------------------------------------------------------------------------


def _chosen_pairs(
    pairs: int | Sequence[tuple[int, int]], count: int, seed: int
) -> list[tuple[int, int]]:
    """The pairs that are given, or so many at random in which no observation occurs twice."""
    if not isinstance(pairs, int):
        for place in (place for pair in pairs for place in pair):
            if not 0 <= place < count:
                raise ValueError(
                    f"expected `pairs` of test observations from 0 to {count - 1}; got {place}."
                )
        return [(first, second) for first, second in pairs]
    if pairs < 0:
        raise ValueError(f"expected `pairs` of at least 0; got {pairs}.")
    with seeded(seed, "traverse", "pairs"):
        places = torch.randperm(count)[: 2 * min(pairs, count // 2)].tolist()
    return list(zip(places[::2], places[1::2], strict=True))


def _chosen_dimensions(
    scene: _Scene, dimensions: int | Sequence[int], space: Space
) -> tuple[list[int], list[float]]:
    """The dimensions that are given, or the most active ones first, with the variance of the encodings along each."""
    variance = encodings(scene.model, scene.reference, space=space).flatten(1).var(0)
    if isinstance(dimensions, int) and dimensions < 0:
        raise ValueError(f"expected `dimensions` of at least 0; got {dimensions}.")
    most_active = variance.argsort(descending=True).tolist()
    chosen = (
        most_active[:dimensions] if isinstance(dimensions, int) else list(dict.fromkeys(dimensions))
    )
    for dimension in chosen:
        if not 0 <= dimension < len(variance):
            raise ValueError(
                f"expected `dimensions` from 0 to {len(variance) - 1}; got {dimension}."
            )
    return chosen, variance[chosen].tolist()


# -- what is drawn ---------------------------------------------------------------------------------


def _between_bands(
    scene: _Scene, pairs: list[tuple[int, int]], space: Space | None
) -> tuple[Space, list[Band]]:
    """Where the walks between pairs are straight, and their picture."""
    first, second = (scene.x[[pair[end] for pair in pairs]] for end in (0, 1))

    def walk(steps: int, space: Space | None) -> Traversal:
        return between(scene.model, first, second, steps=steps, space=space, seed=scene.seed)

    coarse = walk(scene.steps, space)
    planar = not is_images(scene.x) or coarse.z[0, 0].numel() == 2
    why = ", where the prior is normal" if coarse.space == "generation" else ""
    title = f"Between two test {scene.noun}s: straight in {_LETTER[coarse.space]}{why}"
    marks = [ascii_uppercase[row % 26] for row in range(len(pairs))]
    bands: list[Band] = []
    if is_images(scene.x):
        left, right = ([f"test image {pair[end]}" for pair in pairs] for end in (0, 1))
        left = (
            [f"{mark}: {label}" for mark, label in zip(marks, left, strict=True)]
            if planar
            else left
        )
        top = [scene.noun, *[f"{share:.2f}" for share in coarse.at[0].tolist()], scene.noun]
        images = torch.cat([first[:, None], coarse.x, second[:, None]], 1)
        bands.append(ImageBand(title, images, left, right, top, framed=(0, len(top) - 1)))
        title = "The same walks among the encodings"
    if planar:
        walks = [walk(scene.fine_steps, each) for each in _spaces(scene.model)]
        walks.sort(key=lambda each: each.space != coarse.space)  # the one that is asked for first
        names = [f"{i} to {j}" for i, j in pairs]
        bands.append(_plane_band(scene, title, marks, names, walks))
    return coarse.space, bands


def _plane_band(
    scene: _Scene, title: str, marks: list[str], names: list[str], walks: Sequence[Traversal]
) -> PlaneBand:
    """The first walks, and the second ones, if there are any, for comparison."""
    walk, other = walks[0], walks[1] if walks[1:] else None
    planes = [] if is_images(scene.x) else [_data_plane(scene, walk, other)]
    if walk.z[0, 0].numel() == 2:
        planes += [_latent_plane(scene, space, walk, other) for space in _spaces(scene.model)]
    words = [f"straight in {_LETTER[each.space]}" for each in walks]
    return PlaneBand(
        title, planes, marks, names, scene.points, words[0], "".join(words[1:]), stride=_FINE
    )


def _data_plane(scene: _Scene, walk: Traversal, other: Traversal | None) -> Plane:
    others = None if other is None else other.x.flatten(2)
    return Plane(
        "observations", scene.shown.flatten(1), walk.x.flatten(2), others, ("x[0]", "x[1]")
    )


def _latent_plane(scene: _Scene, space: Space, walk: Traversal, other: Traversal | None) -> Plane:
    def shown(one: Traversal) -> Tensor:
        return in_space(scene.model, one.z, space).detach().flatten(2)

    letter = _LETTER[space]
    points = encodings(scene.model, scene.shown, space=space).flatten(1)
    others = None if other is None else shown(other)
    return Plane(
        f"{letter}, the space of {space}",
        points,
        shown(walk),
        others,
        (f"{letter}[0]", f"{letter}[1]"),
    )


def _along_bands(
    scene: _Scene, start: int, variances: dict[int, float], space: Space
) -> list[Band]:
    """The walks along single dimensions from one encoding; ``variances`` tells which, and how active each is."""
    dimensions, letter = list(variances), _LETTER[space]
    ends = latent_range(scene.model, scene.reference, space=space, seed=scene.seed)[:, dimensions]
    point = encodings(scene.model, scene.x[start : start + 1])[0]

    def walk(steps: int) -> Traversal:
        weights = torch.linspace(0, 1, steps, dtype=ends.dtype, device=ends.device)
        values = torch.lerp(ends[0][:, None], ends[1][:, None], weights)
        return along(scene.model, point, dimensions, values, space=space, seed=scene.seed)

    title = f"One dimension of {letter} at a time: all others as in test {scene.noun} {start}"
    names = [
        f"{letter}[{dimension}], var {variance:.2g}" for dimension, variance in variances.items()
    ]
    if is_images(scene.x):
        observed = scene.x[start].expand(len(dimensions), 1, *scene.x.shape[1:])
        images = torch.cat([observed, walk(scene.steps).x], 1)
        right = [f"{low:.1f} to {high:.1f}".replace("-", "\u2212") for low, high in ends.T.tolist()]
        top = [scene.noun, "1 %", *[""] * (scene.steps - 2), "99 %"]
        return [ImageBand(title, images, names, right, top, framed=(0,))]
    marks = [str(dimension) for dimension in dimensions]
    return [_plane_band(scene, title, marks, names, [walk(scene.fine_steps)])]


def _spaces(model: AbstractModel) -> list[Space]:
    return ["representation"] if flow_prior(model) is None else ["representation", "generation"]
