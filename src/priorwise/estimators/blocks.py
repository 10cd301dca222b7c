"""How Monte-Carlo work over images is cut up, so that its random numbers do not depend on the cut.

Noise is drawn in blocks of ``IMAGES`` images by ``DRAWS`` draws, each block under its own address. Work proceeds in chunks of
whole blocks, as large as memory and speed like it. So the numbers are the same for every chunk size, for any partition over
processes and after a resume, and the first n draws are a prefix of n + m.

Letters: ``S`` draws and ``B`` images of one chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.distributions import from_noise, has_noise_form
from priorwise.models import Group
from priorwise.randomness import seeded

__all__ = ["DRAWS", "IMAGES", "BlockDraws", "Chunk", "draw_chunks", "image_chunks"]

IMAGES = 10
DRAWS = 100


@dataclass(frozen=True)
class Chunk:
    """A range of images or draws, from ``start`` to before ``stop``; ``start`` begins a block."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def _chunks(total: int, size: int) -> Iterator[Chunk]:
    for start in range(0, total, size):
        yield Chunk(start, min(start + size, total))


def draw_chunks(samples: int, rows: int) -> Iterator[Chunk]:
    """Cut the draws: as many blocks at once as ``rows`` allow with one block of images."""
    return _chunks(samples, DRAWS * max(1, rows // (DRAWS * IMAGES)))


def image_chunks(count: int, samples: int, rows: int) -> Iterator[Chunk]:
    """Cut the images: more than a block at once where there are few draws of each."""
    at_once = min(samples, DRAWS * max(1, rows // (DRAWS * IMAGES)))
    return _chunks(count, IMAGES * max(1, rows // (at_once * IMAGES)))


class BlockDraws:
    """A ``draw`` for ``top_down`` that draws from the posterior with the noise of the blocks that a chunk covers.

    A posterior that is no image of normal noise is drawn as a whole under the address of the chunk's first block; its numbers
    do depend on the chunk size.

    Arguments:
        seed: The seed of the computation.
        purpose: What is computed; part of the address.
        images: The images of the chunk.
        draws: The draws of the chunk.
        like: The noise has its type and device.
    """

    def __init__(self, seed: int, purpose: str, images: Chunk, draws: Chunk, like: Tensor) -> None:
        self.seed = seed
        self.purpose = purpose
        self.images = images
        self.draws = draws
        self.like = like

    def __call__(self, group: Group) -> Tensor:
        """Latents of shape ``(S, B, *event)``."""
        posterior = group.posterior
        assert posterior is not None
        if has_noise_form(posterior):
            return from_noise(posterior, self._noise(group.index, posterior.event_shape))
        with seeded(self.seed, self.purpose, group.index, self.images.start // IMAGES, self.draws.start // DRAWS):
            return posterior.sample()

    def _noise(self, group: int, event: torch.Size) -> Tensor:
        rows = [
            torch.cat([self._block(group, image, draw, event) for image in _blocks(self.images, IMAGES)], 1)
            for draw in _blocks(self.draws, DRAWS)
        ]
        return torch.cat(rows)[: len(self.draws), : len(self.images)]

    def _block(self, group: int, image: int, draw: int, event: torch.Size) -> Tensor:
        with seeded(self.seed, self.purpose, group, image, draw):
            return torch.randn(DRAWS, IMAGES, *event, dtype=self.like.dtype, device=self.like.device)


def _blocks(chunk: Chunk, size: int) -> range:
    return range(chunk.start // size, -(-chunk.stop // size))
