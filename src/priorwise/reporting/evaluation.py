"""The numbers of one run: likelihood, distance of prior and aggregate posterior, leakage, sample quality; resumable."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from priorwise import estimators
from priorwise.config.run import EvaluationConfig
from priorwise.data import Sprites
from priorwise.estimators import (
    Estimate,
    GroupContrast,
    active_units,
    classifier_two_sample,
    contrast,
    disentanglement_scores,
    elbo,
    leakage,
    nll,
    symmetric_kl,
)
from priorwise.models import AbstractModel
from priorwise.progress import progress_bar
from priorwise.reporting.quality import build_extractor, quality_measures
from priorwise.reporting.subset import random_part
from priorwise.storage import write_atomically
from priorwise.tilts import AbstractContrastiveTilt
from priorwise.training.checkpoint import write_checkpoint
from priorwise.training.run_record import read_run
from priorwise.training.runner import load, load_splits, save_log_norm
from priorwise.training.versions import versions

__all__ = ["evaluate_run"]


def evaluate_run(
    folder: str | Path,
    *,
    samples: int | None = None,
    images: int | None = None,
    quality: str | None = None,
    log_norm: str | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate the best weights of a run on its test set, and keep the result as ``evaluation.json`` in the folder.

    Images whose likelihood was finished before a kill are not computed again. For a tilted prior
    the log normaliser is estimated first and stored in the run's best checkpoint.

    Arguments:
        folder: The run.
        samples: Importance samples of each image; the run's own setting if None.
        images: A random subset of the test images; the run's own setting if None.
        quality: Features for the distances of generated images, "none" for no distances; the run's
            own setting if None.
        log_norm: How log Z of a tilted prior is estimated, "importance" or "annealed"; the run's
            own setting if None.
        seed: Seed of the draws; the run's own setting if None.
        progress: Whether to show a progress bar.
    """
    folder = Path(folder)
    run, _, identity = read_run(folder)
    changes = {
        "samples": samples,
        "images": images,
        "quality": quality,
        "log_norm": log_norm,
        "seed": seed,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    options = EvaluationConfig(**{**run.evaluation.model_dump(), **given})
    model = load(folder)
    splits = load_splits(run)
    test = splits.evaluation("test")
    x = random_part(test, options.images, options.seed)
    record: dict[str, Any] = {
        "run": run.name,
        "images": len(x),
        "data_fingerprint": identity["data_fingerprint"],
    }
    if model.tilts:
        record["log_norm"] = _log_norm(model, options, progress=progress).to_json()
        save_log_norm(folder, model)
    if any(isinstance(tilt, AbstractContrastiveTilt) for tilt in model.tilts):
        record["contrast"] = [_plain(group) for group in contrast(model, x, seed=options.seed)]
    likelihood = _or_reason(lambda: elbo(model, x[:1], seed=options.seed).to_json())
    if "refused" in likelihood:
        record["nll"] = likelihood
    else:
        estimate = _likelihood(folder, model, x, options, progress=progress)
        assert estimate.per_example is not None
        write_checkpoint(
            folder / "nll_per_image.safetensors", {"nll": estimate.per_example}, record
        )
        record["nll"] = estimate.to_json()
    record["symmetric_kl"] = _or_reason(
        lambda: symmetric_kl(model, test, seed=options.seed).to_json()
    )
    record["two_sample"] = _or_reason(lambda: _two_sample(model, test, options.seed))
    record["leakage"] = _or_reason(lambda: _leakage(model, test, options.seed))
    record["active_units"] = _units(model, x, options.seed)
    if run.data.name == "sprites":
        record["disentanglement"] = _disentanglement(model, options.seed)
    if options.quality != "none":
        extractor = build_extractor(
            options.quality, splits, labels=run.data.name, progress=progress
        )
        record["quality"] = quality_measures(
            model, splits, test, extractor, images=options.quality_images, seed=options.seed
        )
    record["versions"] = versions()
    write_atomically(folder / "evaluation.json", json.dumps(record, indent=2).encode())
    return record


def _log_norm(model: AbstractModel, options: EvaluationConfig, *, progress: bool) -> Estimate:
    total = (
        options.log_norm_samples
        if options.log_norm == "importance"
        else 2 * options.log_norm_chains
    )
    with progress_bar("log Z", total, unit="draws", show=progress) as advance:
        return estimators.log_norm(
            model,
            method=options.log_norm,
            samples=options.log_norm_samples,
            chains=options.log_norm_chains,
            temperatures=options.log_norm_temperatures,
            seed=options.seed,
            report=advance,
        )


def _likelihood(
    folder: Path, model: AbstractModel, x: Tensor, options: EvaluationConfig, *, progress: bool
) -> Estimate:
    """The NLL of a model that has one; finished images are kept in the folder."""
    journal = folder / f"nll-{len(x)}x{options.samples}-seed{options.seed}.jsonl"
    with progress_bar("likelihood", len(x), unit="images", show=progress) as advance:
        return nll(
            model, x, samples=options.samples, seed=options.seed, resume=journal, report=advance
        )


def _plain(group: GroupContrast) -> dict[str, Any]:
    """Ready for JSON, which has no NaN: a single image leaves no error."""
    record = asdict(group)
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in record.items()
    }


def _two_sample(model: AbstractModel, x: Tensor, seed: int) -> dict[str, object]:
    found = classifier_two_sample(model, x, seed=seed)
    return {
        "accuracy": found.accuracy.to_json(),
        "z_score": found.z_score,
        "jsd": found.jsd.to_json(),
    }


def _leakage(model: AbstractModel, x: Tensor, seed: int) -> dict[str, object]:
    """The curve over thresholds."""
    found = leakage(model, x, seed=seed)
    curves = {
        "score": found.score,
        "stderr": found.stderr,
        "upper": found.upper,
        "below": found.below,
    }
    return {
        "thresholds": [tau if math.isfinite(tau) else None for tau in found.thresholds],
        **{name: curve.tolist() for name, curve in curves.items()},
        "prior_below": found.prior_below.tolist(),
        "entropy": found.entropy,
        "protocol": found.protocol,
        "data": found.data,
        "warnings": list(found.warnings),
    }


def _disentanglement(model: AbstractModel, seed: int) -> dict[str, object]:
    """The scores over the whole grid of sprites: codes of every combination of factors."""
    sprites = Sprites()
    found = disentanglement_scores(
        model, sprites.images, sprites.factors, names=sprites.names, seed=seed
    )
    return {
        "mig": found.mig.to_json(),
        "disentanglement": found.dci.disentanglement.to_json(),
        "completeness": found.dci.completeness.to_json(),
        "informativeness": found.dci.informativeness.to_json(),
        "factor_vae_score": found.factor_vae_score.to_json(),
    }


def _units(model: AbstractModel, x: Tensor, seed: int) -> list[dict[str, int]]:
    if len(x) < 2:  # no variance over the data
        return []
    return [
        {"group": unit.group, "active": unit.active, "dimensions": unit.dimensions}
        for unit in active_units(model, x, seed=seed)
    ]


def _or_reason(compute: Callable[[], dict[str, object]]) -> dict[str, object]:
    """The number, or the words with which the model refused it."""
    try:
        return compute()
    except (
        ValueError,
        TypeError,
    ) as refusal:  # a posterior that is no Gaussian is refused as a TypeError
        return {"refused": str(refusal)}
