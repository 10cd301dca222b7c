"""A folder knows a model by more than its tensors: settings that no tensor tells are noticed on a
second visit.
"""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import KilledError, Writes
from test_validation import Unjudged
from toys import OPTIONS, splits, wrong

from priorwise import NCP, VAE, fit
from priorwise.conditionals import Conditional, GaussianHead
from priorwise.likelihoods import Gaussian
from priorwise.models import AbstractModel
from priorwise.objectives import ELBO, IWAE, AbstractObjective, BetaVAE, default_objective
from priorwise.priors import GaussianMixture
from priorwise.testing import LinearGaussianVAE
from priorwise.training import RunFolderError
from priorwise.training.checkpoint import read_checkpoint, write_checkpoint
from priorwise.training.probe import Probe
from priorwise.training.stage import judged


def vae(
    *, scale: float = 0.5, low: float = -6.0, activation: type[torch.nn.Module] = torch.nn.SiLU
) -> VAE:
    """Models with the same tensors and different settings."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = torch.nn.Sequential(torch.nn.Linear(3, 8), activation())
        decoder = Conditional(
            torch.nn.Sequential(torch.nn.Linear(2, 8), activation()), Gaussian(8, (3,), scale=scale)
        )
        prior = GaussianMixture(2, 3, log_var_range=(low, 2.0))
        return VAE(Conditional(body, GaussianHead(8, 2)), decoder, prior)


OTHERS = {
    "scale": partial(vae, scale=0.2),
    "scale, a little": partial(vae, scale=0.49),
    "activation": partial(vae, activation=torch.nn.Tanh),
    "range": partial(vae, low=1.0),
}
OBJECTIVES = {
    "default": lambda model: None,
    "IWAE": lambda model: IWAE(model, 3),
    "BetaVAE": BetaVAE,
}


def contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def began(
    out: Path, make: Any, monkeypatch: pytest.MonkeyPatch, *, finished: bool
) -> dict[str, Any]:
    """A run of ``vae()`` in a folder, whole or killed after some checkpoints; its options."""
    model, options = vae(), OPTIONS | {"checkpoint_seconds": 1e9 if finished else 1e-9, "out": out}
    if finished:
        fit(model, splits(), make(model), **options)
        return options
    with monkeypatch.context() as patch:
        Writes(patch, 6)
        with pytest.raises(KilledError):
            fit(model, splits(), make(model), **options)
    assert read_checkpoint(out / "last.safetensors")[1]["stopped"] == ""
    return options


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "killed"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", OTHERS)
def test_other_settings_are_refused(name, objective, finished, tmp_path, monkeypatch):
    """Fault: a run that goes on with another scale, or hands its weights to another model, since
    all tensors fit.
    """
    make = OBJECTIVES[objective]
    options = began(tmp_path, make, monkeypatch, finished=finished)
    other = OTHERS[name]()
    assert same_shapes(other, vae())
    weights, before = copy.deepcopy(other.state_dict()), contents(tmp_path)
    words = (
        "holds a run of another model or other settings: with its weights .* "
        "of 8 validation examples was .*Nothing"
    )
    with pytest.raises(RunFolderError, match=words):
        fit(other, splits(), make(other), **options)
    assert contents(tmp_path) == before
    assert all(torch.equal(tensor, weights[key]) for key, tensor in other.state_dict().items())
    same = vae()
    fit(same, splits(), make(same), **options)  # the run itself is welcome after that


def same_shapes(one: AbstractModel, other: AbstractModel) -> bool:
    shapes = [
        {key: tensor.shape for key, tensor in model.state_dict().items()} for model in (one, other)
    ]
    return shapes[0] == shapes[1]


def test_settings_that_change_nothing_are_welcome(tmp_path):
    """Fault: a comparison so sharp that rounding, another start or another copy of the model is
    refused.
    """
    fit(vae(), splits(), out=tmp_path, **OPTIONS)
    path = tmp_path / "last.safetensors"
    tensors, state = read_checkpoint(path)
    for change in (1.0, 1 + 5e-4, 1 - 5e-4):
        probe = {**state["probe"], "value": state["probe"]["value"] * change}
        write_checkpoint(path, tensors, {**state, "probe": probe})
        torch.manual_seed(5)
        fit(copy.deepcopy(vae()), splits(), out=tmp_path, **OPTIONS)
    write_checkpoint(
        path,
        tensors,
        {**state, "probe": {**state["probe"], "value": state["probe"]["value"] * 1.01}},
    )
    with pytest.raises(RunFolderError, match="other settings"):
        fit(vae(), splits(), out=tmp_path, **OPTIONS)


def test_numbers_of_another_device_are_not_compared(tmp_path):
    """Fault: a run refused because it moved to a graphics card, whose random numbers are others."""
    fit(vae(), splits(), out=tmp_path, **OPTIONS)
    path = tmp_path / "last.safetensors"
    tensors, state = read_checkpoint(path)
    assert state["probe"]["on"] == f"cpu, torch {torch.__version__}"
    write_checkpoint(path, tensors, {**state, "probe": {"value": 1e6, "on": "cuda, torch 2.6"}})
    fit(vae(), splits(), out=tmp_path, **OPTIONS)


def test_without_a_judge_there_is_no_probe(tmp_path):
    """Fault: a crash on None."""
    for _ in range(2):
        model = wrong()
        fit(model, splits(), Unjudged(model), out=tmp_path, **OPTIONS)
    assert read_checkpoint(tmp_path / "last.safetensors")[1]["probe"] is None


def test_the_probe_is_the_verdict_on_the_first_examples():
    """Fault: other random numbers every time, or so many examples that each checkpoint waits for
    them.
    """
    objective: AbstractObjective = ELBO(wrong())
    x = splits().validation
    measurement = Probe(objective, x, 25).measured()
    assert measurement is not None
    assert (
        measurement["value"]
        == judged(objective, x[:8], 8)
        == Probe(objective, x[:8], 25).measured()["value"]
    )
    ncp = NCP(wrong())
    assert Probe(default_objective(ncp), x, 25).measured() is not None


def test_another_base_is_not_overwritten(tmp_path):
    """Fault: a second fit over another frozen base in the same folder puts the first base's weights
    into it.
    """
    first, second = LinearGaussianVAE(2, 3, seed=0), LinearGaussianVAE(2, 3, seed=1)
    x = torch.randn(80, 3)
    fit(NCP(first, hidden_features=(4,)), x, epochs=1, progress=False, out=tmp_path)
    before = {name: value.clone() for name, value in second.state_dict().items()}
    with pytest.raises(RunFolderError, match=r"holds a fit over another model.*does not train"):
        fit(NCP(second, hidden_features=(4,)), x, epochs=1, progress=False, out=tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in second.state_dict().items())
    fit(NCP(first, hidden_features=(4,)), x, epochs=1, progress=False, out=tmp_path)
