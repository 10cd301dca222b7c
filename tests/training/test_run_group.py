"""Groups of runs: several seeds of one run in one folder."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from kills import KilledError, Writes, assert_same_run

from priorwise.config.overrides import override
from priorwise.evaluation import seeds_of
from priorwise.models.base import AbstractModel
from priorwise.recipes import recipe
from priorwise.training import (
    RunFolderError,
    group_fit,
    load,
    read_group,
    runner,
    train_group,
    train_run,
    train_seeds,
)
from priorwise.training.member_process import (
    MemberError,
    MemberFit,
    _Processes,
    fitted_at_once,
)
from priorwise.training.not_finite import TrainingDivergedError
from priorwise.training.run_data import load_splits
from priorwise.training.run_group import SEED, Choice, End, one_run, opened
from priorwise.training.run_record import resolve_base

SMALL = ["model.hidden=4", "model.latent=2", "training.epochs=2", "training.schedule=constant"]
RUN = override(recipe("digits/standard"), [*SMALL, "training.warmup_epochs=0"])
FIRST = RUN.training.seed
QUIET = {"progress": False}


def with_settings(*settings):
    return override(RUN, settings)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A group of two seeds."""
    out = tmp_path_factory.mktemp("groups") / "two"
    return train_seeds(RUN, out, seeds=2, **QUIET)


def test_members_are_ordinary_runs_that_differ_in_the_seed(two, tmp_path):
    """Fault: two members with one seed; a member that is not what its run alone would be."""
    assert list(two.numbers) == [f"seed-{FIRST}", f"seed-{FIRST + 1}"]
    assert two.diverged == {}
    bests = [numbers["best"] for numbers in two.numbers.values()]
    assert bests[0] != bests[1]
    for seed, (name, folder) in zip((FIRST, FIRST + 1), two.group.members.items(), strict=True):
        alone = train_run(with_settings(f"training.seed={seed}"), tmp_path / name, **QUIET)
        assert alone.best == two.numbers[name]["best"]
        assert_same_run(tmp_path / name, folder)
    assert read_group(two.group.folder) == two.group


def test_a_killed_group_goes_on(two, tmp_path):
    """Fault: a member that is trained again, or left out, after a kill; a record that is lost."""
    with pytest.MonkeyPatch.context() as patch:
        writes = Writes(patch)
        train_seeds(RUN, tmp_path / "quiet", seeds=2, **QUIET)
    for at in (2, writes.count // 2 + 1, writes.count):
        out = tmp_path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            Writes(patch, at)
            with pytest.raises(KilledError):
                train_seeds(RUN, out, seeds=2, **QUIET)
        assert len(read_group(out).finished) == (at > writes.count // 2)
        assert list(train_seeds(RUN, out, seeds=2, **QUIET).numbers) == list(two.numbers)
        for name, folder in two.group.members.items():
            assert_same_run(out / name, folder)


def test_more_seeds_and_more_epochs_extend_a_group(two, tmp_path):
    """Fault: members that are trained anew, or that stay behind."""
    out = tmp_path / "group"
    train_seeds(RUN, out, seeds=1, **QUIET)
    more = train_seeds(RUN, out, seeds=2, **QUIET)
    assert {n: v["best"] for n, v in more.numbers.items()} == {
        n: v["best"] for n, v in two.numbers.items()
    }
    train_seeds(with_settings("training.epochs=1"), tmp_path / "short", seeds=2, **QUIET)
    train_seeds(RUN, tmp_path / "short", seeds=2, **QUIET)
    for name, folder in two.group.members.items():
        assert_same_run(tmp_path / "short" / name, folder)


def test_a_member_that_patience_stopped_does_not_stop_the_group(tmp_path):
    """Fault: a group that can never be extended since one of its members refuses."""
    run = with_settings("training.lr=0.03", "training.patience=1", "training.epochs=80")
    before = train_seeds(run, tmp_path / "group", seeds=1, **QUIET)
    (numbers,) = before.numbers.values()
    assert numbers["stopped"] == "patience"
    longer = override(run, ["training.epochs=81"])
    after = train_seeds(longer, tmp_path / "group", seeds=1, **QUIET)
    assert next(iter(after.numbers.values()))["epochs"] == numbers["epochs"]
    assert list(seeds_of(tmp_path / "group").finished) == list(before.numbers)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda out: train_seeds(with_settings("model.latent=3"), out, seeds=2), "model.latent"),
        (lambda out: train_seeds(RUN, out, seeds=1), "may grow but not shrink"),
        (
            lambda out: train_seeds(with_settings("training.seed=3"), out, seeds=2),
            f"{FIRST}, {FIRST + 1}, now 3, 4",
        ),
        (
            lambda out: train_group(RUN, out, setting="model.latent", values=[2, 3]),
            "they differ in training.seed, not in model.latent",
        ),
        (lambda out: train_run(RUN, out), "holds a group of runs"),
        (lambda out: train_seeds(RUN, out / f"seed-{FIRST}", seeds=2), "holds a single run"),
        (lambda out: train_seeds(RUN, out, seeds=0), "`seeds` of at least 1"),
        (lambda out: train_seeds(RUN, out, seeds=2, jobs=0), "`jobs` of at least 1"),
        (
            lambda out: resolve_base(recipe("ncp/posthoc"), out),
            f"Name one of its members, such as .*seed-{FIRST}",
        ),
    ],
)
def test_another_group_in_the_folder_is_refused(two, change, words):
    """Fault: members of two recipes in one mean; a folder that changes before it is refused."""
    folder = two.group.folder
    before = (folder / "group.json").read_bytes()
    with pytest.raises(ValueError, match=words):
        change(folder)
    assert (folder / "group.json").read_bytes() == before


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"values": ["../14"]}, "plain words"),
        ({"values": []}, "at least one"),
        ({"values": [14, 14]}, "that differ"),
        ({"ends": {"seed-14": {"state": "perhaps", "words": ""}}}, "`ends`"),
        ({"choice": {"value": 99, "why": "it is large", "numbers": {}}}, "`choice`"),
        ({"choice": {"value": 14, "why": "it is large", "numbers": 3}}, "`choice`"),
        ({"run": 3}, "`run`"),
        ({"run": {}}, "`run` has no number of epochs"),
        ({"values": "14"}, "`values` is of another kind"),
        (
            {"ends": {"seed-99": {"state": "finished", "words": ""}}},
            "seed-99'?, which is no member",
        ),
        ({"ends": {"seed-14": {"words": ""}}}, "`ends`"),
        ({"ends": {"seed-14": {"state": "finished", "words": "", "epochs": "2"}}}, "`ends`"),
        ({"setting": "training./../../seed"}, "`setting`"),
    ],
)
def test_a_damaged_record_is_refused(two, tmp_path, record, words):
    """Fault: a record from elsewhere that names folders outside its own."""
    stored = json.loads((two.group.folder / "group.json").read_text())
    (tmp_path / "group.json").write_text(json.dumps(stored | record))
    with pytest.raises(RunFolderError, match=words):
        read_group(tmp_path)


def test_a_member_that_diverges_is_said_and_the_others_go_on(tmp_path, monkeypatch):
    """Fault: a mean over the seeds that happened to work, without a word."""
    train = runner.train_run

    def diverging(run, *arguments, **options):
        if run.training.seed == FIRST:
            raise TrainingDivergedError("NaN at step 3.")
        return train(run, *arguments, **options)

    monkeypatch.setattr(runner, "train_run", diverging)
    result = train_seeds(RUN, tmp_path, seeds=2, **QUIET)
    assert result.diverged == {f"seed-{FIRST}": "NaN at step 3."}
    assert list(result.numbers) == [f"seed-{FIRST + 1}"]
    group = read_group(tmp_path)
    assert group.missing == {f"seed-{FIRST}": "diverged: NaN at step 3."}
    assert one_run(tmp_path).name == f"seed-{FIRST + 1}"


def test_ctrl_c_keeps_what_is_finished(tmp_path, monkeypatch):
    """Fault: a group that trains on, or forgets, after Ctrl-C."""
    fit = MemberFit.run

    def interrupted(member):
        if member.name != f"seed-{FIRST}":
            os.kill(os.getpid(), signal.SIGINT)
        return fit(member)

    monkeypatch.setattr(MemberFit, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_seeds(RUN, tmp_path, seeds=2, **QUIET)
    assert list(read_group(tmp_path).finished) == [f"seed-{FIRST}"]
    assert "run `priorwise train` again" in read_group(tmp_path).missing[f"seed-{FIRST + 1}"]


def test_a_group_stands_for_one_run_where_one_is_wanted(two, tmp_path, capsys):
    """Fault: a member that is taken without a word; a candidate that was not chosen."""
    folder = two.group.folder
    assert isinstance(load(folder), AbstractModel)
    assert f"its first member, seed-{FIRST}" in capsys.readouterr().err
    assert len(load_splits(folder).test) == 300
    assert one_run(folder / "elsewhere") == folder / "elsewhere"
    group = replace(two.group, folder=tmp_path, setting="model.latent", values=(2, 3), ends={})
    group.write()
    with pytest.raises(RunFolderError, match=r"not made yet.*latent-2.*latent-3"):
        one_run(tmp_path)
    replace(group, choice=Choice(3, "its bound is lower", {"gain": 1.5})).write()
    assert one_run(tmp_path) == tmp_path / "latent-3"
    assert "latent-3 was chosen: its bound is lower" in capsys.readouterr().err
    assert read_group(tmp_path).choice.numbers == {"gain": 1.5}
    assert opened(tmp_path, RUN, "model.latent", (2, 3)).choice == Choice(
        3, "its bound is lower", {"gain": 1.5}
    )
    assert opened(tmp_path, RUN, "model.latent", (2, 3, 4)).choice is None


def test_several_at_once_are_those_one_after_the_other(two, tmp_path, capfd):
    """Fault: a process that trains another run; a failure in one that is taken for a result."""
    group = replace(two.group, folder=tmp_path, ends={})
    group.write()
    name, first = next(iter(two.group.members.items()))
    ((done, outcome),) = fitted_at_once([MemberFit(str(tmp_path), name)], 1, threads=1)
    assert (done, outcome.end) == (name, End("finished"))
    assert outcome.numbers["best"] == two.numbers[name]["best"]
    assert_same_run(tmp_path / name, first)
    assert f"{name}: data digits" in capfd.readouterr().err
    with pytest.raises(MemberError, match=r"seed-1: expected a group of runs with group.json"):
        list(fitted_at_once([MemberFit(str(tmp_path / "none"), "seed-1")], 1, threads=1))


WAITING = """
import pathlib, sys
name, marker = sys.argv[1:]
if name == "quick":
    print('{"end": {"state": "finished", "words": ""}, "numbers": {}}')
elif name == "waiting":
    sys.stdin.read()
    pathlib.Path(marker).touch()
"""


def test_fits_that_run_are_stopped_with_the_one_that_started_them(tmp_path, monkeypatch):
    """Fault: processes that train on after Ctrl-C; one that was killed and counts as finished."""

    def started(processes, fit):
        return subprocess.Popen(
            [sys.executable, "-S", "-c", WAITING, fit.name, str(tmp_path / "stopped")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    monkeypatch.setattr(_Processes, "_started", started)
    fits = {name: MemberFit(str(tmp_path), name) for name in ("quick", "waiting", "killed", "last")}
    both = fitted_at_once([fits["waiting"], fits["quick"], fits["last"]], 2, threads=1)
    assert next(both)[0] == "quick"
    both.close()
    assert (tmp_path / "stopped").exists()
    with pytest.raises(MemberError, match="If it was killed, the memory may have been full"):
        list(fitted_at_once([fits["killed"]], 1, threads=1))


def test_threads_are_shared(tmp_path, monkeypatch, capsys):
    """Fault: two runs at once, each with all threads, slower than in turn."""
    asked = []

    def fitted(fits, jobs, *, threads):
        asked.append((len(fits), jobs, threads))
        yield from ()

    monkeypatch.setattr(group_fit, "fitted_at_once", fitted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    train_seeds(RUN, tmp_path, seeds=3, jobs=9)
    assert asked == [(3, 3, 2)]
    assert "3 runs at once, each with 2 of 7 threads" in capsys.readouterr().err


def test_torchrun_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="expected one process for a group of runs"):
        train_group(RUN, tmp_path / "out", setting=SEED, values=[1])
    assert not (tmp_path / "out").exists()
    assert group_fit.SEED == SEED
