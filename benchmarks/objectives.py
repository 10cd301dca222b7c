"""A training step of each objective, measured in steps of the plain bound.

The prior is a standard normal, but for one contender: the plain bound with a FlowPrior. FactorVAE's
step is that of both its players, and its discriminator of 1000 units multiplies far more than the
VAE; the note tells how much.
"""

import priorwise as pw
from benchmarks.contenders import objective_step
from benchmarks.floor import factor_flops, flops, products
from benchmarks.images import SHAPE, binary_batches
from benchmarks.report import Row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, race
from priorwise.models import VAE, gated_vae
from priorwise.objectives import (
    ELBO,
    AbstractObjective,
    AnnealedVAE,
    BetaTCVAE,
    BetaVAE,
    FactorVAE,
    InfoVAE,
)
from priorwise.priors import FlowPrior

__all__ = ["build_objectives", "measure"]

_PLAIN = "ELBO"
_DATA_SIZE = 50_000


def _model(scale: Scale, *, flow: bool = False) -> VAE:
    with pw.seeded(0, "bench", "objectives"):
        prior = FlowPrior(scale.latent) if flow else None
        return gated_vae(SHAPE, prior=prior, latent=scale.latent, hidden=scale.hidden)


def build_objectives(scale: Scale) -> dict[str, AbstractObjective]:
    """Every objective by its name, each with a model of its own."""
    return {
        _PLAIN: ELBO(_model(scale)),
        "ELBO with FlowPrior": ELBO(_model(scale, flow=True)),
        "BetaVAE": BetaVAE(_model(scale)),
        "AnnealedVAE": AnnealedVAE(_model(scale)),
        "BetaTCVAE": BetaTCVAE(_model(scale), _DATA_SIZE),
        "FactorVAE": FactorVAE(_model(scale), scale.latent),
        "InfoVAE": InfoVAE(_model(scale)),
    }


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    batches = binary_batches(scale.batch)
    contenders = {
        name: Contender(objective_step(objective, batches), scale.batch)
        for name, objective in build_objectives(scale).items()
    }
    result = race(contenders, rounds=scale.rounds, turns=scale.turns)
    plain = flops(products("vae_standard", scale)) / 1e9
    notes = {
        "FactorVAE": f"{factor_flops(scale) / 1e9:.2f} GFLOP more than the plain bound's "
        f"{plain:.2f}"
    }
    rows = [row_of("objectives", f"{_PLAIN} step", result.speed(_PLAIN), "images/s")]
    for name in list(contenders)[1:]:
        title = f"{name}, time of a step / {_PLAIN}"
        rows.append(
            row_of("objectives", title, result.ratio(_PLAIN, name), "x", note=notes.get(name, ""))
        )
    return rows
