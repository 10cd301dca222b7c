"""Sprites: every image once, drawn as its factors say, the same everywhere."""

import math

import numpy as np
import pytest
import torch

from priorwise.data import Sprites, load
from priorwise.randomness import seeded

SIDES = (32, 64)
HEART_AREA = 3.66197  # enclosed by (a^2 + b^2 - 1)^3 = a^2 b^3; see test_the_area_of_the_heart


@pytest.fixture(scope="module")
def grids() -> dict[int, Sprites]:
    return {side: Sprites(side) for side in SIDES}


def stamps(sprites: Sprites) -> tuple[torch.Tensor, torch.Tensor]:
    """Every shape, scale and orientation at one place: factors, and images ``(3, 4, 10, H, W)`` in
    float64.
    """
    factors = torch.cartesian_prod(
        torch.arange(3), torch.arange(4), torch.arange(10), torch.tensor([7]), torch.tensor([7])
    )
    return factors, sprites.draw(factors).double().view(3, 4, 10, sprites.side, sprites.side)


@pytest.mark.parametrize("side", SIDES)
def test_no_two_images_are_alike(grids, side):
    """Fault: orientations over 180 degrees, where a square comes twice; scales too near for the
    pixels to show.
    """
    images = grids[side].images
    assert images.shape == (30_720, 1, side, side)
    assert images.dtype == torch.uint8
    words = np.packbits(images.flatten(1).numpy(), axis=1).view(np.uint64)
    keys = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64)
    assert len(np.unique((words * keys).sum(1))) == len(
        images
    )  # different sums prove different images


def test_grid_and_index_agree(grids):
    """Fault: the strides of another order of the factors."""
    sprites = grids[32]
    assert len(sprites) == len(sprites.factors) == math.prod(sprites.sizes)
    assert torch.equal(sprites.index(sprites.factors), torch.arange(len(sprites)))
    assert sprites.factors[1].tolist() == [0, 0, 0, 0, 1]
    assert (sprites.factors.amax(0) + 1).tolist() == list(sprites.sizes)


def test_single_images_are_those_of_the_grid(grids):
    """Fault: factors that are permuted in one of the two ways to an image."""
    sprites = grids[32]
    with seeded(0, "rows"):
        rows = torch.randperm(len(sprites))[:500]
    assert torch.equal(sprites.draw(sprites.factors[rows]), sprites.images[rows])
    assert sprites.draw(sprites.factors[:0]).shape == (0, 1, 32, 32)


@pytest.mark.parametrize("side", SIDES)
def test_a_step_to_the_right_or_down_moves_the_pixels(grids, side):
    """Fault: x and y exchanged, y upwards, a shape that is cut at the border."""
    grid = grids[side].images.view(*grids[side].sizes, side, side)
    step = side // 32
    assert torch.equal(grid[:, :, :, 1:, ..., step:], grid[:, :, :, :-1, ..., :-step])
    assert torch.equal(grid[:, :, :, :, 1:, step:], grid[:, :, :, :, :-1, :-step])
    area = grid.flatten(-2).sum(-1, dtype=torch.int16)
    assert torch.equal(area, area[:, :, :, :1, :1].expand_as(area))


def test_the_area_of_the_heart():
    """The constant by a midpoint sum over 8 million squares."""
    side = torch.arange(-1.5, 1.5, 1 / 1000, dtype=torch.float64) + 0.0005
    a, b = side[None], side[:, None]
    inside = (a**2 + b**2 - 1) ** 3 < a**2 * b**3
    assert float(inside.sum()) / 1e6 == pytest.approx(HEART_AREA, abs=1e-3)
    assert float((a**2 + b**2)[inside].max().sqrt()) == pytest.approx(1.4246, abs=2e-3)


@pytest.mark.parametrize("side", SIDES)
def test_areas_are_those_of_the_shapes(grids, side):
    """Fault: a diameter for a radius, an ellipse of another width, a heart that is not scaled into
    its circle.
    """
    radius = torch.tensor([4.7, 5.7, 6.7, 7.7], dtype=torch.float64) * side / 32
    unit = torch.tensor([2, math.pi / 2, HEART_AREA / 1.4246**2], dtype=torch.float64)
    area = stamps(grids[side])[1].sum((-2, -1)).mean(2)
    torch.testing.assert_close(area, unit[:, None] * radius**2, rtol=0.03, atol=0)


def axis_angle(images: torch.Tensor) -> torch.Tensor:
    """Angle of the longest axis in degrees from 0 to below 180, anticlockwise from the right."""
    row, column = torch.meshgrid(
        *(torch.arange(size).double() for size in images.shape[-2:]), indexing="ij"
    )
    mass = images.sum((-2, -1))
    x = column - ((images * column).sum((-2, -1)) / mass)[..., None, None]
    y = -(row - ((images * row).sum((-2, -1)) / mass)[..., None, None])
    xx, yy, xy = ((images * product).sum((-2, -1)) for product in (x * x, y * y, x * y))
    return torch.rad2deg(0.5 * torch.atan2(2 * xy, xx - yy)) % 180


def test_the_ellipse_turns_anticlockwise_by_9_degrees(grids):
    """Fault: clockwise, radians for degrees, steps of 10 degrees,
    a turn that ends where it began.
    """
    angle = axis_angle(stamps(grids[64])[1][1])
    away = (angle - 9 * torch.arange(10) + 90) % 180 - 90
    assert float(away.abs().max()) < 2


def test_the_heart_stands_on_its_tip(grids):
    """Fault: upside down. Its widest row is above its middle row, and left and right are nearly the
    same.
    """
    heart = stamps(grids[64])[1][2, 3, 0]
    rows = heart.sum(1).nonzero()[:, 0]
    assert int(heart.sum(1).argmax()) < float(rows.double().mean())
    assert float(heart.sum(1)[rows[-1]]) < float(heart.sum(1)[rows[0]])


def test_the_two_sizes_show_the_same(grids):
    """Fault: a centre or radius in pixels that does not grow with the side. They differ on outlines
    only.
    """
    small, large = (stamps(grids[side])[1] for side in SIDES)
    halved = large.unflatten(-1, (32, 2)).unflatten(-3, (32, 2)).mean((-1, -3))
    assert float((halved - small).abs().sum() / small.sum()) < 0.2
    assert float((halved.round() - small).abs().sum() / small.sum()) < 0.1


def test_parts_are_a_partition(grids):
    """Fault: an image for training that is also for test; parts in the order of the grid."""
    parts = grids[32].parts()
    assert [len(part) for part in parts] == [24_576, 3_072, 3_072]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(30_720))
    for part in parts:
        assert all(
            len(column.unique()) == size
            for column, size in zip(grids[32].factors[part].T, Sprites.sizes, strict=True)
        )


def test_the_named_set(grids):
    """Fault: factors of a part that are not those of its images; bits that depend on the machine
    (no pixel is on an outline).
    """
    data = load("sprites")
    for raw, part in zip((data.train, data.validation, data.test), grids[32].parts(), strict=True):
        assert torch.equal(raw, grids[32].images[part])
        assert torch.equal(raw, grids[32].draw(grids[32].factors[part]))
    assert (data.spec.levels, data.spec.likelihood, data.spec.binarize) == (2, "bernoulli", "none")
    assert data.prepare(data.test[:2]).unique().tolist() == [0.0, 1.0]
    assert data.fingerprint() == "9190d2ab2d278650"


@pytest.mark.parametrize("side", [0, 28, 48, 128])
def test_other_sides_are_refused(side):
    with pytest.raises(ValueError, match=f"expected `side` as 32 or 64 pixels; got {side}"):
        Sprites(side)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            torch.zeros(5, dtype=torch.long),
            r"integers of shape \(N, 5\), for shape, scale, orientation, x, y",
        ),
        (
            torch.zeros(2, 4, dtype=torch.long),
            r"integers of shape \(N, 5\).*got torch.int64 of shape \(2, 4\)",
        ),
        (torch.zeros(2, 5), "expected `factors` as integers.*got torch.float32"),
        (torch.tensor([[0, 4, 0, 0, 0]]), "expected the factor 'scale' from 0 to 3; got 4 to 4"),
        (
            torch.tensor([[0, 0, 0, 0, 0], [0, 0, -1, 0, 0]]),
            "expected the factor 'orientation' from 0 to 9; got -1 to 0",
        ),
    ],
)
def test_factors_that_are_none_are_refused(grids, factors, message):
    for method in (grids[32].draw, grids[32].index):
        with pytest.raises(ValueError, match=message):
            method(factors)
