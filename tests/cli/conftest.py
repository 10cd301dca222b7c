"""One tiny run of each kind, trained by the installed command and shared by the tests of this
folder.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COMMAND = Path(sys.executable).parent / "priorwise"
ENDLESS = 600  # seconds after which a process hangs
Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def priorwise() -> Command:
    """Runs the installed command; it must end with the given code, and never with a traceback."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess:
        command = [str(COMMAND), *[str(part) for part in arguments]]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=ENDLESS
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture
def refused(monkeypatch, capsys) -> Callable[..., str]:
    """The message of a command that must be refused: ``main`` in this process, which is what the
    command calls.
    """

    def run(*arguments: object) -> str:
        from priorwise.cli import main

        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(sys, "argv", ["priorwise", *[str(part) for part in arguments]])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert end.value.code == 2
        assert printed.out == ""
        return printed.err

    return run


@pytest.fixture
def inside(monkeypatch, capsys) -> Callable[..., str]:
    """What a command prints, run in this process: cheaper, where only the options differ."""

    def run(*arguments: object, said: str = "") -> str:
        from priorwise.cli import main

        monkeypatch.setattr(sys, "argv", ["priorwise", *[str(part) for part in arguments]])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        printed = capsys.readouterr()
        assert said in printed.err
        return printed.out

    return run


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Images of 8x8 bits, 120 in all."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    bits = np.random.RandomState(0).rand(120, 8, 8) < np.linspace(0.1, 0.9, 64).reshape(8, 8)
    np.savez(path, x=bits.astype(np.uint8))
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, priorwise, images) -> tuple[Path, dict[str, Any]]:
    """A VAE, and what the command said of it."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    settings = [
        "model.hidden=12",
        "model.latent=3",
        "training.epochs=3",
        "training.warmup_epochs=1",
    ]
    done = priorwise(
        "train", "own/vae", *settings, "--data", images, "--out", out, "--seed", 5, "--json"
    )
    return out, json.loads(done.stdout)


@pytest.fixture(scope="session")
def vae(trained) -> Path:
    return trained[0]


@pytest.fixture(scope="session")
def ncp(tmp_path_factory, priorwise, vae) -> Path:
    """An NCP on that VAE, with bounded logits."""
    out = tmp_path_factory.mktemp("runs") / "ncp"
    settings = [
        "model.hidden_features=[8]",
        "model.max_logit=1.5",
        "training.epochs=2",
        "evaluation.log_norm_samples=2000",
    ]
    priorwise("train", "ncp/posthoc", *settings, "--base", vae, "--out", out)
    return out
