"""What a report measures of a model: numbers with errors, or the words with which a number was refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from priorwise.data import Splits
from priorwise.estimators import (
    ActiveUnits,
    Estimate,
    GroupContrast,
    active_units,
    contrast,
    log_norm,
    nll,
    symmetric_kl,
)
from priorwise.models import NCP, AbstractModel
from priorwise.progress import Advance, progress_bar
from priorwise.randomness import seeded
from priorwise.tilts import AbstractContrastiveTilt
from priorwise.training.loop import fit

__all__ = [
    "Measurement",
    "Protocol",
    "Refusal",
    "Verdict",
    "is_prior_of",
    "measure_all",
    "model_words",
]

_CLASSIFIER_EXAMPLES = 20_000
_CLASSIFIER_STEPS = 2000
_CLASSIFIER_BATCH = 100

Value = TypeVar("Value")


@dataclass(frozen=True)
class Refusal:
    """A number that there is not, and why."""

    reason: str


@dataclass(frozen=True)
class Protocol:
    """How everything in a report is measured.

    Attributes:
        samples: Importance samples of each image.
        log_norm_samples: Draws for the log normaliser of a tilted prior, where it is not known yet.
        classifier: Whether classifiers are fitted for models that bring none.
        classifier_epochs: At most how many epochs.
        classifier_features: Hidden layers of such a classifier.
        seed: Seed of all draws.
    """

    samples: int = 1000
    log_norm_samples: int = 100_000
    classifier: bool = True
    classifier_epochs: int = 60
    classifier_features: tuple[int, ...] = (128, 128, 128)
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """What held-out classifiers say of each group, and whose classifiers they are."""

    groups: list[GroupContrast]
    source: str


@dataclass(frozen=True)
class Measurement:
    """All numbers of one model.

    Attributes:
        name: Its name in the report.
        about: What it is, in words.
        nll: Negative log-likelihood on the test images, nats.
        gain: How many nats lower it is than the base's, paired image by image; None for the base
            itself.
        tilted: Whether its prior is tilted; then ``verdict`` is on the prior underneath.
        same_vae: Whether it is the base with another prior, so that the gain is the prior's alone.
        symmetric_kl: Between aggregate posterior and prior of the top group, nats.
        log_norm: Log normaliser of the prior, nats.
        units: Active units of each group.
        verdict: Of the held-out classifiers.
    """

    name: str
    about: str
    nll: Estimate | Refusal
    gain: Estimate | Refusal | None
    tilted: bool
    same_vae: bool
    symmetric_kl: Estimate | Refusal
    log_norm: Estimate | Refusal
    units: list[ActiveUnits] | Refusal
    verdict: Verdict | Refusal


def is_prior_of(model: AbstractModel, base: AbstractModel) -> bool:
    """Whether the model is the base with a tilted prior: the same object underneath, or one with the same weights."""
    below = model.untilted
    return below is not model and (below is base or _same_weights(below, base))


def _same_weights(one: AbstractModel, other: AbstractModel) -> bool:
    if type(one) is not type(other):
        return False
    left, right = one.state_dict(), other.state_dict()
    return (
        bool(left)
        and left.keys() == right.keys()
        and all(torch.equal(left[name], right[name]) for name in left)
    )


def model_words(model: AbstractModel) -> str:
    """What a model is, in a few words."""
    if model.untilted is not model:
        return f"{type(model).__name__} over a {model_words(model.untilted)}"
    prior = getattr(model, "prior", None)
    if not isinstance(prior, nn.Module):
        return type(model).__name__
    return f"{type(model).__name__} with {type(prior).__name__}({prior.extra_repr()})"  # its repr would list all layers


def measure_all(
    models: Mapping[str, AbstractModel],
    splits: Splits,
    x: Tensor,
    protocol: Protocol,
    *,
    progress: bool,
) -> list[Measurement]:
    """Measure every model on the same test data; the first one is the base of the paired gains.

    Arguments:
        models: By name, the base first.
        splits: Training and validation data, for classifiers.
        x: Test data as the models see them, ``(N, *event)``.
        protocol: How.
        progress: Whether to show progress bars.
    """
    verdicts = {
        name: _verdict(name, models, splits, x, protocol, progress=progress) for name in models
    }
    base = next(iter(models.values()))
    found: list[Measurement] = []
    with progress_bar("likelihood", len(models) * len(x), unit="images", show=progress) as advance:
        for name, model in models.items():
            advance(0, status=name)
            tell = partial(_tell, advance)
            found.append(_measure(name, model, base, x, protocol, verdicts[name], found[:1], tell))
    return found


def _tell(advance: Advance, images: int) -> None:
    advance(images)


def _measure(
    name: str,
    model: AbstractModel,
    base: AbstractModel,
    x: Tensor,
    protocol: Protocol,
    verdict: Verdict | Refusal,
    first: list[Measurement],
    tell: Callable[[int], None],
) -> Measurement:
    seed = protocol.seed
    norm = _or_refusal(lambda: _log_norm(model, protocol))
    score = _or_refusal(lambda: nll(model, x, samples=protocol.samples, seed=seed, report=tell))
    return Measurement(
        name=name,
        about=model_words(model),
        nll=score,
        gain=_gain(first[0].nll, score) if first else None,
        tilted=bool(model.tilts),
        same_vae=is_prior_of(model, base),
        symmetric_kl=_or_refusal(lambda: symmetric_kl(model, x, seed=seed)),
        log_norm=norm,
        units=_or_refusal(lambda: active_units(model, x, seed=seed)),
        verdict=verdict,
    )


def _or_refusal(compute: Callable[[], Value]) -> Value | Refusal:
    """The value, or the words with which an estimator refused it."""
    try:
        return compute()
    except ValueError as refusal:
        return Refusal(str(refusal))


def _gain(base: Estimate | Refusal, own: Estimate | Refusal) -> Estimate | Refusal:
    if isinstance(base, Refusal):
        return Refusal("the base has no likelihood to compare with.")
    if isinstance(own, Refusal):
        return Refusal("there is no likelihood to compare.")
    return base.minus(own)


def _log_norm(model: AbstractModel, protocol: Protocol) -> Estimate:
    """The log normaliser that the model keeps, or a fresh estimate, which it keeps from then on."""
    known = model.known_log_norm() if model.tilts else None
    if known is not None:
        ends = {} if known.ends is None else {"lower": known.ends[0], "upper": known.ends[1]}
        return Estimate(
            known.value,
            known.stderr,
            0,
            diagnostics={"ess": known.ess} | ends,
            protocol={"estimator": "kept with the model"},
            warnings=known.doubts,
        )
    return log_norm(model, samples=protocol.log_norm_samples, seed=protocol.seed)


def _verdict(
    name: str,
    models: Mapping[str, AbstractModel],
    splits: Splits,
    x: Tensor,
    protocol: Protocol,
    *,
    progress: bool,
) -> Verdict | Refusal:
    """Judge the prior of one model; of an NCP, the prior that it tilts."""
    model = models[name]
    if _has_classifiers(model):
        return Verdict(
            contrast(model, x, seed=protocol.seed), "its own classifiers, on the prior of its base"
        )
    for other_name, other in models.items():
        if _has_classifiers(other) and is_prior_of(other, model):
            return Verdict(
                contrast(other, x, seed=protocol.seed), f"the classifiers of {other_name}"
            )
    if not protocol.classifier:
        return Refusal("no classifier was asked for.")
    if model.tilts:
        return Refusal("its prior is tilted, so that no classifier can be fitted over it.")
    return Verdict(
        contrast(_classifier(model, splits, protocol, progress=progress), x, seed=protocol.seed),
        "classifiers fitted for this report",
    )


def _has_classifiers(model: AbstractModel) -> bool:
    return any(isinstance(tilt, AbstractContrastiveTilt) for tilt in model.tilts)


def _classifier(model: AbstractModel, splits: Splits, protocol: Protocol, *, progress: bool) -> NCP:
    """A small NCP fitted on training data and stopped on validation data; the model is left as it was."""
    with seeded(protocol.seed, "report", "classifier"):
        ncp = NCP(model, hidden_features=protocol.classifier_features)
    some = splits.subset(train=min(_CLASSIFIER_EXAMPLES, len(splits.train)))
    affordable = max(1, _CLASSIFIER_STEPS * _CLASSIFIER_BATCH // len(some.train))
    fit(
        ncp,
        some,
        epochs=min(protocol.classifier_epochs, affordable),
        batch_size=_CLASSIFIER_BATCH,
        patience=15,
        seed=protocol.seed,
        progress=progress,
    )
    return ncp
