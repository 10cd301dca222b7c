"""Codes with the factors of their images, checked once for all scores.

Letters: ``N`` examples, ``D`` dimensions of the code, ``F`` factors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.arrays import Array, as_tensor

__all__ = ["LabelledCodes"]


@dataclass(frozen=True)
class LabelledCodes:
    """Codes and factors, ready for counting.

    Attributes:
        codes: ``(N, D)`` float64 on the CPU.
        classes: The values of the factors, numbered from 0 without gaps, ``(N, F)`` int64 on the
            CPU.
        values: Number of values of each factor.
        names: Names of the factors.
    """

    codes: Tensor
    classes: Tensor
    values: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def checked(
        cls, codes: Array, factors: Array, names: Sequence[str] | None = None
    ) -> "LabelledCodes":
        """Check codes ``(N, D)`` and factors ``(N, F)``, which may be any integers.

        Raises:
            ValueError: if the two do not fit, are too few or not finite, or if a factor never
                changes.
        """
        codes, factors = as_tensor(codes, "codes"), as_tensor(factors, "factors")
        _check_codes(codes)
        _check_factors(factors, len(codes))
        labels = (
            tuple(names)
            if names is not None
            else tuple(f"factor {k}" for k in range(factors.shape[1]))
        )
        if len(labels) != factors.shape[1]:
            raise ValueError(
                f"expected {factors.shape[1]} `names`, one for each factor; got {len(labels)}: "
                f"{labels}."
            )
        columns = [column.unique(return_inverse=True) for column in factors.cpu().unbind(1)]
        values = tuple(len(distinct) for distinct, _ in columns)
        if constant := [name for name, count in zip(labels, values, strict=True) if count < 2]:
            raise ValueError(
                f"expected at least 2 values of each factor; {', '.join(constant)} never changes. "
                "Leave it out."
            )
        classes = torch.stack([inverse for _, inverse in columns], 1)
        return cls(codes.detach().double().cpu(), classes, values, labels)

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
            f"expected `codes` as floating-point numbers; got {codes.dtype}. Did you swap `codes` "
            "and `factors`?"
        )
    if not bool(codes.isfinite().all()):
        raise ValueError("expected finite `codes`; got NaN or infinity. Did training diverge?")


def _check_factors(factors: Tensor, examples: int) -> None:
    if factors.dim() != 2 or factors.shape[1] < 2:
        raise ValueError(
            "expected `factors` of shape (N, F) with at least 2 factors; got "
            f"{tuple(factors.shape)}."
        )
    if factors.is_floating_point() or factors.is_complex():
        raise ValueError(
            f"expected `factors` as integers; got {factors.dtype}. Sort real factors into bins "
            "first."
        )
    if len(factors) != examples:
        raise ValueError(
            f"expected `factors` for as many examples as there are codes, {examples}; got "
            f"{len(factors)}."
        )
