"""What one model of a comparison shows: its samples, pockets and leaks, and its latents.

Letters: ``K`` samples that are shown, ``D`` latent dimensions of the top group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from priorwise.choices import Space
from priorwise.data.subsets import random_part
from priorwise.estimators import RankedSamples, high_posterior_samples, low_posterior_samples
from priorwise.estimators.base import device_of
from priorwise.models import AbstractModel, flow_prior, frozen, in_space
from priorwise.priors import AbstractPrior
from priorwise.randomness import seeded
from priorwise.reporting.latents import LatentPlane, latent_plane
from priorwise.reporting.pictures import is_images

__all__ = ["CLOUD", "CONTRAST_MEANINGS", "Contrast", "Portrait", "portrait"]

CLOUD = 1000
"""Encodings, prior draws and samples that are drawn as clouds."""

CONTRAST_MEANINGS = {
    "pockets": "the draws of the prior where q(z) is lowest. The number is far below 0 if the "
    "prior expects data where there are none; it is a lower end in expectation, since q(z) is "
    "known only from the encodings and is too low between them. The sampling error is not "
    "included.",
    "leaks": "the draws of q(z) where the prior is lowest. The number is far above 0 if the prior "
    "does not expect them. The lower end leaves out the encoding that made a draw, the upper end "
    "includes it; ends far apart mean that little is known. They are ends in expectation: the "
    "sampling error of the images is not included. The leakage in the table is another "
    "number: an average over all draws of q(z), which counts only those where the prior has its "
    "lowest 1 %.",
}


@dataclass(frozen=True)
class Portrait:
    """What one row shows.

    Attributes:
        about: The kind of prior.
        samples: Draws of the prior, decoded, ``(K, *event)``.
        low: Pockets: of many draws of the prior, those of lowest aggregate posterior density.
        high: Leaks: of as many draws of the aggregate posterior, those of lowest prior density.
        z: The plane of the representation space.
        z0: The plane of the generation space, for a flow prior.
    """

    about: str
    samples: Tensor
    low: RankedSamples
    high: RankedSamples
    z: LatentPlane
    z0: LatentPlane | None

    @property
    def numbers(self) -> dict[str, "Contrast"]:
        """The density of encodings against that of the prior, at pockets and at leaks."""
        return {"pockets": Contrast.of(self.low), "leaks": Contrast.of(self.high)}


@dataclass(frozen=True)
class Contrast:
    """The median of log q(z) - log p(z) over samples, in nats; it ignores the scale of z.

    The aggregate posterior q(z) is known only from its encodings, so it is too low between them.

    Attributes:
        at_least: The median with q(z) from the other encodings, which is too low in expectation;
            None where a density is missing.
        at_most: For leaks, the median with each draw's own encoding in q(z), which is too high in
            expectation; None where nothing bounds it.
    """

    at_least: float | None
    at_most: float | None

    @classmethod
    def of(cls, samples: RankedSamples) -> "Contrast":
        """The contrast at pockets or leaks."""

        def median(log_q: Tensor | None) -> float | None:
            if log_q is None or samples.log_p is None:
                return None
            return float((log_q - samples.log_p).median())

        return cls(median(samples.log_q), median(samples.log_q_with_own))

    def __str__(self) -> str:
        if self.at_least is None:
            return "unknown"
        low = f"{self.at_least:.1f}"
        ends = f"{low} or more" if self.at_most is None else f"{low} to {self.at_most:.1f}"
        return f"{ends} nats".replace("-", "\u2212")


def portrait(
    model: AbstractModel,
    x: Tensor,
    reference: Tensor,
    *,
    shown: int,
    draws: int = 2000,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Portrait:
    """Draw from a model what its row shows.

    Arguments:
        model: The model; for a hierarchy, the top group is shown.
        x: Test data, ``(N, *event)``; their encodings are shown, and leaks are drawn from them.
        reference: Observations whose encodings form q(z), ``(R, *event)``.
        shown: Number K of samples, pockets and leaks.
        draws: Number of draws from the prior and from the aggregate posterior, of which K are kept.
            Use the same number for all models of a comparison.
        seed: Seed of all draws.
        report: Called with the number of draws that are just done, ``2 * draws`` in all, for a
            progress bar.

    Raises:
        NotGaussianError: for an encoder whose posteriors are not diagonal Gaussians, because
            pockets need the density q(z).
    """
    options: dict[str, Any] = {"count": shown, "draws": draws, "seed": seed, "report": report}
    low = low_posterior_samples(model, reference, **options)
    high = high_posterior_samples(model, x, **options)
    with frozen(model), torch.no_grad(), seeded(seed, "portrait"):
        clouds = [
            model.infer(random_part(x, CLOUD, seed))[0].z,
            model.generate(CLOUD)[0].z,
            low.z,
            high.z,
        ]
        spaces: list[Space] = (
            ["representation"] if flow_prior(model) is None else ["representation", "generation"]
        )
        planes = [_plane_in(model, clouds, space) for space in spaces]
    samples = model.sample(shown if is_images(x) else CLOUD, seed=seed).cpu()
    return Portrait(
        _prior_words(model), samples, low, high, planes[0], planes[1] if planes[1:] else None
    )


def _plane_in(model: AbstractModel, clouds: list[Tensor], space: Space) -> LatentPlane:
    encodings, prior, pockets, leaks = (
        in_space(model, z.to(device_of(model)), space) for z in clouds
    )
    return latent_plane(
        encodings, prior, pockets, leaks, letter="z" if space == "representation" else "z0"
    )


def _prior_words(model: AbstractModel) -> str:
    if model.untilted is not model:
        return f"{type(model).__name__} over {_prior_words(model.untilted)}"
    prior = next((module for module in model.modules() if isinstance(module, AbstractPrior)), None)
    return type(model if prior is None else prior).__name__
