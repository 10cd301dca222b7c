"""The README keeps its word: it is short, its Python runs, its commands run, its links lead
somewhere.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def _commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in _blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def _environment() -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": scripts + os.pathsep + os.environ["PATH"], "OMP_NUM_THREADS": "1"}


def test_it_is_at_most_120_lines():
    assert len(TEXT.splitlines()) <= 120


def test_links_lead_somewhere():
    targets = [
        target for target in re.findall(r"\]\(([^)]+)\)", TEXT) if not target.startswith("http")
    ]
    missing = [target for target in targets if not (ROOT / target.split("#")[0]).exists()]
    assert targets
    assert not missing, f"links to nothing: {missing}"


@pytest.mark.parametrize("block", _blocks("python"))
def test_python_runs(block, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "gain:" in done.stdout


def test_commands_run_in_order(tmp_path):
    """All but the two of make: this suite is one of them, and the demo has a test of its own."""
    commands = [line for line in _commands() if not line.startswith("make ")]
    assert len(commands) >= 7
    for line in commands:
        done = subprocess.run(
            line.split(), cwd=tmp_path, env=_environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (tmp_path / "runs/digits_ncp/samples.png").stat().st_size > 0
    assert (tmp_path / "runs/digits/report.html").stat().st_size > 0


def test_make_knows_the_targets_that_are_named():
    for line in _commands():
        if line.startswith("make "):
            done = subprocess.run(
                ["make", "-n", line.split()[1]], cwd=ROOT, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
