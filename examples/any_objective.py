"""Any objective with any prior: pockets and leaks of regularised VAEs on two moons.

    python examples/any_objective.py

A regulariser pulls the encodings away from the prior. A prior that can follow them closes the hole.
Compare the two rows of each objective. It takes about half a minute on one core.
"""

import argparse
from collections.abc import Callable

import torch
from torch import nn

import priorwise as pw
from priorwise.objectives import AbstractObjective

LATENT = 2
SCALE = 0.1  # standard deviation of the Gaussian likelihood

PRIORS: dict[str, Callable[[], nn.Module]] = {
    "standard normal": lambda: pw.priors.StandardNormal(LATENT),
    "decoupled": lambda: pw.priors.FlowPrior(LATENT),
}


def objectives(model: pw.VAE, data_size: int) -> dict[str, Callable[[], AbstractObjective]]:
    """Functions that build each objective, by name; the prior is part of the model."""
    return {
        "ELBO": lambda: pw.objectives.ELBO(model),
        "beta-VAE": lambda: pw.objectives.BetaVAE(model, beta=4.0),
        "beta-TCVAE": lambda: pw.objectives.BetaTCVAE(model, data_size, beta=4.0),
        "InfoVAE": lambda: pw.objectives.InfoVAE(model, lambda_=10.0),
    }


def gaussian(features: int, shape: tuple[int, ...]) -> nn.Module:
    """The likelihood of a point."""
    return pw.likelihoods.Gaussian(features, shape, scale=SCALE)


def main() -> None:
    """Train every pair, and print how far apart encodings and prior are."""
    parser = argparse.ArgumentParser(description="Objectives with priors.")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of each fit")
    parser.add_argument("--draws", type=int, default=1000, help="draws for each measure")
    options = parser.parse_args()

    data = pw.data.load("two_moons")
    test = data.evaluation("test")[: options.draws]
    print(
        f"{'objective':<12} {'prior':<16} {'symmetric KL':>14} {'two-sample':>11} {'leakage':>8}   "
        "(nats; accuracy in %; nats)"
    )
    for name in objectives(pw.models.moons_vae(), 1):
        for prior, build in PRIORS.items():
            with pw.seeded(0, "init"):
                model = pw.models.moons_vae(prior=build(), likelihood=gaussian)
            objective = objectives(model, len(data.train))[name]()
            pw.fit(model, data, objective, epochs=options.epochs, progress=False)
            divergence = pw.estimators.symmetric_kl(model, test)
            accuracy = pw.estimators.classifier_two_sample(model, test).accuracy
            leak = pw.estimators.leakage(model, test, draws=options.draws)
            score = float(leak.score[torch.tensor(leak.thresholds).argmax()])
            print(
                f"{name:<12} {prior:<16} {divergence.value:>14.2f} {100 * accuracy.value:>11.1f} "
                f"{score:>8.2f}"
            )
    print()
    print(pw.objectives.BetaTCVAE(model, len(data.train), beta=4.0, gamma=10.0).explain())


if __name__ == "__main__":
    main()
