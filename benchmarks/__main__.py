"""The command: ``python -m benchmarks [--json] [--threads 2] [--quick] [--only NAME]``."""

import argparse
import contextlib
import importlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

import torch

import priorwise as pw
from benchmarks import flow, images, peer
from benchmarks.report import Row, machine, print_table, to_json
from benchmarks.scale import FULL, QUICK, Scale

__all__ = ["main", "run"]

SUBJECTS = (
    "training",
    "objectives",
    "flow",
    "pipeline",
    "likelihood",
    "density",
    "sir",
    "precision",
    "compilation",
    "convolutions",
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed and memory of priorwise beside pythae and beside the floor of the "
        "matrix products.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of the table"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument(
        "--quick", action="store_true", help="a look in a minute or two; figures are rough"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=SUBJECTS,
        metavar="NAME",
        help=f"one of {', '.join(SUBJECTS)}; repeatable",
    )
    return parser


def run(scale: Scale, subjects: Iterable[str] = SUBJECTS) -> dict[str, Any]:
    """Measure some subjects: what JSON shows, with the rows as ``Row`` under ``"rows"``."""
    before, start = machine(), time.perf_counter()
    rows: list[Row] = []
    for subject in subjects:
        print(f"{subject} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"benchmarks.{subject}").measure(scale)
    timed = [row for row in rows if row.clock is not None]
    return {
        "scale": scale.name,
        "priorwise": pw.__version__,
        "pythae": "0.1.2" if peer.available() else peer.HOW_TO_INSTALL,
        "zuko": metadata.version("zuko") if flow.available() else flow.HOW_TO_INSTALL,
        "data": images.describe(),
        "machine": before,
        "load_average_after": machine()["load_average"],
        "clean": all(row.clock == "wall" for row in timed),
        "seconds": round(time.perf_counter() - start, 1),
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parsed = _parser().parse_args(arguments)
    if parsed.threads < 1:
        raise SystemExit(f"expected `--threads` of at least 1; got {parsed.threads}.")
    torch.set_num_threads(parsed.threads)
    subjects = [subject for subject in SUBJECTS if parsed.only is None or subject in parsed.only]
    with contextlib.redirect_stdout(sys.stderr):  # nothing but the report on standard output
        report = run(QUICK if parsed.quick else FULL, subjects)
    rows = report.pop("rows")
    if parsed.json:
        print(json.dumps(to_json(rows, **report), indent=2))
    else:
        print_table(rows, report)


if __name__ == "__main__":
    main()
