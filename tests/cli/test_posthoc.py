"""Priors fitted to the codes of a run, by the command: a chain of runs, alone and moved."""

import json
import shutil

import pytest

from priorwise import load
from priorwise.priors import FullGaussianMixture, StandardNormal

SMALL = ("training.epochs=2", "evaluation.log_norm_samples=2000")
MEASURED = ("--samples", 5, "--images", 20, "--quality", "none")
PRIORS = {
    "flow": ("model.prior.blocks=2", "model.prior.hidden_features=[8]"),
    "mixture": ("model.prior.components=4",),
    "full-mixture": ("model.prior.components=2",),
    "vampprior": ("model.prior.components=4",),
}


@pytest.fixture
def posthoc(inside, vae, tmp_path):
    """Trains a recipe over a run: by default over the VAE of this folder."""

    def train(name, *settings, base=vae, out=None):
        out = tmp_path / name if out is None else out
        recipe = name if "/" in name else f"posthoc/{name}"
        words = inside("train", recipe, *SMALL, *settings, "--base", base, "--out", out, "--json")
        return out, json.loads(words)

    return train


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_is_fitted_and_nothing_else(name, posthoc, vae):
    """Fault: an encoder that moves; a fit without steps that cannot be repeated."""
    out, said = posthoc(name, *PRIORS[name])
    assert said["metric"] == "cross_entropy"
    fitted, base = load(out), load(vae)
    for part in ("encoder", "decoder"):
        tensors = getattr(base, part).state_dict()
        assert all((getattr(fitted, part).state_dict()[k] == v).all() for k, v in tensors.items())
    again = posthoc(name, *PRIORS[name])[1]
    assert (again["best"], again["epochs"]) == (said["best"], said["epochs"])


def test_it_is_reported_beside_its_base(posthoc, inside):
    """Fault: a base with another prior's weights; a gain over nothing."""
    out, _ = posthoc("full-mixture", *PRIORS["full-mixture"])
    inside("report", out, *MEASURED)
    record = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert list(record["models"]) == ["base", "full-mixture"]
    assert record["models"]["full-mixture"]["same_vae"]
    assert record["models"]["full-mixture"]["gain"]["value"] == pytest.approx(
        record["models"]["base"]["nll"]["value"] - record["models"]["full-mixture"]["nll"]["value"]
    )


def test_a_chain_of_runs_can_be_moved_and_goes_on(posthoc, inside, refused, vae, tmp_path):
    """Fault: a run that needs the folder underneath for anything but its training; a tilt over the
    wrong prior; a run that is trained anew.
    """
    flow, _ = posthoc("full-mixture", *PRIORS["full-mixture"])
    over, said = posthoc("ncp/posthoc", "model.hidden_features=[8]", base=flow)
    assert said["metric"] == "held_out_bce"
    again = posthoc("ncp/posthoc", "model.hidden_features=[8]", base=flow, out=over)[1]
    assert again["best"] == said["best"]
    message = refused("train", "posthoc/flow", "--base", over, "--out", tmp_path / "no")
    assert f"--base {flow}" in message
    assert f"--base {vae}" in refused(
        "train", "posthoc/flow", "--base", flow, "--out", tmp_path / "no"
    )
    assert "--base" in refused("train", "posthoc/flow", "--out", tmp_path / "no")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for run in (flow, over):
        shutil.move(run, moved / run.name)
    tilted = load(moved / over.name)
    assert isinstance(tilted.untilted.prior, FullGaussianMixture)
    inside("sample", moved / over.name, "-n", 4)
    inside("report", moved / over.name, *MEASURED)
    record = json.loads((moved / over.name / "report.json").read_text(encoding="utf-8"))
    assert "FullGaussianMixture" in record["models"]["base"]["subject"]["about"]
    assert record["models"]["posthoc"]["subject"]["about"].startswith("NCP over a VAE with Full")
    inside("report", moved / flow.name, *MEASURED)
    record = json.loads((moved / flow.name / "report.json").read_text(encoding="utf-8"))
    assert StandardNormal.__name__ in record["models"]["base"]["subject"]["about"]
