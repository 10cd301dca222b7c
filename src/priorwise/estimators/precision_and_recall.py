"""Precision, recall, density and coverage of generated images, from nearest neighbours among features.

Letters: ``N`` real and ``M`` generated images, ``T`` of a tile, ``F`` features, ``G`` groups of a
jackknife.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.estimators.quality import Protocol, Quality, as_features, protocol_of
from priorwise.features import AbstractExtractor, Features
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError

__all__ = ["PrecisionRecall", "precision_recall"]

_GROUPS = 10
_STUDENT = 2.262  # 97.5% point of Student's law with 9 degrees of freedom
_ROUNDING = 1e-13
_FIRST_LOOK = 4
_MEASURES = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class PrecisionRecall:
    """Four qualities of one set of generated images.

    Attributes:
        precision: Share of generated images that lie among the real ones.
        recall: Share of real images that lie among the generated ones.
        density: How densely, on average, real images lie around a generated one; 1 where the two
            laws agree, may exceed 1.
        coverage: Share of real images that have a generated one close by.
    """

    precision: Quality
    recall: Quality
    density: Quality
    coverage: Quality

    def __str__(self) -> str:
        return "\n".join(str(getattr(self, name)) for name in _MEASURES)

    def to_json(self) -> dict[str, object]:
        """The four of them, ready for JSON."""
        return {name: getattr(self, name).to_json() for name in _MEASURES}


class _Points:
    """Points with the groups of a jackknife, and the squared distance of each to its k-th neighbour.

    ``radii`` is ``(G + 1, N)``: row 0 for all points, row g for all but group g, whose own radii
    are -1: they hold nothing.
    """

    def __init__(self, values: Tensor, neighbours: int, seed: int, tile: int) -> None:
        self.values = values
        self.squares = values.square().sum(1)
        with seeded(seed, "precision_recall"):
            group = torch.randperm(len(values)) % _GROUPS
        everyone = torch.ones(1, len(values), dtype=torch.bool)
        self.kept = torch.cat([everyone, group != torch.arange(_GROUPS)[:, None]]).to(values.device)
        tiles = torch.arange(len(values), device=values.device).split(tile)
        self.radii = torch.cat([self._radii(rows, neighbours) for rows in tiles], 1)

    def _radii(self, rows: Tensor, neighbours: int) -> Tensor:
        distances = self.distances(rows, self)
        distances[torch.arange(len(rows), device=rows.device), rows] = (
            math.inf
        )  # nobody is his own neighbour
        looked_at = _FIRST_LOOK * neighbours
        while True:
            nearest, who = distances.topk(min(looked_at, len(self.values) - 1), 1, largest=False)
            rank = self.kept[:, who].cumsum(2)  # among the neighbours outside the group
            if bool((rank[..., -1] >= neighbours).all()):
                place = (rank >= neighbours).byte().argmax(2)
                return (
                    nearest.expand_as(rank)
                    .gather(2, place[..., None])
                    .squeeze(2)
                    .where(self.kept[:, rows], -1.0)
                )
            looked_at *= 2

    def distances(self, rows: Tensor, others: "_Points") -> Tensor:
        """Squared distances ``(T, N)`` of some of these points to all others; equal points are at 0 exactly."""
        sizes = self.squares[rows, None] + others.squares
        squared = torch.addmm(sizes, self.values[rows], others.values.T, alpha=-2)
        return squared.where(squared > _ROUNDING * sizes, 0.0)


def _values(real: _Points, fake: _Points, neighbours: int, tile: int) -> Tensor:
    """The four measures, ``(G + 1, 4)``: of all points, and without each group of either set."""
    inside = real.values.new_zeros(
        len(real.kept), 2
    )  # generated images in a real ball, real balls around them
    held = torch.zeros(
        2, *real.kept.shape, dtype=torch.bool, device=real.values.device
    )  # real images: recalled, covered
    for rows in torch.arange(len(fake.values), device=real.values.device).split(tile):
        distances = fake.distances(rows, real)
        for row, kept in enumerate(fake.kept[:, rows]):
            among_real = distances <= real.radii[row]
            balls = among_real.sum(1)[kept]
            inside[row] += torch.stack([(balls > 0).sum(), balls.sum()])
            held[0, row] |= (distances <= fake.radii[row, rows, None]).any(0)
            held[1, row] |= among_real[kept].any(0)
    shares = inside / fake.kept.sum(1, keepdim=True)
    recall, coverage = (held & real.kept).sum(2) / real.kept.sum(1).double()
    return torch.stack([shares[:, 0], recall, shares[:, 1] / neighbours, coverage], 1).cpu()


def _quality(
    name: str, values: Tensor, count: int, protocol: Protocol, features: Features
) -> Quality:
    value, without = float(values[0]), values[1:]
    scale = (_GROUPS - 1) / math.sqrt(
        _GROUPS
    )  # so that the spread of the replicates is the jackknife's standard error
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
    real: Tensor | Features,
    fake: Tensor | Features,
    extractor: AbstractExtractor | None = None,
    *,
    neighbours: int = 5,
    seed: int = 0,
    tile: int = 1024,
) -> PrecisionRecall:
    r"""Are generated images real (precision, density), and are all real images generated (recall, coverage)?

    With the ball around a point that reaches to its k-th neighbour among its own kind, :math:`r_i`
    of the real :math:`x_i` and :math:`s_j` of the generated :math:`y_j`, the boundary included:

    .. math::
        \text{precision} = \tfrac{1}{M} \sum_j 1[\exists i: |y_j - x_i| \le r_i], \qquad
        \text{recall} = \tfrac{1}{N} \sum_i 1[\exists j: |x_i - y_j| \le s_j],

        \text{density} = \tfrac{1}{kM} \sum_j \sum_i 1[|y_j - x_i| \le r_i], \qquad
        \text{coverage} = \tfrac{1}{N} \sum_i 1[\exists j: |y_j - x_i| \le r_i].

    All depend on k and on the counts, which the protocol holds. Precision and recall are too good
    where one outlier has a huge ball; density and coverage are not. Distances are taken tile by
    tile in float64: memory grows with the number of images, not with its square.

    **Errors.** A bootstrap repeats points, which are then their own neighbours at distance zero, so
    the error is a jackknife: a tenth of both sets is left out in turn. In simulations (2 to 64
    dimensions, 300 to 1000 points) the 95% interval covered the mean reading 94 to 100 times of
    100; the error is too large by up to 1.9 times, never by much too small. The usual binomial
    error covered 61 to 96 times.

    References:
        Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al.,
        2019), equations 1 and 2; Reliable Fidelity and Diversity Metrics for Generative Models
        (Naeem et al., 2020), equations 3 and 4, with k = 5.

    Arguments:
        real: Reference images ``(N, *event)``, or their features.
        fake: Generated images, or their features.
        extractor: Turns images into features; not needed for features.
        neighbours: The k above.
        seed: Seed of the jackknife's groups; no influence on the values.
        tile: How many rows of distances are held at once; no influence on the numbers.

    Raises:
        ValueError: for features of different extractors, images without one, or fewer images than
            ``neighbours`` need.
    """
    real, fake = (
        as_features(real, extractor, split="real"),
        as_features(fake, extractor, split="generated"),
    )
    estimator = "precision, recall, density, coverage"
    protocol = protocol_of(estimator, real, fake, seed, neighbours=neighbours)
    fewest = min(len(real), len(fake))
    most = fewest - math.ceil(fewest / _GROUPS) - 1
    if tile < 1 or fewest < _GROUPS or not 1 <= neighbours <= most:
        raise UnavailableError(
            f"expected at least {_GROUPS} images of either kind, `neighbours` from 1 to "
            f"{max(most, 0)} and a `tile` of at least 1; got {len(real)} and {len(fake)} images, "
            f"{neighbours} and {tile}."
        )
    centre = (
        real.values.double().mean(0).round()
    )  # far from the origin squares lose digits; rounded, integers stay such
    points = [
        _Points(side.values.double() - centre, neighbours, seed, tile) for side in (real, fake)
    ]
    values = _values(points[0], points[1], neighbours, tile)
    found = {
        name: _quality(name, values[:, column], len(fake), protocol, real)
        for column, name in enumerate(_MEASURES)
    }
    return PrecisionRecall(**found)
