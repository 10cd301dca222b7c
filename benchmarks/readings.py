"""What the coverage study reads: intervals, with what each of them should contain.

Targets are of three kinds. *Data*: the true value on the given observations, which stay the same
for all seeds. *Law*: the true value over the law of the observations, which are drawn anew. *Mean*:
what the estimator reads on average at these counts, where it is biased or no closed form is known;
the mean over the study's own seeds stands for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from priorwise.estimators import Estimate

__all__ = ["Reading", "Setting", "Target"]

Target = Literal["data", "law", "mean"]


@dataclass(frozen=True)
class Reading:
    """One value with its error, and what it should be.

    Attributes:
        value: The number.
        error: Its standard error.
        target: Which kind of target.
        truth: The target; None where it is the mean reading.
        interval: A 95% interval, where the estimator states one of its own.
        bias_of: The true value that a mean reading is off from, where it is known.
        warned: Whether the estimator doubted itself.
    """

    value: float
    error: float
    target: Target
    truth: float | None = None
    interval: tuple[float, float] | None = None
    bias_of: float | None = None
    warned: bool = False

    @staticmethod
    def of(
        estimate: Estimate,
        target: Target,
        truth: float | None = None,
        *,
        bias_of: float | None = None,
    ) -> "Reading":
        """An estimate with its ``stderr``."""
        return Reading(
            estimate.value, estimate.stderr, target, truth, None, bias_of, bool(estimate.warnings)
        )

    @staticmethod
    def over_data(estimate: Estimate, target: Target, truth: float | None = None) -> "Reading":
        """An estimate with its ``stderr_data``."""
        assert estimate.stderr_data is not None
        return Reading(
            estimate.value, estimate.stderr_data, target, truth, warned=bool(estimate.warnings)
        )


@dataclass(frozen=True)
class Setting:
    """One estimator in one situation.

    Attributes:
        estimator: Its name.
        about: The situation, in words.
        run: From a seed to readings by the name of their interval.
        cost: Seconds of one run, roughly, on one core; dear ones get fewer seeds.
    """

    estimator: str
    about: str
    run: Callable[[int], dict[str, Reading]]
    cost: float = 0.02
