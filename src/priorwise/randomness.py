"""Scoped and addressed randomness.

torch's distributions take no generator, so everything in the library draws from torch's own. A
computation that should be repeatable opens ``seeded(seed, *address)``. Inside the block the random
numbers depend on the seed and the address alone. After it the caller's stream goes on as if nothing
had been drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch
from torch import Tensor

from priorwise.typing import Address

__all__ = ["seeded"]


def _mixed(seed: int, address: tuple[Address, ...]) -> int:
    """A 63-bit seed for an address, by a hash, so that neighbouring addresses share nothing."""
    text = repr((int(seed), *address)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest()) >> 1


class _Metal:
    """The generator of an Apple device, which torch exposes as functions."""

    def get_state(self) -> Tensor:
        return torch.mps.get_rng_state()

    def set_state(self, state: Tensor) -> None:
        torch.mps.set_rng_state(state)

    def manual_seed(self, seed: int) -> None:
        torch.mps.manual_seed(seed)


def _generators() -> list[torch.Generator | _Metal]:
    """The generators of the CPU and of every device that torch has already initialised."""
    generators: list[torch.Generator | _Metal] = [torch.default_generator]
    if torch.cuda.is_initialized():
        generators += torch.cuda.default_generators
    if torch.xpu.is_initialized():
        generators += torch.xpu.default_generators
    if torch.backends.mps.is_available():
        generators.append(_Metal())
    return generators


@contextmanager
def seeded(seed: int | None, *address: Address) -> Iterator[None]:
    """Make draws inside the block depend on ``seed`` and ``address`` only.

    The caller's stream is restored after the block. This covers the CPU, Apple's GPU, and every
    other GPU once torch has initialised CUDA or XPU. A GPU that is first used inside the block is
    not covered: put a tensor on it before the block.

    Arguments:
        seed: Any integer. None leaves torch's generator as it is, so that draws continue the
            caller's stream.
        address: What the draws are for, outermost first, for example ``"nll", image_block,
            draw_block``.

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
            raise TypeError(
                f"expected an address of integers and strings; got {part!r} of type "
                f"{type(part).__name__}."
            )
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
