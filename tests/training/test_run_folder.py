"""A run's folder takes that run and no other, and never touches what is not its own."""

import json
import warnings

import pytest
from toys import splits, wrong

from priorwise import fit
from priorwise.training import RunFolderError
from priorwise.training.folder import RunFolder, read_record

IDENTITY = {"training": {"lr": 0.1, "epochs": 3}, "data_fingerprint": "abc"}


def contents(path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


def test_same_run_is_welcome(tmp_path):
    """Fault: a tuple or an integer key that JSON changes, taken for another run."""
    path = tmp_path / "deep" / "run"
    identity = IDENTITY | {"shape": (1, 2)}
    RunFolder(path, identity, {"torch": "2"})
    before = contents(path)
    RunFolder(str(path), identity, {"torch": "2"})
    assert contents(path) == before
    assert read_record(path / "run.json")["identity"] == json.loads(json.dumps(identity))


def test_another_run_is_refused_by_field(tmp_path):
    """Fault: going on with other settings; a message that does not say which; a touched file."""
    RunFolder(tmp_path, IDENTITY)
    before = contents(tmp_path)
    other = {"training": {"lr": 0.2, "epochs": 3, "patience": 5}, "data_fingerprint": "abc"}
    with pytest.raises(RunFolderError) as caught:
        RunFolder(tmp_path, other)
    message = str(caught.value)
    for part in (
        str(tmp_path),
        "training.lr was 0.1, now 0.2",
        "training.patience was 50, now 5",
        "--out",
    ):
        assert part in message
    assert "epochs" not in message
    assert contents(tmp_path) == before


def test_folder_of_a_stranger_is_refused(tmp_path):
    """Fault: writing among somebody's files."""
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunFolderError, match=r"empty folder.*holds thesis\.tex.*--out"):
        RunFolder(tmp_path, IDENTITY)
    assert contents(tmp_path) == {"thesis.tex": b"x"}


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder(tmp_path / "run", IDENTITY)


def test_leftover_of_a_kill_is_no_stranger(tmp_path):
    """Fault: a run that was killed while it wrote its first file can never begin."""
    (tmp_path / ".run.json.partial").write_text("{")
    RunFolder(tmp_path, IDENTITY)
    assert (tmp_path / "run.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"about": 1}', "\x00\x00"])
def test_damaged_record_is_refused(tmp_path, text):
    """Fault: a traceback, or a run that begins again over the old one."""
    (tmp_path / "run.json").write_text(text)
    for visit in (
        lambda: RunFolder(tmp_path, IDENTITY),
        lambda: read_record(tmp_path / "run.json"),
    ):
        with pytest.raises(RunFolderError, match=r"run\.json is damaged.*Restore it"):
            visit()
    assert (tmp_path / "run.json").read_text() == text


def test_missing_record_is_refused(tmp_path):
    with pytest.raises(
        RunFolderError, match=r"expected a run folder with run\.json; there is none"
    ):
        read_record(tmp_path / "run.json")


def test_other_machine_is_warned_of(tmp_path):
    """Fault: silence where bit-for-bit equality no longer holds, or a warning where it does."""
    about = {"threads": 1, "torch": "2"}
    RunFolder(tmp_path, IDENTITY, about)
    with pytest.warns(UserWarning, match="threads was 1, now 2"):
        RunFolder(tmp_path, IDENTITY, about | {"threads": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RunFolder(tmp_path, IDENTITY, about)


def test_metrics_are_cut_and_never_stretched(tmp_path):
    """Fault: lines twice after a resume; a shorter file filled up with zeros."""
    folder = RunFolder(tmp_path, IDENTITY)
    assert folder.read_metrics() == []
    folder.append_metrics({"epoch": 1})
    length = folder.metrics_bytes()
    folder.append_metrics({"epoch": 2})
    folder.cut_metrics(length)
    assert folder.read_metrics() == [{"epoch": 1}]
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl is cut short: .* 10000 bytes"):
        folder.cut_metrics(10_000)
    assert folder.read_metrics() == [{"epoch": 1}]
    folder.cut_metrics(0)
    assert folder.read_metrics() == []


def test_fit_refuses_another_fit(tmp_path):
    """Fault: other options or other data going on in one folder."""
    options = {"batch_size": 30, "warmup_epochs": 0, "progress": False, "out": tmp_path}
    fit(wrong(), splits(), epochs=2, **options)
    before = contents(tmp_path)
    with pytest.raises(RunFolderError, match=r"training\.epochs was 2, now 1"):
        fit(wrong(), splits(), epochs=1, **options)
    words = r"the data differ \(toy: 60 / 40 .*; now toy: 70 / 40 .*\): fingerprint \w+, now \w+\."
    with pytest.raises(RunFolderError, match=words):
        fit(wrong(), splits(70), epochs=2, **options)
    assert contents(tmp_path) == before
