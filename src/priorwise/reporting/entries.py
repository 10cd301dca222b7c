"""Entries of a report: the records of several models, compared with the first of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from priorwise.evaluation import QUANTITIES, Cell, EvaluationRecord, gain_over
from priorwise.evaluation.quantity import error_words

__all__ = ["Entry", "side_by_side"]

_OF_NETWORKS = 3  # the first numbers of a probe: picture, log p(x|z) and log q(z|x)


@dataclass(frozen=True)
class Entry:
    """One model of a report.

    Attributes:
        name: Its name in the report.
        record: Its measured numbers.
        gain: How many nats its log-likelihood exceeds that of the first model, as plain data; None
            for the first model itself.
        same_vae: Whether it is the first model with another prior, so that the prior alone explains
            the gain.
        other_settings: Doubts about numbers that were measured with other settings than those of
            the first model, by the title of the row.
    """

    name: str
    record: EvaluationRecord
    gain: dict[str, Any] | None = None
    same_vae: bool = False
    other_settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """What the model is, in a few words."""
        return str(self.record.numbers["subject"]["about"])

    @property
    def is_tilted(self) -> bool:
        """Whether its prior is tilted."""
        return "log_norm" in self.record.numbers

    def number(self, key: str) -> Any | None:  # noqa: ANN401 - any JSON value
        """The value of a quantity; None if it was refused or not measured."""
        value = self.record.numbers.get(key)
        return None if isinstance(value, Mapping) and "refused" in value else value

    def reason(self, key: str) -> str:
        """Why there is no number, in words."""
        value = self.record.numbers.get(key)
        return str(value["refused"]) if isinstance(value, Mapping) else "it was not measured."

    def cells(self) -> dict[str, Cell]:
        """The cells to show, by the title of the row; the gain stands below the NLL."""
        cells: dict[str, Cell] = {}
        for title, cell in self.record.cells().items():
            doubt = self.other_settings.get(title)
            if doubt is not None and not cell.refused:
                cell = replace(cell, doubts=(*cell.doubts, doubt))
            cells[title] = cell
            if title == "NLL":
                cells["gain"] = _gain_cell(self.gain)
        return cells


def _gain_cell(gain: dict[str, Any] | None) -> Cell:
    if gain is None:
        return Cell("base")
    if "refused" in gain:
        return Cell("none", (gain["refused"],), refused=True)
    doubts = tuple(dict.fromkeys(gain["warnings"]))
    return Cell(f"{gain['value']:+.2f}", (error_words(gain["stderr_total"]),), doubts)


def side_by_side(records: Mapping[str, EvaluationRecord]) -> list[Entry]:
    """The entries of records by name; the first record is the base of the comparison."""
    (base_name, base), *others = records.items()
    return [
        Entry(base_name, base),
        *(
            Entry(
                name,
                record,
                gain_over(base, record),
                _same_networks(base, record),
                _other_settings(base_name, base, record),
            )
            for name, record in others
        ),
    ]


def _other_settings(
    base_name: str, base: EvaluationRecord, other: EvaluationRecord
) -> dict[str, str]:
    """A doubt for each row whose settings differ from those of the base; seeds may differ."""
    doubts: dict[str, str] = {}
    for quantity in QUANTITIES:
        ours, theirs = (each.numbers["settings"].get(quantity.key) for each in (other, base))
        if not ours or not theirs:
            continue
        differences = ", ".join(
            f"{name} ({ours.get(name)} against {theirs.get(name)})"
            for name in ours
            if name != "seed" and ours[name] != theirs.get(name)
        )
        if differences:
            words = (
                f"it was measured with other settings than for {base_name}: {differences}. "
                "Evaluate both in the same way before you compare them."
            )
            doubts |= dict.fromkeys(quantity.meanings, words)
    return doubts


def _same_networks(base: EvaluationRecord, other: EvaluationRecord) -> bool:
    """Whether encoder and decoder are the same, by their tensors and by what they compute."""
    subjects = base.numbers["subject"], other.numbers["subject"]
    if subjects[0]["networks"] != subjects[1]["networks"]:
        return False
    pairs = zip(*(subject["probe"][:_OF_NETWORKS] for subject in subjects), strict=True)
    return all(
        one == two if one is None or two is None else math.isclose(one, two, rel_tol=1e-4)
        for one, two in pairs
    )
