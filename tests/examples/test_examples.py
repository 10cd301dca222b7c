"""Every example runs as a script, with tiny settings; what it prints is checked where a silent
failure could hide.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = {
    "any_objective.py": ["--epochs", "1", "--draws", "60"],
    "any_prior.py": ["--epochs", "1", "--samples", "5", "--points", "20"],
    "fix_my_vae.py": ["--epochs", "2", "--samples", "5", "--images", "20", "--out", "out"],
    "own_recipe.py": ["--epochs", "1", "--samples", "5", "--images", "20", "--out", "out"],
}


def run_example(name: str, folder: Path) -> str:
    """Standard output of one example, run in a folder of its own."""
    command = [sys.executable, "-W", "error::FutureWarning", str(EXAMPLES / name), *TINY[name]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_no_example_is_left_out():
    """Catches an example that nobody runs."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(TINY)


@pytest.mark.parametrize("name", TINY)
def test_each_says_how_it_is_run(name: str):
    """Catches a renamed file, or an option in the docstring that does not exist."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    commands = re.findall(r"^    python (examples/\S+)(.*)$", text.split('"""')[1], re.MULTILINE)
    assert [path for path, _ in commands] == [f"examples/{name}"]
    for option in re.findall(r"--\w+", commands[0][1]):
        assert f'"{option}"' in text


def test_any_prior_compares_each_prior(tmp_path: Path):
    """Catches a prior that was dropped from the loop, and a comparison with something else than the
    first.
    """
    lines = run_example("any_prior.py", tmp_path).splitlines()
    rows = [line for line in lines if "gain over the first" in line]
    names = ["standard normal", "mixture of 20", "VampPrior of 20", "NCP over the first"]
    assert [row for row in rows if not row.startswith("zuko")] == [
        row for n in names for row in rows if row.startswith(n)
    ]
    assert len(rows) >= len(names)
    assert "+0.000 (0.000)" in rows[0]
    assert all(re.search(r"\s-?\d+\.\d{3} \(\d+\.\d{3}\)", row) for row in rows)


def test_fix_my_vae_writes_pictures_and_report(tmp_path: Path):
    """Catches an output that is announced and not written, and a gain that is not the difference of
    the two NLLs.
    """
    out = run_example("fix_my_vae.py", tmp_path)
    for file in ("before.png", "after.png", "report.html"):
        assert (tmp_path / "out" / file).stat().st_size > 0
    value = {
        name: float(number)
        for name, number in re.findall(r"^(NLL before|NLL after|gain)\s+(-?[\d.]+)", out, re.M)
    }
    assert value["gain"] == pytest.approx(value["NLL before"] - value["NLL after"], abs=2e-3)
    assert (tmp_path / "out" / "before.png").read_bytes() != (
        tmp_path / "out" / "after.png"
    ).read_bytes()


def test_own_recipe_trains_its_own_prior(tmp_path: Path):
    """Catches a run whose own prior was replaced by another one, and a report without it."""
    out = run_example("own_recipe.py", tmp_path)
    values = dict(re.findall(r"^(normal_tails|heavy_tails)\s+(-?[\d.]+)", out, re.M))
    assert values["normal_tails"] != values["heavy_tails"]
    kept = json.loads((tmp_path / "out/heavy_tails/run.json").read_text())
    assert kept["identity"]["run"]["model"]["prior"] == {
        "kind": "own",
        "path": "own_recipe.py:HeavyTails",
        "options": {"degrees": 3.0},
    }
    assert "heavy_tails" in (tmp_path / "out/report.html").read_text(encoding="utf-8")
