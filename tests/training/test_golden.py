"""Loss traces of 50 steps, stored with all their digits: training that moves by accident is
noticed.

Each recipe has a small twin here. A change that means to move a trace says so, and stores it anew
with

    PRIORWISE_REGENERATE=1 python -m pytest tests/training/test_golden.py

Traces are compared at rtol 1e-5: float32 rounding differs between processors, and 50 steps do not
blow it up beyond that.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from toys import Hooked

from priorwise import NCP, fit
from priorwise.config.objectives import Fit
from priorwise.config.overrides import override
from priorwise.config.run import Run
from priorwise.data import DataSpec, Splits
from priorwise.data.splits import pseudo_input_data
from priorwise.models import AbstractModel
from priorwise.objectives import ELBO, NCE, AbstractObjective, Terms
from priorwise.recipes import recipe
from priorwise.schedules import warmup

GOLDEN = Path(__file__).parent.parent / "golden"
SMALL = ("model.hidden=12", "model.latent=3")
STEPS = 50

Twin: TypeAlias = tuple[
    AbstractObjective, Splits, str
]  # an objective that holds its model, data, and an optimiser


def grey() -> Splits:
    """120 grey images of 4x4 pixels, binarised afresh each time, from integers alone: the same
    everywhere.
    """
    pixels = torch.arange(160 * 16).reshape(160, 1, 4, 4) * 37 % 101 * 2 % 256
    spec = DataSpec("grey", (1, 4, 4), 256, "bernoulli", "dynamic", "unit")
    return Splits(*pixels.to(torch.uint8).split([120, 20, 20]), spec)


def plane() -> Splits:
    """120 points on a curve in the plane, likewise."""
    steps = torch.arange(160)
    points = (
        torch.stack([steps * 37 % 101 - 50, (steps * 37 % 101 - 50) ** 2 // 50 + steps % 7], 1) / 25
    )
    return Splits(
        *points.split([120, 20, 20]), DataSpec("plane", (2,), None, "gaussian", "none", "none")
    )


def built(run: Run, splits: Splits) -> AbstractModel:
    return run.model.build(splits.spec, seed=run.training.seed, x=pseudo_input_data(splits))


def vamp_twin(name: str, *texts: str) -> Twin:
    """The recipe's model, small, with all its other settings, its optimiser and a short warm-up."""
    model = built(override(recipe(name), (*SMALL, *texts)), grey())
    return ELBO(model, beta=lambda step: warmup(step // 5 + 1, 4)), grey(), "adam_normalized"


def ncp_twin() -> Twin:
    model = NCP(
        built(override(recipe("vampprior/static_mnist_hvae_standard"), SMALL), grey()),
        hidden_features=(12, 12),
    )
    return NCE(model), grey(), "adam"


def dpvae_twin(name: str, *texts: str) -> Twin:
    """The recipe's model and objective, small."""
    run, splits = override(recipe(name), texts), plane()
    model = built(run, splits)
    return run.objective.build(model, Fit(run.training, data_size=120, latent=2)), splits, "adam"


FLOW = ("model.prior.blocks=2", "model.prior.hidden_features=[8]")
TWINS: dict[str, Callable[[], Twin]] = {
    "vae_standard": lambda: vamp_twin("vampprior/static_mnist_vae_standard"),
    "vae_vamp": lambda: vamp_twin("vampprior/static_mnist_vae_vamp", "model.prior.components=8"),
    "hvae_vamp": lambda: vamp_twin("vampprior/static_mnist_hvae_vamp", "model.prior.components=8"),
    "ncp": ncp_twin,
    "moons_flow": lambda: dpvae_twin("dpvae/two_moons_vae_flow", *FLOW),
    "moons_factor_flow": lambda: dpvae_twin(
        "dpvae/two_moons_factor_flow", *FLOW, "objective.hidden_features=[8,8]"
    ),
    "moons_beta_tc": lambda: dpvae_twin("dpvae/two_moons_beta_tc_standard"),
}


def trace(name: str) -> dict[str, list[float]]:
    """The loss of every turn of every step, and the validation of every epoch, 5 steps long."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # for classifiers and discriminators, which a recipe would seed
        inner, splits, optimizer = TWINS[name]()
    losses = []

    def recorded(terms: Terms, step: int) -> Terms:
        if torch.is_grad_enabled():  # validation may ask too
            losses.append(float(terms.loss().detach()))
        return terms

    options = {
        "epochs": 10,
        "batch_size": 24,
        "lr": 2e-3,
        "optimizer": optimizer,
        "progress": False,
    }
    model = inner.ncp if isinstance(inner, NCE) else inner.model
    result = fit(model, splits, Hooked(inner, recorded), **options)
    return {
        "loss": losses,
        "validation": [line["validation"][result.metric] for line in result.history],
    }


@pytest.mark.parametrize("name", TWINS)
def test_trace(name):
    """Fault: another order of draws, another initialisation, a changed optimiser: anything that
    moves training.
    """
    path = GOLDEN / f"{name}.json"
    losses = trace(name)
    assert len(losses["loss"]) == STEPS * (2 if "factor" in name else 1)
    if os.environ.get("PRIORWISE_REGENERATE"):
        path.write_text(json.dumps(losses, indent=1) + "\n")
        pytest.skip("stored anew")
    stored = json.loads(path.read_text())
    for kind in ("loss", "validation"):
        torch.testing.assert_close(
            torch.tensor(losses[kind], dtype=torch.float64),
            torch.tensor(stored[kind], dtype=torch.float64),
            rtol=1e-5,
            atol=0,
            msg=lambda text, kind=kind: (
                f"the {kind} of {name} moved; say why, and store it anew. {text}"
            ),
        )


def test_traces_move_when_training_does():
    """Fault: traces so blunt that a change of the seed or of the learning rate passes."""
    stored = json.loads((GOLDEN / "vae_standard.json").read_text())
    assert len(set(stored["loss"])) == STEPS
    assert stored["loss"][0] > 1.05 * min(stored["loss"][-5:])
