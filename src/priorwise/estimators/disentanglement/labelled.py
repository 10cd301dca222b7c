"""Codes with the factors of the images that they encode, checked once for all scores.

Letters: ``N`` examples, ``D`` dimensions of the code, ``F`` factors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LabelledCodes"]


@dataclass(frozen=True)
class LabelledCodes:
    """Codes and factors, ready for counting.

    Attributes:
        codes: ``(N, D)`` float64 on the CPU.
        classes: The factors' values numbered from 0 without gaps, ``(N, F)`` int64 on the CPU.
        values: How many values each factor takes.
        names: What the factors are called.
    """

    codes: Tensor
    classes: Tensor
    values: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def checked(
        cls, codes: Tensor, factors: Tensor, names: Sequence[str] | None = None
    ) -> "LabelledCodes":
        """Codes ``(N, D)`` and integer factors ``(N, F)``, any numbers, as they come.

        Raises:
            ValueError: if the two do not fit, are too few or not finite, or if a factor never
                changes.
        """
        _check_codes(codes)
        _check_factors(factors, len(codes))
        called = (
            tuple(names)
            if names is not None
            else tuple(f"factor {k}" for k in range(factors.shape[1]))
        )
        if len(called) != factors.shape[1]:
            raise ValueError(
                f"expected {factors.shape[1]} `names`, one for each factor; got {len(called)}: "
                f"{called}."
            )
        columns = [column.unique(return_inverse=True) for column in factors.cpu().unbind(1)]
        values = tuple(len(found) for found, _ in columns)
        if constant := [name for name, count in zip(called, values, strict=True) if count < 2]:
            raise ValueError(
                f"expected at least 2 values of each factor; {', '.join(constant)} never changes. "
                "Leave it out."
            )
        classes = torch.stack([inverse for _, inverse in columns], 1)
        return cls(codes.detach().double().cpu(), classes, values, called)

    def __len__(self) -> int:
        return len(self.codes)


def _check_codes(codes: Tensor) -> None:
    if codes.dim() != 2 or codes.shape[1] < 2:
        raise ValueError(
            "expected `codes` of shape (N, D) with at least 2 dimensions; got "
            f"{tuple(codes.shape)}."
        )
    if not codes.is_floating_point():
        raise ValueError(
            f"expected `codes` as real numbers; got {codes.dtype}. Are `codes` and `factors` "
            "exchanged?"
        )
    if not bool(codes.isfinite().all()):
        raise ValueError("expected finite `codes`; got NaN or infinity. Did the training diverge?")


def _check_factors(factors: Tensor, examples: int) -> None:
    if factors.dim() != 2 or factors.shape[1] < 2:
        raise ValueError(
            "expected `factors` of shape (N, F) with at least 2 factors; got "
            f"{tuple(factors.shape)}."
        )
    if factors.is_floating_point() or factors.is_complex():
        raise ValueError(
            f"expected `factors` as integers; got {factors.dtype}. Cut real factors into bins "
            "first."
        )
    if len(factors) != examples:
        raise ValueError(
            f"expected factors of as many examples as there are codes, {examples}; got "
            f"{len(factors)}."
        )
