"""State as plain data, such as JSON can hold, and its way back."""

import copy
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["as_json", "is_plain", "restored"]

_PLAIN = (bool, int, float, str, type(None))


def is_plain(value: object) -> bool:
    """Whether a value is a number, text or None, or a list, tuple or mapping of such."""
    if isinstance(value, Mapping):
        return all(isinstance(key, (int, str)) and is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_plain(each) for each in value)
    return isinstance(value, _PLAIN)


def as_json(value: Any) -> Any:  # noqa: ANN401
    """A plain value as JSON reads it back: keys are text, tuples are lists."""
    return json.loads(json.dumps(value))


def restored(current: Any, stored: Any) -> Any:  # noqa: ANN401
    """A stored value with the types of the current one: JSON turns tuples and numbers as keys.

    Example:
        >>> restored({30: (0.9, 0.99)}, {"30": [0.8, 0.95]})
        {30: (0.8, 0.95)}
    """
    if isinstance(current, Mapping) and isinstance(stored, Mapping):
        again = copy.copy(current)  # a Counter stays one
        for key, each in current.items():
            again[key] = restored(each, stored.get(str(key), each))  # type: ignore[index]
        return again
    if isinstance(current, (list, tuple)) and isinstance(stored, (list, tuple)):
        values = [
            restored(current[place] if place < len(current) else None, each)
            for place, each in enumerate(stored)
        ]
        return tuple(values) if isinstance(current, tuple) else values
    return stored
