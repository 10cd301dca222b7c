"""Sampling importance resampling: memory and time against the number of proposals.

One draw from a standard normal in 40 dimensions tilted by an NCP's classifier, in a child process
for each number of proposals. The floor of the time is the classifier's matrix products; the memory
should not depend on the number of proposals at all.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

import priorwise as pw
from benchmarks.children import Cost, in_child
from benchmarks.floor import Product, forward_pass
from benchmarks.report import Row, memory_rows, plain_row
from benchmarks.scale import Scale
from priorwise.backbones import LatentClassifier
from priorwise.distributions import Tilted
from priorwise.priors import StandardNormal
from priorwise.samplers import SIR

__all__ = ["measure", "one_draw", "products_alone"]

_ROWS = 8192
_WIDTH = 256


def one_draw(proposals: int, latent: int) -> Callable[[], object]:
    """One draw, for a child process."""
    with pw.seeded(0, "bench", "sir"):
        classifier = LatentClassifier(latent, hidden_features=(_WIDTH,) * 3)
    tilted = Tilted(StandardNormal(latent)(), classifier)
    sampler = SIR(proposals)

    def run() -> Any:  # noqa: ANN401 - a tensor and what is told of it
        with pw.seeded(0, "bench", "draw"):
            return sampler.run(tilted)

    return run


def products_alone(proposals: int, latent: int) -> Callable[[], object]:
    """The classifier's products for so many proposals, for a child process."""
    sizes = (latent, _WIDTH, _WIDTH, _WIDTH, 1)
    layers = [Product(_ROWS, before, after) for before, after in pairwise(sizes)]
    return forward_pass(layers, max(1, proposals // _ROWS))


def _time_row(what: str, cost: Cost, proposals: int) -> Row:
    wall, cpu = (1e6 * seconds / proposals for seconds in (cost.wall, cost.cpu))
    return plain_row(
        "sir",
        what,
        wall if cost.clean else cpu,
        "us",
        cpu=cpu,
        clock="wall" if cost.clean else "cpu",
    )


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    threads = torch.get_num_threads()
    costs = {
        n: in_child(__name__, "one_draw", threads, proposals=n, latent=scale.latent)
        for n in scale.proposals
    }
    most = max(costs)
    floor = in_child(__name__, "products_alone", threads, proposals=most, latent=scale.latent)
    return [
        *memory_rows("sir", "memory", "proposals", costs),
        _time_row(f"time a proposal, {most:,} proposals", costs[most], most),
        _time_row("time a proposal, floor", floor, most),
    ]
