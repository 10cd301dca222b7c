"""The examples of torch's data sets and loaders, one by one and as batches."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
    default_convert,
)

from priorwise.data.spec import DataError
from priorwise.randomness import seeded
from priorwise.typing import Address

__all__ = ["Source", "all_seeded", "is_dataset", "source_of", "stacked"]

_KEYS = ("image", "x", "pixel_values")


def is_dataset(data: object) -> bool:
    """Whether this is a data set or a loader of torch."""
    return isinstance(data, (Dataset, DataLoader))


@contextmanager
def all_seeded(seed: int, *address: Address) -> Iterator[None]:
    """Draws from torch, numpy and Python that depend on a seed and an address alone.

    The three generators go on afterwards as if nothing had been drawn; see ``seeded``.
    """
    python, legacy = random.getstate(), np.random.get_state()
    try:
        with seeded(seed, "examples", *address):
            mixed = torch.initial_seed() % 2**32
            random.seed(mixed)
            np.random.seed(mixed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


# -- one example, one batch ------------------------------------------------------------------------


def _observation(example: Any) -> Any:  # noqa: ANN401 - whatever a data set returns
    """The observation of an example, which may come with a label or under a name."""
    if isinstance(example, Mapping):
        key = next((key for key in _KEYS if key in example), None)
        if key is None:
            raise DataError(
                f"expected examples with one of the keys {', '.join(_KEYS)}; got "
                f"{', '.join(map(str, example))}. Return the observation alone, or as a pair with "
                "its label."
            )
        return example[key]
    return example[0] if isinstance(example, Sequence) else example


def _as_batch(x: Any) -> Tensor:  # noqa: ANN401 - whatever a collate function returns
    if not isinstance(x, (Tensor, np.ndarray)):
        raise DataError(
            f"expected observations as tensors, arrays or images of Pillow; got {type(x).__name__}."
        )
    return torch.as_tensor(x)


def stacked(examples: Sequence[Any]) -> Tensor:
    """Examples as one batch, ``(B, *event)``."""
    parts = []
    for example in examples:
        x = _observation(example)
        # images of Pillow have this attribute of numpy's protocol
        array = np.array(x) if getattr(x, "__array_interface__", None) is not None else x
        parts.append(_as_batch(array))
    shapes = {tuple(part.shape) for part in parts}
    if len(shapes) > 1:
        raise DataError(f"expected observations of one shape; got {sorted(shapes)}. Crop them.")
    return torch.stack(parts)


@dataclass(frozen=True)
class Source:
    """A data set, and how its examples become a batch.

    Attributes:
        dataset: Examples by index, or an iterable of examples or of batches.
        collate: Makes a batch of examples.
        batched: Whether the iterable yields batches.
    """

    dataset: Any
    collate: Callable[[Sequence[Any]], Any] | None = None
    batched: bool = False

    @property
    def by_index(self) -> bool:
        """Whether examples have an index."""
        return not isinstance(self.dataset, (IterableDataset, DataLoader))

    def __len__(self) -> int:
        return len(self.dataset)

    def rows(self, rows: Sequence[int], seed: int, *address: Address) -> Tensor:
        """The examples with these indices, ``(B, *event)``; see ``all_seeded``."""
        with all_seeded(seed, *address):
            examples = [self.dataset[row] for row in rows]
        if self.collate is None:
            return stacked(examples)
        return _as_batch(_observation(self.collate(examples)))

    def examples(self) -> Iterator[Any]:
        """All examples of an iterable, one by one."""
        for item in self.dataset:
            if self.batched:
                yield from _as_batch(_observation(item))
            else:
                yield item


def source_of(data: Any) -> Source:  # noqa: ANN401 - a data set or a loader
    """The examples of a data set, or of the data set in a loader.

    Raises:
        DataError: for a loader with a sampler of its own.
    """
    if not isinstance(data, DataLoader):
        return Source(data)
    if isinstance(data.dataset, IterableDataset):
        return Source(data, batched=data.batch_size is not None or data.batch_sampler is not None)
    sampler = data.sampler
    if not isinstance(sampler, (RandomSampler, SequentialSampler)) or (
        data.batch_sampler is not None and type(data.batch_sampler) is not BatchSampler
    ):
        raise DataError(
            "expected a DataLoader without a sampler of its own, since the fit draws the order; "
            f"got {type(sampler).__name__}. Pass the data set, or an IterableDataset that yields "
            "the examples in your order."
        )
    collate: Any = data.collate_fn
    return Source(data.dataset, None if collate in (default_collate, default_convert) else collate)
