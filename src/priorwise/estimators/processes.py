"""Sharing work between the processes of a distributed run; a single process does all of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import distributed

__all__ = ["gathered", "in_turn", "is_first", "my_share"]

Item = TypeVar("Item")
Key = TypeVar("Key")
Value = TypeVar("Value")


def _active() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def is_first() -> bool:
    """Whether this process writes what all of them would write; a single process does."""
    return not _active() or distributed.get_rank() == 0


def my_share(items: Sequence[Item]) -> Sequence[Item]:
    """The items that this process works on."""
    return items[distributed.get_rank() :: distributed.get_world_size()] if _active() else items


def in_turn(make: Callable[[], Value]) -> Value:
    """Call ``make`` in one process after the other and return its result; all wait for the last."""
    if not _active():
        return make()
    results: list[Value] = []
    for rank in range(distributed.get_world_size()):
        if rank == distributed.get_rank():
            results.append(make())
        distributed.barrier()
    return results[0]


def gathered(results: Mapping[Key, Value]) -> dict[Key, Value]:
    """The results of all processes, in every process."""
    if not _active():
        return dict(results)
    parts: list[Mapping[Key, Value]] = [{} for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, dict(results))
    return {key: value for part in parts for key, value in part.items()}
