"""A run of a user's recipe, with parts of the user's own: killed and resumed."""

import shutil
import signal
from pathlib import Path

import pytest
from kills import assert_same_run
from own_parts import TEXT
from test_resume import COMMAND, finish, start, stop_at

SETTINGS = [
    "training.batch_size=20",
    "training.epochs=6",
    "training.warmup_epochs=2",
    "training.patience=null",
    "training.checkpoint_seconds=0.05",
]


def train(file: Path, name: str, out: Path) -> list[str]:
    return [str(COMMAND), "train", f"{file}:{name}", *SETTINGS, "--out", str(out)]


@pytest.mark.parametrize("name", ["mine", "both"])
def test_killed_run_ends_as_a_quiet_one(tmp_path, name):
    """Fault: something of the user's part that is not in the checkpoint, or a part that is built
    otherwise the second time. Between kill and resume the file moves to another folder.
    """
    file = tmp_path / "parts.py"
    file.write_text(TEXT)
    finish(train(file, name, tmp_path / "quiet"))
    process = start(train(file, name, tmp_path / "run"))
    stop_at(process, tmp_path / "run", 60, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    (tmp_path / "moved").mkdir()
    moved = shutil.move(file, tmp_path / "moved" / "parts.py")
    finish(train(moved, name, tmp_path / "run"))
    assert_same_run(tmp_path / "run", tmp_path / "quiet")
