"""A Monte-Carlo answer: a value that knows its errors, and what it was computed from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "Estimate",
    "device_of",
    "effective_sample_size",
    "jackknife_error",
    "standard_error",
]


@dataclass(frozen=True)
class Estimate:
    """One number with its errors.

    Attributes:
        value: The number, in ``unit``.
        stderr: Monte-Carlo standard error on the given data.
        count: Number of examples (or draws, where there are no data).
        unit: For example ``"nats"``.
        stderr_data: Standard error over the data set, from the spread between examples; None
            without examples.
        per_example: The values of the single examples, ``(N,)`` float64 on the CPU, where there are
            any.
        diagnostics: What tells whether the number can be trusted, such as the smallest effective
            sample size.
        protocol: What was done: samples, seed, and whatever a second person needs to repeat it.
        warnings: Reasons for doubt, in words; empty when there are none.
        data: What the values per example belong to, as a short hash (``storage.content_hash``) and,
            where examples are draws, their number and seed; None where it was not told.
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

    def __str__(self) -> str:
        text = f"{self.value:.3f} ± {self.stderr:.3f}"
        if self.stderr_data is not None:
            text += f" (data ± {self.stderr_data:.3f})"
        return f"{text} {self.unit}".rstrip() + (" (!)" if self.warnings else "")

    def minus(self, other: "Estimate") -> "Estimate":
        """The paired difference ``self - other``, example by example; positive where ``self`` is larger.

        Its ``stderr_data`` is the error of the mean difference over the data, far tighter than the
        two errors suggest. Where the protocols differ in more than the seed (another density, other
        numbers of samples), ``warnings`` says in what.

        Raises:
            ValueError: if the two were not computed on the same examples, in the same unit, or by
                the same kind of estimator.
        """
        if self.per_example is None or other.per_example is None:
            raise ValueError(
                "expected two estimates with values per example; at least one has none."
            )
        if self.unit != other.unit or len(self.per_example) != len(other.per_example):
            raise ValueError(
                "expected two estimates in one unit on the same examples; got "
                f"{len(self.per_example)} in {self.unit} and {len(other.per_example)} in "
                f"{other.unit}."
            )
        if None not in (self.data, other.data) and self.data != other.data:
            raise ValueError(
                f"expected two estimates on the same data; got values of {self.data} and of "
                f"{other.data}. Compute both on the same observations in the same order (and with "
                "as many draws and the same seed, where draws are compared)."
            )
        kinds = [estimate.protocol.get("estimator") for estimate in (self, other)]
        if None not in kinds and kinds[0] != kinds[1]:
            raise ValueError(
                f"expected two estimates of one kind; got {kinds[0]} and {kinds[1]}. Compute both "
                "alike."
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
        """Everything but the values per example, ready for JSON; what is not finite becomes None, as JSON has no NaN."""
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
        """An estimate as ``to_json`` wrote it; a value or an error that was not finite comes back as NaN."""
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


def _protocol_doubts(first: Mapping[str, object], second: Mapping[str, object]) -> tuple[str, ...]:
    """In words, what was done in another way; the seed may differ."""
    names = [
        name
        for name in {**first, **second}
        if name != "seed" and first.get(name) != second.get(name)
    ]
    if not names:
        return ()
    found = ", ".join(
        f"{name} ({first.get(name, 'none')} against {second.get(name, 'none')})" for name in names
    )
    return (f"the two differ in {found}, and so may their numbers.",)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def device_of(module: nn.Module) -> torch.device:
    """Where the module computes; the CPU if it has no parameters."""
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

    Arguments:
        left_out: The estimate without each of G parts, ``(G,)``.
    """
    parts = len(left_out)
    if parts < 2:
        return math.nan
    return float(((left_out - left_out.mean()).square().sum() * (parts - 1) / parts).sqrt())


def effective_sample_size(log_w: Tensor) -> float:
    r"""Of ``(S,)`` log weights: :math:`(\sum_s w_s)^2 / \sum_s w_s^2`, from 1 to S.

    References:
        A Note on Importance Sampling using Standardized Weights (Kong, 1992).
    """
    return float((2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp())
