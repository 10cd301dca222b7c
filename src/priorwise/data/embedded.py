"""Data sets that need no file: scikit-learn's digits, two laws in the plane, and sprites.

Their splits are drawn by numpy's legacy generator, whose stream never changes, so they are the same
on every machine.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from priorwise.data.known_sets import EMBEDDED
from priorwise.data.spec import DataSpec
from priorwise.data.splits import Splits
from priorwise.data.sprites import Sprites

__all__ = ["digits_training_labels", "gaussians25_log_prob", "load_embedded"]

_DIGITS_SIZES = (1297, 200, 300)
_SCALE25 = 0.05
_GRID25 = (-2.0, -1.0, 0.0, 1.0, 2.0)


def _cut(x: np.ndarray, sizes: tuple[int, int, int], spec: DataSpec) -> Splits:
    train, validation, test = (
        torch.from_numpy(part.copy()) for part in np.split(x, np.cumsum(sizes)[:-1])
    )
    return Splits(train, validation, test, spec)


def _digits() -> Splits:
    """8x8 digits in 17 grey levels, shuffled once."""
    from sklearn.datasets import load_digits

    images = load_digits().images.astype(np.uint8)[:, None]
    splits = _cut(images[_digits_order(len(images))], _DIGITS_SIZES, EMBEDDED["digits"])
    return replace(splits, labels=digits_training_labels())


def _digits_order(count: int) -> np.ndarray:
    return np.random.RandomState(0).permutation(count)


def digits_training_labels() -> Tensor:
    """The digits that the training images of ``digits`` show, ``(1297,)`` integers."""
    from sklearn.datasets import load_digits

    digits = load_digits().target
    return torch.from_numpy(digits[_digits_order(len(digits))][: _DIGITS_SIZES[0]]).long()


def _two_moons() -> Splits:
    """Two half circles with noise of standard deviation 0.05."""
    from sklearn.datasets import make_moons

    x, _ = make_moons(n_samples=4200, noise=0.05, random_state=0)
    return _cut(x.astype(np.float32), (2000, 200, 2000), EMBEDDED["two_moons"])


def _gaussians25() -> Splits:
    """25 Gaussians on a grid, drawn independently."""
    generator = np.random.RandomState(0)
    centres = generator.choice(_GRID25, size=(65_000, 2))
    x = centres + _SCALE25 * generator.standard_normal((65_000, 2))
    return _cut(x.astype(np.float32), (50_000, 5_000, 10_000), EMBEDDED["gaussians25"])


def gaussians25_log_prob(x: Tensor) -> Tensor:
    r"""The exact log density of ``gaussians25`` in nats, ``(*batch, 2) -> (*batch)``.

    .. math:: \log p(x) = \sum_{d=1}^{2} \log \frac{1}{5} \sum_{c=-2}^{2} N(x_d; c, 0.05^2)

    This is the mixture of 25 Gaussians, since its grid is a product. Its mean under the law itself
    is about -0.0653.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), appendix I. https://arxiv.org/abs/2010.02917

    Raises:
        ValueError: if the last dimension is not 2.
    """
    if x.dim() < 1 or x.shape[-1] != 2:
        raise ValueError(f"expected `x` of shape (*batch, 2); got {tuple(x.shape)}.")
    z = (x[..., None] - x.new_tensor(_GRID25)) / _SCALE25
    log_norm = math.log(len(_GRID25)) + math.log(_SCALE25) + 0.5 * math.log(2 * math.pi)
    return (torch.logsumexp(-0.5 * z.square(), -1) - log_norm).sum(-1)


def _sprites() -> Splits:
    """Shapes drawn from five known factors, every combination once."""
    grid = Sprites()
    train, validation, test = (grid.images[part] for part in grid.parts())
    return Splits(train, validation, test, EMBEDDED["sprites"])


_MAKERS: dict[str, Callable[[], Splits]] = {
    "digits": _digits,
    "two_moons": _two_moons,
    "gaussians25": _gaussians25,
    "sprites": _sprites,
}


def load_embedded(name: str) -> Splits:
    """One of the sets that need no file, by a name of ``known_sets.EMBEDDED``."""
    return _MAKERS[name]()
