"""The verdict of a report in words, which follow from the numbers and their errors alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from priorwise.estimators.doubts import first_clause
from priorwise.evaluation import gain_over
from priorwise.evaluation.quantity import error_words, number_words
from priorwise.reporting.entries import Entry

__all__ = ["all_doubts", "headline", "sentences"]

SURE = 2.0  # a difference of more standard errors than this is called one
_DEEP = 0.25 * math.log(2)
_CHANCE = math.log(2)

Group = Mapping[str, Any]


def _jsd_error(group: Group) -> float:
    """The error of a divergence that a classifier proves; infinite if it is unknown."""
    return math.inf if group["bce_stderr"] is None else group["bce_stderr"] / 2


def _proved(group: Group) -> bool:
    return group["jsd"] is not None and group["jsd"] > SURE * _jsd_error(group)


def _number(value: float | None, error: float | None) -> str:
    finite = error if error is not None and math.isfinite(error) else None
    return f"{number_words(value)} {error_words(finite)}"


def headline(base: Entry) -> str:
    """Whether the base's prior has a hole, in one sentence."""
    groups = base.number("hole")
    if groups is None:
        reason = base.reason("hole")
        return f"The prior of “{base.name}” was not judged: {reason}"
    proved = [group for group in groups if _proved(group)]
    if not proved:
        return f"No hole was found in the prior of “{base.name}”."
    deep = any(group["jsd"] - SURE * _jsd_error(group) > _DEEP for group in proved)
    return f"The prior of “{base.name}” has a {'deep' if deep else 'shallow'} hole."


def _hole(base: Entry) -> list[str]:
    """What the classifiers prove about the base, in words for each latent group."""
    groups = base.number("hole") or []
    many = len(groups) > 1
    return [
        _group_words(group, f"In group {group['group']}, a" if many else "A") for group in groups
    ]


def _group_words(group: Group, subject: str) -> str:
    number = _number(group["jsd"], _jsd_error(group))
    if _proved(group):
        return (
            f"{subject} classifier distinguishes encodings of test images, which it never saw, "
            f"from draws of the prior. This proves a Jensen-Shannon divergence of at least "
            f"{number} nats. It would be 0 if the two were alike, and {_CHANCE:.2f} if they never "
            "overlapped."
        )
    return (
        f"{subject} classifier could not distinguish encodings of test images from draws of the "
        f"prior (it proves a divergence of {number} nats). A finer difference may remain."
    )


def _model_words(base: Entry, other: Entry) -> str:
    """One model compared with the base: likelihood, distance, and what remains of the hole."""
    parts = [_gain_words(other), _distance_words(base, other), _left_words(base, other)]
    return f"{other.name}: {' '.join(part for part in parts if part)}"


def _gain_words(entry: Entry) -> str:
    gain = entry.gain
    assert gain is not None
    if "refused" in gain:
        return f"The likelihoods were not compared: {gain['refused']}"
    value, error = gain["value"], gain["stderr_total"]
    margin = math.inf if error is None else SURE * error
    if gain["warnings"] and abs(value) > margin:
        change = "rise" if value > 0 else "fall"
        doubts = "; ".join(dict.fromkeys(first_clause(doubt) for doubt in gain["warnings"]))
        return (
            f"The log-likelihood seems to {change} by {_number(abs(value), error)} nats per test "
            f"image, but this number is in doubt: {doubts}."
        )
    if value > margin:
        cause = (
            "The VAE is unchanged, so the prior alone explains the gain."
            if entry.same_vae
            else "Its encoder or decoder differ, too, so they have a part in it."
        )
        gain_words = _number(value, error)
        return f"The log-likelihood rises by {gain_words} nats per test image. {cause}"
    if value < -margin:
        loss_words = _number(-value, error)
        return f"It does not help: the log-likelihood falls by {loss_words} nats per test image."
    return (
        f"There is no clear difference in likelihood: {value:+.2f} nats per test image, while a "
        f"clear difference exceeds {SURE:.0f} standard errors of "
        f"{'unknown size' if error is None else f'{error:.2f} nats'}."
    )


def _distance_words(base: Entry, other: Entry) -> str | None:
    """The two symmetric KLs; their bias can exceed either, so nothing follows from them."""
    before, after = base.number("symmetric_kl"), other.number("symmetric_kl")
    if before is None or after is None or None in (before["value"], after["value"]):
        return None
    return (
        f"Its symmetric KL is {_number(after['value'], after['stderr'])} nats, that of {base.name} "
        f"{_number(before['value'], before['stderr'])}; the errors leave out the bias, so this "
        "proves no difference."
    )


def _left_words(base: Entry, other: Entry) -> str | None:
    """What a classifier still proves about this prior; for a tilted one, about its top group."""
    if other.is_tilted:
        return _left_of_tilted(base, other)
    groups = other.number("hole")
    if groups is None:
        return None
    proved = [group for group in groups if _proved(group)]
    if not proved:
        return "A classifier finds no hole in its prior; a finer difference may remain."
    worst = max(proved, key=lambda group: group["jsd"])
    number = _number(worst["jsd"], _jsd_error(worst))
    return f"A classifier still proves a hole of {number} nats in its prior."


def _left_of_tilted(base: Entry, other: Entry) -> str | None:
    """The two-sample test of a tilted prior; its silence says little if the base passes, too."""
    tested, of_base = other.number("two_sample"), base.number("two_sample")
    if tested is None:
        return None
    jsd = tested["jsd"]
    if _proved({"jsd": jsd["value"], "bce_stderr": jsd["stderr"] and 2 * jsd["stderr"]}):
        number = _number(jsd["value"], jsd["stderr"])
        return f"The two-sample test still proves a hole of {number} nats in its top group."
    if tested["z_score"] > SURE:
        return (
            f"The two-sample test still finds a difference (z = {tested['z_score']:.1f}) in its "
            "top group."
        )
    if of_base is not None and of_base["z_score"] <= SURE:
        return (
            f"The two-sample test finds no difference in its top group, but it finds none for "
            f"{base.name} either, so this says little."
        )
    return "The two-sample test finds no difference in its top group; a finer one may remain."


def _best(entries: Sequence[Entry]) -> str | None:
    """Which of at least three models has the best likelihood, if the second is clearly behind."""
    judged = [
        entry
        for entry in entries
        if (nll := entry.number("nll")) is not None and nll["value"] is not None
    ]
    if len(judged) < 3:
        return None
    first, second = sorted(judged, key=lambda entry: entry.record.numbers["nll"]["value"])[:2]
    lead = gain_over(second.record, first.record)
    error = lead.get("stderr_total")
    if error is not None and lead["value"] > SURE * error:
        verb, doubt = "has", ""
        if lead["warnings"]:
            verb, doubt = "seems to have", ", but this lead is in doubt"
        return (
            f"{first.name} {verb} the best likelihood, {_number(lead['value'], error)} nats ahead "
            f"of {second.name}{doubt}."
        )
    return (
        f"{first.name} and {second.name} have the best likelihoods; the two are too close to call."
    )


def sentences(entries: Sequence[Entry]) -> list[str]:
    """The findings in words, the hole of the base first."""
    base, *others = entries
    best = _best(entries)
    findings = [*_hole(base), *(_model_words(base, other) for other in others)]
    return findings if best is None else [*findings, best]


def all_doubts(entries: Sequence[Entry]) -> list[str]:
    """Every reason for doubt, in full; a reason that several models share appears once."""
    models: dict[str, dict[str, None]] = {}
    numbers: dict[str, dict[str, None]] = {}
    for entry in entries:
        for title, cell in entry.cells().items():
            for doubt in cell.doubts:
                models.setdefault(doubt, {})[entry.name] = None
                numbers.setdefault(doubt, {})[title] = None
    return [
        f"{', '.join(models[doubt])}, {' and '.join(numbers[doubt])}: {doubt}" for doubt in models
    ]
