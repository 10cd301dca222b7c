"""A number of several runs: its mean and its spread over the seeds. Nothing here needs torch."""

import statistics
from dataclasses import dataclass
from typing import Any

__all__ = ["Spread"]


@dataclass(frozen=True)
class Spread:
    """One number of runs that differ in their seed alone.

    The spread is the standard deviation of a single run, with n - 1 in the denominator: what
    training leaves to chance, and the Monte-Carlo errors of the numbers as far as they differ from
    run to run. It is not the error of the mean, and it leaves out what all runs share, such as the
    choice of test images.

    Attributes:
        values: The number of each run, at least one.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the runs."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the runs; None for a single one, which has no spread."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def count(self) -> str:
        """How many runs there are, in words."""
        return "1 seed" if len(self.values) == 1 else f"{len(self.values)} seeds"

    @property
    def numbers(self) -> dict[str, Any]:
        """Mean, standard deviation and number of seeds, as plain data."""
        return {
            "mean": self.mean,
            "standard_deviation": self.deviation,
            "seeds": len(self.values),
        }

    @property
    def mean_words(self) -> str:
        """The mean as a reader sees it."""
        return f"{self.mean:.{self._digits}f}"

    @property
    def deviation_words(self) -> str:
        """The standard deviation as a reader sees it; "-" if there is none."""
        if self.deviation is None:
            return "-"
        digits = self._digits
        hidden = 0 < self.deviation < 0.5 * 10**-digits
        return f"{self.deviation:.{digits + 2 if hidden else digits}f}"

    @property
    def _digits(self) -> int:
        return 3 if max(map(abs, self.values)) < 1 else 2

    def __str__(self) -> str:
        """The mean, the standard deviation, and over how many seeds."""
        return f"{self.mean_words}, standard deviation {self.deviation_words} over {self.count}"
