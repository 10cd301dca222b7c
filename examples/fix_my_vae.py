"""Good reconstructions, bad samples: repair a trained VAE without changing its weights.

The VAE below is plain torch and does not use priorwise. The script wraps it, measures its hole,
fits a flow to its codes and a noise contrastive prior (NCP) over the flow, and compares both models
on the test images. The VAE does not change. It takes about 40 seconds on one core, and writes
``before.png``, ``after.png`` and ``report.html`` to the folder:

    python examples/fix_my_vae.py --out fixed
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

import priorwise as pw
from priorwise.reporting.pictures import save_samples

LATENT = 8
# standard deviation of each pixel; the squared error of a plain VAE assumes a fixed one
SIGMA = 0.15


class MyEncoder(nn.Module):
    """Images to means and log-variances."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 2 * LATENT)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, 1, 8, 8)`` to two tensors ``(B, LATENT)``."""
        mu, log_var = self.body(x).chunk(2, -1)
        return mu, log_var


class MyVAE(nn.Module):
    """The VAE that you already have."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MyEncoder()
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 128),
            nn.SiLU(),
            nn.Linear(128, 64),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, 8, 8)),
        )

    def loss(self, x: Tensor) -> Tensor:
        """Squared error plus KL, averaged over the batch."""
        mu, log_var = self.encoder(x)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        error = (x - self.decoder(z)).square().flatten(1).sum(1) / (2 * SIGMA**2)
        kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(1)
        return (error + kl).mean()


def train(vae: MyVAE, data: pw.data.Splits, epochs: int) -> None:
    """An ordinary training loop, in place of yours."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(data.train)).split(100):
            loss = vae.loss(data.prepare(data.train[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def wrapped(vae: MyVAE) -> pw.models.AbstractModel:
    """The same VAE as a priorwise model.

    ``encode`` and ``decode`` may also be functions: ``wrap`` finds the networks that they use. Name
    the ones that it cannot find with ``modules=[...]``.
    """

    def likelihood(mean: Tensor) -> Distribution:
        return Independent(Normal(mean, SIGMA, validate_args=False), 3, validate_args=False)

    return pw.wrap(encode=vae.encoder, decode=vae.decoder, latent=LATENT, likelihood=likelihood)


def main() -> None:
    """Train, wrap, measure, fill, compare."""
    parser = argparse.ArgumentParser(description="Fill the hole of a trained VAE's prior.")
    parser.add_argument(
        "--out", type=Path, default=Path("fixed"), help="folder for pictures and report"
    )
    parser.add_argument("--epochs", type=int, default=40, help="epochs of each fit")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples per image")
    parser.add_argument("--images", type=int, default=300, help="test images")
    options = parser.parse_args()

    data = pw.data.load("digits")
    with pw.seeded(0, "my vae"):
        vae = MyVAE()
        train(vae, data, options.epochs)

    model = wrapped(vae)
    with pw.seeded(0, "flow"):
        flow = pw.priors.FlowPrior(LATENT)
    result = pw.fit_prior(model, flow, data, tilt=pw.NCP, epochs=options.epochs, progress=False)
    for name, stage in result.stages.items():
        print(f"{name} {stage.best:.3f}; trained: {stage.trained}")
    ncp = result.model
    log_norm = pw.estimators.log_norm(ncp, samples=100_000)
    print(f"log Z = {log_norm}")

    test = data.evaluation("test")[: options.images]
    before = pw.estimators.nll(model, test, samples=options.samples)
    after = pw.estimators.nll(ncp, test, samples=options.samples)
    gain = before.minus(after)
    print(f"NLL before {before}\nNLL after  {after}\ngain       {gain}")
    for warning in dict.fromkeys(before.warnings + after.warnings + log_norm.warnings):
        print(f"warning: {warning}")
    for name, vae_or_ncp in (("before", model), ("after", ncp)):
        divergence = pw.estimators.symmetric_kl(vae_or_ncp, test)
        picture = save_samples(vae_or_ncp.sample(64, seed=0), options.out / f"{name}.png")
        print(f"symmetric KL between prior and aggregate posterior, {name}: {divergence}")
        print(f"samples {name}: {picture}")

    page = options.out / "report.html"
    both = {"the VAE": model, "with flow and NCP": ncp}
    pw.report(
        model,
        data,
        page,
        models=both,
        samples=options.samples,
        images=options.images,
        progress=False,
    )
    print(f"report: {page}")


if __name__ == "__main__":
    main()
