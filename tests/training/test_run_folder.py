"""A run's folder takes that run and no other, and never touches what is not its own."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
import torch
from kills import assert_same_run
from safetensors.torch import safe_open, save_file
from toys import OPTIONS, REAL, splits, wrong

from priorwise import fit
from priorwise.checked_lines import checked_line, read_line
from priorwise.training import AbstractCallback, CheckpointError, Moment, RunFolderError
from priorwise.training.checkpoint import read_checkpoint, write_checkpoint
from priorwise.training.folder import RunFolder, read_record
from priorwise.training.run_identity import differences, name_of

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
    first, second = {"epoch": 1, "step": 3, "train": {}}, {"epoch": 2, "step": 6, "train": {}}
    folder.append_metrics(first)
    length = folder.metrics_bytes()
    folder.append_metrics(second)
    folder.cut_metrics(length)
    assert folder.read_metrics() == [first]
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl is cut short: .* 10000 bytes"):
        folder.cut_metrics(10_000)
    assert folder.read_metrics() == [first]
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


# -- damage, and files of other runs ---------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A finished run of three epochs."""
    fit(wrong(), splits(), out=tmp_path / "run", **OPTIONS)
    return tmp_path / "run"


def refused_and_untouched(run, error, words):
    """The fit is refused before anything is trained or written."""
    before = contents(run)
    with pytest.raises(error, match=words):
        fit(wrong(), splits(), out=run, **OPTIONS)
    assert contents(run) == before


@pytest.mark.parametrize("cut", [1, 40, 140, -1])
def test_metrics_that_were_cut_stop_the_run_before_it_starts(run, cut):
    """Fault: training to the end, and failing at the end and at every repeat."""
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:cut])
    refused_and_untouched(run, RunFolderError, r"metrics\.jsonl is cut short.*Restore the file")


@pytest.mark.parametrize(
    ("old", "new"), [("1", "2"), ('"epoch"', "'epoch'"), ('"check"', '"kcehc"')]
)
def test_a_changed_line_of_metrics_is_named(run, old, new):
    """Fault: a changed number that is taken for measured."""
    path = run / "metrics.jsonl"
    first, second, *rest = path.read_text().splitlines(keepends=True)
    assert old in second
    path.write_text("".join([first, second.replace(old, new, 1), *rest]))
    if new == '"kcehc"':  # like a line of an earlier version
        with pytest.warns(UserWarning, match="lines without a checksum"):
            fit(wrong(), splits(), out=run, **OPTIONS)
    else:
        refused_and_untouched(run, RunFolderError, r"line 2 of .*metrics\.jsonl is damaged")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("validation", [1]),
        ("validation", {"negative_elbo": "abc"}),
        ("train", 7),
        ("epoch", "x"),
        ("step", 1.5),
        ("step", None),
        ("best_step", True),
        ("warnings", 5),
        ("warnings", [5]),
    ],
)
def test_a_line_of_other_kinds_is_named_before_anything_is_trained(run, name, value):
    """Fault: a traceback at the end of hours, from a line with a right checksum."""
    path = run / "metrics.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    record = read_line(first.rstrip())
    record.pop(name, None)
    record |= {} if value is None else {name: value}
    changed = f"{checked_line(record)}\n".encode()
    path.write_bytes(b"".join([changed, *rest]))
    tensors, state = read_checkpoint(run / "last.safetensors")
    state["metrics_bytes"] = path.stat().st_size
    identity = name_of(read_record(run / "run.json")["identity"])
    write_checkpoint(run / "last.safetensors", tensors, state, run=identity)
    refused_and_untouched(run, RunFolderError, rf"line 1 of .* is damaged: .*`{name}`")


def test_lines_after_the_checkpoint_are_written_again_whatever_they_hold(run):
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b"\x00{half")
    assert len(fit(wrong(), splits(), out=run, **OPTIONS).history) == 3


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
@pytest.mark.parametrize("place", [-3, 0.5, 0.1])
def test_a_flipped_bit_is_noticed(run, name, place):
    """Fault: weights that were changed on the disk, evaluated or trained further."""
    path = run / name
    content = bytearray(path.read_bytes())
    at = place if place < 0 else int(place * len(content))
    content[at] ^= 4
    path.write_bytes(bytes(content))
    refused_and_untouched(run, CheckpointError, rf"{name} (is damaged|is not a whole|was not writ)")


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_a_checkpoint_of_another_run_is_refused(run, tmp_path, name):
    """Fault: the weights of another seed, which fit this model as well."""
    fit(wrong(), splits(), out=tmp_path / "other", **OPTIONS, seed=3)
    (run / name).write_bytes((tmp_path / "other" / name).read_bytes())
    refused_and_untouched(run, CheckpointError, rf"{name} belongs to another run")


def test_a_checkpoint_without_optimisers_is_refused(run):
    """Fault: going on with moments of zero."""
    path, name = run / "last.safetensors", name_of(stored_identity(run))
    tensors, state = read_checkpoint(path)
    kept = {key: tensor for key, tensor in tensors.items() if not key.startswith("optimizer")}
    write_checkpoint(path, kept, state, run=name)
    refused_and_untouched(run, CheckpointError, "expected the state of the optimiser of 'model'")


def test_a_checkpoint_of_an_earlier_version_is_read_with_a_warning(run):
    path = run / "last.safetensors"
    with safe_open(path, "pt") as file:
        header = {name: file.metadata()[name] for name in ("format", "state")}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata=header)
    with pytest.warns(UserWarning, match=r"last\.safetensors has no checksum"):
        assert fit(wrong(), splits(), out=run, **OPTIONS).stopped == "epochs"


def test_a_removed_checkpoint_does_not_cost_the_best_one(run):
    """Fault: a run that silently starts again over better weights."""
    (run / "last.safetensors").unlink()
    refused_and_untouched(run, RunFolderError, r"expected last\.safetensors beside .*remove .*best")
    (run / "best.safetensors").unlink()
    assert fit(wrong(), splits(), out=run, **OPTIONS).stopped == "epochs"


# -- more epochs -----------------------------------------------------------------------------------


def stored_identity(run) -> dict:
    return read_record(run / "run.json")["identity"]


def test_an_extended_run_equals_an_unbroken_one(tmp_path):
    """Fault: a step, a moment or a line that depends on where the run had ended; an extension that
    nobody can see afterwards.
    """
    options = OPTIONS | {"schedule": "constant", "keep": "last"}
    fit(wrong(), splits(), out=tmp_path / "a", **options | {"epochs": 4})
    fit(wrong(), splits(), out=tmp_path / "b", **options | {"epochs": 2})
    weights = fit(wrong(), splits(), out=tmp_path / "b", **options | {"epochs": 4}).model
    assert_same_run(tmp_path / "a", tmp_path / "b")
    about = read_record(tmp_path / "b" / "run.json")["about"]
    assert about["extended"] == [{"epochs_before": 2, "epochs": 4, "from_step": 6}]
    assert stored_identity(tmp_path / "b") == stored_identity(tmp_path / "a")
    again = fit(wrong(), splits(), out=tmp_path / "b", **options | {"epochs": 4}).model
    assert torch.equal(weights.encoder.weight, again.encoder.weight)
    with pytest.raises(RunFolderError, match=r"training\.epochs was 4, now 3"):
        fit(wrong(), splits(), out=tmp_path / "b", **options | {"epochs": 3})


def test_what_a_schedule_makes_of_more_epochs_is_said(run):
    words = r"to 6 epochs instead of 3.*after step 9 the learning rate is 0\.025 instead of 0:"
    with pytest.warns(UserWarning, match=words):
        result = fit(wrong(), splits(), out=run, **OPTIONS | {"epochs": 6})
    assert result.epochs == 6


def test_a_verdict_that_an_unbroken_run_lacks_is_said(tmp_path):
    """Fault: equality bit for bit that is promised although the old end was validated, too."""
    options = OPTIONS | {"validate_every": 2, "schedule": "constant"}
    fit(wrong(), splits(), out=tmp_path, **options | {"epochs": 1})
    with pytest.warns(UserWarning, match=r"its old end, after step 3, where a run of 2 epochs"):
        fit(wrong(), splits(), out=tmp_path, **options | {"epochs": 2})


def test_a_run_that_stopped_improving_is_not_extended(tmp_path):
    """Fault: an extension that does nothing, or that trains where an unbroken run would not."""
    options = OPTIONS | {"patience": 1, "schedule": "constant"}
    result = fit(wrong(), splits(), out=tmp_path, **options | {"epochs": 50})
    assert result.stopped == "patience"
    before = contents(tmp_path)
    with pytest.raises(RunFolderError, match=r"stopped after step \d+, because .*--init"):
        fit(wrong(), splits(), out=tmp_path, **options | {"epochs": 60})
    assert contents(tmp_path) == before


def test_what_has_no_influence_is_no_other_run(run):
    """Fault: a run that is refused for another checkpoint interval."""
    options = OPTIONS | {"checkpoint_seconds": 5.0}
    assert fit(wrong(), splits(), out=run, **options).stopped == "epochs"


def test_an_option_of_a_later_version_is_no_other_run(run):
    """Fault: every older folder refused as soon as there is a new option."""
    record = read_record(run / "run.json")
    identity = record["identity"]
    del identity["training"]["compile"]
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="belongs to another run"):  # another record
        fit(wrong(), splits(), out=run, **OPTIONS)
    for path in (run / "best.safetensors", run / "last.safetensors"):
        tensors, state = read_checkpoint(path)
        write_checkpoint(path, tensors, state, run=name_of(identity))
    assert fit(wrong(), splits(), out=run, **OPTIONS).stopped == "epochs"
    with pytest.raises(RunFolderError, match=r"training\.compile was False, now True"):
        RunFolder(run, identity | {"training": identity["training"] | {"compile": True}})


FIRST_STATE = (
    "step best best_step since_best seconds sums examples metrics_bytes stopped probe large"
)
FIRST_OPTIONS = (
    "epochs batch_size lr lr_warmup_steps schedule lr_final optimizer weight_decay eps "
    "warmup_epochs validate_every patience keep precision compile seed checkpoint_seconds"
)


def test_the_first_runs_of_this_version_go_on(run):
    """Fault: a run that nobody can resume or extend, since it was trained before there were
    averages, clipping, a value before the first step, and a range of the data.
    """
    record = read_record(run / "run.json")
    training = record["identity"]["training"]
    record["identity"]["training"] = {name: training[name] for name in FIRST_OPTIONS.split()}
    (run / "run.json").write_text(json.dumps(record))
    for path in (run / "best.safetensors", run / "last.safetensors"):
        tensors, state = read_checkpoint(path)
        if path.stem == "last":
            state = {name: state[name] for name in FIRST_STATE.split()}
        write_checkpoint(path, tensors, state, run=name_of(record["identity"]))
    assert fit(wrong(), splits(), out=run, **OPTIONS).epochs == 3
    with pytest.warns(UserWarning, match="instead of 3"):
        assert fit(wrong(), splits(), out=run, **OPTIONS | {"epochs": 4}).epochs == 4


def test_what_the_data_say_is_no_other_run():
    """Fault: a run from before the range of the data was recorded is refused for its range."""
    spec = asdict(REAL)
    before = {name: value for name, value in spec.items() if name != "value_range"}
    now = spec | {"value_range": [0.0, 1.0]}
    assert differences({"spec": before}, {"spec": now}) == {}
    assert differences({"spec": now}, {"spec": now | {"value_range": [0.0, 2.0]}})


class Removes(AbstractCallback):
    """Removes the record of a run while it is trained."""

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        assert moment.folder is not None
        (moment.folder / "run.json").unlink(missing_ok=True)


def test_a_record_that_is_removed_during_the_fit_is_missed(tmp_path):
    """Fault: a fit that ends as if all were well, in a folder that nobody can read."""
    with pytest.warns(UserWarning, match=r"run\.json is gone"):
        fit(wrong(), splits(), out=tmp_path, callbacks=[Removes()], **OPTIONS)
