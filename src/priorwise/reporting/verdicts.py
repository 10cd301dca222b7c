"""What the numbers of a report say, in words that follow from them and their errors alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from priorwise.evaluation import gain_over
from priorwise.reporting.entries import Entry

__all__ = ["all_doubts", "headline", "sentences"]

SURE = 2.0  # standard errors from which a difference is called one
_DEEP = 0.25 * math.log(2)
_CHANCE = math.log(2)

Group = Mapping[str, Any]


def _jsd_error(group: Group) -> float:
    """The error of a divergence that a classifier proves; infinite where there is none."""
    return math.inf if group["bce_stderr"] is None else group["bce_stderr"] / 2


def _proved(group: Group) -> bool:
    return group["jsd"] > SURE * _jsd_error(group)


def _number(value: float, error: float | None) -> str:
    if error is None or not math.isfinite(error):
        return f"{value:.2f} ± unknown"
    return f"{value:.2f} ± {error:.2f}"


def headline(base: Entry) -> str:
    """Whether the base's prior has a hole, in one sentence."""
    groups = base.number("hole")
    if groups is None:
        reason = base.reason("hole")
        return f"Whether the prior of “{base.name}” has a hole was not judged: {reason}"
    proved = [group for group in groups if _proved(group)]
    if not proved:
        return f"No hole was found in the prior of “{base.name}”."
    deep = any(group["jsd"] - SURE * _jsd_error(group) > _DEEP for group in proved)
    return f"The prior of “{base.name}” has a {'deep' if deep else 'shallow'} hole."


def _hole(base: Entry) -> list[str]:
    """What the classifiers say of the base, one sentence for each group."""
    groups = base.number("hole") or []
    many = len(groups) > 1
    return [
        _group_words(group, f"In group {group['group']} a" if many else "A") for group in groups
    ]


def _group_words(group: Group, subject: str) -> str:
    number = _number(group["jsd"], _jsd_error(group))
    if _proved(group):
        return (
            f"{subject} classifier tells the encodings of test images, which it never saw, from "
            f"draws of the prior. It proves a Jensen-Shannon divergence of at least {number} nats, "
            f"where 0 means alike and {_CHANCE:.2f} means that the two never overlap."
        )
    return (
        f"{subject} classifier could not tell the encodings of test images from draws of the prior "
        f"(divergence proved: {number} nats). A finer difference may remain."
    )


def _model_words(base: Entry, other: Entry) -> str:
    """One model beside the base: likelihood, distance, and what is left of the hole."""
    parts = [_gain_words(other), _distance_words(base, other), _left_words(other)]
    return f"{other.name}: {'; '.join(part for part in parts if part)}."


def _gain_words(entry: Entry) -> str:
    gain = entry.gain
    assert gain is not None
    if "refused" in gain:
        return f"no likelihood to compare, as {gain['refused'].rstrip('.')}"
    value, error = gain["value"], gain["stderr_total"]
    sure = math.inf if error is None else SURE * error
    if value > sure:
        whose = (
            "with the VAE left as it is, so the prior alone does it"
            if entry.same_vae
            else "with a VAE trained together with it, so the networks have their part in it"
        )
        return f"test images become {_number(value, error)} nats likelier, {whose}"
    if value < -sure:
        return f"it does not help, test images become {_number(-value, error)} nats less likely"
    return (
        f"no sure difference to the likelihood ({value:+.2f} nats, where one standard error is "
        f"{'unknown' if error is None else f'{error:.2f}'} and {SURE:.0f} are asked for)"
    )


def _distance_words(base: Entry, other: Entry) -> str | None:
    """The two symmetric KLs as numbers: their bias can exceed either, so nothing follows from them."""
    before, after = base.number("symmetric_kl"), other.number("symmetric_kl")
    if before is None or after is None:
        return None
    return (
        f"symmetric KL {_number(after['value'], after['stderr'])} nats where {base.name} has "
        f"{_number(before['value'], before['stderr'])} (bias not in the error, no proof of a "
        "difference)"
    )


def _left_words(other: Entry) -> str | None:
    """What a classifier still proves of this prior: group by group, or of the top of a tilted one."""
    tested = other.number("two_sample")
    if other.is_tilted and tested is not None:
        jsd = tested["jsd"]
        groups = [{"jsd": jsd["value"], "bce_stderr": jsd["stderr"] and 2 * jsd["stderr"]}]
    else:
        groups = other.number("hole") or []
    if not groups:
        return None
    proved = [group for group in groups if _proved(group)]
    if not proved:
        return "a classifier finds no hole in its prior"
    worst = max(proved, key=lambda group: group["jsd"])
    number = _number(worst["jsd"], _jsd_error(worst))
    return f"a classifier still proves {number} nats of a hole in its prior"


def _best(entries: Sequence[Entry]) -> str | None:
    """Which likelihood is best, where the runner-up is surely behind."""
    known = [entry for entry in entries if entry.number("nll") is not None]
    if len(known) < 3:
        return None
    first, second = sorted(known, key=lambda entry: entry.record.numbers["nll"]["value"])[:2]
    lead = gain_over(second.record, first.record)
    error = lead.get("stderr_total")
    if error is not None and lead["value"] > SURE * error:
        return (
            f"The best likelihood is that of {first.name}, {_number(lead['value'], error)} nats "
            f"ahead of {second.name}."
        )
    return (
        f"The best likelihoods are those of {first.name} and {second.name}, which are too close to "
        "call."
    )


def sentences(entries: Sequence[Entry]) -> list[str]:
    """The findings, the base's hole first."""
    base, *others = entries
    best = _best(entries)
    findings = [*_hole(base), *(_model_words(base, other) for other in others)]
    return findings if best is None else [*findings, best]


def all_doubts(entries: Sequence[Entry]) -> list[str]:
    """Every reason for doubt that a number carries, in full; one that several share is said once."""
    owners: dict[str, list[str]] = {}
    for entry in entries:
        for title, cell in entry.cells().items():
            for doubt in cell.doubts:
                owners.setdefault(f"{title}: {doubt}", []).append(entry.name)
    return [f"{', '.join(dict.fromkeys(names))}, {doubt}" for doubt, names in owners.items()]
