"""What the record of a group of runs may hold: it may come from anywhere.

Nothing here needs torch.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from priorwise.reading import shortened

__all__ = ["Value", "check_record", "check_values"]

Value: TypeAlias = str | int
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_SETTING = re.compile(r"\w+(\.\w+)*")
_PARTS = {"run": dict, "setting": str, "values": list, "ends": dict, "choice": dict | None}


def check_record(record: Mapping[str, Any]) -> None:
    """Refuse a record that is not of the kinds that are written.

    Raises:
        ValueError: for such a record.
    """
    if not isinstance(record, dict):
        raise ValueError("it is no record")
    for part, kind in _PARTS.items():
        if part not in record:
            raise ValueError(f"it has no `{part}`")
        if not isinstance(record[part], kind):
            raise ValueError(f"`{part}` is of another kind")
    check_values(record["values"])
    if not _SETTING.fullmatch(record["setting"]):
        raise ValueError("`setting` is of another kind")
    training = record["run"].get("training")
    if not isinstance(training, dict) or not _is_count(training.get("epochs")):
        raise ValueError("`run` has no number of epochs")
    for end in record["ends"].values():
        _check_end(end)
    if record["choice"] is not None:
        _check_choice(record["choice"], record["values"])


def _check_end(end: object) -> None:
    """Refuse what is no end of a member.

    Raises:
        ValueError: in this case.
    """
    if (
        not isinstance(end, dict)
        or end.get("state") not in ("finished", "diverged")
        or not isinstance(end.get("words"), str)
        or not (end.get("epochs") is None or _is_count(end["epochs"]))
    ):
        raise ValueError("`ends` is of another kind")


def _check_choice(choice: Mapping[str, Any], values: Sequence[Value]) -> None:
    """Refuse what is no choice of a member.

    Raises:
        ValueError: in this case.
    """
    if choice.get("value") not in values or not isinstance(choice.get("why"), str):
        raise ValueError("`choice` is no member")
    if not isinstance(choice.get("numbers"), dict):
        raise ValueError("the numbers of `choice` are of another kind")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_values(values: Sequence[Value]) -> None:
    """Refuse values that are equal, or that no folder can be named after.

    Raises:
        ValueError: for such values.
    """
    for value in values:
        plain = isinstance(value, str | int) and not isinstance(value, bool)
        if not plain or not _PLAIN.fullmatch(str(value)):
            raise ValueError(
                "expected `values` as numbers or plain words, since folders are named after them; "
                f"got {shortened(value)}."
            )
    if not values or len(set(map(str, values))) < len(values):
        raise ValueError(f"expected `values` that differ, at least one; got {shortened(values)}.")
