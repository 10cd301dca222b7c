"""Every command, as it is installed."""

import json
import runpy
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from priorwise import load, wrap
from priorwise.distributions import IndependentBernoulli
from priorwise.evaluation import EvaluationRecord, runs
from priorwise.models import AbstractModel
from priorwise.recipes import result
from priorwise.recipes.view import print_table
from priorwise.training.checkpoint import read_checkpoint


def test_train_says_what_it_did(trained):
    """Fault: progress on standard output, a record that is not one JSON object, options that do not
    arrive.
    """
    out, record = trained
    assert record["run"] == str(out)
    assert record["metric"] == "negative_elbo"
    assert (record["epochs"], record["stopped"]) == (3, "epochs")
    data = record["data"]
    assert (data["train"], data["levels"], data["seen_as"]) == (96, 2, "0 and 1")
    assert "x of " in data["origin"]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert record["best"] == min(line["validation"]["negative_elbo"] for line in lines)
    kept = json.loads((out / "run.json").read_text())
    assert kept["identity"]["run"]["training"]["seed"] == 5
    assert kept["identity"]["run"]["model"]["latent"] == 3
    assert {"torch", "threads", "processor"} <= kept["about"].keys()
    assert load(out).prior().event_shape == (3,)


def test_list(priorwise):
    """Fault: a name that is offered and not there, or the other way round."""
    record = json.loads(priorwise("list", "--json").stdout)
    assert {"own/vae", "ncp/posthoc", "vampprior/static_mnist_hvae_vamp"} <= set(record["recipes"])
    assert record["data"]["digits"] == "embedded"
    assert "vampprior" in record["papers"]
    names = "own/{vae,vae_vamp,hvae,conv_vae}"
    own = {"names": names, "about": "your own data, which you name with --data"}
    assert record["groups"]["own"] == [own]
    assert own["names"] in priorwise("list").stdout


def test_list_of_one_name(inside):
    """Fault: a name that is read and ignored."""
    record = json.loads(inside("list", "own", "--json"))
    assert list(record["recipes"]) == ["own/vae", "own/vae_vamp", "own/hvae", "own/conv_vae"]
    assert "own/vae_vamp  vae_by_size" in inside("list", "own")


def test_version(inside, monkeypatch, capsys):
    """Fault: a package that cannot be run as a module."""
    words = f"priorwise {version('priorwise')}\n"
    assert inside("--version") == words
    monkeypatch.setattr(sys, "argv", ["priorwise", "--version"])
    with pytest.raises(SystemExit):
        runpy.run_module("priorwise", run_name="__main__", alter_sys=True)
    assert capsys.readouterr().out == words


UNUSED = """
import sys
sys.modules.update(dict.fromkeys(["matplotlib", "sklearn", "scipy", "jinja2", "pooch"]))
from priorwise.cli import main
main()
"""


def test_commands_import_what_they_use(vae, images, tmp_path):
    """Fault: samples that wait for plots, a fit that waits for a report."""
    for arguments in (
        ["sample", vae, "--count", 4, "--out", tmp_path / "x.npz"],
        ["sample", vae, "--count", 4, "--out", tmp_path / "x.png"],
        ["train", "own/vae", "training.epochs=1", "--data", images, "--out", tmp_path / "run"],
    ):
        command = [sys.executable, "-c", UNUSED, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_dry_run_shows_the_whole_run(priorwise, images, tmp_path):
    """Fault: a dry run that trains, or that does not show what would run."""
    out = tmp_path / "run"
    settings = [
        "model.kind=hvae",
        "model.prior.kind=vamp",
        "model.prior.components=7",
        "training.precision=no",
    ]
    done = priorwise(
        "train", "own/vae", *settings, "--data", images, "--seed", 3, "--out", out, "--dry-run"
    )
    run = json.loads(done.stdout)
    assert run["data"]["name"] == str(images)
    assert run["training"]["seed"] == 3
    assert run["model"]["kind"] == "hvae"
    prior = run["model"]["prior"]
    assert (prior["kind"], prior["components"], prior["value_range"]) == ("vamp", 7, None)
    assert not out.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "data: none named yet; give them with --data FILE_OR_FOLDER"),
        (["--data", "none.npz"], "data: none.npz, which is not there yet"),
        (["--data", "digits"], "data: digits, embedded"),
    ],
)
def test_a_dry_run_needs_no_data(inside, data, words):
    """Fault: a dry run that is refused since it has nothing to run on."""
    run = json.loads(inside("train", "own/vae", *data, "--dry-run", said=words))
    assert run["data"]["name"] == (data[1] if data else "")


def test_evaluate_resumes(priorwise, vae, tmp_path):
    """Fault: another number after a kill, or a second visit that computes everything again."""
    run = tmp_path / "run"
    shutil.copytree(vae, run)
    first = json.loads(priorwise("evaluate", run, "--samples", 120, "--json").stdout)
    stored = json.loads((run / "evaluation.json").read_text())
    assert stored.pop("checksums").keys() < first.keys()
    assert first == stored
    assert first["run"] == "own/vae"
    assert first["nll"]["protocol"]["samples"] == 120
    assert first["nll"]["count"] == first["images"] == 12
    assert first["nll"]["value"] < -first["nll"]["diagnostics"]["elbo"]
    assert [unit["dimensions"] for unit in first["active_units"]] == [3]
    (journal,) = run.glob("nll-*.jsonl")
    journal.write_bytes(journal.read_bytes()[:-30])
    (run / "evaluation.json").unlink()
    second = priorwise("evaluate", run, "--samples", 120)
    assert f"NLL: {first['nll']['value']:.2f}" in second.stdout
    assert json.loads((run / "evaluation.json").read_text())["nll"] == first["nll"]
    per_image, _ = read_checkpoint(run / "evaluation_per_image.safetensors")
    assert float(per_image["nll"].mean()) == pytest.approx(first["nll"]["value"])


def test_evaluate_a_tilted_prior(priorwise, ncp, tmp_path):
    """Fault: a likelihood without log Z, or log Z that is not kept for the next who loads
    the run.
    """
    run = tmp_path / "run"
    shutil.copytree(ncp, run)
    record = json.loads(
        priorwise("evaluate", run, "--samples", 100, "--images", 6, "--seed", 2, "--json").stdout
    )
    assert record["images"] == 6
    assert record["log_norm"]["protocol"] == {
        "estimator": "importance sampling from the base",
        "samples": 2000,
        "seed": 2,
    }
    assert record["nll"]["diagnostics"]["log_norm"] == pytest.approx(
        record["log_norm"]["value"], abs=1e-6
    )
    assert [group["group"] for group in record["contrast"]] == [1]
    assert load(run).known_log_norm().value == pytest.approx(record["log_norm"]["value"], abs=1e-6)


def test_evaluate_one_image_with_one_draw(inside, ncp, tmp_path):
    """Fault: NaN in the JSON, or a crash, where there is no spread from which an error could be
    had.
    """
    run = tmp_path / "run"
    shutil.copytree(ncp, run)
    assert "(± unknown MC; ± unknown data; 1 images, 1 samples)" in inside(
        "evaluate", run, "--samples", 1, "--images", 1
    )
    record = json.loads((run / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert record["nll"]["stderr"] is None
    assert record["contrast"][0]["bce_stderr"] is None


def codes(deterministic: str) -> AbstractModel:
    """A model of 8x8 images of which a part has no density."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 6 if deterministic == "decoder" else 3))
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
    return wrap(
        encode=encoder if deterministic == "encoder" else lambda x: encoder(x).chunk(2, 1),
        decode=decoder,
        latent=3,
        likelihood=None
        if deterministic == "decoder"
        else lambda logits: IndependentBernoulli(logits, 3),
    )


@pytest.mark.parametrize("deterministic", ["encoder", "decoder"])
def test_evaluate_a_deterministic_part(inside, vae, tmp_path, monkeypatch, deterministic):
    """Fault: a command that stops at the first number that there is not, and keeps none of the
    others.
    """
    run = tmp_path / "run"
    shutil.copytree(vae, run)
    model = codes(deterministic)
    for module in (runs, result):
        monkeypatch.setattr(module, "load", lambda *folder_and_code: model)
    text = inside("evaluate", run, "--quality", "raw", "--samples", 50)
    record = json.loads((run / "evaluation.json").read_text(), parse_constant=pytest.fail)
    assert "a Delta (deterministic encoder or decoder) has no density" in record["nll"]["refused"]
    assert f"NLL: {record['nll']['refused']}" in text
    assert not (run / "evaluation_per_image.safetensors").exists()
    assert record["symmetric_kl"]["value"] > 0
    assert record["quality"]["random"]["value"] > 0
    assert f"distance, samples: {record['quality']['random']['value']:.4g}" in text
    for kind in ("low_posterior", "low_posterior_neighbours"):
        assert ("refused" in record["quality"][kind]) == (deterministic == "encoder")
    assert ("refused" in record["leakage"]) == (deterministic == "encoder")
    if deterministic == "encoder":
        assert (
            "expected an encoder that returns an Independent Normal; got Delta"
            in record["leakage"]["refused"]
        )
        assert f"distance, pockets: {record['quality']['low_posterior']['refused']}" in text
        check_committed(run, record)


def check_committed(run: Path, record: dict[str, Any]) -> None:
    """A committed result holds a likelihood; distances that were refused keep their reason."""
    with pytest.raises(ValueError, match="has none: a Delta"):
        result.result_record(run, paper="own")
    nll = {
        "value": 3.0,
        "stderr": 0.1,
        "stderr_data": 0.2,
        "count": 12,
        "warnings": [],
        "protocol": {"samples": 5},
        "diagnostics": {"elbo": -4.0, "ess_median": 3.0, "ess_min": 2.0},
    }
    known = {name: value for name, value in record.items() if name != "checksums"}
    EvaluationRecord(known | {"nll": nll}).write(run / "evaluation.json")
    committed = result.result_record(run, paper="own")
    assert committed["quality"]["low_posterior"] == record["quality"]["low_posterior"]
    assert committed["quality"]["random"]["value"] == record["quality"]["random"]["value"]
    print_table("own", [], [committed])


def test_evaluate_does_not_hide_what_the_user_must_mend(vae, tmp_path, inside, refused):
    """Fault: a journal of another model taken for a number that there is not: no error, and no
    likelihood.
    """
    run = tmp_path / "run"
    shutil.copytree(vae, run)
    inside("evaluate", run, "--samples", 50)
    (journal,) = run.glob("nll-12x50-seed0-*.jsonl")
    journal.write_text('{"another": 1}\n')
    (run / "evaluation.json").unlink()
    assert "parts of another one: " in refused("evaluate", run, "--samples", 50)
    assert not (run / "evaluation.json").exists()


SAMPLERS = {
    "default": "SIR(proposals=1000)",
    "sir": "SIR(proposals=20)",
    "rejection": "Rejection(log_bound=None)",
    "langevin": "Langevin(steps=3, step_size=0.1, adjusted=False)",
    "mala": "Langevin(steps=3, step_size=0.1, adjusted=True)",
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_sample_with_each_sampler(inside, ncp, tmp_path, name):
    """Fault: a sampler's name that builds another, or options that do not reach it."""
    out = tmp_path / "deep" / "x.npz"
    options = ["--sampler", name, "--proposals", 20, "--steps", 3, "--step-size", 0.1]
    text = inside("sample", ncp, "-n", 7, *options, "--out", out, "--seed", 4, "--json")
    assert json.loads(text) == {
        "samples": str(out),
        "count": 7,
        "sampler": SAMPLERS[name],
        "decoder": "means",
    }
    x = np.load(out)["x"]
    assert x.shape == (7, 1, 8, 8)
    assert 0 <= x.min() < x.max() <= 1


def test_sample_a_picture(priorwise, vae, tmp_path):
    """Fault: an empty picture, means in place of draws, a seed without effect."""
    out = tmp_path / "x.png"
    done = priorwise(
        "sample",
        vae,
        "--count",
        9,
        "--draw",
        "--temperature",
        0.5,
        "--sampler",
        "ancestral",
        "--out",
        out,
    )
    assert (
        f"9 samples by Ancestral(temperature=0.5), draws of the decoder, are at {out}"
        in done.stdout
    )
    picture = np.asarray(Image.open(out))
    assert picture.ndim == 2
    assert len(np.unique(picture)) == 2


def test_report(priorwise, ncp, tmp_path):
    """Fault: a page without numbers, or that needs other files."""
    out = tmp_path / "page.html"
    done = priorwise("report", ncp, "--out", out, "--samples", 30, "--json")
    assert json.loads(done.stdout)["report"] == str(out)
    page = out.read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "<script src" not in page


def test_table(priorwise, inside):
    """Fault: log-likelihoods of the papers with their sign, cells that lose their recipe."""
    record = json.loads(priorwise("table", "vampprior", "--json").stdout)
    cells = {row["recipe"]: row for row in record["rows"]}
    assert cells["vampprior/static_mnist_vae_standard"]["published"] == "88.56"
    assert cells["vampprior/static_mnist_hvae_vamp"]["published"] == "83.19"
    assert all(
        row["metric"].startswith("NLL") for row in record["rows"] if row["dataset"] == "staticMNIST"
    )
    text = priorwise("table", "vampprior").stdout
    assert "published beside ours" in text
    assert "88.56" in text
    every = json.loads(inside("table", "vampprior", "--all", "--json"))
    assert len(every["rows"]) > len(record["rows"])


def test_every_sampler_takes_the_temperature(inside, ncp, tmp_path):
    """Fault: a temperature that ancestral sampling alone knows."""
    drawn = []
    for temperature in (1.0, 0.3):
        out = tmp_path / f"{temperature}.npz"
        inside(
            "sample",
            ncp,
            "-n",
            8,
            "--sampler",
            "sir",
            "--proposals",
            20,
            "--temperature",
            temperature,
            "--out",
            out,
        )
        drawn.append(np.load(out)["x"])
    assert not np.array_equal(*drawn)


@pytest.mark.filterwarnings("default:.*goes on to 4 epochs")
def test_data_that_moved_other_weights_and_more_epochs(inside, refused, vae, images, tmp_path):
    """Fault: an option that does not reach the library."""
    run, moved = tmp_path / "run", tmp_path / "elsewhere.npz"
    shutil.copytree(vae, run)
    shutil.copy(images, moved)
    record = json.loads((run / "run.json").read_text())
    record["identity"]["run"]["data"]["name"] = str(tmp_path / "gone.npz")
    (run / "run.json").write_text(json.dumps(record))
    walk = ("--between", 0, 1, "--out", tmp_path / "walk.png")
    for command in (("traverse", run, *walk), ("evaluate", run), ("report", run), ("compare", run)):
        assert "gone.npz" in refused(*command)
    assert "1 pairs" in inside("traverse", run, *walk, "--data", moved)
    settings = ["model.hidden=12", "model.latent=3", "training.warmup_epochs=1", "--seed", 5]
    common = ("train", "own/vae", *settings, "--data", images)
    inside(*common, "training.epochs=1", "--init", vae, "--out", tmp_path / "new")
    identity = json.loads((tmp_path / "new" / "run.json").read_text())["identity"]
    assert identity["init"]["run"] == str(vae)
    said = "goes on to 4 epochs instead of 3"
    assert "of 4 (" in inside(*common, "training.epochs=4", "--out", run, said=said)
