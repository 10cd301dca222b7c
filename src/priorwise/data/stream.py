"""Training data that are drawn afresh: torch's data sets and loaders, as a fit sees them.

What is drawn stays theirs: transforms, augmentation, the order of an iterable. What is ours is the
address of every draw, so that a fit that goes on from a checkpoint sees what an unbroken one sees.
"""

import hashlib
from collections.abc import Iterator, Sized
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from priorwise.data.examples import Source, all_seeded, is_dataset, source_of, stacked
from priorwise.data.own_data import from_arrays
from priorwise.data.spec import DataError, DataSpec
from priorwise.data.splits import SplitName, Splits
from priorwise.data.value_range import observed_range

__all__ = ["Stream", "from_dataset"]


def from_dataset(
    data: Any,  # noqa: ANN401 - a Dataset or a DataLoader of torch
    *,
    validation: Any = 0.1,  # noqa: ANN401
    test: Any = None,  # noqa: ANN401
    examples: int | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Splits:
    """Splits that hold every example of a data set of torch, drawn once.

    Use it where the transforms of the data set draw nothing at random: data in memory train
    fastest. ``Stream`` takes the same arguments and draws training data afresh in every epoch.

    Arguments:
        data: A ``Dataset``, an ``IterableDataset``, or a ``DataLoader`` of one. An example is an
            observation, a pair of observation and label, or a mapping with the key "image", "x" or
            "pixel_values". An observation is a tensor, an array or an image of Pillow. Labels are
            not kept.
        validation: A data set or an array, or the share that is held out at random.
        test: A data set or an array; by default as large a share is held out.
        examples: How many examples an iterable has, if it does not say so itself.
        seed: Seed of the split, and of what the transforms draw.
        name: Name of the set; that of the class by default.

    Raises:
        DataError: if the examples cannot be used; the message says why.
    """
    stream = Stream(data, validation=validation, test=test, examples=examples, seed=seed, name=name)
    return stream.materialised()


def _drawn(data: Any, seed: int, part: str) -> Any:  # noqa: ANN401
    """A held-out part as an array: all its examples, drawn once."""
    if not is_dataset(data):
        return data
    source = source_of(data)
    if source.by_index:
        return source.rows(range(len(source)), seed, part)
    with all_seeded(seed, part):
        return stacked(list(source.examples()))


@dataclass(eq=False, repr=False)
class Stream:
    """Training data that are drawn afresh in every epoch, beside fixed validation and test data.

    A data set with indices has a share held out at random. Its transforms hold for these examples,
    too: they are drawn once, and kept. An iterable has no indices, so it needs ``validation`` and
    ``test``; it is iterated anew in every epoch, and its order is its own.

    Everything that transforms draw, from torch, numpy or Python, depends on the seed of the fit,
    the epoch and the step. So equal fits see equal data, and so does a fit that was killed and
    goes on. This holds where examples are drawn in this process. The workers of a loader over an
    iterable get their seeds from torch's generator, which is enough for torch's own transforms.

    Arguments:
        data: As for ``from_dataset``. The batch size and the workers of a ``DataLoader`` are not
            used for a data set with indices; its ``collate_fn`` is.
        validation: As for ``from_dataset``.
        test: As for ``from_dataset``.
        examples: As for ``from_dataset``; an epoch has this many, less those held out.
        seed: As for ``from_dataset``.
        name: As for ``from_dataset``.

    Raises:
        DataError: if the examples cannot be used; the message says why.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> print(Stream(TensorDataset(torch.rand(50, 3))).describe())
        TensorDataset: 40 / 5 / 5 (train / validation / test) of 3, real values in [0, 1], gaussian
    """

    data: Any
    validation: Any = 0.1
    test: Any = None
    examples: int | None = None
    seed: int = 0
    name: str | None = None
    source: Source = field(init=False)
    kept: Splits = field(init=False)
    places: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.source = source_of(self.data)
        self.device = torch.device("cpu")
        self._at = (0, 0, 0)  # seed, epoch and position of the open iterator
        self._size = 0  # of a full batch, once one was seen
        self._open: Iterator[Any] = iter(())
        held_out = {"validation": self.validation, "test": self.test}
        fixed = {
            part: _drawn(x, self.seed, part)
            for part, x in held_out.items()
            if x is not None and not isinstance(x, float)
        }
        self.places = self._shared_out(fixed)
        example = self._row(self.places[:1], "example")
        inner = getattr(self.data, "dataset", self.data)
        kept = from_arrays(example, **fixed, name=self.name or type(inner).__name__)
        spec = kept.spec
        if spec.levels is None:
            spec = replace(spec, value_range=observed_range(kept.validation))
        self.kept = replace(kept, spec=spec, origin=self._words())

    # -- what is held out --------------------------------------------------------------------------

    def _count(self) -> int:
        if self.examples is not None:
            return self.examples
        if isinstance(self.source.dataset, DataLoader):
            inner = self.source.dataset.dataset
            if isinstance(inner, Sized):
                return len(inner)
        elif isinstance(self.source.dataset, Sized):
            return len(self.source.dataset)
        raise DataError(
            "expected `examples`, the length of an epoch, for an iterable that has no length. Pass "
            "priorwise.data.Stream(data, examples=10_000, validation=..., test=...)."
        )

    def _shared_out(self, fixed: dict[str, Any]) -> Tensor:
        """Draw the missing parts into ``fixed``; the places of the training examples."""
        missing = [part for part in ("validation", "test") if part not in fixed]
        count = self._count()
        if not missing:
            return torch.arange(count)
        if not self.source.by_index:
            raise DataError(
                f"expected `{'` and `'.join(missing)}` for an iterable, whose examples have no "
                "index to hold some out by. Pass priorwise.data.Stream(data, validation=..., "
                "test=...) with data sets or arrays."
            )
        share = self.validation if isinstance(self.validation, float) else 0.1
        if not 0 < share < 0.5:
            raise DataError(
                "expected `validation` as a share above 0 and below 0.5, or as data; got "
                f"{self.validation}."
            )
        size = max(1, round(share * count))
        if count <= size * len(missing):
            raise DataError(
                f"expected enough data to hold some out for {' and '.join(missing)}; got {count} "
                "examples."
            )
        order = torch.from_numpy(np.random.RandomState(self.seed).permutation(count))
        start = count - size * len(missing)
        for index, part in enumerate(missing):
            places = order[start + index * size : start + (index + 1) * size]
            fixed[part] = self._row(places, part)
        return order[:start]

    def _row(self, places: Tensor, part: str) -> Tensor:
        if self.source.by_index:
            return self.source.rows(places.tolist(), self.seed, part)
        with all_seeded(self.seed, part):
            return stacked(list(islice(self.source.examples(), len(places))))

    def _words(self) -> str:
        inner = getattr(self.data, "dataset", self.data)
        kind = "data set" if self.source.by_index else "iterable"
        return f"{kind} {type(inner).__name__} of {self._count()} examples, drawn afresh each epoch"

    # -- as a fit sees it --------------------------------------------------------------------------

    @property
    def spec(self) -> DataSpec:
        """The description that follows from the held-out data."""
        return self.kept.spec

    @property
    def train_size(self) -> int:
        """The number of training examples in an epoch."""
        return len(self.places)

    def to(self, device: torch.device | str) -> "Stream":
        """The same stream with its batches on a device."""
        moved = copy(self)
        moved.device = torch.device(device)
        return moved

    def order(self) -> Tensor:
        """The order of an epoch: random where examples have an index, else that of the iterable."""
        if self.source.by_index:
            return torch.randperm(self.train_size)
        return torch.arange(self.train_size)

    def batch(self, rows: Tensor, epoch: int, seed: int) -> Tensor:
        """The examples at these places of an epoch as the model sees them, ``(B, *event)``.

        Arguments:
            rows: Places in the training data, as ``order`` returned them.
            epoch: The epoch, from 1.
            seed: Seed of the fit. The same places, epoch and seed give the same examples.
        """
        if self.source.by_index:
            first = int(rows[0])
            raw = self.source.rows(self.places[rows.cpu()].tolist(), seed, epoch, first)
        else:
            if int(rows[-1] - rows[0]) != len(rows) - 1:
                raise DataError(
                    "expected one process for an iterable, whose examples come in its own order; "
                    "got several. Start one process, or pass a data set with indices."
                )
            raw = self._next(int(rows[0]), len(rows), epoch, seed)
        return self.kept.prepare(self._checked(raw).to(self.device))

    def _next(self, start: int, count: int, epoch: int, seed: int) -> Tensor:
        """The next examples of an iterable; those before them are drawn again after a resume."""
        if start == 0 or self._at != (seed, epoch, start):
            self._open = self.source.examples()
            for position in range(0, start, self._size or count):
                self._drawn_at(position, self._size or count, epoch, seed)
        self._size = max(self._size, count)
        examples = self._drawn_at(start, count, epoch, seed)
        self._at = (seed, epoch, start + count)
        return stacked(examples)

    def _drawn_at(self, position: int, count: int, epoch: int, seed: int) -> list[Any]:
        with all_seeded(seed, epoch, position):
            examples = list(islice(self._open, count))
        if len(examples) < count:
            raise DataError(
                f"expected {self.train_size} examples in an epoch; the iterable ended after "
                f"{position + len(examples)}. Set `examples` to its length."
            )
        return examples

    def _checked(self, raw: Tensor) -> Tensor:
        """A batch in the type and shape of the held-out data."""
        shape, levels = self.spec.shape, self.spec.levels
        if tuple(raw.shape[1:]) != shape:
            raw = _in_shape(raw, shape)
        if levels is None:
            return raw.float()
        low, high = (float(bound) for bound in raw.aminmax())
        fractions = raw.is_floating_point() and not torch.equal(raw, raw.round())
        if low < 0 or high >= levels or fractions:
            raise DataError(
                f"expected whole numbers 0..{levels - 1} in a batch, as in the held-out data; got "
                f"values from {low:.6g} to {high:.6g}. Use the same transforms for all parts."
            )
        return raw.to(torch.uint8)

    def describe(self) -> str:
        """The data in one line."""
        return self.kept.described(self.train_size)

    def evaluation(self, split: SplitName, seed: int = 777) -> Tensor:
        """The validation or test data as a model sees them, ``(N, *shape)``."""
        return self.kept.evaluation(split, seed).to(self.device)

    def fingerprint(self) -> str:
        """16 hexadecimal digits: of the held-out data, their description, and the length.

        What will be drawn for training cannot be hashed.
        """
        digest = hashlib.sha256(f"stream of {self.train_size}".encode())
        held_out = {"validation": self.kept.validation, "test": self.kept.test}
        for name, x in held_out.items():
            digest.update(name.encode())
            digest.update(x.contiguous().numpy().tobytes())
        digest.update(repr((self.spec.shape, self.spec.levels, self.spec.likelihood)).encode())
        return digest.hexdigest()[:16]

    def materialised(self) -> Splits:
        """Splits that hold every training example, drawn once."""
        train = from_arrays(
            self._row(self.places, "train"),
            validation=self.kept.validation,
            test=self.kept.test,
            name=self.spec.name,
        )
        words = self.kept.origin.replace("drawn afresh each epoch", "drawn once")
        return replace(train, origin=words)


def _in_shape(raw: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Grey images without a channel, or images with their channels last, in the shape of the set.

    Raises:
        DataError: for observations of another shape.
    """
    if shape[0] == 1 and tuple(raw.shape[1:]) == shape[1:]:
        return raw.unsqueeze(1)
    if raw.dim() == 4 and (raw.shape[3], *raw.shape[1:3]) == shape:
        return raw.permute(0, 3, 1, 2)
    raise DataError(
        f"expected observations of shape {shape}, as in the held-out data; got "
        f"{tuple(raw.shape[1:])}. Use transforms of one size for all parts."
    )
