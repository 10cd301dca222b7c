"""A recipe with your own prior on handwritten digits, from file to report, in half a minute.

    python examples/own_recipe.py

The same from the command line. ``--code`` names the file again, because a run folder never decides
which code is executed:

    priorwise train examples/own_recipe.py:heavy_tails --out runs/heavy_tails
    priorwise evaluate runs/heavy_tails --code examples/own_recipe.py
    priorwise report runs/heavy_tails --code examples/own_recipe.py
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Distribution, Independent, StudentT

import priorwise as pw
from priorwise.config import (
    DataConfig,
    EvaluationConfig,
    OwnPriorConfig,
    Run,
    StandardNormalConfig,
    TrainingConfig,
    VAEConfig,
)
from priorwise.testing import check_prior
from priorwise.training import train_run


class HeavyTails(pw.priors.AbstractPrior):
    """Independent Student's t distributions: outlying codes cost less than under a normal."""

    def __init__(self, latent: int, degrees: float = 5.0) -> None:
        super().__init__()
        self.degrees = degrees
        self.loc = nn.Parameter(torch.zeros(latent))
        self.log_scale = nn.Parameter(torch.zeros(latent))

    def _distribution(self, encode_top: object) -> Distribution:
        scale = self.log_scale.exp()
        return Independent(StudentT(self.degrees, self.loc, scale, validate_args=False), 1)


def heavy_tails() -> Run:
    """The recipe: the complete run."""
    return Run(
        name="heavy_tails",
        data=DataConfig(name="digits"),
        model=VAEConfig(
            prior=OwnPriorConfig(path=HeavyTails, options={"degrees": 3.0}), latent=8, hidden=64
        ),
        training=TrainingConfig(epochs=40, warmup_epochs=5),
        evaluation=EvaluationConfig(samples=200),
    )


def normal_tails() -> Run:
    """The same run with the standard normal, for comparison."""
    run = heavy_tails()
    model = run.model.model_copy(update={"prior": StandardNormalConfig()})
    return run.model_copy(update={"name": "normal_tails", "model": model})


def main() -> None:
    """Check the prior, train both recipes, compare them, and write the report."""
    parser = argparse.ArgumentParser(description="Your own prior in a recipe.")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of each fit")
    parser.add_argument("--samples", type=int, default=200, help="importance samples per image")
    parser.add_argument("--images", type=int, default=200, help="test images for the likelihood")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the runs")
    options = parser.parse_args()

    check_prior(HeavyTails(8))
    models = {}
    for run in (normal_tails(), heavy_tails()):
        training = run.training.model_copy(update={"epochs": options.epochs})
        train_run(
            run.model_copy(update={"training": training}), options.out / run.name, progress=False
        )
        models[run.name] = pw.load(options.out / run.name, code=__file__)

    digits = pw.data.load("digits")
    x = digits.evaluation("test")[: options.images]
    for name, model in models.items():
        print(f"{name:<13} {pw.estimators.nll(model, x, samples=options.samples)}")
    page = pw.report(
        models["normal_tails"],
        digits,
        options.out / "report.html",
        models=models,
        samples=options.samples,
        images=options.images,
        progress=False,
    )
    print(f"The report is at {page}")


if __name__ == "__main__":
    main()
