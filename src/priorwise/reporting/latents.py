"""Where encodings and prior lie: both in the plane of the encodings' first principal components, pockets and leaks marked.

Letters: ``N`` images, ``M`` prior draws, ``K`` marked points, ``D`` latent dimensions of the top
group.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorwise.distributions import AggregatePosterior, log_unnorm, picture
from priorwise.estimators.top_latents import aggregate_posterior
from priorwise.models import AbstractModel, frozen
from priorwise.randomness import seeded

__all__ = ["LatentMap", "LatentPlane", "latent_map", "latent_plane"]


@dataclass(frozen=True)
class LatentPlane:
    """Latents as a picture shows them, all on the CPU.

    Attributes:
        encodings: Draws from the posteriors, ``(N, 2)``.
        prior: Draws from the prior, ``(M, 2)``.
        pockets: Draws from the prior of low q(z), ``(K, 2)``.
        leaks: Draws from the posteriors of low p(z), ``(K, 2)``.
        axes: What the two axes are.
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
        encodings: One draw from q(z|x) an image, ``(N, 2)``.
        prior: Draws from the prior, ``(M, 2)``.
        dimensions: The number of dimensions D.
        explained: Share of the encodings' variance that the plane shows.
        pockets: Indices of the prior draws of lowest q(z): where the prior expects data and there
            are none.
        leaks: Indices of the encodings of lowest p(z): data that the prior does not expect.
        pocket_images: What the decoder makes of the pockets, ``(K, *event)``.
        leak_images: The images that leak, ``(K, *event)``.
        notes: Why something is missing, in words.
    """

    encodings: Tensor
    prior: Tensor
    dimensions: int
    explained: float
    pockets: Tensor
    leaks: Tensor
    pocket_images: Tensor
    leak_images: Tensor
    notes: tuple[str, ...]

    @property
    def plane(self) -> LatentPlane:
        """The points of the picture."""
        pockets, leaks = self.prior[self.pockets], self.encodings[self.leaks]
        axes = _axis_names("z", self.dimensions)
        return LatentPlane(self.encodings, self.prior, pockets, leaks, axes, self.explained)


def _axis_names(letter: str, dimensions: int) -> tuple[str, str]:
    if dimensions <= 2:
        return f"{letter}[0]", f"{letter}[1]"
    return f"{letter}: principal component 1", f"{letter}: principal component 2"


def _plane(z: Tensor) -> tuple[Tensor, Tensor, float]:
    """Origin, axes ``(D, 2)`` and the share of variance along them; two dimensions stay as they are."""
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
        letter: What the space is called.
    """
    centre, axes, explained = _plane(encodings.flatten(1))

    def shown(z: Tensor) -> Tensor:
        return ((z.flatten(1) - centre) @ axes).cpu()

    names = _axis_names(letter, len(centre))
    return LatentPlane(
        shown(encodings), shown(prior), shown(pockets), shown(leaks), names, explained
    )


def _lowest(log_density: Tensor | None, count: int) -> Tensor:
    if log_density is None:
        return torch.empty(0, dtype=torch.long)
    return log_density.argsort()[:count].cpu()


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

    Arguments:
        model: The model; of a hierarchy the top group is shown.
        x: Images whose encodings are shown, ``(N, *event)``.
        reference: Images whose encodings make q(z), by which pockets are ranked, ``(R, *event)``.
        draws: Draws from the prior.
        marked: How many pockets and leaks.
        seed: Seed of the draws.
    """
    with frozen(model), torch.no_grad(), seeded(seed, "latent_map"):
        top = model.infer(x)[0]
        groups = model.generate(draws)
        q, notes = _aggregate(model, reference)
        at_prior = None if q is None else q.log_prob(groups[0].z.flatten(1))
        at_encodings, note = _prior_density(top.prior, top.z)
        pockets, leaks = _lowest(at_prior, marked), _lowest(at_encodings, marked)
        decoded = picture(model.likelihood(groups))
        z, p = top.z.flatten(1), groups[0].z.flatten(1)
        centre, axes, explained = _plane(z)
        return LatentMap(
            encodings=((z - centre) @ axes).cpu(),
            prior=((p - centre) @ axes).cpu(),
            dimensions=z.shape[1],
            explained=explained,
            pockets=pockets,
            leaks=leaks,
            pocket_images=decoded.cpu()[pockets],
            leak_images=x.cpu()[leaks],
            notes=tuple(text for text in (notes, note) if text),
        )


def _aggregate(model: AbstractModel, reference: Tensor) -> tuple[AggregatePosterior | None, str]:
    """q(z) where it has a closed density."""
    try:
        return aggregate_posterior(model, reference), ""
    except TypeError as refusal:
        return None, f"Pockets are not marked: {refusal}"


def _prior_density(prior: Distribution, z: Tensor) -> tuple[Tensor | None, str]:
    """The density log p(z) up to a constant, which is all that a ranking needs."""
    try:
        return log_unnorm(prior, z), ""
    except (NotImplementedError, ValueError) as refusal:
        return None, f"Leaks are not marked: {refusal or 'the prior has no density.'}"
