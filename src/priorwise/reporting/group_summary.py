"""Several seeds of a run as one result: means, spreads over the seeds, and the number of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

from priorwise.evaluation import Cell, GroupRecords
from priorwise.reporting.entries import side_by_side
from priorwise.training.spread import Spread

__all__ = ["ERRORS", "GroupSummary", "SummaryRow"]

ERRORS = (
    "The standard deviation is that of a single seed (n - 1): what training leaves to chance, and "
    "the error MC as far as it differs between seeds. The errors beside each seed are standard "
    "errors of its own number. MC comes from the draws of this evaluation. The error called data "
    "comes from the choice of test images, which all seeds share, so a mean over seeds does not "
    "make it smaller. None of them was added to another."
)


@dataclass(frozen=True)
class SummaryRow:
    """One number of several seeds.

    Attributes:
        title: The title of the row.
        cells: What each seed has, by the name of the member.
    """

    title: str
    cells: Mapping[str, Cell]

    @property
    def numbered(self) -> dict[str, tuple[float, ...]]:
        """The numbers of the members that have them all, as finite values, by name."""
        numbers = {
            name: tuple(value for value in cell.values if value is not None and isfinite(value))
            for name, cell in self.cells.items()
        }
        return {
            name: values
            for name, values in numbers.items()
            if values and len(values) == len(self.cells[name].values)
        }

    @property
    def spreads(self) -> list[Spread]:
        """Mean and spread of each part of the number; empty if no member has it."""
        return [Spread(part) for part in zip(*self.numbered.values(), strict=True)]

    @property
    def mean(self) -> Cell:
        """The means, with the spread in small print, and a mark if a member is in doubt."""
        spreads = self.spreads
        if not spreads:
            return Cell("none", ("no seed has this number",), refused=True)
        texts = [cell.text for cell in self.cells.values()]
        unit = " %" if all(text.endswith(" %") for text in texts) else ""
        doubtful = [name for name, cell in self.cells.items() if cell.doubts]
        doubts = [f"the number of {name} has a reason for doubt" for name in doubtful]
        lacking = [name for name in self.cells if name not in self.numbered]
        if lacking:
            doubts.append(f"{', '.join(lacking)} has no such number, and is not in the mean")
        deviations = " / ".join(spread.deviation_words for spread in spreads)
        means = " / ".join(spread.mean_words for spread in spreads)
        small = f"standard deviation {deviations} over {spreads[0].count}"
        return Cell(f"{means}{unit}", (small,), tuple(doubts))

    @property
    def lines(self) -> list[str]:
        """The mean and its spread; below it each seed with its errors and doubts."""
        mean = self.mean
        lines = [f"{self.title}: {mean.marked}; {mean.small[0]}"]
        for name, cell in self.cells.items():
            if cell.refused:
                lines.append(f"  {name}: {cell.small[0]}")
                continue
            small = f" ({'; '.join(cell.small)})" if cell.small else ""
            lines.append(f"  {name}: {cell.marked}{small}")
            lines += [f"    warning: {doubt}" for doubt in cell.doubts]
        return lines


@dataclass(frozen=True)
class GroupSummary:
    """The numbers of several seeds of a run, row by row.

    Attributes:
        measured: The group and the records of its members.
    """

    measured: GroupRecords

    @cached_property
    def rows(self) -> list[SummaryRow]:
        """One row for each number, in the order of an evaluation."""
        cells = {entry.name: entry.cells() for entry in side_by_side(self.measured.records)}
        titles = dict.fromkeys(title for row in cells.values() for title in row if title != "gain")
        absent = Cell("none", ("it was not measured",), refused=True)
        return [
            SummaryRow(title, {name: row.get(title, absent) for name, row in cells.items()})
            for title in titles
        ]

    @property
    def missing(self) -> list[str]:
        """The members without a result, each with the reason, in words."""
        return [f"{name} {words}" for name, words in self.measured.group.missing.items()]

    @property
    def lines(self) -> list[str]:
        """Everything as text: each row, the members that are missing, and what the errors are."""
        rows = [line for row in self.rows for line in row.lines]
        left_out = [f"warning: {words.rstrip('.')}; it is in no mean." for words in self.missing]
        return [*left_out, *rows, ERRORS]

    @property
    def numbers(self) -> dict[str, Any]:
        """Everything as plain data: the record of each member, and the spread of each number.

        A summary is a list, with an entry for each part of the number.
        """
        group, records = self.measured.group, self.measured.records
        return {
            "run": str(group.folder),
            "seeds": list(group.values),
            "missing": group.missing,
            "summary": {row.title: [spread.numbers for spread in row.spreads] for row in self.rows},
            "members": {name: record.numbers for name, record in records.items()},
        }
