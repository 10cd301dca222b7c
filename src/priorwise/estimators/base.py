"""A Monte-Carlo answer: a value that knows its errors, and what it was computed from."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

__all__ = ["Estimate", "device_of", "standard_error"]


@dataclass(frozen=True)
class Estimate:
    """One number with its errors.

    Attributes:
        value: The number, in ``unit``.
        stderr: Monte-Carlo standard error on the given data.
        count: Number of examples (or draws, where there are no data).
        unit: For example ``"nats"``.
        stderr_data: Standard error over the data set, from the spread between examples; None without examples.
        per_example: The values of the single examples, ``(N,)`` float64 on the CPU, where there are any.
        diagnostics: What tells whether the number can be trusted, such as the smallest effective sample size.
        protocol: What was done: samples, seed, and whatever a second person needs to repeat it.
        warnings: Reasons for doubt, in words; empty when there are none.
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

    def __str__(self) -> str:
        text = f"{self.value:.3f} ± {self.stderr:.3f}"
        if self.stderr_data is not None:
            text += f" (data ± {self.stderr_data:.3f})"
        return f"{text} {self.unit}".rstrip()

    def minus(self, other: "Estimate") -> "Estimate":
        """The paired difference ``self - other``, example by example; positive where ``self`` is larger.

        Its ``stderr_data`` is the error of the mean difference over the data, far tighter than the two errors suggest.

        Raises:
            ValueError: if the two were not computed on the same examples in the same unit.
        """
        if self.per_example is None or other.per_example is None:
            raise ValueError("expected two estimates with values per example; at least one has none.")
        if self.unit != other.unit or len(self.per_example) != len(other.per_example):
            raise ValueError(
                f"expected two estimates in one unit on the same examples; got {len(self.per_example)} in {self.unit} and "
                f"{len(other.per_example)} in {other.unit}."
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
            warnings=self.warnings + other.warnings,
        )

    def to_json(self) -> dict[str, object]:
        """Everything but the values per example, ready for JSON; what is not finite becomes None, as JSON has no NaN."""
        record = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "per_example"}
        finite = {name: value if _is_finite(value) else None for name, value in record.items()}
        diagnostics = {name: value if _is_finite(value) else None for name, value in self.diagnostics.items()}
        return finite | {"diagnostics": diagnostics, "warnings": list(self.warnings)}

    def with_warnings(self, *warnings: str) -> "Estimate":
        """A copy with more reasons for doubt."""
        return replace(self, warnings=self.warnings + warnings)


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
