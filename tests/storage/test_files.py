"""Files that are whole or not there, however the write ends."""

import os
import secrets
from pathlib import Path

import pytest
from full_disk import no_file_above

from priorwise.storage import WriteError, append_line, atomic_file, write_atomically


def write_by_block(path: Path, data: bytes) -> None:
    with atomic_file(path) as partial:
        partial.write_bytes(data)


FORMS = pytest.mark.parametrize("write", [write_atomically, write_by_block])


@FORMS
def test_what_is_written_is_there(write, tmp_path):
    """Fault: a leftover beside it."""
    for content in (b"old", b"", b"new and longer"):
        write(tmp_path / "run.json", content)
        assert (tmp_path / "run.json").read_bytes() == content
    assert os.listdir(tmp_path) == ["run.json"]


@FORMS
def test_a_kill_between_write_and_rename_leaves_the_old_one(write, tmp_path, monkeypatch):
    """Fault: renaming before the data are on the disk; a leftover that stops the next write."""
    path = tmp_path / "run.json"
    write(path, b"old")
    order = []
    flush = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (order.append("fsync"), flush(number)))

    def killed(source: Path, target: Path) -> None:
        order.append("rename")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(path, b"new and longer")
    assert order == ["fsync", "rename"]
    assert path.read_bytes() == b"old"
    write(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert os.listdir(tmp_path) == ["run.json"]


@FORMS
def test_a_full_disk_leaves_the_old_one(write, tmp_path):
    """Fault: half a file, an error without a path, advice for a command that is another."""
    path = tmp_path / "samples.npz"
    write(path, b"old")
    with no_file_above(100), pytest.raises(WriteError) as refusal:
        write(path, bytes(1000))
    assert str(refusal.value) == (
        f"could not write {path} (File too large); an earlier file in its place is unharmed. "
        "Free some space there, or choose another place, and try again."
    )
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["samples.npz"]


@FORMS
def test_a_folder_that_is_a_file_is_told(write, tmp_path):
    """Fault: an error that names a hidden file in place of the one that was asked for."""
    (tmp_path / "folder").write_bytes(b"mine")
    path = tmp_path / "folder" / "x.png"
    with pytest.raises(WriteError, match=rf"could not write {path} \("):
        write(path, b"x")
    assert (tmp_path / "folder").read_bytes() == b"mine"


def test_a_block_makes_the_folder_and_leaves_nothing_when_it_fails(tmp_path):
    """Fault: a file of a block that was interrupted; another file of the block that stays."""
    path = tmp_path / "cache" / "x.npz"

    def interrupted() -> None:
        with atomic_file(path) as partial:
            partial.write_bytes(b"half")
            partial.with_name("arrived").write_bytes(b"packed")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(path.parent.iterdir()) == []


def test_a_block_within_a_block_tells_of_its_own_file(tmp_path):
    """Fault: the outer file's name for a refusal of the inner one."""
    with (
        no_file_above(100),
        pytest.raises(WriteError, match=r"could not write .*inner\.idx"),
        atomic_file(tmp_path / "outer.npz") as partial,
    ):
        write_by_block(partial.with_name("inner.idx"), bytes(1000))
    assert list(tmp_path.iterdir()) == []


def test_lines_are_added(tmp_path):
    """Fault: a line that takes the place of another; a refusal without a path or advice."""
    path = tmp_path / "metrics.jsonl"
    for line in ('{"epoch": 1}', "µ"):
        append_line(path, line)
    assert path.read_text(encoding="utf-8") == '{"epoch": 1}\nµ\n'
    with no_file_above(30), pytest.raises(WriteError, match=r"metrics\.jsonl .* Start again\.$"):
        append_line(path, "x" * 100, advice="Start again.")


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path, monkeypatch):
    """Fault: a file elsewhere that is overwritten through a link, or two writers of one file."""
    path, target = tmp_path / "run.json", tmp_path / "precious"
    target.write_bytes(b"mine")
    names = iter(["taken", "free"])
    monkeypatch.setattr(secrets, "token_hex", lambda count: next(names))
    for link in (".run.json.partial", ".run.json.taken.partial"):
        (tmp_path / link).symlink_to(target)
    with pytest.raises(WriteError, match=r"could not write .*run\.json \(File exists\)"):
        write_atomically(path, b"new")
    write_atomically(path, b"new")
    assert (path.read_bytes(), target.read_bytes()) == (b"new", b"mine")
