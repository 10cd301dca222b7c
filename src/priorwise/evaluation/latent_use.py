"""Quantities of the latents: how many are used, and how well they represent known factors."""

from collections.abc import Mapping, Sequence
from typing import Any

from priorwise.data import Sprites
from priorwise.estimators import active_units, disentanglement_scores
from priorwise.evaluation.quantity import Cell, Quantity, estimate_cell
from priorwise.evaluation.subject import Subject

__all__ = ["ACTIVE_UNITS", "DISENTANGLEMENT", "QUANTITIES"]


def _active_units(subject: Subject) -> list[dict[str, int]]:
    return [
        {"group": units.group, "active": units.active, "dimensions": units.dimensions}
        for units in active_units(subject.model, subject.x, seed=subject.config.seed)
    ]


def _active_cells(groups: Sequence[Mapping[str, int]]) -> dict[str, Cell]:
    counts = (f"{group['active']} of {group['dimensions']}" for group in groups)
    values = tuple(float(group["active"]) for group in groups)
    return {"active units": Cell(" / ".join(counts), values=values)}


ACTIVE_UNITS = Quantity(
    key="active_units",
    meanings={
        "active units": "Latent dimensions that are used, of all dimensions, for each latent "
        "group: the variance of their posterior mean over the images exceeds 0.01."
    },
    compute=_active_units,
    cells=_active_cells,
    settings=("images", "seed"),
)


def _disentanglement(subject: Subject) -> dict[str, Any]:
    """The scores on all sprites, one for each combination of factors."""
    sprites = Sprites()
    with subject.bar("disentanglement", 4) as advance:
        scores = disentanglement_scores(
            subject.model,
            sprites.images,
            sprites.factors,
            names=sprites.names,
            seed=subject.config.seed,
            report=advance,
        )
    return {
        "mig": scores.mig,
        "disentanglement": scores.dci.disentanglement,
        "completeness": scores.dci.completeness,
        "informativeness": scores.dci.informativeness,
        "factor_vae_score": scores.factor_vae_score,
    }


_SCORES = {
    "MIG": "mig",
    "DCI disentanglement": "disentanglement",
    "DCI completeness": "completeness",
    "DCI informativeness": "informativeness",
    "FactorVAE score": "factor_vae_score",
}

DISENTANGLEMENT = Quantity(
    key="disentanglement",
    meanings={
        "MIG": "Mutual information gap, between the two latents that are most informative about a "
        "factor, as a share of the factor's entropy; the mean over the factors.",
        "DCI disentanglement": "How well each latent represents a single factor, from 0 to 1.",
        "DCI completeness": "How well each factor is represented by a single latent, from 0 to 1.",
        "DCI informativeness": "How well the factors can be predicted from the latents.",
        "FactorVAE score": "Accuracy with which the latent of least variance identifies the factor "
        "that was held fixed.",
    },
    compute=_disentanglement,
    cells=lambda value: {
        title: estimate_cell(value[name], digits=3) for title, name in _SCORES.items()
    },
    applies=lambda subject: subject.splits.source == "sprites",
)

QUANTITIES: tuple[Quantity, ...] = (ACTIVE_UNITS, DISENTANGLEMENT)
