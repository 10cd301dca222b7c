"""What pydantic finds wrong with a setting, in words."""

import re
from collections.abc import Mapping
from typing import Any

from priorwise.reading import shortened

__all__ = ["in_words"]

_WORDS = {
    "greater_than_equal": "expected at least {ge}",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected at most {le}",
    "less_than": "expected less than {lt}",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
    "union_tag_invalid": "expected a kind among {expected_tags}",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_parsing_size": "expected a whole number of fewer digits",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "string_type": "expected text",
}
_LONGEST, _LONGEST_WORDS = 60, 300  # characters of a value, and of a message that is not ours


def in_words(problem: Mapping[str, Any]) -> str:
    """One of pydantic's problems: what was expected, and what came.

    Arguments:
        problem: An entry of ``ValidationError.errors()``.

    Example:
        >>> in_words({"type": "greater_than_equal", "ctx": {"ge": 1}, "input": 0, "msg": ""})
        'expected at least 1; got 0'
    """
    words = _WORDS.get(problem["type"])
    if words is None:
        message = problem["msg"].removeprefix("Value error, ")[:_LONGEST_WORDS]
        return f"{message}; got {_value(problem['input'])}"
    limits = {
        name: f"{limit:,}" if isinstance(limit, int) else limit
        for name, limit in problem.get("ctx", {}).items()
    }
    # A wrong kind is shown alone, without the rest of its part.
    value = problem["ctx"]["tag"] if problem["type"] == "union_tag_invalid" else problem["input"]
    return f"{words.format(**limits)}; got {_value(value)}"


def _value(value: object) -> str:
    """A value in brief, without the address of an object in memory."""
    return re.sub(r" at 0x[0-9a-f]+", "", shortened(value, characters=_LONGEST))
