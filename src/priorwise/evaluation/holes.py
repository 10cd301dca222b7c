"""Quantities of the hole: how well encodings and prior can be distinguished, how far apart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from priorwise.estimators import (
    Estimate,
    GroupContrast,
    Leakage,
    TwoSample,
    classifier_two_sample,
    contrast,
    leakage,
    symmetric_kl,
)
from priorwise.evaluation.quantity import Cell, Quantity, error_words, estimate_cell, number_words
from priorwise.evaluation.subject import Subject
from priorwise.models import NCP
from priorwise.progress import Advance, progress_bar
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError
from priorwise.tilts import AbstractContrastiveTilt
from priorwise.training.callbacks import AbstractCallback, Moment
from priorwise.training.loop import fit

__all__ = ["CONTRAST", "HOLE", "LEAKAGE", "QUANTITIES", "SYMMETRIC_KL", "TWO_SAMPLE"]

_FEW = 100.0  # with fewer effective draws, the error of a calibration is not believed
_ROUGH = 0.1
_ENOUGH = 1000  # points for a classifier whose silence means something
_SURE = 2.0  # standard errors
_POINTS = 5000  # draws of each kind, at most

# The classifier that judges a prior is small, and is fitted in seconds.
_FEATURES = (128, 128, 128)
_EXAMPLES, _STEPS, _BATCH, _EPOCHS = 20_000, 2000, 100, 60


def _has_classifiers(subject: Subject) -> bool:
    return any(isinstance(tilt, AbstractContrastiveTilt) for tilt in subject.model.tilts)


def _contrast(subject: Subject) -> list[GroupContrast]:
    return contrast(subject.model, subject.x, seed=subject.config.seed)


def _hole(subject: Subject) -> list[GroupContrast]:
    """A small NCP: fitted on training data, stopped on validation data, judged on test data."""
    model, splits, seed = subject.model, subject.splits, subject.config.seed
    if not subject.config.hole_classifier:
        raise UnavailableError("no classifier was requested (`hole_classifier` is off).")
    if model.tilts:
        raise UnavailableError(
            "this prior is tilted, and a classifier cannot be fitted over a tilt; the two-sample "
            "test judges it."
        )
    with seeded(seed, "report", "classifier"):
        ncp = NCP(model, hidden_features=_FEATURES)
    part = splits.subset(train=min(_EXAMPLES, len(splits.train)))
    epochs = min(_EPOCHS, max(1, _STEPS * _BATCH // len(part.train)))
    with progress_bar("classifier of the hole", epochs, show=subject.progress) as advance:
        fit(
            ncp,
            part,
            epochs=epochs,
            batch_size=_BATCH,
            patience=15,
            seed=seed,
            progress=False,
            callbacks=[_Epochs(advance)],
        )
    return contrast(ncp, subject.x, seed=seed)


class _Epochs(AbstractCallback):
    """Moves a bar after each epoch, without the lines of a fit that somebody asked for."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        self.advance(1)


def _jsd_cell(groups: Sequence[Mapping[str, Any]], title: str) -> dict[str, Cell]:
    errors = (None if group["bce_stderr"] is None else group["bce_stderr"] / 2 for group in groups)
    text = " / ".join(number_words(group["jsd"], 3) for group in groups)
    small = [" / ".join(error_words(error, 3) for error in errors)]
    if any(group["jsd"] is not None and group["jsd"] < 0 for group in groups):
        small.append("a lower bound, which proves nothing below 0")
    values = tuple(group["jsd"] for group in groups)
    return {title: Cell(text, tuple(small), values=values)}


def _contrast_cells(groups: Sequence[Mapping[str, Any]]) -> dict[str, Cell]:
    """An NCP uses its classifiers' ratio, so its calibration matters; a bound does not need it."""
    title = "hole filled"
    cell = _jsd_cell(groups, title)[title]
    return {title: replace(cell, doubts=tuple(_doubts(groups)))}


def _doubts(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Doubts about classifiers whose density ratio surely does not average 1 over the prior.

    The average must differ from 1 by more than a tenth and by more than two standard errors.
    """
    doubts = []
    for group in groups:
        mean, error, ess = (
            group[name] for name in ("calibration", "calibration_stderr", "calibration_ess")
        )
        average = (
            f"group {group['group']}: the classifier's density ratio averages {number_words(mean)} "
            f"{error_words(error)} over the prior"
        )
        if mean is None or ess is None:
            doubts.append(f"{average}, so the ratio is infinite somewhere.")
        elif ess < _FEW:
            doubts.append(
                f"{average}. This rests on {ess:.0f} effective draws, so its error is too small."
            )
        elif error is not None and abs(mean - 1) > max(_ROUGH, _SURE * error):
            doubts.append(
                f"{average}, while the true ratio averages 1. The ratio is inaccurate where it is "
                "large; log Z corrects its mean, but nothing corrects its shape."
            )
    return doubts


HOLE = Quantity(
    key="hole",
    meanings={
        "hole": "Jensen-Shannon divergence between encodings and prior, in nats from 0 to 0.69, "
        "for each latent group. A classifier proves it on test images, so it is a lower bound. "
        "The verdict rests on this number: from 0.17, a quarter of log 2, it calls a hole deep."
    },
    compute=_hole,
    cells=lambda value: _jsd_cell(value, "hole"),
    settings=("hole_classifier", "images", "seed"),
)

CONTRAST = Quantity(
    key="contrast",
    meanings={
        "hole filled": "The same divergence for the prior under an NCP, proved by the NCP's own "
        "classifiers: the hole that the NCP fills."
    },
    compute=_contrast,
    cells=_contrast_cells,
    settings=("images", "seed"),
    applies=_has_classifiers,
)


def _two_sample(subject: Subject) -> TwoSample:
    count = min(_POINTS, len(subject.test))
    with subject.bar("two-sample test", 3 * count) as advance:
        return classifier_two_sample(
            subject.model, subject.test, draws=_POINTS, seed=subject.config.seed, report=advance
        )


def _two_sample_cells(value: Mapping[str, Any]) -> dict[str, Cell]:
    accuracy, jsd = value["accuracy"], value["jsd"]
    share = f"{100 * accuracy['value']:.1f} %"
    small = (
        f"z = {value['z_score']:.1f}",
        f"JSD {number_words(jsd['value'], 3)} {error_words(jsd['stderr'], 3)}",
    )
    doubts = list(accuracy["warnings"])
    points = accuracy["protocol"].get("train")
    if points is not None and points < _ENOUGH and value["z_score"] < _SURE:
        doubts.append(
            f"the classifier was fitted to {points} points only. That it finds no difference "
            "proves little; a difference that it finds is there."
        )
    values = (100 * accuracy["value"],)
    return {"two-sample test": Cell(share, small, tuple(doubts), values=values)}


TWO_SAMPLE = Quantity(
    key="two_sample",
    meanings={
        "two-sample test": "Accuracy of a second classifier that distinguishes encodings of test "
        "images from draws of this prior, tilt included; 50 % if they are alike. It judges the "
        "top latent group, and needs nothing but draws. z is the number of standard errors above "
        "50 %. JSD is the Jensen-Shannon divergence in nats that the classifier proves."
    },
    compute=_two_sample,
    cells=_two_sample_cells,
    after=("log_norm",),
)


def _symmetric_kl(subject: Subject) -> Estimate:
    count = min(_POINTS, len(subject.test))
    with subject.bar("symmetric KL", 4 * count) as advance:
        return symmetric_kl(
            subject.model, subject.test, draws=_POINTS, seed=subject.config.seed, report=advance
        )


SYMMETRIC_KL = Quantity(
    key="symmetric_kl",
    meanings={
        "sKL": "Symmetric KL divergence, KL(q || p) + KL(p || q), in nats between encodings and "
        "prior of the top group, estimated from nearest neighbours. In many dimensions and for "
        "large divergences it is far too low, and it may even be negative. No verdict rests on it."
    },
    compute=_symmetric_kl,
    cells=lambda value: {"sKL": estimate_cell(value)},
)


def _leakage(subject: Subject) -> dict[str, Any]:
    """The curve over thresholds."""
    with subject.bar("leakage", 2 * _POINTS) as advance:
        leaks: Leakage = leakage(
            subject.model, subject.test, draws=_POINTS, seed=subject.config.seed, report=advance
        )
    curves = {
        name: getattr(leaks, name).tolist()
        for name in ("score", "stderr", "upper", "below", "prior_below")
    }
    return {
        "thresholds": list(leaks.thresholds),
        **curves,
        "entropy": leaks.entropy,
        "protocol": leaks.protocol,
        "data": leaks.data,
        "warnings": leaks.at(leaks.thresholds[_LEVEL]).warnings,
    }


_LEVEL = 1  # index of the threshold below which the prior has 1 % of its mass


def _leakage_cells(value: Mapping[str, Any]) -> dict[str, Cell]:
    score, stderr, upper, below = (
        value[name][_LEVEL] for name in ("score", "stderr", "upper", "below")
    )
    small = (
        error_words(stderr, 3),
        f"at most {number_words(upper, 3)}",
        f"{100 * below:.1f} % of encodings",
    )
    doubts = tuple(value["warnings"])
    return {"leakage": Cell(number_words(score, 3), small, doubts, values=(score,))}


LEAKAGE = Quantity(
    key="leakage",
    meanings={
        "leakage": "How many nats log q(z) exceeds log p(z) where the prior is lowest (the region "
        "with 1 % of its mass), averaged over all encodings; 0 without a leak. It reads too "
        "low, even negative, where encodings are too far apart to describe q(z) between them. The "
        "percentage is the share of the encodings in that region; 1 % without a leak."
    },
    compute=_leakage,
    cells=_leakage_cells,
    after=("log_norm",),
)

QUANTITIES: tuple[Quantity, ...] = (HOLE, CONTRAST, TWO_SAMPLE, LEAKAGE, SYMMETRIC_KL)
