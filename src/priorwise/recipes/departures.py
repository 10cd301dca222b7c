"""How a run departs from its recipe: in its settings, its data, and how it was evaluated."""

from collections.abc import Mapping
from typing import Any

from priorwise.config.models import AbstractPosthocConfig
from priorwise.config.overrides import override
from priorwise.config.run import DataConfig, Run
from priorwise.data.known_sets import NAMED, spec_of
from priorwise.data.spec import DataSpec
from priorwise.recipes.published import known_fingerprints
from priorwise.recipes.registry import packaged_recipe
from priorwise.training.decision import decided

__all__ = ["changed_settings", "fewer_draws", "other_data"]

_TREATMENT = ("binarize", "likelihood", "scaling")


def changed_settings(run: Run, spec: DataSpec) -> dict[str, str]:
    """Settings of model, training and objective that differ from the recipe's, except the seed.

    Arguments:
        run: A run of a recipe of priorwise.
        spec: Description of its data, which may decide on its networks.
    """
    departures: dict[str, str] = {}
    recipe = _planned(run, spec)
    posthoc = isinstance(run.model, AbstractPosthocConfig)
    for part in ("training", "objective") if posthoc else ("model", "training", "objective"):
        paper, ours = getattr(recipe, part).model_dump(), getattr(run, part).model_dump()
        differing = [name for name in paper if paper[name] != ours.get(name) and name != "seed"]
        departures |= {name: f"{ours.get(name)} for {paper[name]}" for name in differing}
    return departures


def _planned(run: Run, spec: DataSpec) -> Run:
    """The recipe of a run on its data; of one that was chosen, with its value, if that is there."""
    recipe = packaged_recipe(run.name)
    offered = (
        decided(override(recipe, [], {recipe.candidates.setting: value}), spec)
        for value in recipe.candidates.values
    )
    planned = decided(recipe, spec)
    return next((candidate for candidate in offered if candidate.model == run.model), planned)


def other_data(run: Run, spec: DataSpec, fingerprint: str) -> str:
    """How the data of a run differ from those of its recipe, in words; empty if they do not.

    The fingerprint decides where a committed result holds that of the recipe's data. A recipe that
    names no data has no others.

    Arguments:
        run: A run of a recipe of priorwise.
        spec: Description of its data.
        fingerprint: The fingerprint of its data.
    """
    data = packaged_recipe(run.name).data
    if not data.name:
        return ""
    known = known_fingerprints(data)
    if fingerprint in known:
        return ""
    expected = spec_of(data.name).overridden(binarize=data.binarize, likelihood=data.likelihood)
    differing = [] if run.data.name == data.name else [f"{run.data.name} for {data.name}"]
    differing += [
        f"{name} {getattr(spec, name)} for {getattr(expected, name)}"
        for name in _TREATMENT
        if getattr(spec, name) != getattr(expected, name)
    ]
    if not differing and known:
        differing = [f"fingerprint {fingerprint} for {', '.join(sorted(known))}"]
    return f"other data: {', '.join(differing)}" if differing else ""


def fewer_draws(run: Run, nll: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Where a likelihood was measured with fewer samples or images than the recipe's.

    Arguments:
        run: A run of a recipe of priorwise.
        nll: The likelihood in the record of its evaluation.
        settings: How it was measured, from the same record.
    """
    recipe = packaged_recipe(run.name)
    planned, departures = recipe.evaluation, []
    if nll["protocol"]["samples"] < planned.samples:
        departures.append(f"{nll['protocol']['samples']} importance samples for {planned.samples}")
    asked, count = settings.get("images"), nll["count"]
    everything = _test_images(recipe.data)
    if asked is None or count < asked or count == everything:  # all test images
        return departures
    if planned.images is None or count < planned.images:
        expected = planned.images or everything or "all"
        departures.append(f"likelihood of {count} random test images for {expected}")
    return departures


def _test_images(data: DataConfig) -> int | None:
    """The size of a published test set; None if it is not known without reading it."""
    return NAMED[data.name].sizes[-1] if data.name in NAMED else None
