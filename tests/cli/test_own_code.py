"""Every command that needs the model of a run asks for the code of its user, and takes it."""

import json
from pathlib import Path

import pytest

RECIPE = """
import os
from pathlib import Path

from priorwise.config import DataConfig, EvaluationConfig, OwnPriorConfig, Run, TrainingConfig
from priorwise.config import VAEConfig
from priorwise.priors import StandardNormal

if "MARK" in os.environ:
    Path(os.environ["MARK"]).write_text(__file__)


class Mine(StandardNormal):
    def forward(self, encode_top=None):
        if "TROUBLE" in os.environ:
            raise ValueError("my own trouble")
        return super().forward(encode_top)


def mine():
    return Run(
        name="mine",
        data=DataConfig(name="digits"),
        model=VAEConfig(latent=2, hidden=8, prior=OwnPriorConfig(path=Mine)),
        training=TrainingConfig(epochs=1),
        evaluation=EvaluationConfig(samples=2, images=5),
    )
"""


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "recipes.py"
    path.write_text(RECIPE)
    return path


def test_a_dry_run_shows_the_whole_run(file, inside):
    """Fault: overrides that a user's recipe ignores; a dry run that trains."""
    settings = ["training.epochs=3", "--seed", "9", "--dry-run"]
    run = json.loads(inside("train", f"{file}:mine", *settings, "--out", file.parent / "run"))
    assert run["training"]["epochs"] == 3
    assert run["training"]["seed"] == 9
    assert run["model"]["prior"] == {"kind": "own", "path": f"{file}:Mine", "options": {}}
    assert not (file.parent / "run").exists()


@pytest.mark.filterwarnings("ignore:recipes.py has changed")
def test_from_file_to_report(file, tmp_path, monkeypatch, inside, refused):
    """Fault: a command that cannot be told where the code is, or that runs it untold."""
    run, ncp, mark = tmp_path / "run", tmp_path / "ncp", tmp_path / "mark"
    said = inside("train", f"{file}:mine", "--out", run)
    assert said.endswith(f"Next: priorwise evaluate {run} --code {file}\n")
    posthoc = ["train", "ncp/posthoc", "--base", run, "--out", ncp, "training.epochs=1"]
    commands = [
        ["evaluate", run],
        ["sample", run],
        ["report", run, "--samples", "2"],
        ["traverse", run],
        ["compare", run, "--draws", "50", "--out", tmp_path / "comparison.png"],
        posthoc,
        ["sample", ncp],
    ]
    monkeypatch.setenv("MARK", str(mark))
    for count, command in enumerate(commands):
        file.write_text(f"{RECIPE}# {count}\n")  # so that it is executed again
        before = sorted(tmp_path.rglob("*"))
        message = refused(*command)
        assert "was trained with code that is not part of priorwise: Mine of recipes.py" in message
        assert "--code path/to/recipes.py" in message
        assert sorted(tmp_path.rglob("*")) == before
        inside(*command, "--code", file)
        assert mark.read_text() == str(file)
        mark.unlink()
    assert "nll" in json.loads((run / "evaluation.json").read_text())
    for path in (run / "report.html", run / "samples.png", ncp / "samples.png"):
        assert path.stat().st_size > 0


def test_trouble_in_the_users_code_is_shown_there(file, refused, monkeypatch):
    """Fault: an error of the user's own without a line to look at."""
    monkeypatch.setenv("TROUBLE", "yes")
    message = refused("train", f"{file}:mine", "--out", file.parent / "run")
    assert "my own trouble" in message
    assert f'File "{file}", line' in message
    assert "in forward" in message


def test_trouble_elsewhere_is_not_blamed_on_it(file, refused):
    message = refused("train", f"{file}:mine", "training.epochs=0", "--out", file.parent / "run")
    assert "training.epochs" in message
    assert "in your own code" not in message
