"""A training step: images per second of model, gradient and optimiser, on batches in memory.

Contenders: priorwise in float32 and under bf16 autocast, pythae where it has such a model, and the
floor: the float32 matrix products of one step in the same shapes (``floor.py``). No float32 step
can pass the floor; bf16 can.
"""

from benchmarks import peer
from benchmarks.contenders import TITLES, Architecture, build, training_step
from benchmarks.floor import flops, products, training_pass
from benchmarks.images import binary_batches
from benchmarks.report import Row, plain_row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, Race, race

__all__ = ["measure"]

_FLOOR_TARGETS: dict[Architecture, float] = {"vae_vamp": 0.70}


def _contenders(
    architecture: Architecture, scale: Scale, *, with_peer: bool
) -> dict[str, Contender]:
    batches = binary_batches(scale.batch)
    runs = {
        "ours": training_step(build(architecture, scale), batches),
        "bf16": training_step(build(architecture, scale), batches, half=True),
        "floor": training_pass(products(architecture, scale)),
    }
    if with_peer:
        runs["pythae"] = peer.step_of(
            peer.build_peer(scale, vamp=architecture == "vae_vamp"), batches
        )
    return {name: Contender(run, scale.batch) for name, run in runs.items()}


def _rows(architecture: Architecture, scale: Scale, result: Race) -> list[Row]:
    title = f"{TITLES[architecture]} step"
    gigaflops = flops(products(architecture, scale)) / 1e9
    rows = [
        row_of("training", f"{title}, priorwise", result.speed("ours"), "images/s"),
        row_of("training", f"{title}, priorwise bf16", result.speed("bf16"), "images/s"),
        row_of(
            "training",
            f"{title}, floor",
            result.speed("floor"),
            "images/s",
            note=f"{gigaflops:.2f} GFLOP a step",
        ),
        row_of(
            "training",
            f"{title}, priorwise / floor",
            result.ratio("ours", "floor"),
            "x",
            at_least=_FLOOR_TARGETS.get(architecture),
        ),
        row_of("training", f"{title}, bf16 / float32", result.ratio("bf16", "ours"), "x"),
    ]
    if "pythae" in result.amounts:
        rows += [
            row_of("training", f"{title}, pythae", result.speed("pythae"), "images/s"),
            row_of("training", f"{title}, priorwise / pythae", result.ratio("ours", "pythae"), "x"),
        ]
    elif architecture != "hvae_vamp":
        rows.append(
            plain_row("training", f"{title}, pythae", None, "images/s", note=peer.HOW_TO_INSTALL)
        )
    return rows


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    rows: list[Row] = []
    for architecture in TITLES:
        with_peer = peer.available() and architecture != "hvae_vamp"
        contenders = _contenders(architecture, scale, with_peer=with_peer)
        rows += _rows(architecture, scale, race(contenders, rounds=scale.rounds, turns=scale.turns))
    return rows
