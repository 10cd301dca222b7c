"""Commands that only show something import no torch, and whatever else would be waited for.

Each runs in a process of its own, in which an import of these raises.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import typer

from priorwise.cli import app
from priorwise.data.known_sets import EMBEDDED
from priorwise.recipes import recipe
from priorwise.recipes.published import papers

SLOW = ["torch", "numpy", "scipy", "sklearn", "matplotlib", "accelerate", "safetensors", "pooch"]
COMMANDS = sorted(typer.main.get_command(app).commands)

PROGRAM = """
import sys
sys.modules.update(dict.fromkeys(%r))
sys.argv[0] = "priorwise"
"""
COMMAND = "from priorwise.cli import main\nmain()"

Child = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Runs a program without the slow packages, in an empty folder."""

    def run(
        *arguments: object, program: str = COMMAND, **environment: str
    ) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM % SLOW + program, *map(str, arguments)],
            cwd=tmp_path,
            # without a terminal typer finds no shell, and so takes the one that is named
            env=os.environ
            | {"NO_COLOR": "1", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
            | environment,
            capture_output=True,
            text=True,
        )

    return run


SHOWING = [
    ["--help"],
    ["--version"],
    ["--show-completion", "bash"],
    *([command, "--help"] for command in COMMANDS),
    ["list"],
    ["list", "--json"],
    ["list", "dpvae"],
    ["list", "digits", "--json"],
    ["list", "omniglot"],
    *(["table", paper] for paper in papers()),
    ["table", "dpvae", "--all", "--json"],
    ["train", "digits/vamp", "--dry-run"],
    ["train", "own/hvae", "model.prior.kind=vamp", "--data", "x.npz", "--seed", "3", "--dry-run"],
]


@pytest.mark.parametrize("arguments", SHOWING, ids=" ".join)
def test_commands_that_show_need_no_torch(child, arguments):
    """Fault: 2 s of waiting for a page of help."""
    done = child(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    said = done.stderr.splitlines()
    assert [line[:6] for line in said] == (["data: "] if "--dry-run" in arguments else [])


def test_a_dry_run_over_another_run_needs_no_torch(child, tmp_path):
    """Fault: a configuration that is read by way of the model."""
    base = recipe("digits/standard")
    identity = {"run": base.model_dump(mode="json"), "spec": asdict(EMBEDDED["digits"])}
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "run.json").write_text(json.dumps({"identity": identity}))
    done = child("train", "ncp/posthoc", "--base", "base", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["base"] == base.model.model_dump(mode="json")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("priorwise train digits/v", {"digits/vamp"}),
        ("priorwise train own/vae --data two", {"two_moons"}),
        ("priorwise train own/vae --data ./two", set()),
        ("priorwise table vae", {"vaebm"}),
        ("priorwise list mnist", {"mnist", "mnist_static"}),
        ("priorwise tra", {"train", "traverse"}),
    ],
)
def test_completion_needs_no_torch(child, line, words):
    """Fault: a shell that hangs for seconds at each tab; files that are no longer completed."""
    last = str(len(line.split()) - 1)
    done = child(_PRIORWISE_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=last)
    assert set(done.stdout.split()) == words
    assert done.stderr == ""


def test_mistakes_are_told_without_torch(child):
    """Fault: a typing error that costs seconds."""
    for arguments, word in [
        (["train", "digits/vamb", "--dry-run"], "Did you mean 'digits/vamp'"),
        (["list", "dpave"], "Did you mean 'dpvae'?"),
        (["table", "nvae"], "unknown paper"),
    ]:
        done = child(*arguments)
        assert done.returncode == 2
        assert word in done.stderr
        assert "Traceback" not in done.stderr


def test_importing_the_package_needs_no_torch(child):
    """Fault: a public name that is imported before somebody asks for it."""
    done = child(program="import priorwise\nprint(priorwise.__version__, dir(priorwise))")
    assert done.returncode == 0, done.stderr
    assert "VAE" in done.stdout


def test_the_refusal_works(child):
    """Fault: a child in which torch is there all the same."""
    done = child(program="import priorwise\npriorwise.VAE")
    assert "import of torch halted" in done.stderr
    assert "import of torch halted" in child("sample", "nowhere").stderr


def test_configurations_need_no_torch_under_the_type_checker(child):
    """Fault: an annotation that the hook of jaxtyping resolves when a configuration is imported."""
    program = (
        "import sys\n"
        "for name in [name for name, module in sys.modules.items() if module is None]:\n"
        "    del sys.modules[name]\n"
        "from jaxtyping import install_import_hook\n"
        "with install_import_hook('priorwise', 'beartype.beartype'):\n"
        "    import priorwise.config, priorwise.recipes.listing\n"
        "    [make() for make in priorwise.recipes.recipes().values()]\n"
        "print('torch' in sys.modules)\n"
    )
    done = child(program=program)
    assert done.stdout == "False\n", done.stderr
