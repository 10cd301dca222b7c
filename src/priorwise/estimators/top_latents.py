"""The latents of the top group: their aggregate posterior, and draws of it and of the prior, block by block.

A block is drawn whole under an address of its own and then cut to what is wanted. So memory does
not grow with the draws, and the first n draws are a prefix of n + m. A block is 500 draws, or as
many as a tile of memory takes.

Letters: ``N`` images, ``B`` draws of one block, ``D`` latent dimensions of the top group,
flattened.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.distributions import (
    AggregatePosterior,
    diagonal_gaussian,
    is_normalised,
    require_diagonal_gaussian,
)
from priorwise.estimators.base import device_of
from priorwise.estimators.blocks import tile_rows
from priorwise.models import AbstractModel, Group, draw_untilted, frozen
from priorwise.randomness import seeded
from priorwise.samplers import AbstractSampler
from priorwise.storage import content_hash

__all__ = ["TopDraws", "aggregate_posterior", "places", "posterior_draws", "prior_draws"]

_BLOCK = 500


def aggregate_posterior(model: AbstractModel, x: Tensor) -> AggregatePosterior:
    """The mixture of the encodings of ``x`` in the top group, over flattened latents; images are encoded block by block.

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``.

    Raises:
        TypeError: for an encoder whose posteriors are not diagonal Gaussians.
    """
    if len(x) < 1:
        raise ValueError("expected at least one observation; got none.")
    with (
        frozen(model),
        torch.no_grad(),
        seeded(0, "encode"),
    ):  # groups below the top are drawn on the way
        blocks = [
            require_diagonal_gaussian(
                model.encode(part.to(device_of(model))),
                "an encoder that returns an Independent Normal",
                "Without it there is no closed aggregate posterior: use the k-NN estimators or "
                "the two-sample test, which need draws alone.",
            )
            for part in x.split(tile_rows(model, _BLOCK))
        ]
    loc = torch.cat([block.loc.flatten(1) for block in blocks])
    scale = torch.cat([block.scale.flatten(1) for block in blocks])
    return AggregatePosterior(diagonal_gaussian(loc, scale))


@dataclass(frozen=True)
class TopDraws:
    """One block of draws of the top latents.

    Attributes:
        group: The top group of the pass that made them, before the cut.
        alone: Whether the model has no group below.
        kept: How many of the block are wanted.
        images: Index of the image behind each draw, ``(kept,)``; None for draws from the prior.
    """

    group: Group
    alone: bool
    kept: int
    images: Tensor | None = None

    @property
    def z(self) -> Tensor:
        """The draws, ``(kept, *event)``."""
        return self.group.z[: self.kept]

    @property
    def vectors(self) -> Tensor:
        """The draws as vectors, ``(kept, D)``."""
        return self.z.flatten(1)

    def log_unnorm(self) -> Tensor:
        """The prior's log density at the draws, up to a constant where it is tilted, ``(kept,)``, in nats."""
        return self.group.log_prior()[: self.kept]

    def log_p(self, log_norm: float | None) -> Tensor | None:
        """The prior's normalised log density at the draws, ``(kept,)``, in nats; None while its normaliser is unknown.

        Arguments:
            log_norm: What the model says of its normaliser. It is that of all groups together, so
                it is the top group's own only where there is no other.
        """
        if is_normalised(self.group.prior):
            return self.log_unnorm()
        return self.log_unnorm() - log_norm if self.alone and log_norm is not None else None

    def log_own(self) -> Tensor:
        """Log q(z|x) of each draw under its own image, ``(kept,)``, in nats."""
        return self.group.log_posterior()[: self.kept]


def posterior_draws(
    model: AbstractModel, x: Tensor, draws: int, *, seed: int, purpose: str
) -> Iterator[TopDraws]:
    """Draws from the aggregate posterior of ``x``: images in random order, each as often as any other (to within one)."""
    if len(x) < 1:
        raise ValueError("expected at least one observation in `x`; got none.")
    with seeded(seed, purpose, "images"):  # some sets are sorted
        order = torch.randperm(len(x))
    size = tile_rows(model, _BLOCK)
    for block, wanted in _blocks(draws, size):
        images = order[torch.arange(block * size, (block + 1) * size) % len(x)]
        with seeded(seed, purpose, "posterior", block):
            groups = model.infer(x[images.to(x.device)].to(device_of(model)))
        yield TopDraws(groups[0], len(groups) == 1, wanted, images[:wanted])


def prior_draws(
    model: AbstractModel, draws: int, sampler: AbstractSampler | None, *, seed: int, purpose: str
) -> Iterator[TopDraws]:
    """Draws from the top prior, by the sampler or the model's own; what lies below is not wanted and drawn cheaply."""
    draw_top = model.default_sampler if sampler is None else sampler

    def draw(group: Group) -> Tensor:
        return draw_top(group.prior) if group.index == 1 else draw_untilted(group)

    size = tile_rows(model, _BLOCK)
    for block, wanted in _blocks(draws, size):
        with seeded(seed, purpose, "prior", block):
            groups = model.top_down(draw, (size,))
        yield TopDraws(groups[0], len(groups) == 1, wanted)


def _blocks(draws: int, size: int) -> Iterator[tuple[int, int]]:
    """Number of each block, and how many of its draws are wanted."""
    for block, start in enumerate(range(0, draws, size)):
        yield block, min(size, draws - start)


def places(x: Tensor, reference: Tensor) -> Tensor:
    """Where in the reference each image of ``x`` stands.

    Returns:
        Tensor: ``(N,)`` indices, equal for equal images, -1 for one that is not there.
    """

    def hashes(images: Tensor) -> list[str]:
        return [content_hash({"image": image}) for image in images.detach().cpu()]

    place_of = {digest: place for place, digest in enumerate(hashes(reference.to(x.dtype)))}
    return torch.tensor([place_of.get(digest, -1) for digest in hashes(x)], dtype=torch.long)
