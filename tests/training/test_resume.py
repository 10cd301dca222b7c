"""A run that was stopped, by whatever, ends as if it had not been: the same tensors and the same
metrics, bit for bit.
"""

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from kills import Writes, assert_same_run, killed_before_each_write, same_bits
from torch import nn
from toys import OPTIONS, bits, splits, with_batch_norm, with_pixelcnn, wrong

from priorwise import NCP, fit
from priorwise.data import Splits
from priorwise.training import CheckpointError
from priorwise.training.checkpoint import read_checkpoint

COMMAND = Path(sys.executable).parent / "priorwise"
SETTINGS = [
    "model.hidden=16",
    "model.latent=4",
    "training.batch_size=20",
    "training.epochs=60",
    "training.warmup_epochs=5",
    "training.patience=null",
    "training.checkpoint_seconds=0.05",
]
ENDLESS = 600  # seconds after which a process hangs


def train(out: Path, data: Path) -> list[str]:
    return [str(COMMAND), "train", "own/vae", *SETTINGS, "--data", str(data), "--out", str(out)]


def start(command: list[str], **options: object) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options
    )


def finish(command: list[str], code: int = 0) -> str:
    process = start(command)
    _, errors = process.communicate(timeout=ENDLESS)
    assert process.returncode == code, errors.decode()
    return errors.decode()


def step_of(out: Path) -> int:
    last = out / "last.safetensors"
    return read_checkpoint(last)[1]["step"] if last.exists() else 0


def stop_at(process: subprocess.Popen, out: Path, step: int, number: int) -> str:
    """Send a signal once a checkpoint of that step is there."""
    limit = time.monotonic() + ENDLESS
    while step_of(out) < step:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=ENDLESS)[1].decode()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "small.npz"
    bits = np.random.RandomState(0).rand(300, 8, 8) < np.linspace(0.1, 0.9, 64).reshape(8, 8)
    np.savez(path, x_train=bits.astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, small) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("quiet") / "run"
    finish(train(out, small))
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 60
    return out


def test_killed_run_ends_as_a_quiet_one(quiet, small, tmp_path):
    """Fault: a generator's state, a moment, a sum or a line that is not in the checkpoint. The
    steps are random, seed 1.

    Between two kills the disk is full: that costs the run nothing either.
    """
    steps = sorted(random.Random(1).sample(range(30, 500), 2))
    out = tmp_path / "run"
    process = start(train(out, small))
    stop_at(process, out, steps[0], signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    before = (out / "last.safetensors").read_bytes()
    limited = ["bash", "-c", 'ulimit -f 30; exec "$@"', "bash", *train(out, small)]
    errors = finish(limited, code=2)
    assert "could not write" in errors
    assert "unharmed" in errors
    assert "Traceback" not in errors
    assert (out / "last.safetensors").read_bytes() == before
    assert not list(out.glob(".*.partial"))
    process = start(train(out, small))
    stop_at(process, out, steps[1], signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    finish(train(out, small))
    assert_same_run(out, quiet)


def test_interrupted_run_ends_as_a_quiet_one(quiet, small, tmp_path):
    """Fault: Ctrl-C in the middle of a step, without a checkpoint, or with a traceback."""
    out = tmp_path / "run"
    process = start(train(out, small))
    errors = stop_at(process, out, 40, signal.SIGINT)
    assert process.returncode == 130, errors
    assert "run the same command again to continue" in errors
    assert "Traceback" not in errors
    stopped = step_of(out)
    finish(train(out, small))
    assert 40 <= stopped < 720
    assert_same_run(out, quiet)


# -- killed at every single write ------------------------------------------------------------------


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Splits]]] = {
    "linear": (wrong, splits),
    "batch norm": (with_batch_norm, splits),
    "ncp": (lambda: NCP(wrong(), hidden_features=(8,)), splits),
    "pixelcnn": (with_pixelcnn, bits),
}


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        pytest.param(name, seconds, id=f"{name}-{how}")
        for name in MODELS
        for how, seconds in (("often", 1e-9), ("seldom", 1e9))
        if (name, how) != ("pixelcnn", "often")  # slow, and "batch norm" has its statistics
    ],
)
def test_killed_at_any_write(name, seconds, tmp_path):
    """Fault: a best checkpoint ahead of the last one, a line of metrics twice, a sum that starts
    again in mid-epoch.

    "often" puts a checkpoint after every step, the last one of an epoch included, whose validation
    is then to come.
    """
    torch.manual_seed(0)
    make, data = MODELS[name]
    model = make()
    options = OPTIONS | {"checkpoint_seconds": seconds}
    quiet, resumed = killed_before_each_write(
        lambda out: fit(copy.deepcopy(model), data(), out=out, **options), tmp_path
    )
    assert len(resumed) >= 7
    assert quiet.best_epoch > 1
    for result in resumed:
        assert result.history == quiet.history
        expected = quiet.model.state_dict()
        for part, tensor in result.model.state_dict().items():
            assert same_bits(tensor, expected[part]), part


def test_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    """Fault: a second visit that trains on, or returns the weights of the visitor."""
    first = fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    with monkeypatch.context() as patch:
        writes = Writes(patch)
        second = fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    assert writes.count == 0
    assert torch.equal(first.model.encoder.weight, second.model.encoder.weight)
    assert (first.best, first.history, first.stopped) == (
        second.best,
        second.history,
        second.stopped,
    )


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
def test_damaged_checkpoint_stops_the_run(name, tmp_path):
    """Fault: starting again over a run that was only damaged."""
    fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:500])
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=rf"{name} is not a whole"):
        fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines


def test_checkpoint_of_another_model_stops_the_run(tmp_path):
    fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    with pytest.raises(CheckpointError, match="holds another model"):
        fit(with_batch_norm(), splits(), out=tmp_path, **OPTIONS)


def test_checkpoint_in_the_wrong_place_stops_the_run(tmp_path):
    """Fault: a best checkpoint copied over the last one ends in a traceback."""
    fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    shutil.copy(tmp_path / "best.safetensors", tmp_path / "last.safetensors")
    with pytest.raises(CheckpointError, match=r"progress of a fit in .*last\.safetensors"):
        fit(wrong(), splits(), out=tmp_path, **OPTIONS)


def test_state_has_no_secrets(tmp_path):
    """Fault: state that only a pickle can hold."""
    fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    _, state = read_checkpoint(tmp_path / "last.safetensors")
    assert json.loads(json.dumps(state)) == state
    assert state["stopped"] == "epochs"
