"""The record of an evaluation: each number once, as plain data that all views read."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from priorwise.config.run import EvaluationConfig
from priorwise.estimators import Estimate
from priorwise.evaluation.quantities import QUANTITIES
from priorwise.evaluation.quantity import Cell
from priorwise.storage import write_atomically
from priorwise.training.checkpoint import read_checkpoint, write_checkpoint

__all__ = ["EvaluationRecord", "plain"]


@dataclass(frozen=True)
class EvaluationRecord:
    """What was measured of one model.

    Attributes:
        numbers: Plain data. ``subject`` describes what was measured: hashes of the weights and of
            the data, and a few words about the model. ``settings`` holds the settings of each
            quantity, ``config`` all of them, ``images`` the number of test images and ``versions``
            the versions of the packages. Every other key is a quantity: its value, or
            ``{"refused": reason}``.
        per_image: The value of each test image, by quantity, for paired comparisons.
    """

    numbers: dict[str, Any]
    per_image: dict[str, Tensor] = field(default_factory=dict)

    @property
    def config(self) -> EvaluationConfig:
        """The settings of the evaluation."""
        return EvaluationConfig(**self.numbers["config"])

    def cells(self) -> dict[str, Cell]:
        """The cells to show, by the title of the row, in the order of ``QUANTITIES``."""
        cells: dict[str, Cell] = {}
        for quantity in QUANTITIES:
            if quantity.key in self.numbers:
                cells |= quantity.shown(self.numbers[quantity.key])
        return cells

    def estimate(self, key: str) -> Estimate | None:
        """One ``Estimate`` of the record; None if it was refused or not measured."""
        value = self.numbers.get(key)
        if value is None or "refused" in value:
            return None
        return Estimate.from_json(value, per_example=self.per_image.get(key))

    def write(self, path: Path) -> None:
        """Write the numbers to ``path``, and the value of each image beside it."""
        if self.per_image:
            write_checkpoint(_per_image(path), self.per_image, self.numbers["subject"])
        last = [quantity.key for quantity in QUANTITIES if quantity.key in self.numbers]
        first = sorted(self.numbers.keys() - set(last))
        ordered = {key: self.numbers[key] for key in [*first, *last]}
        write_atomically(path, json.dumps(ordered, indent=2, allow_nan=False).encode())

    @classmethod
    def read(cls, path: Path) -> "EvaluationRecord | None":
        """The record at ``path``; None if there is none, or if its format is an older one.

        Values per image from another evaluation are left out. Then the number that they belong to
        counts as missing and is measured again.
        """
        try:
            numbers = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if not isinstance(numbers, dict) or not {"subject", "config", "settings"} <= numbers.keys():
            return None
        beside = _per_image(path)
        if not beside.exists():
            return cls(numbers)
        per_image, subject = read_checkpoint(beside)
        return cls(numbers, per_image if subject == numbers["subject"] else {})


def _per_image(path: Path) -> Path:
    return path.with_name(f"{path.stem}_per_image.safetensors")


def plain(value: Any) -> Any:  # noqa: ANN401 - what a quantity computes, and any JSON value
    """JSON data: records become dictionaries, sequences lists, and non-finite numbers None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, Estimate):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    return value
