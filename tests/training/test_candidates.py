"""Candidates of which the validation bound chooses one."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from kills import KilledError, Writes, assert_same_run

from priorwise.config.overrides import override
from priorwise.config.run import Run
from priorwise.data.splits import Splits
from priorwise.estimators import Estimate, elbo
from priorwise.recipes import recipe
from priorwise.training import (
    RunFolderError,
    candidates,
    load,
    read_group,
    runner,
    train_candidates,
    train_group,
    train_run,
    train_seeds,
)
from priorwise.training.candidates import choice_lines
from priorwise.training.not_finite import TrainingDivergedError
from priorwise.training.run_data import load_splits
from priorwise.training.run_group import End, RunGroup, one_run

SMALL = ["model.hidden=4", "model.latent=2", "training.epochs=2", "training.warmup_epochs=0"]
RUN = override(recipe("digits/vamp"), [*SMALL, "training.schedule=constant"])
QUIET = {"progress": False}


def among(*values, run=RUN, samples=3):
    return override(run, [f"candidates.values={list(values)}", f"candidates.samples={samples}"])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two candidates, chosen from while the test data were out of reach."""
    evaluation = Splits.evaluation

    def without_test(splits, split, seed=777):
        assert split == "validation"
        return evaluation(splits, split, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Splits, "evaluation", without_test)
        out = tmp_path_factory.mktemp("candidates") / "two"
        return train_candidates(among(2, 6), out, **QUIET)


def test_the_highest_validation_bound_is_chosen(two, capsys):
    """Fault: the lowest one; the test data; errors of two bounds that were not paired."""
    out = two.group.folder
    bounds = {}
    for value in (2, 6):
        folder = out / f"components-{value}"
        x = load_splits(folder).evaluation("validation")
        bounds[value] = elbo(load(folder), x, samples=3).per_example
    gaps = bounds[6] - bounds[2]
    best, other = (6, 2) if gaps.mean() > 0 else (2, 6)
    choice = read_group(out).choice
    assert choice == two.group.choice
    assert choice.value == best
    behind = choice.numbers["behind"][f"components-{other}"]
    assert behind["value"] == pytest.approx(abs(float(gaps.mean())))
    assert behind["stderr_data"] == pytest.approx(float(gaps.std()) / math.sqrt(len(gaps)))
    value = choice.numbers["bounds"][f"components-{best}"]["value"]
    assert value == pytest.approx(float(bounds[best].mean()))
    assert (choice.numbers["images"], choice.numbers["samples"]) == (200, 3)
    assert one_run(out) == out / f"components-{best}"
    assert "components-" in capsys.readouterr().err
    assert len(load(out).prior.pseudo_inputs) == best


def test_a_candidate_is_what_its_run_alone_would_be(two, tmp_path):
    """Fault: a trace of the choice in the identity of a run, which no older run has."""
    train_run(override(RUN, ["model.prior.components=2"]), tmp_path / "alone", **QUIET)
    assert_same_run(tmp_path / "alone", two.group.folder / "components-2")
    identity = json.loads((tmp_path / "alone" / "run.json").read_text())["identity"]["run"]
    assert set(identity) == set(Run.model_fields) - {"candidates"}


def test_a_killed_choice_goes_on(two, tmp_path):
    """Fault: a candidate that is left out, or a choice that is lost, after a kill."""

    def killed(*arguments):
        raise KilledError

    for place in ("a fit", "the choice"):
        with pytest.MonkeyPatch.context() as patch:
            if place == "a fit":
                Writes(patch, 4)
            else:
                patch.setattr(candidates, "_bounds", killed)
            with pytest.raises(KilledError):
                train_candidates(among(2, 6), tmp_path, **QUIET)
        assert len(read_group(tmp_path).finished) == (0 if place == "a fit" else 2)
        with pytest.raises(RunFolderError, match=r"the choice in .* is not made yet"):
            load(tmp_path)
    assert train_candidates(among(2, 6), tmp_path, **QUIET).group.choice == two.group.choice
    for name, folder in two.group.members.items():
        assert_same_run(tmp_path / name, folder)


def test_more_candidates_are_chosen_from_anew(two, tmp_path):
    """Fault: a choice that stays, though another candidate is better."""
    first = train_candidates(among(6), tmp_path, **QUIET)
    assert first.group.choice.value == 6
    assert "it is the only candidate" in first.group.choice.why
    more = train_candidates(among(6, 2), tmp_path, **QUIET)
    assert more.group.choice.value == two.group.choice.value
    assert set(more.group.choice.numbers["bounds"]) == {"components-2", "components-6"}
    with pytest.raises(RunFolderError, match="may grow but not shrink"):
        train_candidates(among(2), tmp_path, **QUIET)


def test_one_that_diverges_is_said_and_not_chosen(tmp_path, monkeypatch):
    train, diverging = runner.train_run, {2}

    def trained(run, *arguments, **options):
        if run.model.prior.components in diverging:
            raise TrainingDivergedError("NaN at step 3.")
        return train(run, *arguments, **options)

    monkeypatch.setattr(runner, "train_run", trained)
    result = train_candidates(among(2, 6), tmp_path / "one", **QUIET)
    assert result.group.choice.value == 6
    assert result.diverged == {"components-2": "NaN at step 3."}
    assert choice_lines(result.group)[0] == "components-2: diverged: NaN at step 3."
    diverging.add(6)
    with pytest.raises(RunFolderError, match=r"there is none: components-2 diverged: NaN"):
        train_candidates(among(2, 6), tmp_path / "none", **QUIET)


def bound(*per_example):
    values = torch.tensor(per_example, dtype=torch.float64)
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Estimate(
        float(values.mean()),
        0.0,
        len(values),
        stderr_data=error,
        per_example=values,
        protocol={"estimator": "ELBO", "samples": 1},
    )


# per-example bounds by value, the value that is chosen, and why
CASES = {
    "clear": ({1: [-8, -8], 2: [-3, -1], 3: [-5, -4]}, 2, "-2.000 nats, .* 2.500 ± 0.500 nats"),
    "sure": ({1: [-8, -8], 2: [-3, -1], 3: [-4, -1.5]}, 2, "0.750 ± 0.250 nats above size-3$"),
    "close": ({1: [-8, -8], 2: [-3, -1], 3: [-1, -3.5]}, 2, "standard errors .* be told apart$"),
    "the same": ({1: [-3, -1], 2: [-3, -1]}, 1, "0.000 ± 0.000 .* cannot be told apart"),
    "one image": ({1: [-300], 2: [-80]}, 2, "220.000 ± unknown .* the error is unknown, so [^;]*"),
    "not finite": ({1: [math.nan, 1], 2: [-3, -1]}, 2, "it is the only candidate"),
    "the largest": ({1: [-9, -8], 2: [-9, -8], 3: [-1, -1]}, 3, "largest .* larger one may be"),
    "the smallest": ({1: [-1, -1], 2: [-9, -8], 3: [-9, -8]}, 1, "smallest .* smaller one may be"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_words_of_a_choice(tmp_path, case):
    """Fault: a winner by luck that is called better; an end of the grid that nobody sees."""
    values, best, words = CASES[case]
    group = RunGroup(tmp_path, {"training": {"epochs": 2}}, "model.size", tuple(sorted(values)))
    for value in values:
        group = group.with_end(group.name_of(value), End("finished"))
    bounds = {group.name_of(value): bound(*values[value]) for value in sorted(values)}
    choice = candidates._choice(group, bounds)
    assert choice.value == best
    assert re.search(words, choice.why)
    assert ("value that was tried" in choice.why) == (best in (min(values), max(values)))
    replace(group, choice=choice).write()
    stored = json.loads((tmp_path / "group.json").read_text(), parse_constant=pytest.fail)
    assert stored["choice"]["why"] == choice.why
    lines = choice_lines(replace(group, choice=choice))
    assert lines[-1] == f"chosen: size-{best}; {choice.why}"
    assert len(lines) == len(values) + 1


NCP = recipe("digits/ncp")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda out: train_candidates(RUN, out), "`candidates.values` to choose from; got none"),
        (lambda out: train_candidates(in_setting("training.seed"), out), "train several seeds"),
        (lambda out: train_candidates(in_setting("data.binarize"), out), "see the same data"),
        (lambda out: train_candidates(in_setting("model.likelihood"), out), "kind of likelihood"),
        (lambda out: train_candidates(in_setting("model.prior.size"), out), "unknown field"),
        (lambda out: train_candidates(among(0, 2), out), "model.prior.components"),
        (lambda out: train_run(among(1, 2), out), "a run without `candidates`.*train_candidates"),
        (lambda out: train_seeds(among(1, 2), out, seeds=2), "a run without `candidates`"),
        (
            lambda out: train_group(among(1, 2), out, setting="training.seed", values=[1]),
            "a run without `candidates`",
        ),
    ],
)
def test_what_cannot_be_chosen_from_is_refused_before_it_is_trained(tmp_path, change, words):
    with pytest.raises(ValueError, match=f"(?i){words}"):
        change(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def in_setting(setting):
    return override(among(1, 2), [f"candidates.setting={setting}"])


def test_an_unknown_normaliser_is_refused_before_it_is_trained(tmp_path):
    run = override(NCP, ["data.name=digits", "candidates.setting=training.lr"])
    run = override(run, ["candidates.values=[1, 2]"])
    with pytest.raises(ValueError, match="the prior of this run has an unknown normaliser"):
        train_candidates(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
