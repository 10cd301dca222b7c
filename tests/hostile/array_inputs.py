"""Hostile arguments of Python callers: arrays and tensors that are no data for a model."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from attack import Case, Maker
from data_inputs import _DTYPES, _SHAPES

import priorwise as pw
from priorwise.data import from_arrays
from priorwise.training import load

_KINDS = [torch.uint8, torch.float32, torch.float64, torch.int64, torch.bool, torch.float16]
_KINDS += [torch.bfloat16, torch.complex64]


def _anything(random: Random) -> Any:
    """An array, a tensor, or something else."""
    if random.random() < 0.15:
        return random.choice([None, 3, "x", [], [[1, 2], [3]], {}, object(), np.float64(2)])
    return _array_or_tensor(random)


def _array_or_tensor(random: Random) -> Any:
    seed = random.randrange(2**31)
    shape = random.choice(_SHAPES)
    scale = random.choice([1.0, 1.5, 255.0, 1e30, -3.0])
    values = np.asarray(np.random.RandomState(seed).rand(*shape) * scale)
    if random.random() < 0.2 and np.size(values):
        values.flat[0] = random.choice([np.nan, np.inf, -np.inf, 1e300])
    if random.random() < 0.5:
        with np.errstate(all="ignore"):
            name = random.choice([name for name in _DTYPES if name not in ("M8[s]", "V4")])
            return np.asarray(values).astype(name)
    tensor = torch.as_tensor(values).to(random.choice(_KINDS))
    kind = random.randrange(6)
    if kind == 0 and tensor.is_floating_point():
        return tensor.requires_grad_()
    if kind == 1:
        return tensor.to("meta")
    if kind == 2 and tensor.dim() == 2:
        return tensor.to_sparse() if tensor.dtype != torch.bfloat16 else tensor
    return tensor


def _as_data(random: Random, work: Path) -> Case:
    x, test = _anything(random), random.choice([None, _anything(random)])
    validation = random.choice([0.1, 0.0, 0.5, float("nan"), 1e300, _anything(random)])

    def call() -> object:
        return from_arrays(x, validation=validation, test=test)

    return Case(call, ("expected",))


def _as_images(random: Random, work: Path) -> Case:
    x = _array_or_tensor(random)
    name = random.choice(["nll", "elbo", "symmetric_kl", "leakage", "active_units", "two_sample"])

    def call() -> object:
        model = load(work / "vae")
        estimators = {
            "nll": lambda: pw.estimators.nll(model, x, samples=3),
            "elbo": lambda: pw.estimators.elbo(model, x),
            "symmetric_kl": lambda: pw.estimators.symmetric_kl(model, x),
            "leakage": lambda: pw.estimators.leakage(model, x),
            "active_units": lambda: pw.estimators.active_units(model, x),
            "two_sample": lambda: pw.estimators.classifier_two_sample(model, x),
        }
        return estimators[name]()

    return Case(call, ("expected",))


MAKERS: dict[str, Maker] = {"arrays as data": _as_data, "arrays to estimators": _as_images}
