"""What the numbers of a report say, in words that follow from them and their errors alone."""

import math
from collections.abc import Sequence

from priorwise.estimators import Estimate, GroupContrast
from priorwise.reporting.measurement import Measurement, Refusal

__all__ = ["all_warnings", "gain_error", "headline", "sentences"]

SURE = 2.0  # standard errors from which a difference is called one
_DEEP = 0.25 * math.log(2)
_CHANCE = math.log(2)
_ROUGH = 0.1
_FEW = 100.0  # effective draws under which the error of a calibration is not believed


def gain_error(gain: Estimate) -> float:
    """The error of a paired gain: over the images, and of Monte Carlo (log Z included), in quadrature."""
    return math.hypot(gain.stderr, 0.0 if gain.stderr_data is None else gain.stderr_data)


def _jsd_error(group: GroupContrast) -> float:
    return group.bce_stderr / 2


def _proved(group: GroupContrast) -> bool:
    return group.jsd > SURE * _jsd_error(group)


def _number(value: float, error: float) -> str:
    return f"{value:.2f} ± {error:.2f}"


def headline(base: Measurement) -> str:
    """Whether the base's prior has a hole, in one sentence."""
    if isinstance(base.verdict, Refusal):
        return (
            f"Whether the prior of “{base.name}” has a hole was not judged: {base.verdict.reason}"
        )
    proved = [group for group in base.verdict.groups if _proved(group)]
    if not proved:
        return f"No hole was found in the prior of “{base.name}”."
    deep = any(group.jsd - SURE * _jsd_error(group) > _DEEP for group in proved)
    return f"The prior of “{base.name}” has a {'deep' if deep else 'shallow'} hole."


def _hole(base: Measurement) -> list[str]:
    """What the classifiers say of the base, a sentence a group."""
    if isinstance(base.verdict, Refusal):
        return []
    many = len(base.verdict.groups) > 1
    return [
        _group_words(group, f"In group {group.group} a" if many else "A")
        for group in base.verdict.groups
    ]


def _group_words(group: GroupContrast, subject: str) -> str:
    number = _number(group.jsd, _jsd_error(group))
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


def _model_words(base: Measurement, other: Measurement) -> str:
    """One model beside the base: likelihood, distance, and what is left of the hole."""
    parts = [_gain_words(other), _distance_words(base, other), _left_words(other)]
    return f"{other.name}: {'; '.join(part for part in parts if part)}."


def _gain_words(measurement: Measurement) -> str:
    gain = measurement.gain
    assert gain is not None
    if isinstance(gain, Refusal):
        return f"no likelihood to compare, as {gain.reason.rstrip('.')}"
    error = gain_error(gain)
    number = _number(abs(gain.value), error)
    if gain.value > SURE * error:
        whose = (
            "with the VAE left as it is, so the prior alone does it"
            if measurement.same_vae
            else "with a VAE trained together with it, so the networks have their part in it"
        )
        return f"test images become {number} nats likelier, {whose}"
    if gain.value < -SURE * error:
        return f"it does not help, test images become {number} nats less likely"
    return f"no sure difference to the likelihood ({gain.value:+.2f} ± {error:.2f} nats is less than {SURE:.0f} standard errors)"


def _distance_words(base: Measurement, other: Measurement) -> str | None:
    """The two symmetric KLs as numbers. Their bias can be larger than either, so nothing is concluded from them."""
    if isinstance(base.symmetric_kl, Refusal) or isinstance(other.symmetric_kl, Refusal):
        return None
    before, after = base.symmetric_kl, other.symmetric_kl
    return (
        f"symmetric KL {_number(after.value, after.stderr)} nats where {base.name} has "
        f"{_number(before.value, before.stderr)} (bias not in the error, no proof of a difference)"
    )


def _left_words(other: Measurement) -> str | None:
    """What a classifier still proves of a prior that was trained with its VAE; an NCP has none of its own."""
    if other.tilted or isinstance(other.verdict, Refusal):
        return None
    proved = [group for group in other.verdict.groups if _proved(group)]
    if not proved:
        return "a classifier finds no hole in its prior"
    worst = max(proved, key=lambda group: group.jsd)
    return f"a classifier still proves {_number(worst.jsd, _jsd_error(worst))} nats of a hole in its prior"


def _best(measurements: Sequence[Measurement]) -> str | None:
    """Which likelihood is best, where the runner-up is surely behind."""
    known = [m for m in measurements if isinstance(m.nll, Estimate)]
    if len(known) < 3:
        return None
    first, second = sorted(known, key=lambda m: m.nll.value)[:2]  # type: ignore[union-attr]
    assert isinstance(first.nll, Estimate)
    assert isinstance(second.nll, Estimate)
    lead = second.nll.minus(first.nll)
    if lead.value > SURE * gain_error(lead):
        return f"The best likelihood is that of {first.name}, {_number(lead.value, gain_error(lead))} nats before {second.name}."
    return f"The best likelihoods are those of {first.name} and {second.name}, which are too close to call."


def sentences(measurements: Sequence[Measurement]) -> list[str]:
    """The findings, the base's hole first."""
    base, *others = measurements
    best = _best(measurements)
    found = [*_hole(base), *(_model_words(base, other) for other in others)]
    return found if best is None else [*found, best]


def all_warnings(measurements: Sequence[Measurement]) -> list[str]:
    """Every reason for doubt that an estimate carries, in full, with the model and the number it belongs to."""
    found: dict[str, None] = {}
    for measurement in measurements:
        for what in ("nll", "symmetric_kl", "log_norm"):
            estimate = getattr(measurement, what)
            if isinstance(estimate, Estimate):
                words = what.replace("_", " ") if what != "nll" else "NLL"
                found |= dict.fromkeys(
                    f"{measurement.name}, {words}: {text}" for text in estimate.warnings
                )
        found |= dict.fromkeys(_calibration(measurement))
    return list(found)


def _calibration(measurement: Measurement) -> list[str]:
    """The classifiers whose ratio is surely, and by more than a tenth, not one on average over the prior."""
    if isinstance(measurement.verdict, Refusal):
        return []
    few = [
        f"{measurement.name}, group {group.group}: the mean of the classifier's ratio over the "
        f"prior, {group.calibration:.2f} ± {group.calibration_stderr:.2f}, rests on an effective "
        f"{group.calibration_ess:.0f} draws, so its error is too small."
        for group in measurement.verdict.groups
        if group.calibration_ess < _FEW
    ]
    return few + [
        f"{measurement.name}, group {group.group}: the classifier's ratio averages "
        f"{group.calibration:.2f} ± {group.calibration_stderr:.2f} over the prior, where the true "
        "one averages 1. The ratio is rough where it is large; log Z makes up for its mean, "
        "nothing for its shape."
        for group in measurement.verdict.groups
        if group.calibration_ess >= _FEW
        and abs(group.calibration - 1) > max(_ROUGH, SURE * group.calibration_stderr)
    ]
