"""Networks that the size of the images decides: said in a line, recorded, the same on a resume."""

import json

import numpy as np
import pytest
import torch

from priorwise.config import (
    DataConfig,
    OverrideError,
    ResidualVAEConfig,
    Run,
    TrainingConfig,
    VAEBySizeConfig,
    VAEConfig,
    override,
    validated,
)
from priorwise.data import DataSpec
from priorwise.recipes import recipe
from priorwise.training import load, train_candidates, train_run
from priorwise.training.decision import decided, decision_words, outlook

USUAL = "training.batch_size is 100, training.lr is 0.001, training.lr_warmup_steps is 0"
CONVOLUTIONS = "training.batch_size is 16, training.lr is 0.002, training.lr_warmup_steps is 100"
DEFAULTS = {"batch_size": 100, "lr": 1e-3, "lr_warmup_steps": 0}
GIVEN = [f"training.{name}={value}" for name, value in DEFAULTS.items()]


def spec(*shape: int) -> DataSpec:
    return DataSpec("own", shape, 256, "discretized_logistic", "none", "midpoint")


def own(*settings: str, name: str = "own/vae", data: str = "digits") -> Run:
    return override(recipe(name), settings, {"data.name": data})


@pytest.mark.parametrize("name", ["own/vae", "own/vae_vamp"])
def test_images_larger_than_32x32_are_for_convolutions(name):
    """Fault: a limit in pixels altogether, or of one side alone; vectors that are taken for images;
    a prior that is lost on the way.
    """
    for shape in [(1, 28, 28), (3, 32, 32), (2000,)]:
        run = decided(own(name=name), spec(*shape))
        assert run.model == VAEConfig(prior=own(name=name).model.prior)
        assert run.training == recipe("own/hvae").training
        assert not decision_words(own(name=name), spec(*shape))
    for shape in [(3, 64, 64), (1, 33, 2), (1, 4, 33)]:
        run = decided(own(name=name), spec(*shape))
        assert run.model == ResidualVAEConfig(prior=own(name=name).model.prior)
        assert run.training == recipe("own/conv_vae").training
        words = decision_words(own(name=name), spec(*shape))
        assert "model.kind=residual_vae" in words
        assert f"images of {shape[1]}x{shape[2]} pixels are larger than 32x32" in words
        assert "set model.kind=vae" in words


def test_settings_decide_and_stay():
    """Fault: a setting of the user's that is replaced without a word."""
    run = decided(own("training.lr=0.1", "model.latent=3", "model.width=8"), spec(1, 8, 8))
    assert run.model == ResidualVAEConfig(latent=3, width=8)
    assert (run.training.lr, run.training.batch_size) == (0.1, 16)
    assert "since model.width is given" in decision_words(own("model.width=8"), spec(1, 8, 8))
    assert decided(own("model.hidden=7"), spec(1, 64, 64)).model == VAEConfig(hidden=7)
    for kind, like in [("vae", "hvae"), ("hvae", "hvae"), ("residual_vae", "conv_vae")]:
        fixed = own(f"model.kind={kind}")
        run = decided(fixed, spec(1, 64, 64))
        assert run.model == fixed.model
        assert run.training == recipe(f"own/{like}").training
        said = decision_words(fixed, spec(1, 64, 64))
        assert said == ("" if like == "hvae" else f"convolutions: {CONVOLUTIONS}")
        options = USUAL if like == "hvae" else CONVOLUTIONS
        assert outlook(fixed) == f"data: digits, embedded\ntraining: {options}"
    with pytest.raises(OverrideError, match="expected `hidden`, for dense layers, or `width`"):
        own("model.hidden=7", "model.width=7")


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_what_was_given_stays_though_it_is_the_default(count):
    """Fault: a default that was given and is replaced; one that is replaced and not said.

    A group of runs keeps the run as plain data, and so does this.
    """
    large = spec(3, 64, 64)
    run = validated(json.loads(json.dumps(own(*GIVEN[:count]).record())))
    assert run == own(*GIVEN[:count])
    now = decided(run, large)
    assert type(now.training) is TrainingConfig
    values = {**ResidualVAEConfig.training, **dict(list(DEFAULTS.items())[:count])}
    assert {name: getattr(now.training, name) for name in values} == values
    said = ", ".join(CONVOLUTIONS.split(", ")[count:])
    expected = f"since images of 64x64 pixels are larger than 32x32{said and ': '}{said}. For"
    assert expected in decision_words(run, large)
    assert decided(now, large) == now


def test_candidates_of_which_the_data_make_one_are_refused(tmp_path):
    """Fault: two runs that are equal, one of which is chosen; a candidate that is replaced."""
    values = ["candidates.setting=training.batch_size", "candidates.values=[16,100]"]
    runs = [override(own(*values), [], {"training.batch_size": value}) for value in (16, 100)]
    assert [decided(run, spec(3, 64, 64)).training.batch_size for run in runs] == [16, 100]
    for setting, given in [
        ("training.lr", "['1e-3','0.001']"),
        ("model.kind", "[vae,vae_by_size]"),
    ]:
        twice = own(f"candidates.setting={setting}", f"candidates.values={given}")
        with pytest.raises(ValueError, match=f"with {setting}=.* they are one and the same run"):
            train_candidates(twice, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_dry_run_says():
    """Fault: an outcome that is told before anybody knows the data."""
    assert outlook(own()).endswith(f"model: dense layers (model.kind=vae): {USUAL}")
    assert outlook(own(*GIVEN)).endswith("model: dense layers (model.kind=vae)")
    rule = outlook(own(data="faces.npz"))
    assert "(model.kind=residual_vae) if the images are larger than 32x32 pixels, else" in rule


def test_the_decision_is_said_once_and_recorded(tmp_path, capsys):
    """Fault: a resume or an evaluation that decides anew, and a run that goes on as another one.

    Extended after an epoch, it equals an unbroken run bit for bit.
    """
    data = tmp_path / "tall.npz"
    np.savez(data, x=np.random.RandomState(0).randint(0, 256, (40, 33, 3), dtype=np.uint8))
    short, whole = (
        own(
            "model.latent=2",
            "training.schedule=constant",
            "training.warmup_epochs=0",
            "training.validate_every=null",
            f"training.epochs={epochs}",
            data=str(data),
        )
        for epochs in (1, 2)
    )
    train_run(short, tmp_path / "run")
    assert capsys.readouterr().err.count("larger than 32x32") == 1
    record = json.loads((tmp_path / "run/run.json").read_text())["identity"]["run"]
    assert record["model"]["kind"] == "residual_vae"
    assert record["training"]["batch_size"] == 16
    train_run(whole, tmp_path / "run", progress=False)
    assert "larger than" not in capsys.readouterr().err
    train_run(whole, tmp_path / "whole", progress=False)
    models = [load(tmp_path / folder).state_dict() for folder in ("run", "whole")]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_a_model_that_was_not_decided_builds():
    """Fault: a run made in Python whose model only training knows how to build."""
    run = Run(name="mine", data=DataConfig(name="x"), model=VAEBySizeConfig(latent=2, width=4))
    model = run.model.build(spec(1, 5, 6), seed=0)
    assert model.sample(2).shape == (2, 1, 5, 6)
    assert run.training == TrainingConfig()
