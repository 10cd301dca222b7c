"""The record of an evaluation: each number once, as plain data that all views read."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from priorwise.config.run import EvaluationConfig
from priorwise.estimators import Estimate
from priorwise.evaluation.quantities import QUANTITIES
from priorwise.evaluation.quantity import Cell, Quantity
from priorwise.reading import UnreadableError, read_json
from priorwise.storage import atomic_file, short_hash
from priorwise.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

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
            with atomic_file(_per_image(path)) as partial:
                write_checkpoint(partial, self.per_image, self._belongs_to())
        last = [quantity.key for quantity in QUANTITIES if quantity.key in self.numbers]
        first = sorted(self.numbers.keys() - set(last))
        ordered = {key: self.numbers[key] for key in [*first, *last]}
        ordered["checksums"] = {key: self._checksum(key) for key in last}
        with atomic_file(path) as partial:
            partial.write_bytes(json.dumps(ordered, indent=2, allow_nan=False).encode())

    def _checksum(self, key: str) -> str:
        """A hash of a quantity and its settings, as plain data."""
        settings = self.numbers["settings"].get(key)
        return short_hash(json.dumps([key, self.numbers[key], settings], sort_keys=True))

    def _belongs_to(self) -> dict[str, Any]:
        """What values per image must agree with; after a kill between two writes they do not."""
        settings = {key: self.numbers["settings"].get(key) for key in self.per_image}
        values = {key: self.numbers[key]["value"] for key in self.per_image}
        return {"subject": self.numbers["subject"], "settings": settings, "values": values}

    @classmethod
    def read(cls, path: Path) -> "EvaluationRecord | None":
        """The record at ``path``; None if there is none, or if its format is an older one.

        A quantity that was changed since it was measured, or cannot be shown, and values per image
        from another evaluation, are left out with a warning. They count as missing and are measured
        again.
        """
        try:
            numbers = plain(read_json(path))
            known = isinstance(numbers, dict) and all(
                isinstance(numbers.get(name), dict) for name in ("subject", "config", "settings")
            )
            if known:
                EvaluationConfig(**numbers["config"])
        except FileNotFoundError:
            return None
        except UnreadableError as error:
            _warn(path, f"cannot be read ({str(error)[:200]})")
            return None
        except (ValueError, TypeError) as error:
            _warn(path, f"cannot be read ({type(error).__name__})")
            return None
        if not known or not isinstance(numbers["subject"].get("probe"), list):
            return None
        record = cls(numbers)
        checksums = numbers.pop("checksums", None)
        if checksums is None:
            warnings.warn(
                f"{path} has no checksums, since an earlier version of priorwise wrote it: numbers "
                "that were changed in it would not be noticed.",
                stacklevel=2,
            )
        for quantity in QUANTITIES:
            key = quantity.key
            if key not in numbers:
                continue
            if not _can_be_shown(quantity, numbers[key]):
                _warn(path, f"has a damaged `{key}`")
                del numbers[key]
            elif checksums is not None and not record._agrees(key, checksums):
                _warn(path, f"has a `{key}` that was changed since it was measured")
                del numbers[key]
        return cls(numbers, record._values_per_image(path))

    def _agrees(self, key: str, checksums: object) -> bool:
        return isinstance(checksums, dict) and checksums.get(key) == self._checksum(key)

    def _values_per_image(self, path: Path) -> dict[str, Tensor]:
        beside = _per_image(path)
        if not beside.exists():
            return {}
        try:
            tensors, written_for = read_checkpoint(beside)
            if not tensors.keys() <= self.numbers.keys():
                return {}
            candidate = EvaluationRecord(self.numbers, tensors)
            return tensors if written_for == candidate._belongs_to() else {}
        except (CheckpointError, KeyError, TypeError):
            _warn(beside, "is damaged")
            return {}


def _warn(path: Path, what: str) -> None:
    warnings.warn(f"{path} {what}; what it held is measured again.", stacklevel=3)


def _can_be_shown(quantity: Quantity, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a value of a file has all that the views need."""
    try:
        for cell in quantity.shown(value).values():
            if not all(isinstance(text, str) for text in (cell.text, *cell.small, *cell.doubts)):
                return False
    except (KeyError, TypeError, IndexError, AttributeError, ValueError):
        return False
    return True


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
