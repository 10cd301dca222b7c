"""A number of several runs: its mean and its spread over the seeds. Nothing here needs torch."""

import math
import statistics
from dataclasses import dataclass
from functools import cached_property
from typing import Any

__all__ = ["Spread", "error_words"]


def error_words(error: float | None, digits: int = 2) -> str:
    """An error or a deviation as a reader sees it.

    Arguments:
        error: The number; None if there is none.
        digits: Digits after the point. A smaller number is shown by its first digit that is not 0.

    Returns:
        str: The words; "unknown" for None, NaN and infinity.
    """
    if error is None or not math.isfinite(error):
        return "unknown"
    hidden = 0 < abs(error) < 0.5 * 10**-digits
    return f"{error:.1g}" if hidden else f"{error:.{digits}f}"


@dataclass(frozen=True)
class Spread:
    """One number of runs that differ in their seed alone.

    The spread is the standard deviation of a single run, with n - 1 in the denominator: what
    training leaves to chance, and the Monte-Carlo errors of the numbers as far as they differ from
    run to run. It is not the error of the mean, and it leaves out what all runs share, such as the
    choice of test images.

    A run without a finite number is in neither, and ``count`` says so.

    Attributes:
        values: The number of each run, at least one; None where a run has none.
    """

    values: tuple[float | None, ...]

    @cached_property
    def known(self) -> tuple[float, ...]:
        """The finite numbers."""
        return tuple(
            number for number in self.values if number is not None and math.isfinite(number)
        )

    @property
    def mean(self) -> float | None:
        """The mean over the runs; None if no run has a number."""
        return statistics.fmean(self.known) if self.known else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the runs; None for a single one, which has no spread."""
        return statistics.stdev(self.known) if len(self.known) > 1 else None

    @property
    def count(self) -> str:
        """How many runs have the number, in words, and of how many if some have none."""
        runs = len(self.values)
        lacking = f"{len(self.known)} of " if len(self.known) < runs else ""
        return f"{lacking}{runs} seed{'s' * (runs > 1)}"

    @property
    def numbers(self) -> dict[str, Any]:
        """Mean, standard deviation and number of seeds that have the number, as plain data."""
        return {
            "mean": self.mean,
            "standard_deviation": self.deviation,
            "seeds": len(self.known),
        }

    @property
    def mean_words(self) -> str:
        """The mean as a reader sees it; "unknown" if no run has a number."""
        return "unknown" if self.mean is None else f"{self.mean:.{self._digits}f}"

    @property
    def deviation_words(self) -> str:
        """The standard deviation as a reader sees it; "-" if there is none."""
        return "-" if self.deviation is None else error_words(self.deviation, self._digits)

    @property
    def _digits(self) -> int:
        return 3 if max(map(abs, self.known)) < 1 else 2

    def __str__(self) -> str:
        """The mean, the standard deviation, and over how many seeds."""
        return f"{self.mean_words}, standard deviation {self.deviation_words} over {self.count}"
