"""The members of a group of runs: what is refused before a fit, and before a mean."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from kills import KilledError, Writes, assert_same_run

from priorwise.config.overrides import override
from priorwise.evaluation import evaluate_group, seeds_of
from priorwise.recipes import recipe
from priorwise.recipes.result import group_result
from priorwise.training import RunFolderError, read_group, runner, train_run, train_seeds
from priorwise.training.run_data import load_splits
from priorwise.training.run_group import one_run

SMALL = ["model.hidden=4", "model.latent=2", "training.epochs=2", "training.warmup_epochs=0"]
RUN = override(recipe("digits/standard"), [*SMALL, "training.schedule=constant"])
FIRST = RUN.training.seed
QUIET = {"progress": False}


def with_settings(*settings):
    return override(RUN, settings)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A group of two seeds."""
    return train_seeds(RUN, tmp_path_factory.mktemp("groups") / "two", seeds=2, **QUIET)


@pytest.fixture
def copy(two, tmp_path):
    """A copy of the group, which a test may change."""
    return Path(shutil.copytree(two.group.folder, tmp_path / "copy"))


def shuffled(folder):
    """Digits as files, in another order than those of the package."""
    x = load_splits(folder).train[:40].numpy()
    np.savez(folder.parent / "others.npz", x_train=x, x_test=x[::-1])
    return folder.parent / "others.npz"


@pytest.mark.parametrize("case", ["more epochs", "the same", "more seeds", "init", "first"])
def test_what_cannot_be_trained_is_refused_before_anything_is_written(two, copy, case):
    """Fault: a record that names epochs, data or members which no fit of the group has."""
    others = with_settings(f"data.name={shuffled(copy)}")
    missing = with_settings("data.name=no/such/data")
    call = {
        "more epochs": lambda: train_seeds(
            override(others, ["training.epochs=4"]), copy, seeds=2, **QUIET
        ),
        "the same": lambda: train_seeds(others, copy, seeds=2, **QUIET),
        "more seeds": lambda: train_seeds(missing, copy, seeds=3, **QUIET),
        "init": lambda: train_seeds(RUN, copy, seeds=3, init=two.group.members["seed-14"], **QUIET),
        "first": lambda: train_seeds(missing, copy / "new", seeds=3, **QUIET),
    }[case]
    before = (copy / "group.json").read_bytes()
    with pytest.raises(ValueError, match=r"differ|no/such/data|leave out --init"):
        call()
    assert (copy / "group.json").read_bytes() == before
    assert not (copy / "new").exists()
    assert list(read_group(copy).finished) == list(two.numbers)
    assert list(train_seeds(RUN, copy, seeds=2, **QUIET).numbers) == list(two.numbers)


def test_an_extension_that_fails_before_a_step_can_be_taken_back(two, copy, monkeypatch):
    """Fault: seeds that count as finished with fewer epochs; a group that nobody can go on with."""

    def failing(*_, **__):
        raise KeyboardInterrupt

    longer = with_settings("training.epochs=4")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "train_run", failing)
        with pytest.raises(KeyboardInterrupt):
            train_seeds(longer, copy, seeds=2, **QUIET)
    words = "was trained for 2 epochs, and the group has 4 now; run `priorwise train` again"
    assert read_group(copy).missing == dict.fromkeys(two.numbers, words)
    assert list(train_seeds(RUN, copy, seeds=2, **QUIET).numbers) == list(two.numbers)
    assert list(read_group(copy).finished) == list(two.numbers)
    train_seeds(longer, copy, seeds=2, **QUIET)
    with pytest.raises(RunFolderError, match=r"training.epochs was 4, now 2"):
        train_seeds(RUN, copy, seeds=2, **QUIET)
    assert list(read_group(copy).finished) == list(two.numbers)


def test_a_member_that_is_gone_is_said_and_trained_again(two, copy, monkeypatch):
    """Fault: seeds that cannot be evaluated since another one was deleted."""
    first, second = two.numbers
    shutil.rmtree(copy / first)
    group = seeds_of(copy)
    assert list(group.finished) == [second]
    words = "has no run in its folder any more; run `priorwise train` again"
    assert group.missing == {first: words}
    assert one_run(copy).name == second
    with monkeypatch.context() as patch:
        Writes(patch, 4)
        with pytest.raises(KilledError):
            train_seeds(RUN, copy, seeds=2, **QUIET)
    assert list(read_group(copy).finished) == [second]  # a part of a fit is no end
    train_seeds(RUN, copy, seeds=2, **QUIET)
    assert_same_run(copy / first, two.group.members[first])


def edited(folder, change):
    """Change the identity in a run's record as somebody would in an editor."""
    record = json.loads((folder / "run.json").read_text())
    change(record["identity"])
    (folder / "run.json").write_text(json.dumps(record))


def exchanged(first, second):
    first.rename(first.parent / "third")
    second.rename(first)
    (first.parent / "third").rename(second)


def copied(first, second):
    shutil.rmtree(second)
    shutil.copytree(first, second)


def copied_and_edited(first, second):
    seed = json.loads((second / "run.json").read_text())["identity"]["run"]["training"]["seed"]
    copied(first, second)
    edited(second, lambda identity: identity["run"]["training"].update(seed=seed))


def of_other(*settings):
    def trained(first, second):
        shutil.rmtree(second)
        run = with_settings(f"training.seed={FIRST + 1}", *settings)
        train_run(run, second, **QUIET)

    return trained


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (exchanged, f"training.seed was {FIRST + 1}, now {FIRST}"),
        (copied, f"training.seed was {FIRST}, now {FIRST + 1}"),
        (copied_and_edited, f"seed-{FIRST + 1} is a copy of seed-{FIRST}"),
        (of_other("model.latent=3"), "model.latent was 3, now 2"),
        (of_other("training.epochs=1"), "training.epochs was 1, now 2"),
        (of_other("training.epochs=3"), "training.epochs was 3, now 2"),
        (
            lambda first, second: edited(second, lambda each: each.update(data_fingerprint="0")),
            f"those of seed-{FIRST} and seed-{FIRST + 1} in .* differ: the data differ",
        ),
    ],
)
def test_another_run_in_the_place_of_a_member_is_in_no_mean(two, copy, change, words):
    """Fault: means over whatever lies in the folders; a spread of 0 over one run and its copy."""
    assert list(seeds_of(copy).finished) == list(two.numbers)
    change(*(copy / name for name in two.numbers))
    for measured in (seeds_of, evaluate_group, group_of_results):
        with pytest.raises(RunFolderError, match=words):
            measured(copy)


def group_of_results(folder):
    return group_result(folder, paper="own")
