"""The identity of a run: what two fits must share to be one run, and what may differ.

Nothing here needs torch, so a dry run starts at once.
"""

import json
from collections.abc import Mapping
from typing import Any

from priorwise.config.training import TrainingConfig
from priorwise.reading import shortened
from priorwise.storage import short_hash

__all__ = ["EPOCHS", "differences", "is_extension", "name_of", "words_of"]

EPOCHS = "training.epochs"
"""The field that may grow."""
_FREE = ("data.name", "model.base_run", "init.run", "training.checkpoint_seconds")
"""Where things lie, and what has no influence on the result."""
_DERIVED = ("spec.value_range",)
"""What older versions did not record, and what the fingerprint of the data decides."""
_TRAINING = "training."
_SHOWN = 4


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names, without the "run" of a recipe's run."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}".removeprefix("run.")] = value
    return flat


def name_of(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for a run; its checkpoints carry them.

    They stay the same when the data or the run underneath have moved, and when the run is extended.
    """
    fixed = {key: value for key, value in _flat(identity).items() if key not in (*_FREE, EPOCHS)}
    return short_hash(json.dumps(fixed, sort_keys=True))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields in which two runs differ, with both values; what is free is left out.

    A training option that an older version did not know counts as its default, and the range of the
    data, which follows from them, as what it is now.
    """
    defaults = {
        f"{_TRAINING}{name}": value
        for name, value in TrainingConfig().model_dump(mode="json").items()
    }
    old, new = _flat(before), _flat(now)
    derived = {name: new[name] for name in _DERIVED if name in new}
    old = derived | {name: defaults[name] for name in new.keys() & defaults.keys()} | old
    return {
        name: (old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if name not in _FREE and old.get(name) != new.get(name)
    }


def is_extension(changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether two runs differ in nothing but the number of epochs, and the new one has more."""
    return changed.keys() == {EPOCHS} and changed[EPOCHS][1] > changed[EPOCHS][0]


def words_of(
    changed: Mapping[str, tuple[Any, Any]], data_before: str = "", data_now: str = ""
) -> str:
    """The differences as text.

    Arguments:
        changed: What ``differences`` returned.
        data_before: The data that the run was started on, in words.
        data_now: The data that were given now, in words.
    """
    fields = sorted(changed, key=lambda name: name != "data_fingerprint")  # the data come first
    shown = []
    for name in fields[:_SHOWN]:
        before, now = changed[name]
        if name == "data_fingerprint":
            words = (
                f" ({data_before}; now {data_now})"
                if data_before != data_now
                else f" ({data_now}, as before, but with other values)"
            )
            shown.append(f"the data differ{words}: fingerprint {before}, now {now}")
        elif name == "init.weights":
            shown.append(
                f"the weights that it starts from (--init) had the hash {before}, now {now}"
                if before and now
                else "it was started from the weights of another run: name it again with --init"
                if before
                else "it was not started from the weights of another run: leave out --init"
            )
        else:
            shown.append(f"{name[:80]} was {shortened(before)}, now {shortened(now)}")
    return "; ".join(shown) + (" ..." if len(fields) > _SHOWN else "")
