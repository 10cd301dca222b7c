"""Hostile input ends in one message: a short part of the attack, and each fault that it found."""

import errno
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from data_inputs import png

from priorwise.config.overrides import OverrideError, override
from priorwise.config.values import ValueTextError, parse_value
from priorwise.data import DataError, load
from priorwise.data.files import read_idx
from priorwise.last_words import ends_in_words
from priorwise.memory import MemoryLimitError, refuse_beyond_memory
from priorwise.reading import UnreadableError, check_plain_file, parse_json, read_json, shortened
from priorwise.recipes import recipe
from priorwise.terminal import printable, say
from priorwise.training.model_size import refuse_too_large

CASES = 210  # six of each class


def test_a_short_attack():
    """Fault: a traceback, a hang, memory without bound, a raw escape code, a message without a
    name, a lost file, or hostile input that is executed.
    """
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(folder), "--count", str(CASES), "--jobs", "2"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"| all | {CASES} |" in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 50, "brackets within brackets"),
        ("[" * 50_000, "50,000 characters"),
        ("&a [*a]", "alias"),
        ("!!timestamp x", "tag"),
        ("!!python/object/apply:os.system [true]", "tag"),
        ("9" * 6000, "no number"),
        ("{[1]: 2}", "not YAML"),
        ("\x1b[31m", "character that YAML refuses"),
        ("[1, 2", "not YAML"),
    ],
)
def test_values_of_settings_are_plain(text, words):
    """Fault: RecursionError, a date, an alias that stands for billions, an object that is built."""
    with pytest.raises(ValueTextError, match=words):
        parse_value(text)


def test_dates_are_text_and_words_of_any_plane_arrive():
    """Fault: a date as an object; a name beyond the basic plane that YAML refuses."""
    assert parse_value("2001-01-01") == "2001-01-01"
    run = override(recipe("own/vae"), [], {"data.name": "\U0001d518.npz"})
    assert run.data.name == "\U0001d518.npz"


def test_messages_about_a_run_are_short():
    """Fault: a dump of the whole record, with addresses."""
    with pytest.raises(OverrideError) as refusal:
        override(recipe("own/vae"), ["model.latent=[" + "x" * 5000 + "]"])
    assert "model.latent" in str(refusal.value)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 200 + b"]" * 200, "nested too deeply"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b"\xff\xfe", "decode"),
        (b"9" * 6000, "limit"),
        (b"{", "Expecting"),
    ],
)
def test_json_is_refused_by_its_name(content, words):
    """Fault: RecursionError, half a character, or a message without the file."""
    with pytest.raises(UnreadableError, match=words) as refusal:
        parse_json(content, "run.json")
    assert str(refusal.value).startswith("run.json is damaged")


def test_only_plain_files_of_bounded_size_are_read(tmp_path):
    """Fault: a pipe that is waited for; a file that fills the memory."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableError, match="it is a pipe"):
        check_plain_file(tmp_path / "pipe")
    with pytest.raises(UnreadableError, match="it is a device"):
        check_plain_file(Path("/dev/zero"))
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UnreadableError, match="at most 256 MiB"):
        read_json(tmp_path / "large.json")
    check_plain_file(tmp_path / "nothing")


def test_printed_text_does_not_steer_the_terminal():
    """Fault: an escape code of a file's name that reaches the terminal."""
    assert printable("a\x1b[31m\x9b\u202e\udcff\n\tü") == "a\\x1b[31m\\x9b\\u202e\\udcff\n\tü"
    assert len(shortened("a" * 10**6)) <= 120


class FullDisk(io.StringIO):
    """A log file that takes nothing more."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_words_that_cannot_be_written_do_not_end_the_work(monkeypatch):
    """Fault: a fit that ends because its log file is on a full disk."""
    monkeypatch.setattr(sys, "stderr", FullDisk())
    say("training goes on")
    with pytest.raises(SystemExit) as end, ends_in_words():
        raise ValueError("expected more")
    assert end.value.code == 2


def npy_that_claims(path: Path, shape: str) -> Path:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    return path


def test_arrays_that_claim_more_than_they_have(tmp_path):
    """Fault: ten gigabytes that are taken before the first value is read."""
    path = npy_that_claims(tmp_path / "x.npy", "(2500000, 1000)")
    with pytest.raises(DataError, match=r"10,000,000,000 bytes of values in .*x\.npy"):
        load(path)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "x_train.npy")
    with pytest.raises(DataError, match=r"bytes of values in 'x_train.npy' of .*x\.npz"):
        load(tmp_path / "x.npz")


def test_archives_that_unpack_to_gigabytes(tmp_path):
    """Fault: a bomb of some kilobytes."""
    path = tmp_path / "x.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("x.npy", "w") as member,
    ):
        for _ in range(17):
            member.write(bytes(16 * 2**20))
    with pytest.raises(DataError, match="shrinks at most 500 times"):
        load(path)


def test_idx_sizes_do_not_overflow(tmp_path):
    """Fault: sizes whose product is 0 in 64 bits."""
    sizes = b"".join((2**32 - 1).to_bytes(4, "big") for _ in range(2)) + (2**16).to_bytes(4, "big")
    (tmp_path / "x").write_bytes(b"\0\0\x08\x03" + sizes + bytes(10))
    with pytest.raises(DataError, match="cut short or too long"):
        read_idx(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(13_400, 13_400), "more than twice as many"),
        (png(9500, 9500), "9500x9500"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n", "it is none of PNG"),
    ],
    ids=["179 megapixels", "90 megapixels", "PostScript"],
)
def test_pictures_that_are_none(tmp_path, content, words):
    """Fault: a decompression bomb; a picture whose format starts another program."""
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError) as refusal:
        load(tmp_path)
    assert words in str(refusal.value)
    assert "x.png" in str(refusal.value)


def test_models_that_no_machine_holds():
    """Fault: RuntimeError of torch's allocator, after gigabytes were taken."""
    run = override(recipe("digits/vamp"), ["model.hidden=1000000"])
    spec = load("digits").spec
    with pytest.raises(MemoryLimitError, match=r"model\.hidden"):
        refuse_too_large(run.model, spec)
    wide = ["model.prior.kind=flow", "model.prior.hidden_features=[1000000,1000000]"]
    with pytest.raises(MemoryLimitError, match=r"model\.prior"):
        refuse_too_large(override(recipe("digits/vamp"), wide).model, spec)
    refuse_too_large(recipe("digits/vamp").model, spec)
    with pytest.raises(MemoryLimitError, match="a cake to fit"):
        refuse_beyond_memory(2**62, "a cake", "Bake less.")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("expected \x1b[1m"), 2, "error: expected \\x1b[1m"),
        (MemoryError(), 2, "the memory is full"),
        (RuntimeError("can't allocate memory"), 2, "the memory is full"),
        (KeyError("x"), 1, "This is a bug of priorwise"),
        (KeyboardInterrupt(), 130, "stopped"),
        (ValueError("x" * 10**6), 2, "xxx ... xxx"),
    ],
)
def test_the_command_ends_in_words(capsys, monkeypatch, error, code, words):
    """Fault: a traceback that nobody asked for, or none where somebody did."""
    with pytest.raises(SystemExit) as end, ends_in_words():
        raise error
    assert end.value.code == code
    printed = capsys.readouterr().err
    assert words in printed
    assert len(printed) < 4000
    monkeypatch.setenv("PRIORWISE_TRACEBACK", "1")
    if code == 1:
        with pytest.raises(KeyError), ends_in_words():
            raise error


def test_a_missing_extra_is_told_before_anything_is_measured(tmp_path, monkeypatch):
    """Fault: an hour of estimates, and then the name of a package."""
    from priorwise.config import EvaluationConfig
    from priorwise.evaluation import measuring
    from priorwise.evaluation.subject import Subject
    from priorwise.models import gated_vae
    from priorwise.refusals import MissingExtraError

    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setattr(measuring, "_compute", lambda *_: pytest.fail("measured first"))
    model = gated_vae((1, 8, 8), latent=2, hidden=4)
    config = EvaluationConfig(quality="inception")
    with pytest.raises(MissingExtraError, match=r"priorwise\[fid\]"):
        measuring.measure(Subject(model, load("digits"), config, progress=False))


def test_arrays_in_a_run_keep_their_words(tmp_path):
    """Fault: a damaged run.json that shows through in a KeyError."""
    from priorwise.training import train_run
    from priorwise.training.folder import RunFolderError
    from priorwise.training.run_record import read_run

    settings = ["data.name=digits", "training.epochs=1", "model.latent=2", "model.hidden=4"]
    train_run(override(recipe("own/vae"), settings), tmp_path / "run", progress=False)
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    for place, value in (("spec", {}), ("spec", None), ("run", None), ("run", {"name": 1})):
        changed = record["identity"] | {place: value}
        path.write_text(json.dumps(record | {"identity": changed}))
        with pytest.raises(RunFolderError, match=r"run\.json"):
            read_run(tmp_path / "run")
