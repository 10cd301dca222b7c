"""The density of an aggregate posterior: points a second, memory, and how exact it is.

As many points from the aggregate posterior as from a standard normal, under synthetic encodings:
means from a standard normal, standard deviations from 0.05 to 0.35. Contenders:
``AggregatePosterior``; the broadcast form that one writes first, an array of points x encodings x
dimensions, a few points at once, which is kind to it; and the floor: the float32 matrix product of
points and encodings, in the blocks of ours. The floor lacks the exponentials, of which every pair
of a point and an encoding needs one. The judge of exactness is the broadcast form in float64.
Memory is the peak of a child process.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

import priorwise as pw
from benchmarks.children import in_child
from benchmarks.floor import Product, forward_pass
from benchmarks.report import Row, memory_rows, plain_row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, race
from priorwise.distributions import AggregatePosterior

__all__ = ["broadcast", "measure", "our_run", "peer_run"]

_BLOCK, _TILE = 256, 4096  # points and encodings of one product
_CHUNK = 4  # points at once in the broadcast form
_TOLERANCE = 0.01  # nats


@cache
def _posterior(encodings: int, features: int) -> Independent:
    with pw.seeded(0, "bench", "encodings"):
        loc, scale = torch.randn(encodings, features), 0.05 + 0.3 * torch.rand(encodings, features)
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def _points(count: int, encodings: int, features: int) -> Tensor:
    """Draws from the aggregate posterior and from the standard normal, in turn."""
    q = AggregatePosterior(_posterior(encodings, features))
    with pw.seeded(0, "bench", "points"):
        both = torch.stack([q.sample((-(-count // 2),)), torch.randn(-(-count // 2), features)], 1)
    return both.flatten(0, 1)[:count]


def broadcast(posterior: Independent, z: Tensor, chunk: int = _CHUNK) -> Tensor:
    """The mixture density without matrix products, in the precision of ``z``: ``(B, D) -> (B)``."""
    loc, scale = posterior.base_dist.loc.to(z), posterior.base_dist.scale.to(z)
    normal = Normal(loc, scale, validate_args=False)
    parts = [normal.log_prob(part[:, None]).sum(-1).logsumexp(1) for part in z.split(chunk)]
    return torch.cat(parts) - math.log(len(loc))


def _products(scale: Scale) -> list[Product]:
    """The products of one block of points with all encodings."""
    rows, encodings = min(_BLOCK, scale.density_points), scale.density_encodings
    columns = [min(_TILE, encodings - start) for start in range(0, encodings, _TILE)]
    return [Product(rows, 2 * scale.density_features, column) for column in columns]


def _speed_rows(scale: Scale) -> list[Row]:
    sizes = scale.density_encodings, scale.density_features
    posterior, z = _posterior(*sizes), _points(scale.density_points, *sizes)
    q, few = AggregatePosterior(posterior), z[: 4 * _CHUNK]
    products, blocks = _products(scale), max(1, len(z) // _BLOCK)
    torch.empty(
        7_500_000
    )  # 30 MB, given back: glibc then keeps what is freed, which doubles the peer's speed
    result = race(
        {
            "ours": Contender(lambda: q.log_prob(z), len(z)),
            "broadcast": Contender(lambda: broadcast(posterior, few), len(few)),
            "floor": Contender(forward_pass(products, blocks), blocks * products[0].rows),
        },
        rounds=scale.density_rounds,
        warmup=1,
    )
    megaflops = sum(product.once for product in products) / products[0].rows / 1e6
    title = f"q(z) of {sizes[0]:,} encodings"
    return [
        row_of(
            "density",
            f"{title}, priorwise",
            result.speed("ours"),
            "points/s",
            note=f"{len(z):,} points",
        ),
        row_of(
            "density",
            f"{title}, broadcast",
            result.speed("broadcast"),
            "points/s",
            note=f"{_CHUNK} at once",
        ),
        row_of(
            "density",
            f"{title}, floor",
            result.speed("floor"),
            "points/s",
            note=f"{megaflops:.2g} MFLOP a point",
        ),
        row_of(
            "density", f"{title}, priorwise / broadcast", result.ratio("ours", "broadcast"), "x"
        ),
        row_of("density", f"{title}, priorwise / floor", result.ratio("ours", "floor"), "x"),
    ]


def _exactness_row(scale: Scale) -> Row:
    sizes = scale.density_encodings, scale.density_features
    posterior, z = _posterior(*sizes), _points(scale.density_points, *sizes)
    some = torch.linspace(0, len(z) - 1, min(len(z), 100)).long()
    exact = broadcast(posterior, z[some].double())
    error, plain = (
        float((values.double() - exact).abs().max())
        for values in (
            AggregatePosterior(posterior).log_prob(z)[some],
            broadcast(posterior, z[some]),
        )
    )
    return plain_row(
        "density",
        f"q(z) of {sizes[0]:,} encodings, largest error",
        error,
        "nats",
        target=f"<= {_TOLERANCE:g}",
        met=error <= _TOLERANCE,
        note=f"against float64, {len(some)} points; the broadcast form's is {plain:.1g}",
    )


def our_run(points: int, encodings: int, features: int) -> Callable[[], object]:
    """Our density of so many points, for a child process."""
    q, z = AggregatePosterior(_posterior(encodings, features)), _points(points, encodings, features)
    return lambda: q.log_prob(z)


def peer_run(points: int, encodings: int, features: int, chunk: int) -> Callable[[], object]:
    """The broadcast form, for a child process."""
    posterior, z = _posterior(encodings, features), _points(points, encodings, features)
    return lambda: broadcast(posterior, z, chunk)


def _memory_rows(scale: Scale) -> list[Row]:
    threads = torch.get_num_threads()
    sizes = {"encodings": scale.density_encodings, "features": scale.density_features}
    costs = {
        n: in_child(__name__, "our_run", threads, points=n, **sizes)
        for n in scale.density_memory_points
    }
    rows = memory_rows("density", "q(z) memory", "points", costs)
    if not costs:
        return rows
    chunked = in_child(__name__, "peer_run", threads, points=4 * _CHUNK, chunk=_CHUNK, **sizes)
    few = min(50, scale.density_points)
    whole = in_child(__name__, "peer_run", threads, points=few, chunk=few, **sizes)
    all_at_once = whole.own / few * scale.density_points / 1024
    return [
        *rows,
        plain_row(
            "density",
            f"q(z) memory, broadcast, {_CHUNK} points at once",
            chunked.peak,
            "MB",
            note=f"{chunked.own:.0f} MB above torch and the encodings",
        ),
        plain_row(
            "density",
            f"q(z) memory, broadcast, {few} points at once",
            whole.peak,
            "MB",
            note=f"{whole.own:.0f} MB above torch and the encodings: {all_at_once:.0f} GB for "
            f"{scale.density_points:,} points",
        ),
    ]


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    return [*_speed_rows(scale), _exactness_row(scale), *_memory_rows(scale)]
