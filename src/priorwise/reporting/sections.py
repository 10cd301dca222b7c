"""The pictures of a report, section by section."""

from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor

from priorwise.data import Splits
from priorwise.data.subsets import random_part, training_part
from priorwise.data.value_range import in_unit_range
from priorwise.models import AbstractModel, decodes_to_means
from priorwise.progress import progress_bar
from priorwise.reporting.figures import (
    curves_figure,
    images_uri,
    latent_figure,
    pairs,
    points_figure,
)
from priorwise.reporting.latents import LatentMap, latent_map
from priorwise.reporting.page import Picture, Section
from priorwise.reporting.pictures import is_images
from priorwise.training.loop import FitResult

__all__ = ["picture_sections"]

Range: TypeAlias = tuple[float, float]

_SHOWN = 36
_SAMPLE_COLUMNS = 6
_COLUMNS = 8
_PAIRS = 16


def picture_sections(
    models: Mapping[str, AbstractModel],
    splits: Splits,
    x: Tensor,
    fits: Mapping[str, FitResult],
    seed: int,
    *,
    progress: bool,
) -> list[Section]:
    """The pictures of a report: samples, latents, reconstructions and training curves.

    Arguments:
        models: The models by their names in the report.
        splits: Their data.
        x: Test data as the models see them, ``(N, *event)``.
        fits: Results of their fits, to draw the validation curves.
        seed: Seed of the draws.
        progress: Whether to show a progress bar.
    """
    reference = training_part(splits, seed).to(x.device)
    maps: dict[str, LatentMap] = {}
    samples: dict[str, Tensor] = {}
    with progress_bar("pictures", len(models), unit="models", show=progress) as advance:
        for name, model in models.items():
            samples[name] = model.sample(_SHOWN if is_images(x) else 1000, seed=seed).cpu()
            maps[name] = latent_map(model, x, reference, seed=seed)
            advance(1)
    sections = [
        *_samples(samples, x, splits.value_range, seed, _shown_words(models)),
        _latents(maps, splits.value_range),
        *_reconstructions(models, x, splits.value_range, seed),
        _curves(fits),
    ]
    return [section for section in sections if section.figures]


def _shown_words(models: Mapping[str, AbstractModel]) -> str:
    """Whether means of the decoders are shown, or draws."""
    drawn = [name for name, model in models.items() if not decodes_to_means(model)]
    if not drawn:
        return "Shown are the means of the decoder."
    if len(drawn) == len(models):
        return "Shown are draws from the decoder, which has no mean in closed form."
    return (
        f"Shown are the means of the decoder, but draws for {', '.join(drawn)}, where it has none."
    )


def _samples(
    samples: Mapping[str, Tensor], x: Tensor, value_range: Range, seed: int, words: str
) -> list[Section]:
    if is_images(x):
        shown = {"test images": random_part(x, _SHOWN, seed), **samples}
        figures = [
            Picture(
                name, images_uri(in_unit_range(part, value_range), _SAMPLE_COLUMNS), pixels=True
            )
            for name, part in shown.items()
        ]
        return [
            Section(
                "Samples",
                f"Draws of each prior, decoded. {words} Test images stand beside them for "
                "comparison.",
                figures,
                tight=True,
            )
        ]
    if x[0].numel() == 2:
        figures = [
            Picture(name, points_figure(x.flatten(1), part.flatten(1)))
            for name, part in samples.items()
        ]
        text = f"Draws of each prior, decoded, on top of the test data. {words}"
        return [Section("Samples", text, figures)]
    return []


def _latents(maps: Mapping[str, LatentMap], value_range: Range) -> Section:
    text = (
        "Encodings of test images and the prior, in the plane of the encodings' first two "
        "principal components. A plane can hide differences that exist in more dimensions, so it "
        "illustrates the verdict but does not decide it. Pockets are the prior draws where the "
        "aggregate posterior is lowest; they are shown decoded. Leaks are the encodings where the "
        "prior is lowest; their test images are shown."
    )
    pictures = [_latent_picture(name, latents, value_range) for name, latents in maps.items()]
    return Section("Latents", text, pictures)


def _latent_picture(name: str, latents: LatentMap, value_range: Range) -> Picture:
    caption = (
        f"The plane shows {100 * latents.explained:.0f} % of the encodings' variance in "
        f"{latents.dimensions} dimensions."
    )
    strips = (
        ("Pockets, decoded", latents.pocket_images),
        ("Test images that leak", latents.leak_images),
    )
    parts = [
        Picture(
            title,
            images_uri(in_unit_range(part, value_range), _COLUMNS),
            caption=title,
            pixels=True,
        )
        for title, part in strips
        if len(part) and is_images(part)
    ]
    caption = " ".join([caption, *latents.notes])
    return Picture(name, latent_figure(latents), caption=caption, parts=parts)


def _reconstructions(
    models: Mapping[str, AbstractModel], x: Tensor, value_range: Range, seed: int
) -> list[Section]:
    """Reconstructions by every model that does not tilt another.

    A model that tilts another one reconstructs exactly as that one does.
    """
    if not is_images(x):
        return []
    x = random_part(x, _PAIRS, seed)
    figures = []
    bases = {name: model for name, model in models.items() if model.untilted is model}
    for name, model in bases.items():
        both = pairs(x, model.reconstruct(x, seed=seed), _COLUMNS)
        uri = images_uri(in_unit_range(both, value_range), _COLUMNS)
        figures.append(Picture(name, uri, pixels=True))
    return [
        Section(
            "Reconstructions",
            "Rows of random test images, each above the row of its reconstructions. "
            + _shown_words(bases),
            figures,
            tight=True,
        )
    ]


def _curves(fits: Mapping[str, FitResult]) -> Section:
    figures = []
    for metric in dict.fromkeys(fit.metric for fit in fits.values()):
        histories = {
            name: fit.history
            for name, fit in fits.items()
            if fit.metric == metric and any("validation" in line for line in fit.history)
        }
        if histories:
            figures.append(Picture(metric.replace("_", " "), curves_figure(histories, metric)))
    return Section(
        "Training",
        "The validation metric over the epochs; a dot marks the weights that were kept.",
        figures,
    )
