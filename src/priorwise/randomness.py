"""Scoped and addressed randomness.

torch's distributions take no generator, so everything in the library draws from torch's own. A computation that should
be repeatable opens ``seeded(seed, *address)``: inside the block the stream depends on the seed and the address alone,
and afterwards the caller's stream goes on as if nothing had been drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch

from priorwise.typing import Address

__all__ = ["seeded"]


def _mixed(seed: int, address: tuple[Address, ...]) -> int:
    """The 63-bit seed of one address: a hash, so that neighbouring addresses share nothing."""
    text = repr((int(seed), *address)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest()) >> 1


def _generators() -> list[torch.Generator]:
    generators = [torch.default_generator]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        generators.append(torch.cuda.default_generators[torch.cuda.current_device()])
    return generators


@contextmanager
def seeded(seed: int | None, *address: Address) -> Iterator[None]:
    """Draws inside the block depend on ``seed`` and ``address`` only; the outer stream is restored after it.

    Arguments:
        seed: Any integer; None leaves torch's generator as it is, so that draws continue the caller's stream.
        address: What the draws are for, outermost first, for example ``"nll", image_block, draw_block``.

    Raises:
        TypeError: if an address is neither an integer nor a string.

    Example:
        >>> with seeded(0, "doc", 3):
        ...     first = torch.randn(2)
        >>> with seeded(0, "doc", 3):
        ...     again = torch.randn(2)
        >>> bool((first == again).all())
        True
    """
    for part in address:
        if not isinstance(part, (int, str)):
            raise TypeError(f"expected an address of integers and strings; got {part!r} of type {type(part).__name__}.")
    if seed is None:
        yield
        return
    generators = _generators()
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(_mixed(seed, address))
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
