"""How often the library's intervals contain what they should: ``python -m benchmarks.coverage``.

Every setting of ``model_intervals`` and ``sample_intervals`` runs over many seeds. An interval of
one standard error should contain its target in 68.3 % of them, one of 1.96 in 95 %. The result that
is committed is ``docs/derivations/coverage.md``.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import priorwise as pw
from benchmarks import model_intervals, sample_intervals
from benchmarks.readings import Reading, Setting

__all__ = ["Coverage", "main", "measure", "settings", "table"]

_NOMINAL = {1.0: 0.6827, 1.96: 0.95}
_DEAR = 0.1  # seconds a run, from which on a setting has half the seeds
_SURE = 3.0  # binomial standard errors from which a shortfall is called one


@dataclass(frozen=True)
class Coverage:
    """How often one interval contained its target.

    Attributes:
        estimator: The estimator.
        about: The situation.
        interval: Which of its intervals.
        target: What it should contain: ``"data"``, ``"law"`` or ``"mean"``.
        seeds: How many runs there were.
        mean: Mean reading.
        truth: What the mean reading should be, None where that is not known.
        ratio: The stated error (its root mean square) divided by the actual one, which is the
            spread of reading - target.
        one: Share of the runs whose interval of one standard error contained the target.
        two: The same of 1.96 standard errors.
        stated: The same of the estimator's own 95% interval, where it has one.
        warned: Share of the runs in which the estimator doubted itself.
    """

    estimator: str
    about: str
    interval: str
    target: str
    seeds: int
    mean: float
    truth: float | None
    ratio: float
    one: float
    two: float
    stated: float | None
    warned: float

    @property
    def words(self) -> str:
        """Whether it covers, as far as so many seeds can tell."""
        pairs = [(self.one, _NOMINAL[1.0]), (self.two, _NOMINAL[1.96])]
        pairs += [] if self.stated is None else [(self.stated, 0.95)]
        sigmas = [
            (share - nominal) / (nominal * (1 - nominal) / self.seeds) ** 0.5
            for share, nominal in pairs
        ]
        if min(sigmas) < -_SURE:
            return "**too narrow**"
        return "wide" if max(sigmas) > _SURE else "covers"


def settings() -> list[Setting]:
    """All settings of the study."""
    return [*model_intervals.settings(), *sample_intervals.settings()]


def measure(setting: Setting, seeds: int) -> list[Coverage]:
    """Run one setting over the seeds 0, 1, ...; one row for each of its intervals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = [setting.run(seed) for seed in range(seeds)]
    return [_coverage(setting, interval, [run[interval] for run in runs]) for interval in runs[0]]


def _coverage(setting: Setting, interval: str, readings: Sequence[Reading]) -> Coverage:
    values = torch.tensor([reading.value for reading in readings], dtype=torch.float64)
    errors = torch.tensor([reading.error for reading in readings], dtype=torch.float64)
    mean = float(values.mean())
    targets = torch.tensor(
        [mean if r.truth is None else r.truth for r in readings], dtype=torch.float64
    )
    misses = values - targets
    known = readings[0].bias_of if readings[0].truth is None else float(targets.mean())
    shares = [float((misses.abs() <= width * errors).double().mean()) for width in _NOMINAL]
    pairs = zip(readings, targets.tolist(), strict=True)
    inside = [
        r.interval[0] <= target <= r.interval[1] for r, target in pairs if r.interval is not None
    ]
    return Coverage(
        estimator=setting.estimator,
        about=setting.about,
        interval=interval,
        target=readings[0].target,
        seeds=len(readings),
        mean=mean,
        truth=known,
        ratio=float(errors.square().mean().sqrt() / misses.std()),
        one=shares[0],
        two=shares[1],
        stated=sum(inside) / len(inside) if inside else None,
        warned=sum(reading.warned for reading in readings) / len(readings),
    )


def table(rows: Iterable[Coverage]) -> str:
    """The rows in Markdown."""
    heads = [
        "estimator",
        "setting",
        "interval",
        "target",
        "seeds",
        "true",
        "mean reading",
        "stated / actual error",
    ]
    heads += ["68 %", "95 %", "own 95 %", "warned, %", ""]
    rule = ["---"] * 4 + ["---:"] * 8 + ["---"]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, rule)]
    for row in rows:
        cells = [
            f"`{row.estimator}`",
            row.about,
            row.interval,
            row.target,
            str(row.seeds),
            "" if row.truth is None else f"{row.truth:.3f}",
            f"{row.mean:.3f}",
            f"{row.ratio:.2f}",
            f"{100 * row.one:.1f}",
            f"{100 * row.two:.1f}",
            "" if row.stated is None else f"{100 * row.stated:.1f}",
            f"{100 * row.warned:.0f}",
            row.words,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage", description="Coverage of every stated interval."
    )
    names = sorted({setting.estimator for setting in settings()})
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}"
    )
    parser.add_argument(
        "--seeds", type=int, default=400, help="runs a setting; dear ones have half (default: 400)"
    )
    parser.add_argument("--out", type=Path, help="file for the table, instead of standard output")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = _parser().parse_args(arguments)
    rows: list[Coverage] = []
    start = time.perf_counter()
    for setting in settings():
        if options.only and setting.estimator not in options.only:
            continue
        seeds = options.seeds if setting.cost < _DEAR else max(2, options.seeds // 2)
        began = time.perf_counter()
        rows += measure(setting, seeds)
        seconds = time.perf_counter() - began
        print(f"{setting.estimator}, {setting.about}: {seconds:.0f} s", file=sys.stderr, flush=True)
    text = table(rows)
    seconds = time.perf_counter() - start
    text += f"\npriorwise {pw.__version__}, torch {torch.__version__}, "
    text += f"{torch.get_num_threads()} thread(s), {seconds:.0f} s.\n"
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
