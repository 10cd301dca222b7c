"""Timing side by side: contenders take turns, step by step, in one process.

Two clocks run: wall time, which counts on an idle machine, and the CPU time of this process, which
is what remains comparable on a busy one. A round is clean when other processes took at most 8 % of
the machine during it. Figures are medians over the clean rounds if there are at least three,
otherwise over all rounds, and then they say so. A ratio is formed round by round, so that what
slows a whole round cancels.
"""

import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

__all__ = ["Contender", "Figure", "Race", "Round", "Spread", "is_clean", "others_share", "race"]

_CLEAN_SHARE = 0.08
_ENOUGH = 3


@dataclass(frozen=True)
class Contender:
    """What takes turns.

    Attributes:
        run: One turn; called without arguments.
        amount: How much a turn does, in the unit of the speeds.
    """

    run: Callable[[], object]
    amount: float = 1.0


@dataclass(frozen=True)
class Spread:
    """Median and range over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """The spread of some values."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Figure:
    """One measured number by both clocks.

    Attributes:
        wall: By wall time.
        cpu: By the CPU time of this process, all threads together.
        clean: Whether the rounds behind it were free of other processes' work.
    """

    wall: Spread
    cpu: Spread
    clean: bool

    @property
    def trusted(self) -> Spread:
        """By wall time where the rounds were clean, else by CPU time."""
        return self.wall if self.clean else self.cpu

    @property
    def clock(self) -> str:
        """The name of the trusted clock."""
        return "wall" if self.clean else "cpu"


@dataclass(frozen=True)
class Round:
    """One round: seconds of each contender by both clocks, and the share that others took."""

    wall: dict[str, float]
    cpu: dict[str, float]
    others: float | None


@dataclass(frozen=True)
class Race:
    """All rounds of a measurement, with the amount of work of each contender a round."""

    rounds: list[Round]
    amounts: dict[str, float]

    @property
    def clean_rounds(self) -> list[Round]:
        """The rounds that nobody disturbed, as far as one can tell."""
        return [one for one in self.rounds if is_clean(one.others)]

    @property
    def clean(self) -> bool:
        """Whether enough rounds are clean to trust the wall clock."""
        return len(self.clean_rounds) >= min(_ENOUGH, len(self.rounds))

    def speed(self, name: str) -> Figure:
        """Amount of work a second."""
        return self._figure(lambda clock: self.amounts[name] / clock[name])

    def ratio(self, fast: str, slow: str) -> Figure:
        """How many times the speed of ``slow`` the speed of ``fast`` is."""
        scale = self.amounts[fast] / self.amounts[slow]
        return self._figure(lambda clock: scale * clock[slow] / clock[fast])

    def _figure(self, value: Callable[[dict[str, float]], float]) -> Figure:
        used = self.clean_rounds if self.clean else self.rounds
        return Figure(
            Spread.of([value(one.wall) for one in used]),
            Spread.of([value(one.cpu) for one in used]),
            self.clean,
        )


def race(
    contenders: Mapping[str, Contender], *, rounds: int, turns: int = 1, warmup: int = 2
) -> Race:
    """Let the contenders take turns.

    Arguments:
        contenders: By name.
        rounds: Number of rounds, each of which gives one value of every figure.
        turns: Turns of every contender a round; the first to start changes from turn to turn.
        warmup: Turns of every contender before the first round.
    """
    for contender in contenders.values():
        for _ in range(warmup):
            contender.run()
    gc.collect()
    done = [_round(contenders, turns) for _ in range(rounds)]
    return Race(done, {name: turns * contender.amount for name, contender in contenders.items()})


def _round(contenders: Mapping[str, Contender], turns: int) -> Round:
    names = list(contenders)
    wall, cpu = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    share = others_share()
    for turn in range(turns):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            run = contenders[name].run
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            run()
            cpu[name] += time.process_time() - cpu_start
            wall[name] += time.perf_counter() - wall_start
    return Round(wall, cpu, share())


def is_clean(others: float | None) -> bool:
    """Whether a measurement counts as undisturbed, by the share of the machine that others took."""
    return others is not None and others <= _CLEAN_SHARE


def _busy_seconds() -> float | None:
    """Busy seconds of all processors since the start of the machine; None if they are unknown."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(text) for text in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _, _, interrupt, soft_interrupt, stolen = fields
    return (user + nice + system + interrupt + soft_interrupt + stolen) / os.sysconf("SC_CLK_TCK")


def others_share() -> Callable[[], float | None]:
    """Start watching; the result returns the share that other processes took since, or None."""
    busy, own, start = _busy_seconds(), time.process_time(), time.perf_counter()

    def share() -> float | None:
        now = _busy_seconds()
        if busy is None or now is None:
            return None
        capacity = (time.perf_counter() - start) * (os.cpu_count() or 1)
        return max(0.0, (now - busy - (time.process_time() - own)) / capacity)

    return share
