"""The prior-hole report: has the prior a hole, what does it cost, and what fills it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorwise.data import Splits, as_splits
from priorwise.estimators import Estimate
from priorwise.models import AbstractModel
from priorwise.progress import progress_bar
from priorwise.randomness import seeded
from priorwise.reporting.figures import (
    curves_figure,
    images_uri,
    latent_figure,
    pairs,
    points_figure,
)
from priorwise.reporting.latents import LatentMap, latent_map
from priorwise.reporting.measurement import Measurement, Protocol, Refusal, Verdict, measure_all
from priorwise.reporting.page import Picture, Section, render_page
from priorwise.reporting.subset import random_part
from priorwise.reporting.tables import GLOSSARY, contrast_table, summary_table
from priorwise.reporting.verdicts import all_warnings, gain_error, headline, sentences
from priorwise.storage import write_atomically
from priorwise.training.loop import FitResult
from priorwise.training.versions import versions

__all__ = ["report"]

_SHOWN = 36
_SAMPLE_COLUMNS = 6
_COLUMNS = 8
_PAIRS = 16
_REFERENCE = 2000


def report(
    model: AbstractModel,
    data: Any,  # noqa: ANN401 - whatever `as_splits` takes
    path: str | Path,
    *,
    models: Mapping[str, AbstractModel] | None = None,
    fits: Mapping[str, FitResult] | None = None,
    samples: int = 1000,
    images: int | None = 500,
    log_norm_samples: int = 100_000,
    classifier: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write the prior-hole report of a model: one HTML page, and every number of it as JSON beside it.

    It says in words whether the prior has a hole, by the bound that a classifier proves on held-out
    images, and what other priors gain over it; then come the numbers with their errors, samples,
    the latent plane, and the protocol. What cannot be computed for a model (a likelihood with a
    deterministic encoder, say) is shown with the reason. An NCP alone is shown beside the model
    underneath. A tilted model without a ``log_norm`` has it estimated, and keeps it.

    Arguments:
        model: The base of all comparisons. In the report it bears its name in ``models``, else
            "model".
        data: What ``priorwise.data.load`` returns, or arrays, of which parts are held out.
        path: The page, a name that ends in .html; the JSON gets the same name with .json.
        models: Further models by name, compared with the base image by image.
        fits: Results of ``priorwise.fit`` by name, whose training curves are shown.
        samples: Importance samples of each image.
        images: A random subset of the test images; None takes all.
        log_norm_samples: Draws for a log normaliser that is not known yet.
        classifier: Whether to fit a small classifier on every model that has no NCP here; without
            one, a plain model gets no verdict.
        seed: Seed of all draws.
        progress: Whether to show progress bars.

    Returns:
        Path: Where the page is.

    Raises:
        ValueError: for a path that does not end in .html, or counts below 1.
        TypeError: for something that is not a model.
    """
    path = Path(path)
    _check(path, samples, images)
    named = _named(model, models or {})
    splits = as_splits(data)
    x = splits.evaluation("test")
    x = random_part(x, images, seed)
    x = x.to(next((parameter.device for parameter in model.parameters()), torch.device("cpu")))
    protocol = Protocol(
        samples=samples, log_norm_samples=log_norm_samples, classifier=classifier, seed=seed
    )
    measurements = measure_all(named, splits, x, protocol, progress=progress)
    record = _record(measurements, splits, len(x), protocol)
    sections = _sections(named, splits, x, fits or {}, seed, progress=progress)
    beside = path.with_suffix(".json")
    page = render_page(record, sections, json_name=beside.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(beside, json.dumps(_plain(record), indent=2, allow_nan=False).encode())
    write_atomically(path, page.encode())
    return path


def _check(path: Path, samples: int, images: int | None) -> None:
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"expected `path` as a page that ends in .html; got {path.name!r}.")
    if samples < 1:
        raise ValueError(f"expected at least 1 of `samples`; got {samples}.")
    if images is not None and images < 2:
        raise ValueError(f"expected at least 2 `images`, or None for all; got {images}.")


def _named(model: AbstractModel, models: Mapping[str, AbstractModel]) -> dict[str, AbstractModel]:
    """All models by name, the base first."""
    for name, other in {"model": model, **models}.items():
        if not isinstance(other, AbstractModel):
            raise TypeError(
                f"expected {name!r} as a priorwise model; got {type(other).__name__}. Wrap what "
                "somebody else trained: priorwise.wrap(encode=..., decode=...)."
            )
    own = next((name for name, other in models.items() if other is model), None)
    if own is not None:
        return {own: model, **models}
    if not models and model.untilted is not model:
        return {"base": model.untilted, type(model).__name__: model}
    if "model" in models:
        raise ValueError(
            "expected `models` without the name 'model', which is the base's; got it. Choose "
            "another name."
        )
    return {"model": model, **models}


# -- the numbers -----------------------------------------------------------------------------------


def _record(
    measurements: Sequence[Measurement], splits: Splits, images: int, protocol: Protocol
) -> dict[str, Any]:
    """Everything that the page says, as plain data."""
    return {
        "title": f"Prior-hole report: {splits.spec.name}",
        "verdict": headline(measurements[0]),
        "findings": sentences(measurements),
        "table": summary_table(measurements),
        "contrast": contrast_table(measurements),
        "warnings": all_warnings(measurements),
        "glossary": GLOSSARY,
        "protocol": _protocol(splits, images, protocol, measurements),
        "models": {measurement.name: _numbers(measurement) for measurement in measurements},
    }


def _numbers(measurement: Measurement) -> dict[str, Any]:
    """The numbers of one model, unrounded."""
    found: dict[str, Any] = {"about": measurement.about, "same_vae": measurement.same_vae}
    for name in ("nll", "gain", "symmetric_kl", "log_norm"):
        found[name] = _number(getattr(measurement, name))
    if isinstance(measurement.gain, Estimate):
        found["gain"]["stderr_total"] = gain_error(measurement.gain)
    units = measurement.units
    found["active_units"] = (
        {"refused": units.reason}
        if isinstance(units, Refusal)
        else [{"group": u.group, "active": u.active, "dimensions": u.dimensions} for u in units]
    )
    verdict = measurement.verdict
    found["classifiers"] = (
        {"source": verdict.source, "groups": [asdict(group) for group in verdict.groups]}
        if isinstance(verdict, Verdict)
        else {"refused": verdict.reason}
    )
    return found


def _number(value: Estimate | Refusal | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"refused": value.reason} if isinstance(value, Refusal) else value.to_json()


def _protocol(
    splits: Splits, images: int, protocol: Protocol, measurements: Sequence[Measurement]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "data": splits.describe(),
        "data_fingerprint": splits.fingerprint(),
        "images": images,
        "samples": protocol.samples,
        "seed": protocol.seed,
        "likelihood": "importance sampling from q(z|x), the same noise for every model; one "
        "global Z for a tilted prior",
        "symmetric_KL": "1 nearest neighbour, one encoding of each test image and as many draws "
        "of the prior (SIR with 1000 proposals from a tilted one)",
    }
    norms = [
        m.log_norm.protocol for m in measurements if m.tilted and isinstance(m.log_norm, Estimate)
    ]
    if norms:
        found["log_Z"] = "; ".join(
            ", ".join(f"{key} {value}" for key, value in norm.items()) for norm in norms
        )
    if any(
        isinstance(m.verdict, Verdict) and m.verdict.source.endswith("this report")
        for m in measurements
    ):
        layers = " x ".join(str(size) for size in protocol.classifier_features)
        found["classifiers"] = (
            f"dense, {layers}, at most {protocol.classifier_epochs} epochs on training encodings, "
            "stopped on validation encodings, judged on test encodings"
        )
    if splits.spec.scaling == "dequantize" and splits.spec.levels is not None:
        shift = splits.spec.features * math.log(splits.spec.levels)
        found["unit"] = (
            f"log densities of dequantised pixels, so an NLL may be negative; {shift:.1f} nats "
            "more make it an upper bound of the NLL of the grey levels"
        )
    return found | {"versions": ", ".join(f"{name} {value}" for name, value in versions().items())}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """For JSON: numbers that are none become null, keys strings, tuples lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- the pictures ----------------------------------------------------------------------------------


def _is_images(x: Tensor) -> bool:
    return x.dim() == 4 and x.shape[1] in (1, 3)


def _sections(
    models: Mapping[str, AbstractModel],
    splits: Splits,
    x: Tensor,
    fits: Mapping[str, FitResult],
    seed: int,
    *,
    progress: bool,
) -> list[Section]:
    with seeded(seed, "report", "reference"):
        reference = splits.prepare(splits.train[:_REFERENCE]).to(x.device)
    maps: dict[str, LatentMap] = {}
    samples: dict[str, Tensor] = {}
    with progress_bar("pictures", len(models), unit="models", show=progress) as advance:
        for name, model in models.items():
            samples[name] = model.sample(_SHOWN if _is_images(x) else 1000, seed=seed).cpu()
            maps[name] = latent_map(model, x, reference, seed=seed)
            advance(1)
    sections = [
        *_samples(samples, x),
        _latents(maps),
        *_reconstructions(models, x, seed),
        _curves(fits),
    ]
    return [section for section in sections if section.figures]


def _samples(samples: Mapping[str, Tensor], x: Tensor) -> list[Section]:
    if _is_images(x):
        shown = {"test images": x[:_SHOWN], **samples}
        figures = [
            Picture(name, images_uri(part, _SAMPLE_COLUMNS), pixels=True)
            for name, part in shown.items()
        ]
        return [
            Section(
                "Samples",
                "Means of the decoder (draws where it has none) at draws of each prior; real "
                "images for comparison.",
                figures,
                tight=True,
            )
        ]
    if x[0].numel() == 2:
        figures = [
            Picture(name, points_figure(x.flatten(1), part.flatten(1)))
            for name, part in samples.items()
        ]
        text = "Means of the decoder (draws where it has none) at draws of each prior, on the test data."
        return [Section("Samples", text, figures)]
    return []


def _latents(maps: Mapping[str, LatentMap]) -> Section:
    text = (
        "Encodings of test images and the prior, in the plane of the encodings' first two "
        "principal components. A plane can hide what more dimensions show, so it illustrates the "
        "verdict and does not make it. Pockets are the prior draws where the aggregate posterior "
        "is lowest: what the decoder makes of them is shown below. Leaks are the encodings where "
        "the prior is lowest, shown with their images."
    )
    return Section("Latents", text, [_latent_picture(name, found) for name, found in maps.items()])


def _latent_picture(name: str, found: LatentMap) -> Picture:
    caption = f"The plane holds {100 * found.explained:.0f} % of the encodings' variance ({found.dimensions} dimensions)."
    strips = (("Decoded pockets", found.pocket_images), ("Leaking test images", found.leak_images))
    parts = [
        Picture(title, images_uri(part, _COLUMNS), caption=title, pixels=True)
        for title, part in strips
        if len(part) and _is_images(part)
    ]
    return Picture(
        name, latent_figure(found), caption=" ".join([caption, *found.notes]), parts=parts
    )


def _reconstructions(models: Mapping[str, AbstractModel], x: Tensor, seed: int) -> list[Section]:
    """Of every model with networks of its own; one that tilts another reconstructs as that one does."""
    if not _is_images(x):
        return []
    figures = [
        Picture(
            name,
            images_uri(
                pairs(x[:_PAIRS], model.reconstruct(x[:_PAIRS], seed=seed), _COLUMNS), _COLUMNS
            ),
            pixels=True,
        )
        for name, model in models.items()
        if model.untilted is model
    ]
    return [
        Section(
            "Reconstructions",
            "Test images, and below each row what the decoder makes of it.",
            figures,
            tight=True,
        )
    ]


def _curves(fits: Mapping[str, FitResult]) -> Section:
    figures = []
    for metric in dict.fromkeys(fit.metric for fit in fits.values()):
        chosen = {
            name: fit.history
            for name, fit in fits.items()
            if fit.metric == metric and any("validation" in line for line in fit.history)
        }
        if chosen:
            figures.append(Picture(metric.replace("_", " "), curves_figure(chosen, metric)))
    return Section(
        "Training", "Validation after each epoch; dots mark the weights that were kept.", figures
    )
