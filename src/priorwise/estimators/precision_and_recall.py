"""Precision, recall, density and coverage of generated images, by nearest neighbours of features.

Letters: ``N`` real and ``M`` generated images, ``T`` images of a tile, ``F`` features, ``G`` groups
of a jackknife.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.estimators.quality import Protocol, Quality, as_features, protocol_of
from priorwise.features import AbstractExtractor, Features
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError

__all__ = ["PrecisionRecall", "precision_recall"]

_GROUPS = 10
_STUDENT = 2.262  # 97.5 % point of Student's law with 9 degrees of freedom
_ROUNDING = 1e-13
_FIRST_LOOK = 4
_MEASURES = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class PrecisionRecall:
    """Four quality measures of one set of generated images.

    Attributes:
        precision: Share of generated images that lie among the real ones.
        recall: Share of real images that lie among the generated ones.
        density: How densely, on average, real images lie around a generated one; 1 if the two laws
            agree, but it may exceed 1.
        coverage: Share of real images that have a generated image nearby.
    """

    precision: Quality
    recall: Quality
    density: Quality
    coverage: Quality

    def __str__(self) -> str:
        return "\n".join(str(getattr(self, name)) for name in _MEASURES)

    def to_json(self) -> dict[str, object]:
        """The four measures, ready for JSON."""
        return {name: getattr(self, name).to_json() for name in _MEASURES}


class _Points:
    """Points with the groups of a jackknife, and squared distances to their k-th neighbours.

    ``radii`` is ``(G + 1, N)``: row 0 is for all points, and row g leaves out group g, whose points
    have radius -1, so that their balls contain nothing. ``included`` has the same shape and marks
    the points that are not left out.
    """

    def __init__(self, values: Tensor, neighbours: int, seed: int, tile: int) -> None:
        self.values = values
        self.squares = values.square().sum(1)
        with seeded(seed, "precision_recall"):
            group = torch.randperm(len(values)) % _GROUPS
        everyone = torch.ones(1, len(values), dtype=torch.bool)
        included = torch.cat([everyone, group != torch.arange(_GROUPS)[:, None]])
        self.included = included.to(values.device)
        tiles = torch.arange(len(values), device=values.device).split(tile)
        self.radii = torch.cat([self._radii(rows, neighbours) for rows in tiles], 1)

    def _radii(self, rows: Tensor, neighbours: int) -> Tensor:
        distances = self.distances(rows, self)
        # No point is its own neighbour.
        distances[torch.arange(len(rows), device=rows.device), rows] = math.inf
        looked_at = _FIRST_LOOK * neighbours
        while True:
            nearest, who = distances.topk(min(looked_at, len(self.values) - 1), 1, largest=False)
            rank = self.included[:, who].cumsum(2)  # among the neighbours outside the group
            if bool((rank[..., -1] >= neighbours).all()):
                place = (rank >= neighbours).byte().argmax(2)
                radii = nearest.expand_as(rank).gather(2, place[..., None]).squeeze(2)
                return radii.where(self.included[:, rows], -1.0)
            looked_at *= 2

    def distances(self, rows: Tensor, others: "_Points") -> Tensor:
        """Squared distances ``(T, N)`` of a tile to the others; exactly 0 for equal points."""
        sizes = self.squares[rows, None] + others.squares
        squared = torch.addmm(sizes, self.values[rows], others.values.T, alpha=-2)
        return squared.where(squared > _ROUNDING * sizes, 0.0)


def _values(real: _Points, fake: _Points, neighbours: int, tile: int) -> Tensor:
    """The four measures, ``(G + 1, 4)``: of all points, and without each group of both sets."""
    device = real.values.device
    # Counts of generated images in a real ball, and of real balls around generated images.
    inside = real.values.new_zeros(len(real.included), 2)
    # Masks of the real images that are recalled, and of those that are covered.
    reached = torch.zeros(2, *real.included.shape, dtype=torch.bool, device=device)
    for rows in torch.arange(len(fake.values), device=device).split(tile):
        distances = fake.distances(rows, real)
        for row, included in enumerate(fake.included[:, rows]):
            among_real = distances <= real.radii[row]
            balls = among_real.sum(1)[included]
            inside[row] += torch.stack([(balls > 0).sum(), balls.sum()])
            reached[0, row] |= (distances <= fake.radii[row, rows, None]).any(0)
            reached[1, row] |= among_real[included].any(0)
    shares = inside / fake.included.sum(1, keepdim=True)
    recall, coverage = (reached & real.included).sum(2) / real.included.sum(1).double()
    return torch.stack([shares[:, 0], recall, shares[:, 1] / neighbours, coverage], 1).cpu()


def _quality(
    name: str, values: Tensor, count: int, protocol: Protocol, features: Features
) -> Quality:
    value, without = float(values[0]), values[1:]
    # With this scale, the spread of the replicates is the standard error of the jackknife.
    scale = (_GROUPS - 1) / math.sqrt(_GROUPS)
    replicates = value + scale * (without - without.mean())
    stderr = float(replicates.std())
    high = math.inf if name == "density" else 1.0
    return Quality(
        name=f"{name}, {features.extractor}",
        value=value,
        stderr=stderr,
        interval=(max(0.0, value - _STUDENT * stderr), min(high, value + _STUDENT * stderr)),
        count=count,
        protocol=protocol,
        replicates=replicates,
    )


def precision_recall(
    real: Array | Features,
    fake: Array | Features,
    extractor: AbstractExtractor | None = None,
    *,
    neighbours: int = 5,
    seed: int = 0,
    tile: int = 1024,
) -> PrecisionRecall:
    r"""Precision and density of generated images, and recall and coverage of real images.

    Precision and density ask whether generated images are realistic, recall and coverage whether
    all real images could be generated. The ball around a point reaches to its k-th nearest
    neighbour in its own set and includes its boundary; its radius is :math:`r_i` for a real
    :math:`x_i` and :math:`s_j` for a generated :math:`y_j`:

    .. math::
        \text{precision} = \tfrac{1}{M} \sum_j 1[\exists i: |y_j - x_i| \le r_i], \qquad
        \text{recall} = \tfrac{1}{N} \sum_i 1[\exists j: |x_i - y_j| \le s_j],

        \text{density} = \tfrac{1}{kM} \sum_j \sum_i 1[|y_j - x_i| \le r_i], \qquad
        \text{coverage} = \tfrac{1}{N} \sum_i 1[\exists j: |y_j - x_i| \le r_i].

    All depend on k and on the counts, which the protocol records. Precision and recall are too high
    if an outlier has a huge ball; density and coverage are not. Distances are computed tile by tile
    in float64: memory grows with the number of images, not with its square.

    **Errors.** A bootstrap repeats points, which are then their own neighbours at distance zero, so
    the error comes from a jackknife: a tenth of both sets is left out in turn. In simulations (2 to
    64 dimensions, 300 to 1000 points) the 95 % interval covered the mean of the estimate 94 to 100
    times of 100. The error was up to 1.9 times too large, and never much too small. The usual
    binomial error covered it 61 to 96 times.

    References:
        Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al.,
        2019), equations 1 and 2. https://arxiv.org/abs/1904.06991
        Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020),
        equations 3 and 4, with k = 5. https://arxiv.org/abs/2002.09797

    Arguments:
        real: Reference images ``(N, *event)``, or their features.
        fake: Generated images, or their features.
        extractor: Turns images into features; not needed for features.
        neighbours: The k above.
        seed: Seed of the jackknife's groups; it does not change the values.
        tile: Number of rows of distances that are held at once; it does not change the numbers.

    Raises:
        ValueError: for features of different extractors, images without an extractor, or too few
            images for ``neighbours``.

    Example:
        The generated points cover only the right half of the real ones.

        >>> from priorwise.features import Raw
        >>> with seeded(0, "example"):
        ...     real, fake = torch.rand(300, 2), torch.rand(300, 2)
        >>> measures = precision_recall(real, 0.5 + 0.5 * fake, Raw())
        >>> measures.precision.value > 0.9, measures.recall.value < 0.5
        (True, True)
    """
    real = as_features(real, extractor, split="real")
    fake = as_features(fake, extractor, split="generated")
    estimator = "precision, recall, density, coverage"
    protocol = protocol_of(estimator, real, fake, seed, neighbours=neighbours)
    fewest = min(len(real), len(fake))
    most = fewest - math.ceil(fewest / _GROUPS) - 1
    if tile < 1 or fewest < _GROUPS or not 1 <= neighbours <= most:
        raise UnavailableError(
            f"expected at least {_GROUPS} real and {_GROUPS} generated images, `neighbours` from 1 "
            f"to {max(most, 0)} and a `tile` of at least 1; got {len(real)} and {len(fake)} "
            f"images, {neighbours} and {tile}."
        )
    # Squares far from the origin lose digits; a rounded centre keeps integers exact.
    centre = real.values.double().mean(0).round()
    points = [
        _Points(side.values.double() - centre, neighbours, seed, tile) for side in (real, fake)
    ]
    values = _values(points[0], points[1], neighbours, tile)
    measures = {
        name: _quality(name, values[:, column], len(fake), protocol, real)
        for column, name in enumerate(_MEASURES)
    }
    return PrecisionRecall(**measures)
