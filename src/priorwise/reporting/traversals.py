"""Pictures of walks through the latent space: between observations, and along dimensions."""

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
from priorwise.data.value_range import in_unit_range
from priorwise.estimators.base import device_of
from priorwise.models import (
    AbstractModel,
    Traversal,
    along,
    between,
    decodes_to_means,
    encodings,
    flow_prior,
    in_space,
    latent_range,
)
from priorwise.progress import progress_bar
from priorwise.randomness import seeded
from priorwise.reporting.bands import Band, ImageBand, Plane, PlaneBand, banded_figure
from priorwise.reporting.drawing import picture_path, save_figure
from priorwise.reporting.pictures import is_images

__all__ = ["TraversalPicture", "save_traversal"]

_POINTS = 1000  # test data drawn below the lines
_FINE = 8  # steps of a line for each step of a walk
_LETTER: dict[Space, str] = {"representation": "z", "generation": "z0"}


@dataclass(frozen=True)
class TraversalPicture:
    """What a picture shows.

    Attributes:
        path: The file of the picture.
        pairs: Indices of the two test observations of each walk between two, counted from 0.
        between: The space in which those walks are straight: ``"representation"`` is z,
            ``"generation"`` is z0; None without such walks.
        dimensions: The dimensions that vary, counted from 0.
        variances: The variance of the posterior means along each of them.
        along: The space of these dimensions, z or z0; None without any.
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
    progress: bool = True,
) -> TraversalPicture:
    """Draw walks between pairs of test observations, and along single dimensions.

    Walks along dimensions start at the encoding of the first pair's first observation, or of a
    random one without pairs. Images become rows of
    images, with the test images themselves framed at the ends. Observations of two numbers become
    plots, and so do latents of two dimensions. There a walk that is straight in the z0 of a flow
    prior is curved in z. A dimension varies over the central 98 % of the encodings.

    Arguments:
        model: The model; in a hierarchy the top group walks, and the groups below keep their noise
            on the way.
        data: The result of ``priorwise.data.load``, or arrays, of which parts are then held out.
        path: The picture; its name ends in .png.
        pairs: The largest number of pairs, drawn at random without repetition; or the pairs
            themselves as indices in the test set, counted from 0.
        dimensions: The largest number of dimensions, the most active first; or the dimensions
            themselves, counted from 0.
        steps: Steps of each walk, both ends included.
        space: The space in which walks are straight and dimensions vary. If None, walks between two
            observations are straight in z0 if there is a flow prior, and dimensions are those of z.
        seed: Seed of pairs and draws.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: for pairs, dimensions or steps that do not exist, a space that the model lacks,
            data that are neither images nor pairs of numbers, or a path that does not end in .png.
    """
    path = picture_path(path)
    splits = as_splits(data)
    x = splits.evaluation("test").to(device_of(model))
    _check(x, steps)
    reference = training_part(splits, seed).to(x.device)
    scene = _Scene(model, x, reference, splits.value_range, steps, seed)
    walked_pairs = _walked_pairs(pairs, len(x), seed)
    along_space = space or "representation"
    with progress_bar("walks", 4, show=progress) as advance:
        varied, variances = _varied_dimensions(scene, dimensions, along_space)
        if not walked_pairs and not varied:
            raise ValueError("expected something to draw; got no pairs and no dimensions.")
        advance(1)
        between_space, bands = (
            _between_bands(scene, walked_pairs, space) if walked_pairs else (None, [])
        )
        advance(1)
        if varied:
            start = walked_pairs[0][0] if walked_pairs else _random_places(len(x), 1, seed)[0]
            units = dict(zip(varied, variances, strict=True))
            bands += _along_bands(scene, start, units, along_space)
        advance(1)
        save_figure(banded_figure(bands), path)
        advance(1)
    return TraversalPicture(
        path, walked_pairs, between_space, varied, variances, along_space if varied else None
    )


@dataclass(frozen=True)
class _Scene:
    """What all walks of a picture share."""

    model: AbstractModel
    x: Tensor
    reference: Tensor
    value_range: tuple[float, float]
    steps: int
    seed: int

    @property
    def noun(self) -> str:
        """What an observation is called."""
        return "image" if is_images(self.x) else "point"

    @property
    def shown(self) -> Tensor:
        """The test data that are drawn below the lines."""
        return random_part(self.x, _POINTS, self.seed)

    @property
    def drawn(self) -> str:
        """What a title says of a decoder without a mean."""
        return "" if decodes_to_means(self.model) else "; decoded by draws"

    @property
    def fine_steps(self) -> int:
        """Steps of a walk that is drawn as a line."""
        return (self.steps - 1) * _FINE + 1

    @property
    def points(self) -> str:
        """What the points below the lines are."""
        return "encodings of test images" if is_images(self.x) else "test data and their encodings"


def _check(x: Tensor, steps: int) -> None:
    if steps < 2:
        raise ValueError(f"expected at least 2 `steps`, both ends included; got {steps}.")
    if not is_images(x) and x[0].numel() != 2:
        raise ValueError(
            "expected images with 1 or 3 channels, or observations of two numbers, to draw them; "
            f"got shape {tuple(x.shape[1:])}. For the numbers alone, call "
            "priorwise.models.between and priorwise.models.along."
        )


# -- what is walked --------------------------------------------------------------------------------


def _walked_pairs(
    pairs: int | Sequence[tuple[int, int]], count: int, seed: int
) -> list[tuple[int, int]]:
    """The pairs themselves, or as many random pairs in which no observation occurs twice."""
    if not isinstance(pairs, int):
        for place in (place for pair in pairs for place in pair):
            if not 0 <= place < count:
                raise ValueError(
                    f"expected `pairs` of test observations from 0 to {count - 1}; got {place}."
                )
        return [(first, second) for first, second in pairs]
    if pairs < 0:
        raise ValueError(f"expected `pairs` of at least 0; got {pairs}.")
    places = _random_places(count, 2 * min(pairs, count // 2), seed)
    return list(zip(places[::2], places[1::2], strict=True))


def _random_places(count: int, places: int, seed: int) -> list[int]:
    """Random places in the test set; it may be sorted."""
    with seeded(seed, "traverse", "pairs"):
        return torch.randperm(count)[:places].tolist()


def _varied_dimensions(
    scene: _Scene, dimensions: int | Sequence[int], space: Space
) -> tuple[list[int], list[float]]:
    """The dimensions themselves or the most active ones, with the codes' variance along each."""
    codes = encodings(scene.model, scene.reference, space=space).flatten(1)
    variance = codes.var(0, correction=1 if len(codes) > 1 else 0)
    if isinstance(dimensions, int) and dimensions < 0:
        raise ValueError(f"expected `dimensions` of at least 0; got {dimensions}.")
    most_active = variance.argsort(descending=True).tolist()
    varied = (
        most_active[:dimensions] if isinstance(dimensions, int) else list(dict.fromkeys(dimensions))
    )
    for dimension in varied:
        if not 0 <= dimension < len(variance):
            raise ValueError(
                f"expected `dimensions` from 0 to {len(variance) - 1}; got {dimension}."
            )
    return varied, variance[varied].tolist()


# -- what is drawn ---------------------------------------------------------------------------------


def _between_bands(
    scene: _Scene, pairs: list[tuple[int, int]], space: Space | None
) -> tuple[Space, list[Band]]:
    """The space in which walks between pairs are straight, and the bands that show them."""
    first, second = (scene.x[[pair[end] for pair in pairs]] for end in (0, 1))

    def walk(steps: int, space: Space | None) -> Traversal:
        return between(scene.model, first, second, steps=steps, space=space, seed=scene.seed)

    coarse = walk(scene.steps, space)
    planar = not is_images(scene.x) or coarse.z[0, 0].numel() == 2
    why = ", where the prior is normal" if coarse.space == "generation" else ""
    title = f"Between two test {scene.noun}s: straight in {_LETTER[coarse.space]}{why}{scene.drawn}"
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
        images = in_unit_range(images, scene.value_range)
        bands.append(ImageBand(title, images, left, right, top, framed=(0, len(top) - 1)))
        title = "The same walks among the encodings"
    if planar:
        walks = [walk(scene.fine_steps, each) for each in _spaces(scene.model)]
        walks.sort(key=lambda each: each.space != coarse.space)  # the requested one first
        names = [f"{i} to {j}" for i, j in pairs]
        bands.append(_plane_band(scene, title, marks, names, walks))
    return coarse.space, bands


def _plane_band(
    scene: _Scene, title: str, marks: list[str], names: list[str], walks: Sequence[Traversal]
) -> PlaneBand:
    """A band with the first walks, and with the second ones for comparison, if there are any."""
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
    """Walks along single dimensions from one encoding.

    ``variances`` has the dimensions as keys, and how active each one is.
    """
    dimensions, letter = list(variances), _LETTER[space]
    ends = latent_range(scene.model, scene.reference, space=space, seed=scene.seed)[:, dimensions]
    point = encodings(scene.model, scene.x[start : start + 1])[0]

    def walk(steps: int) -> Traversal:
        weights = torch.linspace(0, 1, steps, dtype=ends.dtype, device=ends.device)
        values = torch.lerp(ends[0][:, None], ends[1][:, None], weights)
        return along(scene.model, point, dimensions, values, space=space, seed=scene.seed)

    title = (
        f"One dimension of {letter} at a time: all others as in test {scene.noun} "
        f"{start}{scene.drawn}"
    )
    names = [
        f"{letter}[{dimension}], var {variance:.2g}" for dimension, variance in variances.items()
    ]
    if is_images(scene.x):
        observed = scene.x[start].expand(len(dimensions), 1, *scene.x.shape[1:])
        images = torch.cat([observed, walk(scene.steps).x], 1)
        images = in_unit_range(images, scene.value_range)
        right = [f"{low:.1f} to {high:.1f}".replace("-", "\u2212") for low, high in ends.T.tolist()]
        top = [scene.noun, "1 %", *[""] * (scene.steps - 2), "99 %"]
        return [ImageBand(title, images, names, right, top, framed=(0,))]
    marks = [str(dimension) for dimension in dimensions]
    return [_plane_band(scene, title, marks, names, [walk(scene.fine_steps)])]


def _spaces(model: AbstractModel) -> list[Space]:
    return ["representation"] if flow_prior(model) is None else ["representation", "generation"]
