"""Priors, models and objectives of a user's file in a run: built, trained, found again, refused."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from own_parts import TEXT
from pydantic import ValidationError

from priorwise.config import (
    GaussianMixtureConfig,
    NCPConfig,
    OverrideError,
    OwnCodeError,
    OwnModelConfig,
    OwnObjectiveConfig,
    OwnPriorConfig,
    Run,
    VAEConfig,
    override,
    validated,
)
from priorwise.data import DataSpec
from priorwise.models import NCP, AbstractModel
from priorwise.priors import StandardNormal
from priorwise.recipes import recipe
from priorwise.training import RunFolderError, load, train_run
from priorwise.training.folder import read_record
from priorwise.training.run_record import read_run, resolve_base

SPEC = DataSpec("points", (3,), None, "gaussian", "none", "none")


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """The user's file, in the working directory."""
    path = tmp_path / "parts.py"
    path.write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return path


def vae(**prior: object) -> VAEConfig:
    return VAEConfig(latent=2, hidden=4, prior=OwnPriorConfig(**prior))


def test_a_prior_of_ones_own_is_what_ours_is(file):
    """Fault: initial weights that depend on whether the file was executed before, or on where the
    prior comes from.
    """
    own = vae(path="parts.py:mixture", options={"components": 5})
    ours = VAEConfig(latent=2, hidden=4, prior=GaussianMixtureConfig(components=5))
    expected = ours.build(SPEC, seed=3).state_dict()
    for _ in range(2):
        built = own.build(SPEC, seed=3).state_dict()
        assert list(built) == list(expected)
        assert all(torch.equal(built[name], expected[name]) for name in built)


def test_any_module_will_do(file):
    model = vae(path="parts.py:Plain").build(SPEC, seed=0)
    assert model.sample(4, seed=0).shape == (4, 3)


def test_nothing_is_executed_before_it_is_built(file, tmp_path, monkeypatch):
    """Fault: a configuration that runs code when it is validated, copied, overridden or printed."""
    monkeypatch.setenv("MARK", str(tmp_path / "mark"))
    run = Run(name="x", data={"name": "digits"}, model=vae(path="parts.py:Shifted"))
    again = validated(json.loads(json.dumps(run.model_dump(mode="json"))))
    changed = override(again, ["model.prior.options.scale=2", "training.epochs=3"])
    assert again == run
    assert repr(changed)
    assert not (tmp_path / "mark").exists()
    changed.model.build(SPEC, seed=0)
    assert (tmp_path / "mark").read_text() == str(file)


def test_settings_of_the_command(file):
    """Fault: a part of one's own that only Python can set."""
    settings = ["model.prior.path=parts.py:Shifted", "model.prior.options={scale: 2.0}"]
    run = override(recipe("own/vae"), [*settings, "model.prior.kind=own"])
    assert run.model.prior == OwnPriorConfig(path="parts.py:Shifted", options={"scale": 2.0})
    assert override(run, ["model.prior.options.scale=3"]).model.prior.options == {"scale": 3}
    with pytest.raises(
        OverrideError, match=r"unknown field 'model.prior.pth'. Did you mean 'path'"
    ):
        override(run, ["model.prior.pth=x"])
    unset = override(recipe("own/vae"), ["model.prior.kind=own"])
    with pytest.raises(OwnCodeError, match=r"expected `path` .*OwnPriorConfig.*FILE\.py:NAME"):
        unset.model.build(SPEC, seed=0)


def test_a_class_stands_for_its_path(file):
    """Fault: a path that leads elsewhere later."""
    prior = recipe("parts.py:mine").model.prior
    assert prior.path == f"{file}:Shifted"
    assert prior.build(2, (3,), None).loc.shape == (2,)
    beside = file.parent / "beside.py"
    beside.write_text(
        TEXT.replace("path=Shifted", "path=Plain").replace(
            "def mine", "from parts import Plain\n\ndef mine"
        )
    )
    assert recipe("beside.py:mine").model.prior.path == f"{file}:Plain"
    ours = OwnPriorConfig(path=StandardNormal)
    assert ours.path == "priorwise.priors.standard:StandardNormal"
    assert isinstance(ours.build(2, (3,), None), StandardNormal)


def test_what_has_no_path_is_refused(file):
    class Local(StandardNormal):
        pass

    for thing in (Local, lambda latent: StandardNormal(latent)):
        with pytest.raises(ValidationError, match=r"at the top level of a .py file"):
            OwnPriorConfig(path=thing)
    for wrong, words in [("parts.py", "FILE.py:NAME"), (3, "string"), ("a:b:c", "neither a .py")]:
        with pytest.raises(ValidationError, match=words):
            OwnPriorConfig(path=wrong)
    with pytest.raises(ValidationError, match="valid JSON"):
        OwnPriorConfig(path="parts.py:Shifted", options={"scale": torch.ones(())})


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("parts.py:number", {}, "to return a torch module that is a prior; got int"),
        ("parts.py:longer", {}, r"over latents of shape \(2,\); its .* event shape \(3,\)"),
        (
            "parts.py:fails",
            {},
            r"calling fails of parts.py failed:\n.*parts.py.*\n.*\n(.*\n)?KeyErr",
        ),
        ("parts.py:Shifted", {"width": 1}, "calling Shifted of parts.py .*\n.*argument 'width'"),
        ("parts.py:Normal", {}, "that parts.py itself defines; Normal is from torch.distributions"),
        ("parts.py:NOISE", {}, "itself defines; NOISE is a Tensor"),
        ("parts.py:Shift", {}, "expected 'Shift' in parts.py.* Did you mean 'Shifted'"),
        ("os:system", {}, "itself defines; system is from"),
        ("none.py:Shifted", {}, "there is none at .*none.py"),
    ],
)
def test_what_is_no_prior_is_refused(file, path, options, words):
    """Fault: a crash in the first step, or densities that broadcast."""
    with pytest.raises(OwnCodeError, match=words):
        vae(path=path, options=options).build(SPEC, seed=0)


def test_what_is_no_model_or_objective_is_refused(file):
    with pytest.raises(OwnCodeError, match=r"to return a model of priorwise\.models; got int"):
        OwnModelConfig(path="parts.py:number").build(SPEC, seed=0)
    with pytest.raises(OwnCodeError, match=r"an objective of priorwise\.objectives; got int"):
        train_run(
            recipe("parts.py:mine").model_copy(
                update={"objective": OwnObjectiveConfig(path="parts.py:number")}
            ),
            "run",
            progress=False,
        )
    assert not Path("run").exists()


def test_a_model_and_an_objective(file):
    """Fault: an objective of one's own that is not the one that is minimised."""
    run = override(recipe("parts.py:both"), ["objective.options.share=0.25"])
    assert train_run(run, "run", progress=False).metric == "negative_elbo"
    elbo = override(recipe("parts.py:both"), ["objective.kind=beta_vae", "objective.beta=0.25"])
    expected = train_run(elbo, "elbo", progress=False).model.state_dict()
    weights = load("run", code="parts.py").state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_objectives_know_the_latents_of_a_model(file):
    """Fault: a discriminator of another size than the latents of a model without that setting."""
    settings = ["objective.kind=factor_vae", "objective.hidden_features=[4]"]
    train_run(override(recipe("parts.py:both"), settings), "run", progress=False)


@pytest.fixture
def trained(file) -> Path:
    train_run(recipe("parts.py:mine"), "run", progress=False)
    return file.parent / "run"


def test_a_folder_keeps_the_name_and_the_hash(trained):
    """Fault: the user's folders in a file that is handed on."""
    text = (trained / "run.json").read_text()
    assert str(trained.parent) not in text
    record = json.loads(text)
    assert record["identity"]["run"]["model"]["prior"]["path"] == "parts.py:Shifted"
    assert len(record["about"]["code parts.py"]) == 16


def test_a_run_is_read_with_code_that_is_named(trained, tmp_path):
    """Fault: code that the folder alone decides on; a file that moved and is not found."""
    words = (
        r"run was trained with code that is not part of priorwise: Shifted of parts\.py\. .*"
        r"executed\. If you have it and trust it, add --code path/to/parts\.py"
    )
    for read in (load, read_run, lambda run: resolve_base(recipe("ncp/posthoc"), run)):
        with pytest.raises(OwnCodeError, match=words):
            read("run")
    (tmp_path / "other.py").write_text("")
    with pytest.raises(OwnCodeError, match=r"You named other\.py\."):
        load("run", code=["other.py"])
    expected = load("run", code="parts.py").prior.loc
    (tmp_path / "moved").mkdir()
    shutil.move("parts.py", "moved/parts.py")
    for code in ("moved/parts.py", Path("moved/parts.py"), ["other.py", "moved/parts.py"]):
        assert torch.equal(load("run", code=code).prior.loc, expected)
    assert train_run(recipe("moved/parts.py:mine"), "run", progress=False).epochs == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("none.py", "expected a Python file for --code; there is none at .*none.py"),
        ("parts.py:Shifted", "without the name in it; .* Give parts.py"),
        (["parts.py", "more/parts.py"], "files of different names for --code"),
    ],
)
def test_code_is_named_by_file(trained, code, words):
    Path("more").mkdir()
    shutil.copy("parts.py", "more/parts.py")
    with pytest.raises(OwnCodeError, match=words):
        load("run", code=code)


def test_two_files_of_one_name_are_refused(file):
    """Fault: a folder that cannot say which of the two it means."""
    Path("more").mkdir()
    shutil.copy("parts.py", "more/parts.py")
    objective = OwnObjectiveConfig(path="more/parts.py:Halved")
    run = recipe("parts.py:mine").model_copy(update={"objective": objective})
    with pytest.raises(OwnCodeError, match="expected files of different names for your own parts"):
        train_run(run, "run", progress=False)
    assert not Path("run").exists()


def test_a_changed_file_is_told(trained, file):
    """Fault: weights in a model that they were not made for, without a word."""
    file.write_text(TEXT + "# a remark\n")
    with pytest.warns(UserWarning, match=r"parts\.py has changed since run was trained \(its hash"):
        load("run", code="parts.py")
    with pytest.warns(UserWarning, match="other versions or code.* .code parts.py was"):
        train_run(recipe("parts.py:mine"), "run", progress=False)


def test_a_file_that_makes_another_model_is_refused(trained, file):
    """Fault: a fit that goes on with another prior; no tensor tells a scale."""
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    file.write_text(TEXT.replace("scale=1.0", "scale=2.0"))
    with (
        pytest.warns(UserWarning, match="code parts.py was"),
        pytest.raises(RunFolderError, match=r"another model or other settings.*Build the model as"),
    ):
        train_run(recipe("parts.py:mine"), "run", progress=False)
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


@pytest.mark.parametrize("name", ["mine", "both"])
def test_an_ncp_over_it(file, name):
    """Fault: a base that is not found, or not the one that was trained."""
    train_run(recipe(f"parts.py:{name}"), "run", progress=False)
    settings = ["model.hidden_features=[4]", "training.epochs=1"]
    run = override(resolve_base(recipe("ncp/posthoc"), "run", "parts.py"), settings)
    assert isinstance(run.model, NCPConfig)
    train_run(run, "ncp", progress=False)
    with pytest.raises(OwnCodeError, match="ncp was trained with code"):
        load("ncp")
    model, below = load("ncp", code="parts.py"), load("run", code="parts.py")
    assert isinstance(model, NCP)
    expected = below.state_dict()
    weights = model.untilted.state_dict()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert "code parts.py" in read_record(Path("ncp/run.json"))["about"]
    file.write_text(TEXT + "# a remark\n")
    shutil.rmtree("ncp")
    with pytest.warns(UserWarning, match=r"has changed since .*run was trained"):
        train_run(run, "ncp", progress=False)


def test_a_run_without_own_code_needs_none(file):
    """Fault: a run that asks for the file of its recipe, in which nothing of it stands."""
    run = recipe("parts.py:mine")
    run = run.model_copy(update={"model": VAEConfig(latent=2, hidden=4)})
    train_run(run, "run", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(load("run"), AbstractModel)
        assert isinstance(load("run", code="parts.py"), AbstractModel)
    assert not [name for name in read_record(Path("run/run.json"))["about"] if "code" in name]
