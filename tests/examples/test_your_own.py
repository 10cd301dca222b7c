"""docs/your_own.md keeps its word: its pieces are one file, and its commands run, in order."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "your_own.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_runs(tmp_path):
    """Fault: a documented call or option that does not exist; a part that cannot be evaluated."""
    (tmp_path / "recipes.py").write_text("\n".join(blocks("python")), encoding="utf-8")
    commands = [line for block in blocks("sh") for line in block.replace("\\\n", "").splitlines()]
    assert len(commands) >= 14
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": scripts + os.pathsep + os.environ["PATH"],
        "OMP_NUM_THREADS": "1",
    }
    for line in commands:
        done = subprocess.run(
            shlex.split(line), cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    runs = tmp_path / "runs"
    priors = {
        name: json.loads((runs / name / "run.json").read_text())["identity"]["run"]["model"].get(
            "prior"
        )
        for name in ("heavy_tails", "other", "third", "free_bits")
    }
    own = {"kind": "own", "path": "recipes.py:HeavyTails"}
    assert priors == {
        "heavy_tails": {**own, "options": {"degrees": 3.0}},
        "other": {**own, "options": {"degrees": 10}},
        "third": {**own, "options": {}},
        "free_bits": None,
    }
    assert "nll" in json.loads((runs / "heavy_tails/evaluation.json").read_text())
    for file in (
        "heavy_tails/report.html",
        "heavy_tails/samples.png",
        "heavy_tails_ncp/samples.png",
    ):
        assert (runs / file).stat().st_size > 0
