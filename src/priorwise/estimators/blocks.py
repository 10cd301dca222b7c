"""Splits Monte-Carlo work over images so that its random numbers do not depend on the split.

Noise is drawn in blocks of ``IMAGES`` images by ``DRAWS`` draws, each block with a seed of its own.
Work proceeds in chunks whose size suits memory and speed: whole blocks, or parts of one where a
row is large. So the numbers are the same for every chunk size, for every partition over processes
and after a resume, and the first n draws are a prefix of n + m draws.

Letters: ``S`` draws and ``B`` images of one chunk.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from priorwise.distributions import Autoregressive, from_noise, has_noise_form, untilted
from priorwise.models import AbstractModel, Group, example_pass, frozen, require_groups
from priorwise.randomness import seeded

__all__ = [
    "DRAWS",
    "IMAGES",
    "TILE_BYTES",
    "BlockDraws",
    "Chunk",
    "draw_chunks",
    "image_chunks",
    "rows_within",
    "tile_rows",
]

IMAGES = 10
DRAWS = 100
TILE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Chunk:
    """A range of images or draws, from ``start`` to before ``stop``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def _chunks(total: int, size: int) -> Iterator[Chunk]:
    for start in range(0, total, size):
        yield Chunk(start, min(start + size, total))


def _images_at_once(rows: int) -> int:
    """A block of images, or as many as the rows allow."""
    return min(IMAGES, rows)


def _draws_at_once(rows: int) -> int:
    """Whole blocks of draws where they fit with a block of images, else as many draws as fit."""
    fitting = rows // _images_at_once(rows)
    return DRAWS * (fitting // DRAWS) if fitting >= DRAWS else max(1, fitting)


def draw_chunks(samples: int, rows: int) -> Iterator[Chunk]:
    """Split the draws into chunks, as large as ``rows`` allows with one block of images."""
    return _chunks(samples, _draws_at_once(rows))


def image_chunks(count: int, samples: int, rows: int) -> Iterator[Chunk]:
    """Split the images into chunks, of more than a block where each image has few draws."""
    at_once = min(samples, _draws_at_once(rows))
    blocks = rows // (at_once * IMAGES)
    return _chunks(count, IMAGES * blocks if blocks else _images_at_once(rows))


def tile_rows(model: AbstractModel, at_most: int, x: Tensor | None = None) -> int:
    """How many rows a model processes at once, so that a pass takes about ``TILE_BYTES``.

    It is from 1 to ``at_most``. It depends only on the model and on the shape of its observations,
    so the work is split in the same way in every run.

    Arguments:
        model: The model.
        at_most: The largest number of rows.
        x: Observations ``(N, *event)``, for passes that draw from posteriors; one of them is
            encoded to measure its cost.
    """

    def one_row() -> list[Tensor]:
        groups = example_pass(model)
        if x is not None:
            with seeded(0, "tile"):
                groups = model.infer(x[:1].to(groups[0].z.device))
        likelihood = untilted(model.likelihood(groups))
        observed = groups[0].z.new_zeros(likelihood.event_shape)
        if isinstance(likelihood, Autoregressive):  # its network does not work before
            likelihood.log_prob(observed)
        return [
            observed,
            *(part for group in groups for part in (group.z, group.context) if part is not None),
        ]

    with frozen(model), torch.no_grad():
        example_pass(model)  # encodes pseudo-inputs, which are not rows of a pass
        return rows_within(model, at_most, one_row)


def rows_within(module: nn.Module, at_most: int, one_row: Callable[[], Iterable[Tensor]]) -> int:
    """How many rows take about ``TILE_BYTES`` together, from 1 to ``at_most``.

    The memory of a row is that of its result plus three times the largest output of a module:
    without gradients, only a few outputs are alive at once.

    Arguments:
        module: The module whose parts compute a row.
        at_most: The largest number of rows.
        one_row: Computes one row and returns the tensors of its result.
    """
    largest = 0

    def measure(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        largest = max(
            largest, sum(tensor.numel() * tensor.element_size() for tensor in _tensors(output))
        )

    hooks = [part.register_forward_hook(measure) for part in module.modules()]
    try:
        held = sum(tensor.nbytes for tensor in one_row())
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, min(at_most, TILE_BYTES // max(1, 3 * largest + held)))


def _tensors(output: object) -> list[Tensor]:
    """The tensors in a module's output, which may be a tensor, a mapping, a list or a tuple."""
    if isinstance(output, Tensor):
        return [output]
    parts = (
        output.values()
        if isinstance(output, Mapping)
        else output
        if isinstance(output, (list, tuple))
        else ()
    )
    return [tensor for part in parts for tensor in _tensors(part)]


class BlockDraws:
    """A ``draw`` for ``top_down``: posterior draws made with the noise of a chunk's blocks.

    A posterior that is not a transform of normal noise is drawn for the whole chunk at once, with a
    seed of its own; its numbers do depend on the chunk size.

    Arguments:
        seed: The seed of the computation.
        purpose: What is computed; part of the seed of each block.
        images: The images of the chunk.
        draws: The draws of the chunk.
        like: A tensor; the noise has its type and device.
    """

    def __init__(self, seed: int, purpose: str, images: Chunk, draws: Chunk, like: Tensor) -> None:
        self.seed = seed
        self.purpose = purpose
        self.images = images
        self.draws = draws
        self.like = like

    @property
    def batch_shape(self) -> tuple[int, int]:
        """``(S, B)``."""
        return len(self.draws), len(self.images)

    def __call__(self, group: Group) -> Tensor:
        """Latents of shape ``(S, B, *event)``."""
        require_groups([group], self.batch_shape)
        posterior = group.inferred
        if has_noise_form(posterior):
            return from_noise(posterior, self.noise(group.index, posterior.event_shape))
        with seeded(self.seed, self.purpose, group.index, self.images.start, self.draws.start):
            return posterior.sample()

    def noise(self, group: int, event: torch.Size) -> Tensor:
        """The noise of a group, ``(S, B, *event)``."""
        blocks = _blocks(self.images, IMAGES)
        rows = [
            torch.cat([self._block(group, image, draw, event) for image in blocks], 1)
            for draw in _blocks(self.draws, DRAWS)
        ]
        first_draw, first_image = self.draws.start % DRAWS, self.images.start % IMAGES
        noise = torch.cat(rows)[first_draw : first_draw + len(self.draws)]
        return noise[:, first_image : first_image + len(self.images)]

    def _block(self, group: int, image: int, draw: int, event: torch.Size) -> Tensor:
        with seeded(self.seed, self.purpose, group, image, draw):
            return torch.randn(
                DRAWS, IMAGES, *event, dtype=self.like.dtype, device=self.like.device
            )


def _blocks(chunk: Chunk, size: int) -> range:
    return range(chunk.start // size, -(-chunk.stop // size))
