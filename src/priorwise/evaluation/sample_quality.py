"""Sample quality: distances of random and of low-posterior samples from the test images."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from priorwise.data import Splits
from priorwise.data.sources import cache_folder
from priorwise.data.splits import pseudo_input_data
from priorwise.data.subsets import random_part
from priorwise.data.value_range import in_unit_range
from priorwise.distributions import has_mean, is_binary
from priorwise.estimators import (
    frechet_distance,
    frechet_floor,
    low_posterior_samples,
    precision_recall,
)
from priorwise.evaluation.quantity import Cell, Quantity, error_words, number_words
from priorwise.evaluation.subject import Subject
from priorwise.features import AbstractExtractor, Features, extract, trained_classifier
from priorwise.features.extractor_names import check_extractor, named_extractor
from priorwise.models import AbstractModel, example_likelihood
from priorwise.models.sampling_progress import sampling_reported
from priorwise.progress import progress_bar, tell
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError

__all__ = ["QUALITY", "QUANTITIES", "build_extractor", "quality_measures"]

_DRAWS_EACH = 5  # a fifth of the prior's draws counts as low-posterior, as in the dpVAE code
_ENCODINGS = 10_000
_BOOTSTRAP = 100  # resampled pairs of sets behind the error of a distance
_SMALLEST = 8  # pixels on a side of an image that a classifier can be trained on
# images of each kind for precision and recall, whose cost grows with the product of the two counts
_NEIGHBOURED = 3000


def build_extractor(
    kind: str,
    splits: Splits,
    *,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> AbstractExtractor:
    """The extractor with this name.

    Arguments:
        kind: A name of ``priorwise.features.extractor_names``.
        splits: The data; a classifier is trained on their training images.
        seed: Seed of a classifier.
        cache: Folder in which a trained classifier is kept; None for the library's own.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: for an unknown kind.
        UnavailableError: for an image extractor with data that are not images.
    """

    def classifier() -> AbstractExtractor:
        return _classifier(splits, seed, cache, progress=progress)

    return named_extractor(kind, splits.spec.shape, classifier)


def _classifier(
    splits: Splits, seed: int, cache: Path | None, *, progress: bool
) -> AbstractExtractor:
    # without dequantisation noise, which would change the key of the cache
    x = _pixels(pseudo_input_data(splits), splits)
    folder = cache_folder() if cache is None else cache
    with progress_bar(
        "feature extractor", 4 * min(len(x), 20_000), unit="ex", show=progress
    ) as advance:
        return trained_classifier(
            x, splits.labels, label=splits.spec.name, seed=seed, cache=folder, report=advance
        )


def quality_measures(
    model: AbstractModel,
    splits: Splits,
    test: Tensor,
    extractor: AbstractExtractor,
    *,
    images: int = 5000,
    seed: int = 0,
    report: Callable[[int | float], None] | None = None,
) -> dict[str, Any]:
    """Distances of random and of low-posterior samples from the test images, ready for JSON.

    Samples are the decoder's means. If test images and likelihood are binary, they are draws
    instead, because grey means are far from binary images even for the true model. The protocol
    says which of the two was used, and numbers of the two kinds refuse to be compared. An encoder
    without a Gaussian density has no low-posterior samples; the reason stands in their place.

    ``floor`` is the distance between two halves of the test images. No model can be shown to be
    better than this.

    Arguments:
        model: The model.
        splits: The data; the encodings of training images form the aggregate posterior that ranks
            the samples.
        test: The test images as the model sees them, ``(N, *event)``.
        extractor: Turns images into features.
        images: Number of samples of each kind, at most the number of test images.
        seed: Seed of all draws.
        report: Called with the images, draws and resampled sets that are just done, for a progress
            bar.
    """
    count = min(images, len(test))
    real = extract(
        extractor, _pixels(test, splits), split=f"{splits.spec.name} test", report=report
    )
    with seeded(seed, "quality"):
        reference = splits.prepare(random_part(splits.train, _ENCODINGS, seed))
    mean = _shows_means(model, splits)
    with sampling_reported(model, count, report):
        sampled = {"random": model.sample(count, mean=mean, seed=seed)}
    measures: dict[str, Any] = {"floor": frechet_floor(real, seed=seed, report=report).to_json()}
    try:
        low = low_posterior_samples(
            model,
            reference,
            count=count,
            draws=_DRAWS_EACH * count,
            mean=mean,
            seed=seed,
            report=report,
        )
        sampled["low_posterior"] = low.x
    except UnavailableError as refusal:  # no aggregate posterior in closed form to rank samples by
        measures |= {
            name: {"refused": str(refusal)}
            for name in ("low_posterior", "low_posterior_neighbours")
        }
        tell(report, (_DRAWS_EACH + 1) * count + _BOOTSTRAP)
    for kind, x in sampled.items():
        fake = extract(
            extractor,
            _pixels(x, splits),
            split=f"{kind} samples",
            decoded="means" if mean else "draws",
            report=report,
        )
        measures[kind] = frechet_distance(real, fake, seed=seed, report=report).to_json()
        measures[f"{kind}_neighbours"] = precision_recall(
            _part(real, seed), _part(fake, seed), seed=seed
        ).to_json()
    return measures


def _work(test_images: int, images: int) -> int:
    """What ``quality_measures`` reports in all: images, draws and resampled sets."""
    count = min(images, test_images)
    sampled, features = (1 + _DRAWS_EACH) * count, test_images + 2 * count
    return sampled + features + 3 * _BOOTSTRAP


def _shows_means(model: AbstractModel, splits: Splits) -> bool:
    likelihood = example_likelihood(model)
    bits = splits.spec.levels == 2 or splits.spec.binarize != "none"
    return has_mean(likelihood) and not (bits and is_binary(likelihood))


def _pixels(x: Tensor, splits: Splits) -> Tensor:
    """Images in [0, 1], as extractors expect them; vectors are left as they are."""
    return x if len(splits.spec.shape) == 1 else in_unit_range(x, splits.value_range)


def _part(features: Features, seed: int) -> Features:
    values = random_part(features.values, _NEIGHBOURED, seed)
    return replace(features, values=values, data="")


# -- as a quantity of an evaluation ----------------------------------------------------------------


def _quality(subject: Subject) -> dict[str, Any]:
    config = subject.config
    extractor = build_extractor(config.quality, subject.splits, progress=subject.progress)
    work = _work(len(subject.test), config.quality_images)
    with subject.bar("sample quality", work) as advance:
        return quality_measures(
            subject.model,
            subject.splits,
            subject.test,
            extractor,
            images=config.quality_images,
            seed=config.seed,
            report=advance,
        )


_ROWS = {
    "random": "distance, samples",
    "low_posterior": "distance, pockets",
    "floor": "distance, floor",
}


def _distance(value: Mapping[str, Any]) -> Cell:
    if "refused" in value:
        return Cell("none", (value["refused"],), refused=True)
    features = str(value["name"]).removeprefix("frechet distance, ")
    small = (error_words(value["stderr"]), features)
    text = "not a number" if value["value"] is None else f"{value['value']:.4g}"
    return Cell(text, small, tuple(value["warnings"]), values=(value["value"],))


def _quality_cells(value: Mapping[str, Any]) -> dict[str, Cell]:
    cells = {title: _distance(value[kind]) for kind, title in _ROWS.items()}
    pockets = cells["distance, pockets"]
    if not pockets.refused:
        doubts = (*pockets.doubts, *_not_farther(value["random"], value["low_posterior"]))
        cells["distance, pockets"] = replace(pockets, doubts=doubts)
    neighbours = value["random_neighbours"]
    cells["precision / recall"] = Cell(
        f"{number_words(neighbours['precision']['value'])} / "
        f"{number_words(neighbours['recall']['value'])}",
        (
            f"{error_words(neighbours['precision']['stderr'])} / "
            f"{error_words(neighbours['recall']['stderr'])}",
        ),
        tuple(
            dict.fromkeys(
                doubt for name in ("precision", "recall") for doubt in neighbours[name]["warnings"]
            )
        ),
        values=tuple(neighbours[name]["value"] for name in ("precision", "recall")),
    )
    return cells


def _not_farther(random: Mapping[str, Any], pockets: Mapping[str, Any]) -> tuple[str, ...]:
    """A warning if pockets come out as near to the test images as random samples."""
    if None in (random["value"], pockets["value"]) or pockets["value"] > random["value"]:
        return ()
    return (
        "samples from pockets are no farther from the test images than random samples "
        f"({pockets['value']:.4g} against {random['value']:.4g}): the fifth of the prior's draws "
        "that log q(z) ranks lowest decodes as well as the rest. This speaks for the prior only if "
        "log q(z) is known between the encodings, which the entropy in the leakage tells.",
    )


QUALITY = Quantity(
    key="quality",
    meanings={
        "distance, samples": "Frechet distance between features of samples and of test images; "
        "lower is better. The small print names the features. Compare only distances in the same "
        "features; it is an FID only if they are Inception's.",
        "distance, pockets": "The same distance for samples from pockets: the fifth of the "
        "prior's draws that is least likely under the aggregate posterior.",
        "distance, floor": "The same distance between two halves of the test images. No model can "
        "be shown to be better than this.",
        "precision / recall": "Share of samples that lie among the test images, and share of test "
        "images that lie among the samples, by nearest neighbours in the same features.",
    },
    compute=_quality,
    cells=_quality_cells,
    settings=("quality", "quality_images", "seed"),
    after=("log_norm",),
    applies=lambda subject: subject.config.quality != "none",
    check=lambda subject: check_extractor(subject.config.quality, subject.splits.spec.shape),
)

QUANTITIES: tuple[Quantity, ...] = (QUALITY,)
