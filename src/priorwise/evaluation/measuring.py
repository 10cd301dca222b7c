"""Measuring a model: each quantity once, and none that a valid record holds already."""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from torch import nn

from priorwise.estimators.doubts import of_weights
from priorwise.evaluation.quantities import QUANTITIES
from priorwise.evaluation.quantity import Quantity
from priorwise.evaluation.record import EvaluationRecord, plain
from priorwise.evaluation.subject import Subject
from priorwise.models import AbstractModel
from priorwise.refusals import UnavailableError
from priorwise.training.versions import versions

__all__ = ["describes", "measure", "model_words"]

_ROUNDING = 1e-4


def model_words(model: AbstractModel) -> str:
    """What a model is, in a few words."""
    if model.untilted is not model:
        return f"{type(model).__name__} over a {model_words(model.untilted)}"
    prior = getattr(model, "prior", None)
    if not isinstance(prior, nn.Module):
        return type(model).__name__
    # the prior's own repr would list all its layers
    return f"{type(model).__name__} with {type(prior).__name__}({prior.extra_repr()})"


def measure(
    subject: Subject,
    earlier: EvaluationRecord | None = None,
    *,
    save: Callable[[EvaluationRecord], None] | None = None,
) -> EvaluationRecord:
    """Measure every quantity that ``earlier`` lacks for these weights, data and settings.

    Arguments:
        subject: The model, its data and the settings.
        earlier: The record of an earlier measurement.
        save: Called with the record after each quantity, so that an interruption loses at most one.

    Raises:
        ValueError: for weights that are not finite; nothing was saved then.
    """
    _refuse_lost_weights(subject.model)
    quantities = [quantity for quantity in QUANTITIES if quantity.applies(subject)]
    config = plain(subject.config.model_dump())
    record = EvaluationRecord(
        {
            "subject": _about(subject),
            "config": config,
            "settings": {
                quantity.key: {name: config[name] for name in quantity.settings}
                for quantity in quantities
            },
            "images": len(subject.x),
            "versions": plain(versions()),
        }
    )
    missing = _missing(quantities, earlier, record, subject)
    if earlier is not None and _same(earlier.numbers["subject"], record.numbers["subject"]):
        _copy_all_but(missing, earlier, record)
    for quantity in missing:
        quantity.check(subject)
    for quantity in missing:
        _compute(quantity, subject, record)
        if save is not None:
            save(record)
    return record


def _refuse_lost_weights(model: AbstractModel) -> None:
    doubts = of_weights(model)
    if doubts:
        raise ValueError(f"expected a model with finite weights; got one where {doubts[0]}")


def _missing(
    quantities: Sequence[Quantity],
    earlier: EvaluationRecord | None,
    record: EvaluationRecord,
    subject: Subject,
) -> list[Quantity]:
    """What the earlier record lacks, and what uses a quantity that is measured again."""
    if earlier is None or not _same(earlier.numbers["subject"], record.numbers["subject"]):
        return list(quantities)
    missing: list[Quantity] = []
    for quantity in quantities:
        uses_missing = {other.key for other in missing}.intersection(quantity.after)
        settings = record.numbers["settings"][quantity.key]
        if uses_missing or not _holds(earlier, quantity, settings, subject):
            missing.append(quantity)
    return missing


def _about(subject: Subject) -> dict[str, Any]:
    """What the numbers belong to."""
    return {
        "about": model_words(subject.model),
        "weights": subject.weights,
        "networks": subject.networks,
        "data": subject.splits.describe(),
        "data_fingerprint": subject.fingerprint,
        "priorwise": version("priorwise"),
        "probe": plain(subject.probe),
    }


def describes(record: EvaluationRecord, subject: Subject) -> bool:
    """Whether a record was measured of this model and these data, by this version of priorwise."""
    return _same(record.numbers["subject"], _about(subject))


def _same(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two records have one subject; the numbers of the probe may differ by rounding."""
    names = (earlier.keys() | now.keys()) - {"probe"}
    if any(earlier.get(name) != now.get(name) for name in names):
        return False
    probe, expected = earlier.get("probe"), now["probe"]
    if not isinstance(probe, list) or len(probe) != len(expected):
        return False
    return all(map(_agree, probe, expected))


def _agree(one: object, other: object) -> bool:
    """Whether two numbers differ by rounding at most; None where there is no density."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    return one == other


def _holds(
    earlier: EvaluationRecord, quantity: Quantity, settings: dict[str, Any], subject: Subject
) -> bool:
    """Whether the earlier record has the quantity with the same settings and all that it needs."""
    numbers = earlier.numbers
    if quantity.key not in numbers or numbers["settings"].get(quantity.key) != settings:
        return False
    value = numbers[quantity.key]
    if isinstance(value, dict) and "refused" in value:
        return True
    has_images = not quantity.per_image or quantity.key in earlier.per_image
    return has_images and quantity.still_holds(subject, value)


def _copy_all_but(
    missing: Sequence[Quantity], earlier: EvaluationRecord, record: EvaluationRecord
) -> None:
    """Take over what still holds, also what these settings do not ask for: nothing is lost."""
    changed = {quantity.key for quantity in missing}
    for quantity in QUANTITIES:
        if quantity.key in changed or changed.intersection(quantity.after):
            continue
        if quantity.key in earlier.numbers:
            record.numbers[quantity.key] = earlier.numbers[quantity.key]
            settings = earlier.numbers["settings"].get(quantity.key)
            record.numbers["settings"][quantity.key] = settings
        if quantity.key in earlier.per_image:
            record.per_image[quantity.key] = earlier.per_image[quantity.key]


def _compute(quantity: Quantity, subject: Subject, record: EvaluationRecord) -> None:
    try:
        value = quantity.compute(subject)
    except UnavailableError as refusal:
        record.numbers[quantity.key] = {"refused": str(refusal)}
        return
    record.numbers[quantity.key] = plain(value)
    if quantity.per_image:
        assert value.per_example is not None
        record.per_image[quantity.key] = value.per_example
