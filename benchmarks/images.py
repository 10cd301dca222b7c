"""The training images: MNIST if it is on this machine, else enlarged handwritten digits."""

import os
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

import priorwise as pw
from priorwise.data import DataSpec, MissingDataError, Splits

__all__ = ["SHAPE", "binary_batches", "binary_test", "describe", "grey_splits", "training_part"]

SHAPE = (1, 28, 28)


def _enlarged_digits() -> Splits:
    """scikit-learn's digits at 28 x 28 and 256 levels, with edges as sharp as those of MNIST."""
    digits = pw.data.load("digits")

    def enlarged(raw: Tensor) -> Tensor:
        grey = F.interpolate(raw.float() / 16, SHAPE[1:], mode="bicubic")
        return (255 * (4 * grey - 1.9).clamp(0, 1)).round().to(torch.uint8)

    spec = DataSpec("enlarged digits", SHAPE, 256, "bernoulli", "dynamic", "unit")
    return Splits(enlarged(digits.train), enlarged(digits.validation), enlarged(digits.test), spec)


@cache
def grey_splits() -> Splits:
    """Grey images that are binarised on the fly: MNIST if ``$PRIORWISE_DATA`` holds it."""
    if os.environ.get("PRIORWISE_DATA"):
        try:
            return pw.data.load("mnist", binarize="dynamic")
        except MissingDataError:
            pass
    return _enlarged_digits()


def describe() -> str:
    """The data in one line."""
    return grey_splits().describe()


def training_part(images: int) -> Splits:
    """Splits of so many training images, repeated if they are too few, and 100 for validation."""
    whole = grey_splits()
    repeats = -(-images // len(whole.train))
    train = whole.train.repeat(repeats, 1, 1, 1)[:images]
    return Splits(train, whole.validation[:100], whole.test[:100], whole.spec)


def binary_batches(batch: int, count: int = 8) -> list[Tensor]:
    """A few binarised batches ``(batch, 1, 28, 28)``, the same every time."""
    with pw.seeded(0, "bench", "batches"):
        splits = training_part(batch * count)
        return list(splits.prepare(splits.train).split(batch))


def binary_test(images: int) -> Tensor:
    """Binarised test images ``(images, 1, 28, 28)``, the same every time."""
    whole = grey_splits()
    if images > len(whole.test):
        raise ValueError(
            f"expected at most the {len(whole.test)} test images; got {images}. Ask for fewer."
        )
    with pw.seeded(0, "bench", "test"):
        order = torch.randperm(len(whole.test))[:images]
    return whole.evaluation("test")[order]
