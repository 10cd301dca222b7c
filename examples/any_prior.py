"""Any prior in the same VAE: one loop, and one table of likelihoods on two moons.

    python examples/any_prior.py

If the zuko library is installed (``pip install 'priorwise[flows]'``), one of its flows is compared,
too. It takes about 30 seconds on one core.
"""

import argparse
import importlib.util
from collections.abc import Callable

import torch
from torch import nn

import priorwise as pw
from priorwise.conditionals import Conditional, GaussianHead
from priorwise.nn import MLP

LATENT = 2


def moons() -> pw.data.Splits:
    """Two moons moved into the unit square, where pseudo-inputs of a VampPrior lie by default."""
    splits = pw.data.load("two_moons")
    low, high = splits.train.amin(0) - 0.2, splits.train.amax(0) + 0.2
    train, validation, test = (
        (part - low) / (high - low) for part in (splits.train, splits.validation, splits.test)
    )
    return pw.data.from_arrays(
        train, validation=validation, test=test, name="moons in the unit square"
    )


def priors() -> dict[str, Callable[[], nn.Module]]:
    """Functions that build each prior, by name."""
    builders: dict[str, Callable[[], nn.Module]] = {
        "standard normal": lambda: pw.priors.StandardNormal(LATENT),
        "mixture of 20": lambda: pw.priors.GaussianMixture(LATENT, 20),
        "VampPrior of 20": lambda: pw.priors.VampPrior.random(20, (2,), mean=0.5, std=0.2),
    }
    if importlib.util.find_spec("zuko") is not None:
        import zuko

        builders["zuko's masked flow"] = lambda: zuko.flows.MAF(
            LATENT, transforms=3, hidden_features=(32, 32)
        )
    return builders


def vae(prior: nn.Module) -> pw.VAE:
    """The VAE, the same for all priors."""
    encoder = Conditional(MLP(2, 64, (64,)), GaussianHead(64, LATENT))
    decoder = Conditional(MLP(LATENT, 64, (64,)), pw.likelihoods.Gaussian(64, (2,), scale=0.03))
    return pw.VAE(encoder, decoder, prior)


def main() -> None:
    """Train one VAE per prior, fit an NCP over the first, and compare all with the first."""
    parser = argparse.ArgumentParser(description="One VAE, several priors.")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of each fit")
    parser.add_argument("--samples", type=int, default=500, help="importance samples per point")
    parser.add_argument("--points", type=int, default=500, help="test points")
    options = parser.parse_args()

    data = moons()
    test = data.evaluation("test")[: options.points]
    settings = {"epochs": options.epochs, "warmup_epochs": options.epochs // 4, "progress": False}
    models: dict[str, pw.models.AbstractModel] = {}
    for name, build in priors().items():
        with pw.seeded(0, "init", name):
            models[name] = vae(build())
        pw.fit(models[name], data, **settings)
    with pw.seeded(0, "init", "classifiers"):
        ncp = pw.NCP(models["standard normal"], hidden_features=(64, 64))
    pw.fit(ncp, data, epochs=options.epochs, progress=False)
    pw.estimators.log_norm(ncp)
    models["NCP over the first"] = ncp

    print(
        f"NLL in nats on {len(test)} points with {options.samples} importance samples; the error "
        "over the data is in brackets"
    )
    first = None
    for name, model in models.items():
        estimate = pw.estimators.nll(model, test, samples=options.samples)
        first = estimate if first is None else first
        gain = first.minus(estimate)
        print(
            f"{name:<20} {estimate.value:7.3f} ({estimate.stderr_data:.3f})   "
            f"gain over the first {gain.value:+.3f} ({gain.stderr_data:.3f})"
        )
        for warning in estimate.warnings:
            print(f"  warning: {warning}")


if __name__ == "__main__":
    torch.set_num_threads(1)  # these networks are too small to share between threads
    main()
