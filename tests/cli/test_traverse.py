"""The two commands that draw: ``traverse`` and ``compare``."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def flow(tmp_path_factory, priorwise, images):
    """A VAE with a flow prior, on the same data as the other runs of this folder."""
    out = tmp_path_factory.mktemp("runs") / "flow"
    settings = [
        "model.hidden=12",
        "model.latent=2",
        "model.prior.kind=flow",
        "model.prior.blocks=2",
    ]
    priorwise("train", "own/vae", *settings, "training.epochs=1", "--data", images, "--out", out)
    return out


def test_traverse_draws_pairs_and_dimensions(priorwise, vae):
    """Fault: a picture without a kind of walk, or beside the run."""
    done = priorwise("traverse", vae)
    path = vae / "traversal.png"
    assert done.stdout == f"5 pairs and 3 dimensions are at {path}\n"
    assert np.asarray(Image.open(path)).shape[0] > 8 * 0.6 * 130
    path.unlink()


def test_traverse_takes_what_is_asked_for(inside, vae, flow, tmp_path):
    """Fault: options that do not arrive; dimensions although only pairs are wanted, or the other
    way round.
    """
    out = tmp_path / "deep" / "x.png"
    record = json.loads(
        inside("traverse", flow, "--between", 3, 7, "--steps", 3, "--out", out, "--json")
    )
    assert record == {
        "path": str(out),
        "pairs": [[3, 7]],
        "between": "generation",
        "dimensions": [],
        "variances": [],
        "along": None,
    }
    assert out.stat().st_size > 0
    options = ["--dimension", 1, "--dimension", 0, "--space", "generation", "--out", out, "--json"]
    record = json.loads(inside("traverse", flow, *options))
    assert (record["pairs"], record["dimensions"], record["along"]) == ([], [1, 0], "generation")
    options = ["--pairs", 2, "--space", "representation", "--out", out, "--json"]
    record = json.loads(inside("traverse", flow, *options))
    assert (len(record["pairs"]), record["between"], record["dimensions"]) == (
        2,
        "representation",
        [],
    )
    other = json.loads(inside("traverse", flow, *options, "--seed", 3))
    assert other["pairs"] != record["pairs"]


def test_traverse_a_tilted_prior(inside, ncp, tmp_path):
    record = json.loads(
        inside("traverse", ncp, "--pairs", 1, "--out", tmp_path / "x.png", "--json")
    )
    assert record["between"] == "representation"


def test_compare(inside, vae, flow, ncp, tmp_path, monkeypatch):
    """Fault: rows under other runs' names, numbers that are no JSON."""
    monkeypatch.chdir(tmp_path)
    record = json.loads(
        inside("compare", vae, flow, ncp, "--draws", 60, "--json"), parse_constant=pytest.fail
    )
    rows = record["median_log_q_over_p"]
    assert {name: row["prior"] for name, row in rows.items()} == {
        "vae": "StandardNormal",
        "flow": "FlowPrior",
        "ncp": "NCP over StandardNormal",
    }
    assert rows["vae"]["pockets"]["at_least"] < rows["vae"]["leaks"]["at_least"]
    assert record["unit"] == "nats"
    assert record["meanings"].keys() == {"pockets", "leaks"}
    height, width = np.asarray(Image.open(tmp_path / "comparison.png")).shape[:2]
    assert height > 3 * 4 * 130
    assert width > 4 * 4 * 130


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--between", 0, 12], ["`pairs` of test observations from 0 to 11; got 12"]),
        (["--between", 0, 1, "--pairs", 2], ["expected --between or --pairs; got both"]),
        (["--between", 0], ["--between", "requires 2 arguments"]),
        (["--dimension", 3], ["`dimensions` from 0 to 2; got 3"]),
        (["--dimension", -1], ["Invalid value", "--dimension"]),
        (["--pairs", 0], ["Invalid value", "--pairs"]),
        (["--steps", 1], ["Invalid value", "--steps"]),
        (["--space", "generation"], ["no generation space. Choose 'representation'"]),
        (["--space", "z0"], ["'z0'", "generation"]),
        (["--out", "x.gif"], ["ends in .png; got 'x.gif'"]),
    ],
)
def test_traverse_names_mistakes(refused, vae, tmp_path, monkeypatch, arguments, words):
    """Fault: a picture of something else than was asked for."""
    monkeypatch.chdir(tmp_path)
    message = refused("traverse", vae, *arguments)
    for word in words:
        assert word in message
    assert not list(tmp_path.iterdir())


def test_compare_names_mistakes(refused, vae, tmp_path):
    """Fault: rows of different data in one picture, one run twice."""
    assert "expected each run once" in refused("compare", vae, vae, "--out", tmp_path / "x.png")
    assert "expected a run folder with run.json" in refused("compare", vae, tmp_path / "nowhere")
    assert "ends in .png; got 'x.gif'" in refused("compare", vae, "--out", tmp_path / "x.gif")
    other = tmp_path / "other"
    other.mkdir()
    record = json.loads((vae / "run.json").read_text())
    record["identity"]["run"]["data"]["name"] = "digits"
    record["identity"]["data_fingerprint"] = "another"
    (other / "run.json").write_text(json.dumps(record))
    message = refused("compare", vae, other, "--out", tmp_path / "x.png")
    assert f"expected runs on the same data; {vae} has name=" in message
    assert f"{other} name=digits" in message
    assert not (tmp_path / "x.png").exists()
