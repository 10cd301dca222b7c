"""Encodings and prior in the plane of the encodings' first two principal components.

Pockets and leaks are marked in the same plane.

Letters: ``N`` images, ``M`` prior draws, ``K`` marked points, ``D`` latent dimensions of the top
group.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.estimators import RankedSamples, high_posterior_samples, low_posterior_samples
from priorwise.models import AbstractModel, Group, frozen
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError

__all__ = ["LatentMap", "LatentPlane", "latent_map", "latent_plane"]


@dataclass(frozen=True)
class LatentPlane:
    """Latents as a picture shows them, all on the CPU.

    Attributes:
        encodings: Draws from the posteriors, ``(N, 2)``.
        prior: Draws from the prior, ``(M, 2)``.
        pockets: Draws from the prior of low q(z), ``(K, 2)``.
        leaks: Draws from the posteriors of low p(z), ``(K, 2)``.
        axes: Names of the two axes.
        explained: Share of the encodings' variance that the plane shows.
    """

    encodings: Tensor
    prior: Tensor
    pockets: Tensor
    leaks: Tensor
    axes: tuple[str, str]
    explained: float = 1.0


@dataclass(frozen=True)
class LatentMap:
    """The top latents of one model, seen in a plane.

    Attributes:
        plane: Encodings and prior; pockets and leaks as ``priorwise.estimators`` ranks them.
        dimensions: The number of dimensions D.
        pocket_images: The pockets, decoded, ``(K, *event)``.
        leak_images: The images whose encodings leak, ``(K, *event)``.
        notes: The reasons in words if pockets or leaks are missing.
    """

    plane: LatentPlane
    dimensions: int
    pocket_images: Tensor
    leak_images: Tensor
    notes: tuple[str, ...]

    @property
    def explained(self) -> float:
        """Share of the encodings' variance that the plane shows."""
        return self.plane.explained


def _axis_names(letter: str, dimensions: int) -> tuple[str, str]:
    if dimensions <= 2:
        return f"{letter}[0]", f"{letter}[1]"
    return f"{letter}: principal component 1", f"{letter}: principal component 2"


def _plane(z: Tensor) -> tuple[Tensor, Tensor, float]:
    """Origin, axes ``(D, 2)`` and their share of the variance; up to two dimensions are kept."""
    centre = z.mean(0)
    if z.shape[1] <= 2:
        axes = torch.eye(z.shape[1], 2, dtype=z.dtype, device=z.device)
        return torch.zeros_like(centre), axes, 1.0
    _, scales, directions = torch.linalg.svd(z - centre, full_matrices=False)
    variances = scales.square()
    return centre, directions[:2].T, float(variances[:2].sum() / variances.sum())


def latent_plane(
    encodings: Tensor, prior: Tensor, pockets: Tensor, leaks: Tensor, *, letter: str = "z"
) -> LatentPlane:
    """Latents ``(*, *latent)`` seen in the plane of the encodings' first two principal components.

    Arguments:
        encodings: Draws from the posteriors.
        prior: Draws from the prior.
        pockets: Draws from the prior of low q(z).
        leaks: Draws from the posteriors of low p(z).
        letter: Name of the space.
    """
    centre, axes, explained = _plane(encodings.flatten(1))

    def shown(z: Tensor) -> Tensor:
        return ((z.flatten(1) - centre) @ axes).cpu()

    names = _axis_names(letter, len(centre))
    return LatentPlane(
        shown(encodings), shown(prior), shown(pockets), shown(leaks), names, explained
    )


def latent_map(
    model: AbstractModel,
    x: Tensor,
    reference: Tensor,
    *,
    draws: int = 500,
    marked: int = 8,
    seed: int = 0,
) -> LatentMap:
    """Encode the images, draw from the prior, and find pockets and leaks.

    Pockets are ``low_posterior_samples`` from as many draws as the picture shows. Leaks are
    ``high_posterior_samples`` from one draw per image.

    Arguments:
        model: The model; for a hierarchy, the top group is shown.
        x: Images whose encodings are shown, ``(N, *event)``.
        reference: Images whose encodings form q(z), which ranks the pockets, ``(R, *event)``.
        draws: Number of draws from the prior.
        marked: Number of pockets, and number of leaks.
        seed: Seed of the draws.
    """
    with frozen(model), torch.no_grad(), seeded(seed, "latent_map"):
        top, prior = model.infer(x)[0], model.generate(draws)[0].z
    low, no_pockets = _pockets(model, reference, min(marked, draws), draws, seed)
    no_leaks = _without_density(top)
    high = (
        high_posterior_samples(model, x, count=min(marked, len(x)), draws=len(x), seed=seed)
        if not no_leaks
        else None
    )
    nowhere, no_images = top.z[:0], x[:0].cpu()
    plane = latent_plane(
        top.z,
        prior,
        nowhere if low is None else low.z.to(top.z),
        nowhere if high is None else high.z.to(top.z),
    )
    return LatentMap(
        plane=plane,
        dimensions=top.z[0].numel(),
        pocket_images=no_images if low is None else low.x,
        leak_images=no_images if high is None else x.cpu()[high.images],
        notes=tuple(note for note in (no_pockets, no_leaks) if note),
    )


def _pockets(
    model: AbstractModel, reference: Tensor, count: int, draws: int, seed: int
) -> tuple[RankedSamples | None, str]:
    """The pockets, or the reason why an encoder's aggregate posterior has no closed form."""
    try:
        samples = low_posterior_samples(model, reference, count=count, draws=draws, seed=seed)
    except UnavailableError as refusal:
        return None, f"Pockets are not marked: {refusal}"
    return samples, ""


def _without_density(top: Group) -> str:
    """Why leaks cannot be ranked; empty if the prior has a density, even an unnormalised one."""
    try:
        top.log_prior()
    except (NotImplementedError, UnavailableError) as refusal:
        return f"Leaks are not marked: {refusal or 'the prior has no density.'}"
    return ""
