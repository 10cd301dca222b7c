"""Training, validation and test data, kept raw, and prepared when a model sees them."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from priorwise.choices import Binarize, Likelihood
from priorwise.data.spec import DataError, DataSpec
from priorwise.data.value_range import observed_range
from priorwise.randomness import seeded
from priorwise.storage import value_bytes

__all__ = ["SPLIT_NAMES", "Splits", "pseudo_input_data"]

SplitName: TypeAlias = Literal["validation", "test"]
SPLIT_NAMES = ("train", "validation", "test")
_DESCRIPTIVE = ("citation", "note", "value_range")  # the values say it as well


def _binarized(raw: Tensor, levels: int | None) -> Tensor:
    """One Bernoulli draw per pixel.

    For integers the draw is u < r with u uniform on 0..L-2, so its probability is r / (L - 1)
    exactly.
    """
    if levels is None:
        return torch.rand_like(raw).lt(raw).float()
    return torch.empty_like(raw).random_(0, levels - 1).lt(raw).float()


def _thresholded(raw: Tensor, levels: int | None) -> Tensor:
    return raw.gt(0.5 if levels is None else (levels - 1) // 2).float()


def _scaled(raw: Tensor, spec: DataSpec) -> Tensor:
    if spec.scaling == "none" or spec.levels is None:
        return raw
    if spec.scaling == "unit":
        return raw.float() / (spec.levels - 1) if spec.levels > 2 else raw.float()
    if spec.scaling == "midpoint":
        return (raw.float() + 0.5) / spec.levels
    if spec.scaling == "dequantize":
        return torch.rand(raw.shape, device=raw.device).add_(raw).div_(spec.levels)
    raise AssertionError(spec.scaling)


def _fixed_draws(
    validation: Tensor, test: Tensor, levels: int | None, seed: int
) -> dict[str, Tensor]:
    """Validation and test set, each binarised once by numpy's legacy generator.

    The validation set comes first, as in the VampPrior code.
    """
    generator = np.random.RandomState(seed)
    draws = {}
    for name, raw in (("validation", validation), ("test", test)):
        grey = raw.cpu().numpy().astype(np.float32)
        probability = grey if levels is None else grey / np.float32(levels - 1)
        draws[name] = torch.from_numpy(generator.binomial(1, probability).astype(np.uint8))
    return draws


@dataclass(frozen=True, repr=False, eq=False)
class Splits:
    """A data set in three parts.

    The tensors are raw: uint8 for images and float32 for real values. ``prepare`` turns them into
    what a model sees.

    Arguments:
        train: Training data, ``(N, *spec.shape)``.
        validation: Validation data.
        test: Test data.
        spec: Description of the data.
        whole: The splits that these were taken from by ``subset`` or ``to``. They draw the
            evaluation data, which therefore stay the same.
        source: Name or path by which they were loaded.
        labels: Classes of the training data, ``(N,)`` integers; None if they are unknown. Models
            never see them; feature extractors may.
        origin: Where the arrays came from and how they were split, in words.

    Raises:
        DataError: if a part is empty, if its shape, type or values do not match ``spec``, or if
            there is not one label for each training observation.

    Example:
        >>> from priorwise.data import DataSpec, Splits
        >>> spec = DataSpec("bits", (3,), 2, "bernoulli", "none", "unit")
        >>> bits = torch.eye(3, dtype=torch.uint8)
        >>> Splits(bits, bits, bits, spec).prepare(bits[:1])
        tensor([[1., 0., 0.]])
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    spec: DataSpec
    whole: "Splits | None" = None
    source: str = ""
    labels: Tensor | None = None
    origin: str = ""
    _cache: dict[str | int, object] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for name in SPLIT_NAMES:
            self._check(name, getattr(self, name))
        if self.labels is not None and self.labels.shape != (len(self.train),):
            raise DataError(
                f"expected `labels` with one class for each of the {len(self.train)} training "
                f"observations; got shape {tuple(self.labels.shape)}."
            )

    def _check(self, name: str, raw: Tensor) -> None:
        spec = self.spec
        dtype = torch.float32 if spec.levels is None else torch.uint8
        if raw.dtype != dtype:
            raise DataError(
                f"expected the {name} split as {dtype}; got {raw.dtype}. Convert it, or use "
                "from_arrays."
            )
        if raw.dim() < 1 or tuple(raw.shape[1:]) != spec.shape:
            raise DataError(
                f"expected the {name} split in shape (N, {', '.join(map(str, spec.shape))}); got "
                f"{tuple(raw.shape)}."
            )
        if not len(raw):
            raise DataError(f"expected at least one observation in the {name} split; got none.")
        if spec.levels is not None and int(raw.max()) >= spec.levels:
            raise DataError(
                f"expected values 0..{spec.levels - 1} in the {name} split; got {int(raw.max())}."
            )
        if spec.levels is None and not bool(raw.isfinite().all()):
            raise DataError(f"expected finite values in the {name} split; got NaN or infinity.")
        if (
            spec.levels is None
            and spec.binarize != "none"
            and not 0 <= float(raw.min()) <= float(raw.max()) <= 1
        ):
            raise DataError(
                f"expected values in [0, 1] for binarising; the {name} split has "
                f"{float(raw.min()):.4g} to {float(raw.max()):.4g}. Rescale them, or take another "
                "likelihood and set `binarize` to 'none'."
            )

    def __repr__(self) -> str:
        return f"Splits({self.describe()})"

    def describe(self) -> str:
        """The set in one line."""
        return self.described(len(self.train))

    def described(self, train_size: int) -> str:
        """The set in one line, with another number of training examples."""
        spec = self.spec
        parts = (train_size, len(self.validation), len(self.test))
        sizes = " / ".join(f"{size:,}" for size in parts)
        low, high = self.value_range
        values = f"{spec.levels} levels"
        if spec.levels is None:
            values = f"real values in [{low:.4g}, {high:.4g}]"
        if spec.binarize != "none":
            values += f", {spec.binarize} binarisation"
        shape = "x".join(str(size) for size in spec.shape)
        return (
            f"{spec.name}: {sizes} (train / validation / test) of {shape}, {values}, "
            f"{spec.likelihood}"
        )

    @property
    def value_range(self) -> tuple[float, float]:
        """The lowest and the highest value that a model sees."""
        if self.spec.known_range is not None:
            return self.spec.known_range
        if "value_range" not in self._cache:
            self._cache["value_range"] = observed_range(self.train)
        observed = self._cache["value_range"]
        assert isinstance(observed, tuple)
        return observed

    @property
    def train_size(self) -> int:
        """The number of training examples in an epoch."""
        return len(self.train)

    def order(self) -> Tensor:
        """A random order of the training examples for one epoch, from torch's generator."""
        return torch.randperm(len(self.train))

    def batch(self, rows: Tensor, epoch: int, seed: int) -> Tensor:
        """The training examples at these places as the model sees them, whatever the epoch."""
        return self.prepare(self.train[rows])

    def prepare(self, raw: Tensor) -> Tensor:
        """Raw data as a model sees them, ``(N, *shape)`` in float32.

        They are scaled, and binarised or dequantised afresh by draws from torch's generator. Real
        values are returned as they are, without a copy.
        """
        if self.spec.binarize == "dynamic":
            return _binarized(raw, self.spec.levels)
        if self.spec.binarize == "threshold":
            return _thresholded(raw, self.spec.levels)
        return _scaled(raw, self.spec)

    def evaluation(self, split: SplitName, seed: int = 777) -> Tensor:
        """The validation or test data as a model sees them, ``(N, *shape)`` in float32.

        They are the same every time. Binarised sets are drawn as the VampPrior code draws them:
        with its seed, 777, the MNIST test images equal those of that code bit for bit. The data of
        a ``subset`` are the first ones of the whole set.

        Arguments:
            split: ``"validation"`` or ``"test"``.
            seed: Seed of the draws, where there are any.
        """
        if split not in SPLIT_NAMES[1:]:
            raise ValueError(f"expected `split` as 'validation' or 'test'; got {split!r}.")
        raw: Tensor = getattr(self, split)
        if self.whole is not None:
            return self.whole.evaluation(split, seed)[: len(raw)].to(raw.device)
        if self.spec.binarize == "dynamic":
            return self._binarized_once(seed)[split].to(raw.device).float()
        with seeded(seed, "data", split):
            prepared = self.prepare(raw.cpu())
        return prepared.clone() if prepared is raw else prepared.to(raw.device)

    def _binarized_once(self, seed: int) -> dict[str, Tensor]:
        if seed not in self._cache:
            self._cache[seed] = _fixed_draws(self.validation, self.test, self.spec.levels, seed)
        draws = self._cache[seed]
        assert isinstance(draws, dict)
        return draws

    def to(self, device: torch.device | str) -> "Splits":
        """The splits on another device; the evaluation data do not depend on the device."""
        train, validation, test = (getattr(self, name).to(device) for name in SPLIT_NAMES)
        return self._part(train, validation, test)

    def subset(
        self, *, train: int | None = None, validation: int | None = None, test: int | None = None
    ) -> "Splits":
        """The first observations of each split; None takes all.

        Some sets are sorted, see ``spec.note``.

        Raises:
            DataError: if a number is below 1 or above the size of its split.
        """
        first = (
            self._first("train", train),
            self._first("validation", validation),
            self._first("test", test),
        )
        return self._part(*first)

    def _part(self, train: Tensor, validation: Tensor, test: Tensor) -> "Splits":
        labels = None if self.labels is None else self.labels[: len(train)]
        return replace(
            self, train=train, validation=validation, test=test, labels=labels, whole=self
        )

    def _first(self, name: str, n: int | None) -> Tensor:
        raw: Tensor = getattr(self, name)
        if n is not None and not 1 <= n <= len(raw):
            raise DataError(
                f"expected `{name}` from 1 to {len(raw)}, the size of the split; got {n}."
            )
        return raw[:n]

    def overridden(
        self, *, binarize: Binarize | None = None, likelihood: Likelihood | None = None
    ) -> "Splits":
        """The same data under another binarisation or likelihood; see ``DataSpec.overridden``."""
        spec = self.spec.overridden(binarize=binarize, likelihood=likelihood)
        return self if spec == self.spec else replace(self, spec=spec, whole=None)

    def fingerprint(self) -> str:
        """16 hexadecimal digits that stand for the data and their treatment.

        They are the first digits of the SHA-256 of the raw values and of the description, without
        citation and note.
        """
        if "fingerprint" not in self._cache:
            self._cache["fingerprint"] = self._digest()
        return str(self._cache["fingerprint"])

    def _digest(self) -> str:
        description = {
            key: value for key, value in asdict(self.spec).items() if key not in _DESCRIPTIVE
        }
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
        for name in SPLIT_NAMES:
            raw = getattr(self, name)
            kind = raw[:0].cpu().numpy().dtype.str
            digest.update(f"{name} {tuple(raw.shape)} {kind}".encode())
            digest.update(value_bytes(raw))
        return digest.hexdigest()[:16]


def pseudo_input_data(splits: Splits) -> Tensor:
    """Training data that pseudo-inputs may be taken from, as the encoder sees them.

    Grey images that are binarised or dequantised afresh every time are returned as their means.
    """
    train, levels = splits.train, splits.spec.levels
    if levels is None:
        return train
    middle = splits.spec.binarize == "none" and splits.spec.scaling in ("midpoint", "dequantize")
    return (train.float() + 0.5) / levels if middle else train.float() / (levels - 1)
