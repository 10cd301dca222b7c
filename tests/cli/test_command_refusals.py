"""What a user gets wrong: one message that names it and what to do, exit code 2, nothing lost, no
traceback.
"""

import shutil

import pytest


def test_the_installed_command_refuses_too(priorwise, tmp_path):
    """Fault: an installed command whose entry point lets the exception through."""
    done = priorwise("train", "own/vea", "--out", tmp_path / "run", code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown recipe 'own/vea'. Did you mean own/vae")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["train", "vampprior/static_mnist_vae_vampp"],
            ["Did you mean vampprior/static_mnist_vae_vamp", "priorwise list"],
        ),
        (["train", "own/vae"], ["expected data for own/vae", "--data"]),
        (["train", "own/vae", "--data", "mnst"], ["unknown data set 'mnst'", "'mnist'"]),
        (["train", "own/vae", "--data", "none.npz"], ["there is none at none.npz"]),
        (
            ["train", "own/vae", "training.epoch=3", "--data", "digits"],
            ["'training.epoch'", "Did you mean 'epochs'?"],
        ),
        (
            ["train", "own/vae", "training.epochs=0", "--data", "digits"],
            ["training.epochs", "got 0"],
        ),
        (["train", "own/vae", "model.latent=-1", "--data", "digits"], ["model.latent", "got -1"]),
        (["train", "own/vae", "epochs=15", "--dry-run"], ["Did you mean 'training.epochs'?"]),
        (["train", "own/vae", "--seed", "-1"], ["Invalid value", "--seed"]),
        (
            ["train", "own/vae", f"training.batch_size={10**22}", "--data", "digits"],
            ["training.batch_size: expected at most 1,000,000,000"],
        ),
        (["train", "own/vae", "--base", "run", "--data", "digits"], ["--base", "own/vae does not"]),
        (["train", "ncp/posthoc"], ["--base RUN"]),
        (["train", "ncp/posthoc", "--base", "nowhere"], ["run.json", "nowhere"]),
        (["train", "own/vae", "--seed", "x", "--data", "digits"], ["Invalid value", "--seed"]),
        (["evaluate", "nowhere"], ["expected a run folder with run.json", "nowhere"]),
        (["evaluate", "nowhere", "--samples", "0"], ["Invalid value", "--samples"]),
        (["evaluate", "nowhere", "--samples", 10**22], ["--samples", "1000000000"]),
        (["sample", "nowhere", "--count", 10**22], ["--count", "1000000"]),
        (["traverse", "nowhere", "--steps", 10**22], ["--steps", "1000"]),
        (["compare", "nowhere", "--draws", 10**22], ["--draws", "1000000"]),
        (["evaluate", "nowhere", "--images", "-1"], ["--images as a number or all; got '-1'"]),
        (["sample", "nowhere"], ["expected a run folder with run.json"]),
        (["sample", "nowhere", "--count", "0"], ["Invalid value", "--count"]),
        (["sample", "nowhere", "--proposals", "-5"], ["Invalid value", "--proposals"]),
        (["sample", "nowhere", "--sampler", "gibbs"], ["'gibbs'", "langevin"]),
        (["report", "nowhere"], ["expected a run folder with run.json"]),
        (["table", "nvae"], ["unknown paper 'nvae'", "vampprior"]),
        (["tabel"], ["No such command 'tabel'"]),
    ],
)
def test_mistakes_are_named(refused, tmp_path, monkeypatch, arguments, words):
    """Fault: a message without the name, the value or the way out; a folder that is made for
    nothing.
    """
    monkeypatch.chdir(tmp_path)
    message = refused(*arguments)
    for word in words:
        assert word in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--log-norm", "bad"], "`log_norm`: expected 'importance' or 'annealed'; got 'bad'."),
        (["--quality", "good"], "`quality`: expected"),
        (["--images", 10**22], "`images`: expected at most 1,000,000,000; got 10000"),
    ],
)
def test_settings_of_an_evaluation_are_told_in_words(refused, vae, options, words):
    """Fault: pydantic's own text, or an evaluation that takes a century."""
    message = refused("evaluate", vae, *options)
    assert words in message
    assert "Input should" not in message


def test_tensorboard_that_is_missing_is_told_first(refused, monkeypatch, tmp_path):
    """Fault: an import error after the training."""
    monkeypatch.setattr("priorwise.training.tensorboard.find_spec", lambda name: None)
    out = tmp_path / "run"
    board = ["--tensorboard", tmp_path / "board"]
    message = refused("train", "own/vae", "--data", "digits", "--out", out, *board)
    assert "pip install 'priorwise[tensorboard]'" in message
    assert not list(tmp_path.iterdir())


def contents(path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


def test_folder_of_another_run_is_refused(refused, vae, images):
    """Fault: training on over somebody's run."""
    before = contents(vae)
    message = refused("train", "own/vae", "training.epochs=4", "--data", images, "--out", vae)
    for word in (
        "holds another run",
        "training.epochs was 3, now 4",
        "model.hidden was 12, now 300",
        "--out",
    ):
        assert word in message
    assert contents(vae) == before


def test_untrained_folder_is_refused(refused, vae, tmp_path):
    """Fault: evaluating initial weights."""
    shutil.copy(vae / "run.json", tmp_path / "run.json")
    for command in ("evaluate", "sample", "report"):
        message = refused(command, tmp_path)
        assert f"expected a checkpoint at {tmp_path / 'best.safetensors'}; there is none" in message


def test_damaged_runs_are_refused(refused, vae, tmp_path):
    """Fault: a traceback, or reading half a file."""
    run = tmp_path / "run"
    shutil.copytree(vae, run)
    best = run / "best.safetensors"
    best.write_bytes(best.read_bytes()[:1000])
    assert "best.safetensors is not a whole safetensors file" in refused("sample", run)
    (run / "run.json").write_text("{")
    assert "run.json is damaged" in refused("evaluate", run)


def test_changed_data_are_refused(refused, vae, images, tmp_path, monkeypatch):
    """Fault: going on with other data under the same name."""
    data = tmp_path / "small.npz"
    shutil.copy(images, data)
    kept = data.read_bytes()
    data.write_bytes(kept[: len(kept) // 2])
    assert "damaged or cut short" in refused(
        "train", "own/vae", "--data", data, "--out", tmp_path / "run"
    )
    assert not (tmp_path / "run").exists()


def test_ncp_of_an_ncp_is_refused(refused, ncp, tmp_path):
    message = refused("train", "ncp/posthoc", "--base", ncp, "--out", tmp_path / "run")
    assert "was fitted afterwards already (NCP). Use the run that it builds on: --base" in message


def test_sampler_that_does_not_fit_is_refused(refused, vae, ncp, tmp_path):
    """Fault: samples of another distribution than asked for."""
    assert "ancestral sampling would ignore" in refused("sample", ncp, "--sampler", "ancestral")
    assert "positive, finite `temperature`; got 0" in refused(
        "sample", vae, "--sampler", "ancestral", "--temperature", 0
    )
    assert "positive, finite `step_size`; got 0" in refused(
        "sample", ncp, "--sampler", "mala", "--step-size", 0
    )
    assert "ends in .png or .npz" in refused("sample", vae, "--out", tmp_path / "x.gif")


def test_a_temperature_needs_a_sampler(vae, refused, tmp_path):
    """Fault: a temperature that is taken and ignored."""
    out = tmp_path / "x.npz"
    assert "expected --sampler together with --temperature" in refused(
        "sample", vae, "--temperature", 0.3, "--out", out
    )
