"""One process at a time writes to a run folder, and a crash leaves none locked."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
from toys import OPTIONS, splits, wrong

from priorwise import fit
from priorwise.training import RunFolderError
from priorwise.training.lock import held

HOLDER = """
import sys, time
from pathlib import Path
from priorwise.training.lock import held
with held(Path(sys.argv[1])):
    print("torch" in sys.modules, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of the folder ``run``."""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n"  # it starts without torch
        yield process
        process.kill()


def contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def test_two_processes_never_write_to_one_folder(holder, tmp_path):
    """Fault: two fits whose lines mix in one file; a message that does not say who is there; a
    folder that stays locked after a crash.
    """
    run = tmp_path / "run"
    before = contents(run)
    words = rf"process {holder.pid} on \S+ \(`-c .*run`, since 2\d\d\d-.*\) is writing to this run"
    with pytest.raises(RunFolderError, match=words):
        fit(wrong(), splits(), out=run, **OPTIONS)
    assert contents(run) == before
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    result = fit(wrong(), splits(), out=run, **OPTIONS)
    assert result.stopped == "epochs"
    assert sorted(entry.name for entry in run.iterdir()) == [
        ".lock",
        "best.safetensors",
        "last.safetensors",
        "metrics.jsonl",
        "run.json",
    ]


def test_a_lock_is_freed_however_the_block_ends(tmp_path):
    def interrupted() -> None:
        with held(tmp_path):
            holder = json.loads((tmp_path / ".lock-holder.json").read_text())
            assert holder["process"] == os.getpid()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with held(tmp_path), pytest.raises(RunFolderError, match="to be free"), held(tmp_path):
        pass
    with held(tmp_path), held(tmp_path, alone=False):
        pass


def test_leftovers_of_killed_writes_are_swept(tmp_path):
    """Fault: hidden files that pile up; a file of the user's, or one of another command, removed;
    the file behind a link removed.
    """
    target = tmp_path / "mine"
    target.write_text("mine")
    (tmp_path / ".last.safetensors.0011aabb.partial").write_text("half")
    (tmp_path / ".run.json.partial").symlink_to(target)
    (tmp_path / ".evaluation-abcd.partial").mkdir()
    (tmp_path / ".evaluation-abcd.partial" / "evaluation.json").write_text("half")
    stays = {"mine", ".samples-abcd.partial", ".notes"}
    for name in stays - {"mine"}:
        (tmp_path / name).write_text("x")
    with held(tmp_path):
        pass
    assert {entry.name for entry in tmp_path.iterdir()} == stays | {".lock"}
    assert target.read_text() == "mine"


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    """Fault: a traceback, or two writers without a word."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.warns(UserWarning, match=r"No locks available.*no other process"), held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_nobody_may_write_to_needs_no_lock(tmp_path, monkeypatch):
    """Fault: somebody's run on a read-only disk that can no longer be read."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["link", "dangling", "folder"])
def test_something_else_in_place_of_the_lock_is_refused(kind, tmp_path):
    """Fault: a warning about network drives, and two writers; the file behind a link emptied."""
    target, lock = tmp_path / "mine", tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    if kind == "link":
        target.write_text("mine")
    if kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(target)
    with pytest.raises(RunFolderError, match=r"\.lock to be a file .*Remove it"), held(lock.parent):
        pytest.fail("it was entered")
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_text() == "mine"


def test_who_holds_a_lock_is_said_where_it_can_be(tmp_path):
    """Fault: a folder in place of the file with the name stops every command, or leaves the lock
    taken for the rest of this process.
    """
    (tmp_path / ".lock-holder.json" / "x").mkdir(parents=True)
    with held(tmp_path), pytest.raises(RunFolderError, match="another process"), held(tmp_path):
        pass
    with held(tmp_path):
        pass
