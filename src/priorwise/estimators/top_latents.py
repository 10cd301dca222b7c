"""The latents of the top group: their aggregate posterior, and draws from it and from the prior.

Every block is drawn completely, with a seed of its own, and then cut to the required size. So
memory does not grow with the number of draws, and the first n draws are a prefix of n + m draws. A
block is 500 draws, or as many as fit in a tile of memory.

Letters: ``N`` images, ``B`` draws of one block, ``D`` latent dimensions of the top group,
flattened.
"""

from collections.abc import Callable, Iterable, Iterator
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
from priorwise.estimators.doubts import require_finite
from priorwise.models import AbstractModel, Group, draw_untilted, frozen
from priorwise.progress import tell
from priorwise.randomness import seeded
from priorwise.samplers import AbstractSampler
from priorwise.storage import content_hash

__all__ = ["TopDraws", "aggregate_posterior", "places", "posterior_draws", "prior_draws", "told"]

_BLOCK = 500


def aggregate_posterior(model: AbstractModel, x: Tensor) -> AggregatePosterior:
    """The mixture of the encodings of ``x`` in the top group, over flattened latents.

    Images are encoded block by block.

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``.

    Raises:
        TypeError: for an encoder whose posteriors are not diagonal Gaussians.
        UnavailableError: for encodings that are not finite.
    """
    if len(x) < 1:
        raise ValueError("expected at least one observation; got none.")
    # The seed is needed because encoding may draw the groups below the top.
    with frozen(model), torch.no_grad(), seeded(0, "encode"):
        blocks = [
            require_diagonal_gaussian(
                model.encode(part.to(device_of(model))),
                "an encoder that returns an Independent Normal",
                "Without it the aggregate posterior has no closed form: use the k-NN estimators "
                "or the two-sample test, which need only draws.",
            )
            for part in x.split(tile_rows(model, _BLOCK))
        ]
    loc = torch.cat([block.loc.flatten(1) for block in blocks])
    scale = torch.cat([block.scale.flatten(1) for block in blocks])
    require_finite(torch.cat([loc, scale], 1), "encodings")
    return AggregatePosterior(diagonal_gaussian(loc, scale))


@dataclass(frozen=True)
class TopDraws:
    """One block of draws of the top latents.

    Attributes:
        group: The top group of the pass that made the block, with all its draws.
        alone: Whether the model has no group below.
        count: Number of draws that are used, ``B``.
        images: Index of the image behind each draw, ``(B,)``; None for draws from the prior.
    """

    group: Group
    alone: bool
    count: int
    images: Tensor | None = None

    @property
    def z(self) -> Tensor:
        """The draws, ``(B, *event)``."""
        return self.group.z[: self.count]

    @property
    def vectors(self) -> Tensor:
        """The draws as vectors, ``(B, D)``."""
        return self.z.flatten(1)

    def log_unnorm(self) -> Tensor:
        """The prior's log density, ``(B,)`` in nats; a tilted one is up to a constant."""
        return self.group.log_prior()[: self.count]

    def log_p(self, log_norm: float | None) -> Tensor | None:
        """The prior's normalised log density, ``(B,)`` in nats; None if it is unknown.

        Arguments:
            log_norm: The model's log normaliser. It belongs to all groups together, so it is that
                of the top group only if there is no other group.
        """
        if is_normalised(self.group.prior):
            return self.log_unnorm()
        return self.log_unnorm() - log_norm if self.alone and log_norm is not None else None

    def log_own(self) -> Tensor:
        """Log q(z|x) of each draw given its own image, ``(B,)`` in nats."""
        return self.group.log_posterior()[: self.count]


def posterior_draws(
    model: AbstractModel, x: Tensor, draws: int, *, seed: int, purpose: str
) -> Iterator[TopDraws]:
    """Draws from the aggregate posterior of ``x``.

    Images come in random order, each equally often (up to one draw).
    """
    if len(x) < 1:
        raise ValueError("expected at least one observation in `x`; got none.")
    with seeded(seed, purpose, "images"):  # the data may be sorted
        order = torch.randperm(len(x))
    size = tile_rows(model, _BLOCK)
    for block, count in _blocks(draws, size):
        images = order[torch.arange(block * size, (block + 1) * size) % len(x)]
        with seeded(seed, purpose, "posterior", block):
            groups = model.infer(x[images.to(x.device)].to(device_of(model)))
        yield TopDraws(groups[0], len(groups) == 1, count, images[:count])


def prior_draws(
    model: AbstractModel, draws: int, sampler: AbstractSampler | None, *, seed: int, purpose: str
) -> Iterator[TopDraws]:
    """Draws from the top prior, by the given sampler or by the model's default.

    The groups below are not used, so they are drawn without their tilts, which is cheap.
    """
    draw_top = model.default_sampler if sampler is None else sampler

    def draw(group: Group) -> Tensor:
        return draw_top(group.prior) if group.index == 1 else draw_untilted(group)

    size = tile_rows(model, _BLOCK)
    for block, count in _blocks(draws, size):
        with seeded(seed, purpose, "prior", block):
            groups = model.top_down(draw, (size,))
        yield TopDraws(groups[0], len(groups) == 1, count)


def _blocks(draws: int, size: int) -> Iterator[tuple[int, int]]:
    """The index of each block, and the number of its draws that are used."""
    for block, start in enumerate(range(0, draws, size)):
        yield block, min(size, draws - start)


def told(blocks: Iterable[TopDraws], report: Callable[[int], None] | None) -> Iterator[TopDraws]:
    """The same blocks; ``report`` is called with the number of draws of each, once it is used."""
    for block in blocks:
        yield block
        tell(report, block.count)


def places(x: Tensor, reference: Tensor) -> Tensor:
    """The position in the reference of each image of ``x``.

    Returns:
        Tensor: Indices ``(N,)``, equal for equal images; -1 for images that are not there.
    """

    def hashes(images: Tensor) -> list[str]:
        return [content_hash({"image": image}) for image in images.detach().cpu()]

    place_of = {digest: place for place, digest in enumerate(hashes(reference.to(x.dtype)))}
    return torch.tensor([place_of.get(digest, -1) for digest in hashes(x)], dtype=torch.long)
