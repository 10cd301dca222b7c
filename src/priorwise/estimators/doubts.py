"""Reasons for doubt in words: what is not finite, how many samples would do, and short forms."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from priorwise.refusals import UnavailableError
from priorwise.tilts import lost_tensors

__all__ = [
    "NOT_FINITE",
    "below_log_sum",
    "enough_samples",
    "first_clause",
    "marked",
    "negative_doubts",
    "not_finite",
    "of_weights",
    "require_finite",
]

_ROUNDING = 1e-6
_REACH = 1e8  # draws that a patient user can afford
NOT_FINITE = "the number is not finite"
_NO_ERROR = "the error is not known"


def marked(warnings: Sequence[str]) -> str:
    """The mark that stands behind a printed number: the first clause of each warning."""
    return f" (! {'; '.join(first_clause(warning) for warning in warnings)})" if warnings else ""


def first_clause(warning: str) -> str:
    """What was found; the consequences follow after it."""
    ends = [place for end in (": ", ". ") if (place := warning.find(end)) > 0]
    return warning[: min(ends, default=len(warning))].rstrip(".")


def not_finite(
    value: float, stderr: float, per_example: Tensor | None, warnings: Sequence[str]
) -> tuple[str, ...]:
    """Why a value or its error is not finite; empty if both are, or if ``warnings`` says it."""
    if any(warning.startswith((NOT_FINITE, _NO_ERROR)) for warning in warnings):
        return ()
    if math.isfinite(value):
        if not math.isnan(stderr):
            return ()
        return (f"{_NO_ERROR}: there are too few points, examples or samples to estimate it.",)
    if per_example is None or bool(per_example.isfinite().all()):
        cause = "a NaN or an infinite number came out of the model or its data"
    else:
        bad = (~per_example.isfinite()).nonzero().flatten().tolist()
        cause = f"{len(bad)} of {len(per_example)} examples have no finite value, the first is "
        cause += f"example {bad[0]}"
    return (f"{NOT_FINITE}: {cause}.",)


def require_finite(values: Tensor, what: str) -> None:
    """Refuse values ``(N, D)`` of images of which some are not finite.

    Raises:
        UnavailableError: saying which image is the first.
    """
    bad = (~values.isfinite()).any(1).nonzero().flatten().tolist()
    if bad:
        raise UnavailableError(
            f"expected finite {what}; those of {len(bad)} of {len(values)} images are not, the "
            f"first is image {bad[0]}. Look at its values, and at the weights of the encoder."
        )


def of_weights(model: nn.Module) -> tuple[str, ...]:
    """A warning that names the weights of a model that are not finite; empty without any."""
    bad = lost_tensors(model)
    if not bad:
        return ()
    return (
        f"{len(bad)} of the tensors of the model are not finite, the first is {bad[0]}: its "
        "training diverged, or its file is damaged. Train it again with a lower `lr`, or load "
        "another checkpoint.",
    )


def negative_doubts(name: str, value: float, error: float, unit: str = "nats") -> tuple[str, ...]:
    """A warning about a negative estimate of a quantity that cannot be negative."""
    if not value < 0:
        return ()
    bar = "an unknown error" if math.isnan(error) else f"an error of {error:.2g}"
    if math.isnan(error):
        cause = "whether its bias or its noise is larger is not known"
    elif abs(value) > 2 * error:
        cause = "its bias is larger than its value"
    else:
        cause = "it cannot be distinguished from 0"
    return (
        f"the estimate of {name} is {value:.3g} {unit} with {bar}, but it cannot be negative: "
        f"{cause}.",
    )


def below_log_sum(score: float, q: float, p: float) -> tuple[str, ...]:
    r"""A warning about a score under its smallest possible value, :math:`Q \log (Q / P)`.

    That is the log sum inequality for :math:`\int_A q \log (q / p)` over a region A, where the two
    laws have the shares Q and P.
    """
    if q == 0 or p == 0 or not score < q * math.log(q / p) - _ROUNDING:
        return ()
    return (
        f"the score is {score:.3g} nats, but it cannot be below {q * math.log(q / p):.3g} nats, "
        f"since {100 * q:.1f} % of the encodings are where the prior has {100 * p:.1f} % of its "
        "mass: q(z) is not known between the encodings.",
    )


def enough_samples(samples: int, ess: float, wanted: float, name: str = "samples") -> str:
    r"""How many samples would bring an effective sample size to ``wanted``, as a sentence.

    .. math:: n = S \, \frac{\mathrm{ESS}_\mathrm{wanted}}{\mathrm{ESS}}

    The effective sample size grows in proportion to the samples, and the error falls like
    :math:`1 / \sqrt{\mathrm{ESS}}`. A small effective sample size is itself too large on average,
    since the heaviest weights were not drawn yet, so the number is the least that may do.

    Arguments:
        samples: The number of samples S so far.
        ess: Their effective sample size.
        wanted: The effective sample size that is large enough.
        name: The option that sets the number.
    """
    needed = samples * wanted / ess if ess > 0 else math.inf
    if not needed <= _REACH:
        more = f", more than {_round_up(needed):,}" if math.isfinite(needed) else ""
        return f"No number of `{name}` in reach would bring it to {wanted:.0f}{more}."
    return (
        f"To bring it to {wanted:.0f} would take at least {_round_up(max(needed, 1.0)):,} `{name}`."
    )


def _round_up(number: float) -> int:
    """A whole number of two digits and zeros, not below ``number``."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / unit) * unit
