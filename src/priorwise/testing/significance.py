"""One false-alarm rate for all statistical tests, and comparisons in standard errors."""

import math
from statistics import NormalDist

from torch import Tensor

__all__ = ["ALPHA", "Z_LIMIT", "check_mean", "standard_errors", "z_limit"]

ALPHA = 1e-6  # false-alarm rate of one test
# Two-sided 4.9e-7 under a normal law. The rest of ALPHA allows for the heavier tails of a mean of
# finitely many values.
Z_LIMIT = 5.03


def z_limit(comparisons: int) -> float:
    """The limit in standard errors for a test with several comparisons; ``Z_LIMIT`` for one."""
    return max(Z_LIMIT, -NormalDist().inv_cdf(ALPHA / (4 * comparisons)))


def standard_errors(sample_mean: float, truth: float, stderr: float) -> float:
    """How many standard errors an estimate lies above the truth.

    The result is infinite if the estimate differs from the truth and the standard error is 0.

    Raises:
        ValueError: if the standard error is negative or NaN.
    """
    if not stderr >= 0:
        raise ValueError(f"expected a standard error of at least 0; got {stderr}.")
    difference = sample_mean - truth
    if stderr == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / stderr


def check_mean(values: Tensor, truth: float, what: str, *, comparisons: int = 1) -> None:
    """Check that the mean of independent values agrees with the true mean.

    Arguments:
        values: Independent values, ``(N,)``.
        truth: Their true mean.
        what: The name of the mean in the message.
        comparisons: Number of such comparisons in the test; more of them widen the limit.

    Raises:
        AssertionError: if the mean is further away than chance allows (rate ``ALPHA`` per test).
    """
    values = values.detach().double().flatten()
    mean, stderr = float(values.mean()), float(values.std() / math.sqrt(len(values)))
    z = standard_errors(mean, truth, stderr) if math.isfinite(stderr) else math.inf
    if not abs(z) < z_limit(comparisons):
        raise AssertionError(
            f"expected {what} to be {truth:.5g}; got {mean:.5g} ± {stderr:.2g} from {len(values)} "
            f"values, {z:+.1f} standard errors away."
        )
