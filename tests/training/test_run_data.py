"""A run is measured on the data that it was trained on, and on no others; they may move."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from priorwise.config import (
    DataConfig,
    FittedPriorConfig,
    GaussianMixtureConfig,
    NCPConfig,
    Run,
    TrainingConfig,
    VAEConfig,
)
from priorwise.evaluation import evaluate_run, record_of_base
from priorwise.reporting import report_runs
from priorwise.reporting.comparison import compare_runs
from priorwise.training import (
    AbstractCallback,
    CheckpointError,
    Moment,
    RunFolderError,
    load,
    train_run,
)
from priorwise.training.checkpoint import read_checkpoint, write_checkpoint
from priorwise.training.folder import read_record
from priorwise.training.run_data import load_splits
from priorwise.training.run_identity import name_of
from priorwise.training.runner import load_base

MODEL = VAEConfig(latent=2, hidden=4)


def write_bits(path: Path, seed: int = 0, count: int = 60) -> None:
    path.parent.mkdir(exist_ok=True)
    np.savez(path, x=(np.random.RandomState(seed).rand(count, 9) < 0.3).astype(np.uint8))


def described(data: str | Path, **training: object) -> Run:
    options = {"epochs": 1, "warmup_epochs": 0} | training
    return Run(
        name="own/vae",
        data=DataConfig(name=str(data)),
        model=MODEL,
        training=TrainingConfig(**options),
    )


@pytest.fixture
def data(tmp_path) -> Path:
    write_bits(tmp_path / "data" / "bits.npz")
    return tmp_path / "data" / "bits.npz"


@pytest.fixture
def run(tmp_path, data) -> Path:
    train_run(described(data), tmp_path / "run", progress=False)
    return tmp_path / "run"


def ncp_over(run: Path, data: Path) -> Run:
    model = NCPConfig(base=MODEL, base_run=str(run), hidden_features=(4,))
    return described(data).model_copy(update={"name": "ncp/posthoc", "model": model})


VISITS: dict[str, Callable[[Path, Path], object]] = {
    "load_splits": lambda run, _: load_splits(run),
    "evaluate": lambda run, _: evaluate_run(run, progress=False),
    "report": lambda run, _: report_runs({"a": run}, run / "report.html", progress=False),
    "compare": lambda run, _: compare_runs([run], run / "x.png"),
    "resume": lambda run, data: train_run(described(data), run, progress=False),
    "base": lambda run, data: train_run(ncp_over(run, data), run.parent / "ncp", progress=False),
}


@pytest.mark.parametrize("visit", VISITS)
def test_other_data_in_the_same_place_are_refused(run, data, visit):
    """Fault: numbers of other data under the fingerprint of those that the run was trained on."""
    write_bits(data, seed=1)
    before = {entry.name: entry.read_bytes() for entry in run.iterdir()}
    with pytest.raises(RunFolderError, match=r"fingerprint \w{16}.*now \w{16}"):
        VISITS[visit](run, data)
    assert {entry.name: entry.read_bytes() for entry in run.iterdir()} == before
    assert not (run.parent / "ncp").exists()


def test_the_message_says_what_has_changed(run, data):
    write_bits(data, count=50)
    words = (
        r"at .*bits\.npz are others: they were bits: 48 / 6 / 6 .*, and are now bits: 40 / 5 / 5 "
    )
    with pytest.raises(RunFolderError, match=words):
        load_splits(run)


def test_data_may_move(run, data, tmp_path):
    """Fault: a run whose data moved can never be measured or trained on again; or any data will do
    if they are named.
    """
    elsewhere = tmp_path / "elsewhere" / "renamed.npz"
    elsewhere.parent.mkdir()
    shutil.move(data, elsewhere)
    with pytest.raises(ValueError, match=r"bits\.npz"):
        load_splits(run)
    fingerprint = read_record(run / "run.json")["identity"]["data_fingerprint"]
    assert load_splits(run, data=elsewhere).fingerprint() == fingerprint
    write_bits(tmp_path / "elsewhere" / "bits.npz", seed=1)
    with pytest.raises(RunFolderError, match=r"those at .* are others"):
        load_splits(run, data=tmp_path / "elsewhere" / "bits.npz")
    shutil.move(elsewhere, tmp_path / "elsewhere" / "bits.npz")
    train_run(described(tmp_path / "elsewhere" / "bits.npz"), run, progress=False)
    assert load_splits(run).fingerprint() == fingerprint  # the new place is known from now on


def test_a_relative_path_holds_from_everywhere(data, tmp_path, monkeypatch):
    """Fault: a run that only its own working directory can evaluate."""
    monkeypatch.chdir(data.parent)
    train_run(described("bits.npz"), tmp_path / "run", progress=False)
    stored = read_record(tmp_path / "run" / "run.json")["identity"]["run"]["data"]["name"]
    assert stored == str(data)
    monkeypatch.chdir(tmp_path)
    load_splits("run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["identity"]["run"]["data"]["name"] = "bits.npz"  # as earlier versions wrote it
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    monkeypatch.chdir(data.parent)
    load_splits(tmp_path / "run")
    train_run(described("bits.npz"), tmp_path / "run", progress=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(run, value):
    """Fault: numbers of NaN that replace a good evaluation."""
    best = run / "best.safetensors"
    tensors, state = read_checkpoint(best)
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = value
    identity = read_record(run / "run.json")["identity"]
    write_checkpoint(best, tensors, state, run=name_of(identity))
    (run / "evaluation.json").write_text('{"nll": 3}')
    parameter = name.removeprefix("model/")
    for visit in (load, lambda run: evaluate_run(run, progress=False)):
        with pytest.raises(CheckpointError, match=rf"finite weights in .*`{parameter}` holds NaN"):
            visit(run)
    assert (run / "evaluation.json").read_text() == '{"nll": 3}'


def test_a_run_starts_from_the_weights_of_another(run, data, tmp_path):
    """Fault: initial weights that nobody can trace, or that another start takes for its own."""
    tiny = {"lr": 1e-12}
    out = tmp_path / "more"
    result = train_run(described(data, **tiny), out, init=run, progress=False)
    for parameter, start in zip(result.model.parameters(), load(run).parameters(), strict=True):
        torch.testing.assert_close(parameter, start, rtol=0, atol=1e-9)
    identity = read_record(out / "run.json")["identity"]
    assert identity["init"]["run"] == str(run)
    with pytest.raises(RunFolderError, match="name it again with --init"):
        train_run(described(data, **tiny), out, progress=False)
    train_run(described(data, seed=3), tmp_path / "third", progress=False)
    with pytest.raises(RunFolderError, match=r"it starts from \(--init\) had the hash"):
        train_run(described(data, **tiny), out, init=tmp_path / "third", progress=False)
    os.rename(run, tmp_path / "moved")  # where it lies does not matter
    train_run(described(data, **tiny), out, init=tmp_path / "moved", progress=False)
    larger = described(data).model_copy(update={"model": VAEConfig(latent=2, hidden=5)})
    with pytest.raises(
        CheckpointError, match=r"another model: \d+ tensors differ, the first are `"
    ):
        train_run(larger, tmp_path / "larger", init=out, progress=False)
    assert not (tmp_path / "larger").exists()


def mixture_over(run: Path, data: Path, **training: object) -> Run:
    prior = GaussianMixtureConfig(components=2)
    model = FittedPriorConfig(base=MODEL, base_run=str(run), prior=prior)
    return described(data, **training).model_copy(update={"name": "posthoc/x", "model": model})


@pytest.mark.parametrize("over", [mixture_over, ncp_over])
def test_a_base_is_never_replaced_by_the_weights_of_a_start(over, run, data, tmp_path):
    """Fault: --init over another base, whose encoder and decoder take the place of those of --base;
    a prior that starts from the codes although it was to start from another run.
    """
    train_run(described(data, seed=3), tmp_path / "other", progress=False)
    first = tmp_path / "first"
    train_run(over(run, data), first, progress=False)
    with pytest.raises(CheckpointError, match=r"over the same base as --base; .* tensors of the"):
        train_run(over(tmp_path / "other", data), tmp_path / "no", init=first, progress=False)
    assert not (tmp_path / "no").exists()
    small = over(run, data).model_copy(
        update={"training": TrainingConfig(epochs=1, warmup_epochs=0, lr=1e-12, seed=5)}
    )
    again = train_run(small, tmp_path / "again", init=first, progress=False).model
    for parameter, start in zip(again.parameters(), load(first).parameters(), strict=True):
        torch.testing.assert_close(parameter, start, rtol=0, atol=1e-9)


def test_the_base_is_looked_at_too(run, data, tmp_path):
    """Fault: a report that measures the model underneath on other data."""
    train_run(ncp_over(run, data), tmp_path / "ncp", progress=False)
    write_bits(data, seed=1)
    with pytest.raises(RunFolderError, match="are others"):
        record_of_base(tmp_path / "ncp", described(data).evaluation, progress=False)


class Swap(AbstractCallback):
    """Trains the run underneath again while the fit goes on, or removes it."""

    def __init__(self, run: Path, other: Path | None) -> None:
        self.run, self.other = run, other

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        if self.run.exists():
            shutil.rmtree(self.run)
            if self.other is not None:
                shutil.copytree(self.other, self.run)


@pytest.mark.parametrize("retrained", [True, False])
@pytest.mark.parametrize("over", [mixture_over, ncp_over])
def test_the_base_is_the_model_that_the_prior_was_fitted_over(over, retrained, run, data, tmp_path):
    """Fault: a report whose base is another model, because the run underneath was trained again or
    removed while the prior was fitted, or because its copy was exchanged.
    """
    other, fitted = tmp_path / "other", tmp_path / "fitted"
    train_run(described(data, seed=3), other, progress=False)
    under = load(run).state_dict()
    swap = Swap(run, other if retrained else None)
    train_run(over(run, data), fitted, progress=False, callbacks=[swap])

    def is_kept() -> bool:
        base = load_base(fitted).state_dict()
        return all(torch.equal(base.pop(name), under[name]) for name in under) and not base

    assert is_kept()
    for change in (lambda kept: shutil.copy(other / kept.name, kept), Path.unlink):
        change(fitted / "base" / "best.safetensors")
        if over is ncp_over:  # it holds the model underneath
            assert is_kept()
            continue
        with pytest.raises(CheckpointError, match=r"\d tensors differ, the first|none in either"):
            load_base(fitted)
