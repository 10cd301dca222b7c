"""A Monte-Carlo estimate: a value with its errors, diagnostics and protocol."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from priorwise.estimators.doubts import marked, not_finite, of_weights

__all__ = [
    "Estimate",
    "device_of",
    "effective_sample_size",
    "jackknife_error",
    "standard_error",
    "with_cause",
]

_LONG = 1e15  # from here on a number is written with its power of ten


@dataclass(frozen=True)
class Estimate:
    """One number with its errors.

    Attributes:
        value: The number, in ``unit``.
        stderr: Monte-Carlo standard error, with the data held fixed.
        count: Number of examples (or of draws, where there are no data).
        unit: For example ``"nats"``.
        stderr_data: Standard error over the data set, from the spread between examples; None
            without examples.
        per_example: The value of each example, ``(N,)`` float64 on the CPU; None without examples.
        diagnostics: Numbers that show whether the value can be trusted, such as the smallest
            effective sample size.
        protocol: How it was computed: samples, seed, and what else is needed to repeat it.
        warnings: Reasons for doubt, in words; empty when there are none. A value or an error that
            is not finite always brings one. ``print`` shows their first clauses.
        data: A short hash (``storage.content_hash``) of what the values per example were computed
            on. Where examples are draws, it includes their number and seed. None where unknown.
    """

    value: float
    stderr: float
    count: int
    unit: str = "nats"
    stderr_data: float | None = None
    per_example: Tensor | None = None
    diagnostics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, str | int | float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    data: str | None = None

    def __post_init__(self) -> None:
        doubts = not_finite(self.value, self.stderr, self.per_example, self.warnings)
        object.__setattr__(self, "warnings", (*self.warnings, *doubts))

    def __str__(self) -> str:
        text = f"{_words(self.value)} ± {_words(self.stderr)}"
        if self.stderr_data is not None:
            text += f" (data ± {_words(self.stderr_data)})"
        return f"{text} {self.unit}".rstrip() + marked(self.warnings)

    def minus(self, other: "Estimate") -> "Estimate":
        """The paired difference ``self - other``, example by example.

        It is positive where ``self`` is larger. Its ``stderr_data`` is the error of the mean
        difference over the data, usually much smaller than the two errors suggest. Where the
        protocols differ in more than the seed (another density, another number of samples),
        ``warnings`` lists the differences.

        Raises:
            ValueError: if the two were not computed on the same examples, in the same unit, or by
                the same kind of estimator.
        """
        if self.per_example is None or other.per_example is None:
            raise ValueError(
                "expected two estimates with values per example; got at least one without them."
            )
        if self.unit != other.unit or len(self.per_example) != len(other.per_example):
            raise ValueError(
                "expected two estimates in the same unit on the same examples; got "
                f"{len(self.per_example)} in {self.unit} and {len(other.per_example)} in "
                f"{other.unit}."
            )
        if None not in (self.data, other.data) and self.data != other.data:
            raise ValueError(
                f"expected two estimates on the same data; got values on {self.data} and on "
                f"{other.data}. Compute both on the same observations in the same order (and, if "
                "you compare draws, with the same number of draws and the same seed)."
            )
        kinds = [estimate.protocol.get("estimator") for estimate in (self, other)]
        if None not in kinds and kinds[0] != kinds[1]:
            raise ValueError(
                f"expected two estimates of the same kind; got {kinds[0]} and {kinds[1]}. Compute "
                "both with the same estimator."
            )
        difference = self.per_example - other.per_example
        return Estimate(
            value=self.value - other.value,
            stderr=math.hypot(self.stderr, other.stderr),
            count=len(difference),
            unit=self.unit,
            stderr_data=standard_error(difference),
            per_example=difference,
            protocol={"kind": "paired difference"},
            warnings=self.warnings
            + other.warnings
            + _protocol_doubts(self.protocol, other.protocol),
            data=self.data if self.data == other.data else None,
        )

    def to_json(self) -> dict[str, object]:
        """All fields except the values per example, for JSON; NaN and infinity become None."""
        record = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "per_example"
        }
        finite = {name: value if _is_finite(value) else None for name, value in record.items()}
        diagnostics = {
            name: value if _is_finite(value) else None for name, value in self.diagnostics.items()
        }
        return finite | {"diagnostics": diagnostics, "warnings": list(self.warnings)}

    @classmethod
    def from_json(
        cls, record: Mapping[str, Any], *, per_example: Tensor | None = None
    ) -> "Estimate":
        """The estimate that ``to_json`` wrote; values that were not finite come back as NaN."""
        return cls(
            value=_number(record["value"]),
            stderr=_number(record["stderr"]),
            count=record["count"],
            unit=record["unit"],
            stderr_data=record["stderr_data"],
            per_example=per_example,
            diagnostics={name: _number(value) for name, value in record["diagnostics"].items()},
            protocol=dict(record["protocol"]),
            warnings=tuple(record["warnings"]),
            data=record["data"],
        )

    def with_warnings(self, *warnings: str) -> "Estimate":
        """A copy with more reasons for doubt."""
        return replace(self, warnings=self.warnings + warnings)


def with_cause(estimate: Estimate, model: nn.Module) -> Estimate:
    """The estimate; if it is not finite, with a warning that names weights that are not finite."""
    if math.isfinite(estimate.value):
        return estimate
    return estimate.with_warnings(*of_weights(model))


def _protocol_doubts(first: Mapping[str, object], second: Mapping[str, object]) -> tuple[str, ...]:
    """A warning that lists the differences between two protocols; the seed may differ."""
    names = [
        name
        for name in {**first, **second}
        if name != "seed" and first.get(name) != second.get(name)
    ]
    if not names:
        return ()
    differences = ", ".join(
        f"{name} ({first.get(name, 'none')} against {second.get(name, 'none')})" for name in names
    )
    return (f"the two differ in {differences}, so their numbers may differ too.",)


def _words(value: float) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{value:.3f}" if abs(value) < _LONG else f"{value:.3e}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def device_of(module: nn.Module) -> torch.device:
    """The device of the module's parameters; the CPU if it has none."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def standard_error(values: Tensor) -> float:
    """The standard error of the mean of ``(N,)`` values; NaN for fewer than two."""
    if len(values) < 2:
        return math.nan
    return float(values.double().std() / math.sqrt(len(values)))


def jackknife_error(left_out: Tensor) -> float:
    r"""The standard error of an estimate, by the jackknife; NaN for fewer than two parts.

    .. math:: \sqrt{\frac{G - 1}{G} \sum_g (\theta_{-g} - \bar\theta)^2}

    References:
        The Jackknife Estimate of Variance (Efron & Stein, 1981).
        https://doi.org/10.1214/aos/1176345462

    Arguments:
        left_out: The estimates with each of G parts left out, ``(G,)``.
    """
    parts = len(left_out)
    if parts < 2:
        return math.nan
    return float(((left_out - left_out.mean()).square().sum() * (parts - 1) / parts).sqrt())


def effective_sample_size(log_w: Tensor) -> float:
    r"""The effective sample size :math:`(\sum_s w_s)^2 / \sum_s w_s^2`, from 1 to S.

    References:
        A Note on Importance Sampling using Standardized Weights (Kong, 1992), a technical report;
        derived again in Rethinking the Effective Sample Size (Elvira et al., 2022).
        https://arxiv.org/abs/1809.04129

    Arguments:
        log_w: Log weights ``(S,)``.
    """
    return float((2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp())
