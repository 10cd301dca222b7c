"""What a quantity of an evaluation is: how it is computed once, and how every view shows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from priorwise.evaluation.subject import Subject

__all__ = ["Cell", "Quantity", "error_words", "estimate_cell"]


@dataclass(frozen=True)
class Cell:
    """One number as a reader sees it; the command, the page, the card and the comparison all print these words.

    Attributes:
        text: The number.
        small: Its errors, and what else stands beside it in small print.
        doubts: Reasons not to believe it, in words.
        refused: Whether there is no number; ``small`` then says why.
    """

    text: str
    small: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    refused: bool = False

    @property
    def marked(self) -> str:
        """The number with a mark if there are doubts about it."""
        return f"{self.text} (!)" if self.doubts else self.text


def _always(subject: Subject) -> bool:
    """Every subject is asked for it."""
    return True


def _unchanged(subject: Subject, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """It left nothing with the model."""
    return True


@dataclass(frozen=True)
class Quantity:
    """A quantity of an evaluation. To add one, write it beside its kin, into their ``QUANTITIES``.

    Attributes:
        key: Its name in the record.
        meanings: What each of its rows in a table means, by the title of the row.
        compute: Measures it. Raises ``UnavailableError`` where the model or the data have no such
            quantity.
        cells: What is shown for a value as the record holds it, by the title of the row.
        settings: The fields of ``EvaluationConfig`` on which the value depends.
        after: Keys of the quantities that it uses; once they are measured again, so is it.
        applies: Whether a subject is asked for it at all.
        per_image: Whether the values of the single images are kept for paired comparisons.
        still_holds: Whether what the quantity left with the model is still there, given its value
            in an earlier record.
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

    def shown(self, value: Any) -> Mapping[str, Cell]:  # noqa: ANN401 - any JSON value
        """The cells of a value of the record, or the reason why there is none."""
        if isinstance(value, Mapping) and "refused" in value:
            return {next(iter(self.meanings)): Cell("none", (value["refused"],), refused=True)}
        return self.cells(value)


def error_words(stderr: float | None, digits: int = 2) -> str:
    """A standard error with the digits that it needs, so that a small one is not shown as none."""
    if stderr is None:
        return "± unknown"
    small = 0 < stderr < 0.5 * 10**-digits
    return f"± {stderr:.{digits + 2 if small else digits}f}"


def estimate_cell(estimate: Mapping[str, Any], *, digits: int = 2, unit: str = "") -> Cell:
    """An ``Estimate`` of the record as a number with its error."""
    words = error_words(estimate["stderr"], digits)
    value = estimate["value"]
    text = "not a number" if value is None else f"{value:.{digits}f}"
    return Cell(text, (f"{words} {unit}".rstrip(),), tuple(estimate["warnings"]))
