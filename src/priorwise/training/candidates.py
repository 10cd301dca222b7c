"""Candidates, runs that differ in one setting, of which the validation bound chooses one."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from priorwise.config.overrides import override
from priorwise.config.own_parts import NamedCode, code_of
from priorwise.config.run import CandidatesConfig, Run
from priorwise.estimators import Estimate, elbo
from priorwise.progress import say
from priorwise.training.decision import decided
from priorwise.training.folder import RunFolderError
from priorwise.training.group_fit import GroupResult, train_group
from priorwise.training.lock import held
from priorwise.training.model_size import refuse_too_large
from priorwise.training.run_data import load_splits, splits_of
from priorwise.training.run_group import SEED, Choice, RunGroup, read_group
from priorwise.training.runner import load

__all__ = ["choice_lines", "train_candidates"]

_SURE = 2  # standard errors by which one bound is above another
_PARTS = ("model", "objective", "training")


def train_candidates(run: Run, out: str | Path, **options: Any) -> GroupResult:  # noqa: ANN401
    r"""Train the candidates of a run into a folder, and choose one of them; safe to repeat.

    Each candidate has a run folder of its own in ``out``, such as ``components-500``. When all are
    trained, the evidence lower bound of each is estimated on the validation data, with the same
    random numbers for all, and the candidate with the highest one is chosen. ``load``, ``evaluate``
    and the others then take the chosen one where ``out`` is named. The test data play no part.

    The bounds are compared image by image. With d_n the difference of two bounds on image n, the
    standard error of their mean difference is

    .. math:: \Big(\frac{1}{N (N - 1)} \sum_{n=1}^N (d_n - \bar d)^2\Big)^{1/2}

    It includes the noise of the draws, and not that of training: another seed may choose otherwise.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), section 5, where the number of pseudo-inputs
        is chosen so. https://arxiv.org/abs/1705.07120

    Arguments:
        run: The run, with the ``candidates`` to choose from. More values extend a folder that is
            there, and one is chosen anew.
        out: The folder.
        **options: Those of ``train_group``: ``jobs``, ``init``, ``tensorboard``, ``progress``.

    Raises:
        ValueError: if there are no values, if bounds cannot be compared over this setting, or the
            run has no bound that is known; and as ``train_group``.
        RunFolderError: if no candidate could be trained.
    """
    candidates = run.candidates
    _refuse_incomparable(run)
    result = train_group(
        run.model_copy(update={"candidates": CandidatesConfig()}),
        out,
        setting=candidates.setting,
        values=candidates.values,
        **options,
    )
    show = options.get("progress", True)
    say(f"bounds on the validation data, {candidates.samples} draws for each example", show=show)
    with held(Path(out)):
        group = read_group(out)
        bounds = _bounds(group, candidates.samples, code_of(run))
        group = replace(group, choice=_choice(group, bounds))
        group.write()
    return replace(result, group=group)


def _refuse_incomparable(run: Run) -> None:
    """Refuse candidates whose bounds could not be compared, before any of them is trained."""
    setting, values = run.candidates.setting, run.candidates.values
    if not values:
        raise ValueError(
            "expected `candidates.values` to choose from; got none. Give them, for example as "
            "candidates.values=[50,100,250], or train the run as it is."
        )
    if setting == SEED:
        raise ValueError(
            "expected a `candidates.setting` other than training.seed, since the best of several "
            "seeds says nothing about the next one; got it. Train several seeds with --seeds."
        )
    if setting.partition(".")[0] not in _PARTS or setting == "model.likelihood":
        raise ValueError(
            "expected a `candidates.setting` of model, objective or training, under which all see "
            "the same data and have the same kind of likelihood, so that their bounds can be "
            f"compared; got {setting}."
        )
    runs = {value: override(run, [], {setting: value}) for value in values}
    splits = splits_of(run.data)
    _refuse_equal(setting, {value: decided(each, splits.spec) for value, each in runs.items()})
    refuse_too_large(run.model, splits.spec)
    if run.model.build(splits.spec, seed=run.training.seed).known_log_norm() is None:
        raise ValueError(
            "expected candidates with a bound that is known; the prior of this run has an unknown "
            "normaliser. Train and evaluate each value by itself."
        )


def _refuse_equal(setting: str, runs: Mapping[int | str, Run]) -> None:
    """Refuse values that say the same in other words, or that the data make the same."""
    for (one, run), (other, again) in combinations(runs.items(), 2):
        if run.record() == again.record():
            raise ValueError(
                f"expected `candidates.values` whose runs differ; with {setting}={one} and "
                f"{setting}={other} they are one and the same run on these data. Leave one out."
            )


def _bounds(group: RunGroup, samples: int, code: NamedCode) -> dict[str, Estimate]:
    """The validation bound of each candidate that was trained to its end, by its name."""
    bounds = {}
    for name, folder in group.finished.items():
        x = load_splits(folder, code).evaluation("validation")
        bounds[name] = elbo(load(folder, code), x, samples=samples)
    return bounds


def _choice(group: RunGroup, bounds: Mapping[str, Estimate]) -> Choice:
    """The candidate with the highest bound, and how far the others are below it."""
    finite = {name: bound for name, bound in bounds.items() if math.isfinite(bound.value)}
    if not finite:
        reasons = [f"{name} {words}" for name, words in group.missing.items()]
        reasons += [f"the bound of {name} is not finite" for name in bounds]
        raise RunFolderError(
            f"expected a candidate that can be chosen in {group.folder}; there is none: "
            f"{'; '.join(reasons)}."
        )
    best = max(finite, key=lambda name: finite[name].value)
    behind = {name: finite[best].minus(bound) for name, bound in finite.items() if name != best}
    numbers = {
        "images": finite[best].count,
        "samples": finite[best].protocol["samples"],
        "bounds": {name: _numbers(bound) for name, bound in finite.items()},
        "behind": {name: _numbers(difference) for name, difference in behind.items()},
    }
    value = next(value for value in group.values if group.name_of(value) == best)
    return Choice(value, _why(finite[best], behind) + _at_the_edge(group, value), numbers)


def _numbers(estimate: Estimate) -> dict[str, float | None]:
    error = estimate.stderr_data
    known = error is not None and math.isfinite(error)
    return {"value": estimate.value, "stderr_data": error if known else None}


def _difference(numbers: Mapping[str, float | None]) -> str:
    """A difference with its error, which one image alone does not have."""
    error = numbers["stderr_data"]
    return f"{numbers['value']:.3f} ± {'unknown' if error is None else f'{error:.3f}'}"


def _why(best: Estimate, behind: Mapping[str, Estimate]) -> str:
    """Why it was chosen, with the difference to the next one against its error."""
    if not behind:
        return f"it is the only candidate, with a validation bound of {best.value:.3f} nats"
    runner_up = min(behind, key=lambda name: behind[name].value)
    gap, error = behind[runner_up].value, behind[runner_up].stderr_data
    words = (
        f"its validation bound, {best.value:.3f} nats, is the highest, "
        f"{_difference(_numbers(behind[runner_up]))} nats above {runner_up}"
    )
    if error is None or not math.isfinite(error):
        return f"{words}; with one image the error is unknown, so another one may choose otherwise"
    if gap > _SURE * error:
        return words
    return f"{words}; within {_SURE} standard errors the two cannot be told apart"


def _at_the_edge(group: RunGroup, value: int | str) -> str:
    """A remark where the best of several numbers is the last one in its direction."""
    numbers = [each for each in group.values if isinstance(each, int)]
    if len(numbers) < 2 or value not in (min(numbers), max(numbers)):
        return ""
    size, further = ("smallest", "smaller") if value == min(numbers) else ("largest", "larger")
    return f"; it is the {size} value that was tried, so a {further} one may be better"


def choice_lines(group: RunGroup) -> list[str]:
    """What was chosen in a group of candidates and why, with the bound of each, in lines."""
    assert group.choice is not None
    chosen, numbers = group.name_of(group.choice.value), group.choice.numbers
    lines = []
    for name in group.members:
        if name not in numbers["bounds"]:
            lines.append(f"{name}: {group.missing.get(name, 'its bound is not finite')}")
            continue
        words = f"{name}: validation bound {numbers['bounds'][name]['value']:.3f} nats"
        if name != chosen:
            words += f", {_difference(numbers['behind'][name])} below {chosen}"
        lines.append(words)
    return [*lines, f"chosen: {chosen}; {group.choice.why}"]
