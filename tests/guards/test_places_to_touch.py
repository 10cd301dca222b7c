"""The table of CONTRIBUTING.md is true: a part of each kind can be added in the files that it
names, at most three, and then works as the others do.

A toy of each kind is added to a copy of the package, in these files and no others. One child
process then uses them all by the command.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import source
from toy_members import TOYS, Changes

ROOT = source.ROOT.parents[1]

CHILD = """
import contextlib, importlib, io, json, runpy, sys
import priorwise
from priorwise.cli import main

said = {"package": priorwise.__file__}
for name, words in json.load(sys.stdin).items():
    sys.argv = words
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            runpy.run_module(words[0], run_name="__main__") if "." in words[0] else main()
        except SystemExit as end:
            if end.code:
                sys.exit(f"{words} ended with {end.code}: {printed.getvalue()}")
    said[name] = printed.getvalue()
said["public"] = [
    f"{folder}.{name}"
    for folder in ("config", "priors", "objectives", "models", "samplers", "features", "estimators")
    for name in importlib.import_module(f"priorwise.{folder}").__all__
    if "toy" in name.lower()
]
print(json.dumps(said))
"""

TINY = (
    "model.latent=2",
    "training.epochs=1",
    "training.warmup_epochs=0",
    "evaluation.hole_classifier=false",
    "evaluation.quality_images=50",
    "evaluation.log_norm_samples=4000",
)


def places(text: str) -> dict[str, tuple[list[str], list[str]]]:
    """What is written or touched for each kind, and where it is tested."""
    rows = re.findall(r"^\| ([\w ]+) \| (`[^|]+) \|([^|]*)\|([^|]*)\|$", text, re.MULTILINE)
    code = re.compile(r"`([^`]+)`")
    return {
        kind: (code.findall(written) + code.findall(touched), code.findall(tests))
        for kind, written, touched, tests in rows
    }


TABLE = places((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def test_the_table_has_the_kinds_that_are_tried():
    """Fault: a row that nobody checks."""
    assert TABLE.keys() == TOYS.keys()


@pytest.mark.parametrize("kind", TABLE)
def test_there_are_at_most_three_places_and_they_exist(kind):
    """Fault: a part that is scattered; a file that was renamed."""
    files, tests = TABLE[kind]
    assert 1 <= len(files) <= 3
    assert tests
    assert not [test for test in tests if not (ROOT / test).exists()]
    there = [source.ROOT / file for file in files]
    assert not [
        file for file in there if not (file.parent if "NAME" in file.name else file).exists()
    ]


@pytest.mark.parametrize("kind", TABLE)
def test_the_toy_is_in_these_places_alone(kind):
    """Fault: a place that the table leaves out, or names in vain."""
    patterns = [re.escape(file).replace("NAME", r"\w+") for file in TABLE[kind][0]]
    assert len(patterns) == len(TOYS[kind])
    for pattern in patterns:
        assert [file for file in TOYS[kind] if re.fullmatch(pattern, file)], pattern


def changed(text: str, changes: Changes) -> str:
    """A file with what a toy changes in it."""
    for old, new in changes:
        assert text.count(old) == 1, f"expected {old!r} once"
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A copy of the package with all toy_members."""
    root = tmp_path_factory.mktemp("src") / "priorwise"
    shutil.copytree(source.ROOT, root, ignore=shutil.ignore_patterns("__pycache__"))
    for toy in TOYS.values():
        for file, content in toy.items():
            path = root / file
            if isinstance(content, str):
                assert not path.exists()
                path.write_text(content, encoding="utf-8")
            elif content is not None:
                path.write_text(changed(path.read_text(encoding="utf-8"), content), "utf-8")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the runs lie."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def said(package, folder) -> dict[str, Any]:
    """What the commands print, and the public names of the toy_members."""
    train = ["priorwise", "train", "own/vae", "--data", "toy", *TINY]
    parts = ["model.hidden=4", "model.prior.kind=toy", "objective.kind=toy"]
    tilt = ["model.hidden=4", "model.prior.kind=toy_tilt", "objective.kind=toy"]
    measured = ["--samples", "5", "--images", "20"]
    out = str(package / "recipes/results/toy.json")
    commands = {
        "list": ["priorwise", "list", "--json"],
        "train": [*train, *parts, "--out", "run"],
        "evaluate": ["priorwise", "evaluate", "run", "--quality", "toy", *measured],
        "numbers": ["priorwise", "evaluate", "run", "--quality", "toy", *measured, "--json"],
        "report": ["priorwise", "report", "run", "--quality", "toy", *measured],
        "train model": [*train, "model.kind=toy", "--out", "model"],
        "train tilt": [*train, *tilt, "--out", "tilt"],
        "tilt": ["priorwise", "evaluate", "tilt", "--quality", "none", *measured, "--json"],
        "sample": ["priorwise", "sample", "tilt", "--sampler", "toy", "-n", "4"],
        "train recipe": ["priorwise", "train", "toy/small", "--out", "small"],
        "evaluate recipe": ["priorwise", "evaluate", "small"],
        "result": ["priorwise.recipes.result", "small", "--paper", "dpvae", "--out", out],
        "table": ["priorwise", "table", "dpvae", "--json"],
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(commands),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    assert Path(printed["package"]).parent == package
    return printed


def run_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))["identity"]["run"]


def test_toys_are_public(said):
    """Fault: a configuration that only its own file knows."""
    assert set(said["public"]) == {
        "config.ToyObjectiveConfig",
        "config.ToyPriorConfig",
        "config.ToyTiltConfig",
        "config.ToyVAEConfig",
        "estimators.toy_distance",
        "features.ToyExtractor",
        "models.toy_vae",
        "objectives.ToyObjective",
        "priors.ToyPrior",
        "priors.ToyTilt",
        "samplers.ToySampler",
    }


def test_a_prior_and_an_objective_train_in_a_recipe(said, folder):
    run = run_of(folder / "run")
    assert (run["model"]["prior"], run["objective"]) == ({"kind": "toy"}, {"kind": "toy"})
    line = json.loads((folder / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert list(line["train"]) == ["toy_distortion"]
    assert "VAE with ToyPrior" in json.loads(said["numbers"])["subject"]["about"]


def test_a_model_trains_in_a_recipe(said, folder):
    assert run_of(folder / "model")["model"]["kind"] == "toy"
    assert (folder / "model/best.safetensors").is_file()


def test_a_tilt_has_its_log_norm_estimated(said):
    """Two latents: log Z is 1/4."""
    log_norm = json.loads(said["tilt"])["log_norm"]
    assert abs(log_norm["value"] - 0.25) < 5 * log_norm["stderr"] < 0.2


def test_a_sampler_is_offered(said, folder):
    assert "4 samples by ToySampler()" in said["sample"]
    assert (folder / "tilt/samples.png").is_file()


def test_a_data_set_is_listed_and_trained_on(said, folder):
    assert json.loads(said["list"])["data"]["toy"] == "embedded"
    assert run_of(folder / "run")["data"]["name"] == "toy"


def test_an_extractor_names_the_distances(said):
    assert "toy columns" in said["evaluate"]
    assert "toy columns" in json.loads(said["numbers"])["quality"]["random"]["name"]


def test_every_view_shows_an_estimator(said, folder):
    number = json.loads(said["numbers"])["toy_distance"]["value"]
    assert f"toy distance: {number:.4f}" in said["evaluate"]
    assert f"| toy distance | {number:.4f}" in (folder / "run/report.md").read_text()
    stored = json.loads((folder / "run/report.json").read_text())
    assert stored["models"]["run"]["toy_distance"]["value"] == number
    page = (folder / "run/report.html").read_text(encoding="utf-8")
    assert f"{number:.4f}" in page
    assert "How far encodings lie from 0." in page


def test_a_recipe_and_its_result_are_shown(said):
    assert "toy/small" in json.loads(said["list"])["recipes"]
    assert "toy/small" in [row["recipe"] for row in json.loads(said["table"])["more"]]


def test_the_guard_reads_the_table():
    text = "| to add | write | touch | test |\n|---|---|---|---|\n| a set | `a/b.py` | | `tests/` |"
    assert places(text) == {"a set": (["a/b.py"], ["tests/"])}
