"""docs/training.md keeps its word: its example runs."""

import re
from pathlib import Path

import torch

from priorwise.testing import LinearGaussianVAE

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    """Fault: an option, a class or an argument that is called otherwise by now."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    vae = LinearGaussianVAE(2, 3, shift=2.0)
    exec(code, {"vae": vae, "data": torch.randn(300, 3)})
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18] for line in lines[:3]] == [f"step {n} of 9: learn" for n in (3, 6, 9)]
    assert lines[0].endswith("0.001")
    assert lines[2].endswith("0.0001")
    assert lines[3].startswith("LinearGaussianVAE was trained for 3 epochs")
