"""Loss traces of 50 steps, stored with all their digits: training that moves by accident is noticed.

Each recipe has a small twin here. A change that means to move a trace says so, and stores it anew with

    PRIORWISE_REGENERATE=1 python -m pytest tests/training/test_golden.py

Traces are compared at rtol 1e-5: float32 rounding differs between processors, and 50 steps do not blow it up beyond that.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toys import Hooked

from priorwise import NCP, fit
from priorwise.data import DataSpec, Splits
from priorwise.models import AbstractModel
from priorwise.objectives import ELBO, NCE, Terms
from priorwise.recipes import recipe
from priorwise.schedules import warmup
from priorwise.training.overrides import override
from priorwise.training.run import build_model, pseudo_input_data

GOLDEN = Path(__file__).parent.parent / "golden"
SMALL = ("model.hidden=12", "model.latent=3")
STEPS = 50


def grey() -> Splits:
    """120 grey images of 4x4 pixels, binarised afresh each time, from integers alone: the same everywhere."""
    pixels = torch.arange(160 * 16).reshape(160, 1, 4, 4) * 37 % 101 * 2 % 256
    spec = DataSpec("grey", (1, 4, 4), 256, "bernoulli", "dynamic", "unit")
    return Splits(*pixels.to(torch.uint8).split([120, 20, 20]), spec)


def twin(name: str, *texts: str) -> AbstractModel:
    """The recipe's model, small, with all its other settings."""
    run = override(recipe(name), (*SMALL, *texts))
    splits = grey()
    return build_model(run.model, splits.spec, seed=run.training.seed, x=pseudo_input_data(splits))


TWINS: dict[str, Callable[[], AbstractModel]] = {
    "vae_standard": lambda: twin("vampprior/static_mnist_vae_standard"),
    "vae_vamp": lambda: twin("vampprior/static_mnist_vae_vamp", "model.prior.components=8"),
    "hvae_vamp": lambda: twin("vampprior/static_mnist_hvae_vamp", "model.prior.components=8"),
    "ncp": lambda: NCP(twin("vampprior/static_mnist_hvae_standard"), hidden_features=(12, 12)),
}


def trace(name: str) -> dict[str, list[float]]:
    """The loss of every step, and the validation of every epoch, 5 steps long."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # for the classifiers, which a recipe would seed
        model = TWINS[name]()
    losses = []

    def recorded(terms: Terms, step: int) -> Terms:
        losses.append(float(terms.loss().detach()))
        return terms

    inner = NCE(model) if isinstance(model, NCP) else ELBO(model, beta=lambda step: warmup(step // 5 + 1, 4))
    optimizer = "adam" if isinstance(model, NCP) else "adam_normalized"
    options = {"epochs": 10, "batch_size": 24, "lr": 2e-3, "optimizer": optimizer, "progress": False}
    result = fit(model, grey(), Hooked(inner, recorded), **options)
    return {"loss": losses, "validation": [line["validation"][result.metric] for line in result.history]}


@pytest.mark.parametrize("name", TWINS)
def test_trace(name):
    """Fault: another order of draws, another initialisation, a changed optimiser: anything that moves training."""
    path = GOLDEN / f"{name}.json"
    found = trace(name)
    assert len(found["loss"]) == STEPS
    if os.environ.get("PRIORWISE_REGENERATE"):
        path.write_text(json.dumps(found, indent=1) + "\n")
        pytest.skip("stored anew")
    stored = json.loads(path.read_text())
    for kind in ("loss", "validation"):
        torch.testing.assert_close(
            torch.tensor(found[kind], dtype=torch.float64),
            torch.tensor(stored[kind], dtype=torch.float64),
            rtol=1e-5,
            atol=0,
            msg=lambda text, kind=kind: f"the {kind} of {name} moved; say why, and store it anew. {text}",
        )


def test_traces_move_when_training_does():
    """Fault: traces so blunt that a change of the seed or of the learning rate passes."""
    stored = json.loads((GOLDEN / "vae_standard.json").read_text())
    assert len(set(stored["loss"])) == STEPS
    assert stored["loss"][0] > 1.05 * min(stored["loss"][-5:])
