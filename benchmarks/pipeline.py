"""The whole pipeline: images per second from the raw data set to trained weights.

Ours is ``priorwise.fit`` as a user calls it: engine, order, binarisation on the fly, steps,
logging, one validation on a hundred images. The peer's is one epoch of its own trainer: loader,
collation, binarisation, steps, logging; no validation, no checkpoint. Each round is a part of an
epoch, so that the two take turns. The floor is that of the step (``training.py``).
"""

import tempfile
from collections.abc import Callable
from typing import Any

import priorwise as pw
from benchmarks import peer
from benchmarks.contenders import TITLES, Architecture, build
from benchmarks.images import training_part
from benchmarks.report import Row, plain_row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, race

__all__ = ["measure"]

_TARGETS: dict[Architecture, float | None] = {"vae_standard": None, "vae_vamp": 1.7}


def _fit(architecture: Architecture, scale: Scale) -> Callable[[], object]:
    model = build(architecture, scale)
    splits = training_part(scale.pipeline_images)
    options: dict[str, Any] = {
        "epochs": 1,
        "batch_size": scale.batch,
        "lr": 1e-4,
        "warmup_epochs": 0,
        "patience": None,
    }
    return lambda: pw.fit(model, splits, progress=False, **options)


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    rows: list[Row] = []
    for architecture, target in _TARGETS.items():
        with tempfile.TemporaryDirectory() as folder:
            runs: dict[str, Callable[[], object]] = {"ours": _fit(architecture, scale)}
            if peer.available():
                model = peer.build_peer(scale, vamp=architecture == "vae_vamp")
                raw = training_part(scale.pipeline_images).train
                runs["pythae"] = peer.trainer_of(model, raw, folder, scale.batch)
            contenders = {name: Contender(run, scale.pipeline_images) for name, run in runs.items()}
            result = race(contenders, rounds=scale.pipeline_rounds, warmup=1)
        title = f"{TITLES[architecture]} pipeline"
        rows.append(row_of("pipeline", f"{title}, priorwise", result.speed("ours"), "images/s"))
        if "pythae" not in runs:
            rows.append(
                plain_row(
                    "pipeline", f"{title}, pythae", None, "images/s", note=peer.HOW_TO_INSTALL
                )
            )
            continue
        rows += [
            row_of("pipeline", f"{title}, pythae", result.speed("pythae"), "images/s"),
            row_of(
                "pipeline",
                f"{title}, priorwise / pythae",
                result.ratio("ours", "pythae"),
                "x",
                at_least=target,
            ),
        ]
    return rows
