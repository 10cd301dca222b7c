"""How held-out data judge an objective: fixed blocks, each with random numbers of its own.

Letters: ``N`` examples, ``B`` examples of a block.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from priorwise.randomness import seeded

__all__ = ["FINAL_STEP", "ROWS", "mean_over_blocks", "mean_over_whole_batches"]

FINAL_STEP = 2**62
"""A step after the end of every schedule."""

ROWS = 1000
"""Number of latent draws that are evaluated at once."""

PerExample: TypeAlias = Callable[[Tensor], Tensor]


def mean_over_blocks(
    per_example: PerExample, x: Tensor, *, block: int, seed: int, address: str
) -> float:
    """The mean of a quantity over all examples, in nats.

    Arguments:
        per_example: Maps a block ``(B, *event)`` to the quantity per example, ``(B,)``.
        x: Observations ``(N, *event)``.
        block: Examples per block. The draws depend on it, so callers fix it and make it no option.
        seed: Seed of the draws.
        address: What the draws are for.
    """
    parts = []
    for index, batch in enumerate(x.split(block)):
        with seeded(seed, address, index):
            parts.append(per_example(batch).detach().double().cpu())
    return float(torch.cat(parts).mean())


def mean_over_whole_batches(
    loss: Callable[[Tensor], Tensor], x: Tensor, *, batch_size: int, seed: int
) -> float:
    """The mean loss over whole batches.

    An incomplete last batch is left out, since batch statistics depend on the batch size.

    Arguments:
        loss: Maps a batch ``(B, *event)`` to a scalar.
        x: Observations ``(N, *event)``; if there are fewer than ``batch_size``, they are one batch.
        batch_size: Examples per batch.
        seed: Seed of the draws.
    """
    whole = max(1, len(x) // batch_size)
    losses = []
    for index, batch in enumerate(x.split(batch_size)[:whole]):
        with seeded(seed, "loss", index):
            losses.append(float(loss(batch).detach()))
    return math.fsum(losses) / whole
