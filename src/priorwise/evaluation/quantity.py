"""What a quantity of an evaluation is: how it is computed, and how every view shows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from priorwise.evaluation.subject import Subject

__all__ = ["Cell", "Quantity", "error_words", "estimate_cell", "number_words"]


_NO_NUMBER = "not a number"
_NO_ERROR = "± unknown"
_LONG = 1e15  # from here on a number is written with its power of ten


@dataclass(frozen=True)
class Cell:
    """One number as a reader sees it.

    The command, the page, the model card and the comparison all print these words.

    Attributes:
        text: The number.
        small: Its errors and further notes, in small print.
        doubts: Reasons to doubt the number, in words.
        refused: Whether there is no number; then ``small`` says why.
        values: The numbers in the text, one for each part that a slash divides; None where one is
            not finite. A mean over several models is taken of them.
    """

    text: str
    small: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    refused: bool = False
    values: tuple[float | None, ...] = ()

    @property
    def marked(self) -> str:
        """The number, with a mark if there are doubts about it."""
        return f"{self.text} (!)" if self.doubts else self.text


def _always(subject: Subject) -> bool:
    """Every subject has this quantity."""
    return True


def _unchanged(subject: Subject, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """The quantity left nothing with the model."""
    return True


def _nothing_to_check(subject: Subject) -> None:
    """The quantity needs nothing beyond priorwise."""


@dataclass(frozen=True)
class Quantity:
    """A quantity of an evaluation.

    To add one, define it in a file beside this one and enter it in that file's ``QUANTITIES``.

    Attributes:
        key: Its name in the record.
        meanings: The meaning of each of its rows in a table, by the title of the row.
        compute: Measures it. Raises ``UnavailableError`` if the model or the data do not have the
            quantity.
        cells: The cells to show for a value from the record, by the title of the row.
        settings: The fields of ``EvaluationConfig`` on which the value depends.
        after: Keys of the quantities that it uses; if one of them is measured again, so is this.
        applies: Whether to measure it for a subject at all.
        per_image: Whether the value of each image is kept for paired comparisons.
        still_holds: Whether the model still has what the quantity left with it, given the value
            in an earlier record.
        check: Raises before anything is measured if the quantity needs what is not installed.
    """

    key: str
    meanings: Mapping[str, str]
    compute: Callable[[Subject], Any]
    cells: Callable[[Any], Mapping[str, Cell]]
    settings: tuple[str, ...] = ("seed",)
    after: tuple[str, ...] = ()
    applies: Callable[[Subject], bool] = _always
    per_image: bool = False
    still_holds: Callable[[Subject, Any], bool] = _unchanged
    check: Callable[[Subject], None] = _nothing_to_check

    def shown(self, value: Any) -> Mapping[str, Cell]:  # noqa: ANN401 - any JSON value
        """The cells for a value from the record, or the reason why there is no value."""
        if isinstance(value, Mapping) and "refused" in value:
            return {next(iter(self.meanings)): Cell("none", (value["refused"],), refused=True)}
        return {title: _never_bare(cell) for title, cell in self.cells(value).items()}


def _never_bare(cell: Cell) -> Cell:
    """A cell without a doubt gets one if its number or its error is none."""
    if cell.doubts or cell.refused:
        return cell
    if _NO_NUMBER in cell.text:
        doubt = (
            "it is not a finite number: a NaN or an infinite value came out of the model or its "
            "data. Look at the weights, and at the range of the data."
        )
    elif any(_NO_ERROR in small for small in cell.small):
        doubt = "its error is not known: there are too few examples or draws to estimate it."
    else:
        return cell
    return replace(cell, doubts=(doubt,))


def number_words(value: float | None, digits: int = 2) -> str:
    """A number; a record has None where it was not finite."""
    if value is None:
        return _NO_NUMBER
    return f"{value:.{digits}{'f' if abs(value) < _LONG else 'e'}}"


def error_words(stderr: float | None, digits: int = 2) -> str:
    """A standard error, with more digits if it is so small that it would read as zero."""
    if stderr is None:
        return _NO_ERROR
    small = 0 < stderr < 0.5 * 10**-digits
    return f"± {number_words(stderr, digits + 2 if small else digits)}"


def estimate_cell(estimate: Mapping[str, Any], *, digits: int = 2, unit: str = "") -> Cell:
    """An ``Estimate`` from the record as a number with its error."""
    error = error_words(estimate["stderr"], digits)
    value = estimate["value"]
    return Cell(
        number_words(value, digits),
        (f"{error} {unit}".rstrip(),),
        tuple(estimate["warnings"]),
        values=(value,),
    )
