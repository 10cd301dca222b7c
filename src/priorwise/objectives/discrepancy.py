"""Maximum mean discrepancy: how far two sets of points are apart, from the means of a kernel.

Letters: ``N`` and ``M`` points, ``D`` dimensions.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from priorwise.nn import at_least_float32, no_autocast

__all__ = ["IMQ", "RBF", "Kernel", "mmd"]


@dataclass(frozen=True)
class RBF:
    r"""The Gaussian kernel :math:`\exp(-\lVert a - b \rVert^2 / s)`.

    Arguments:
        scale: The s above; None takes D squared, as the code of dpVAE does.
    """

    scale: float | None = None

    def __call__(self, square: Tensor, features: int) -> Tensor:
        """Values of the kernel at squared distances."""
        return torch.exp(-square / (features**2 if self.scale is None else self.scale))


@dataclass(frozen=True)
class IMQ:
    r"""The inverse multiquadratic kernel :math:`s / (s + \lVert a - b \rVert^2)`.

    It has heavy tails, so distant points still contribute.

    References:
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), section 4.
        https://arxiv.org/abs/1711.01558

    Arguments:
        scale: The s above; None takes 2 D, the mean squared distance of two standard normal draws.
    """

    scale: float | None = None

    def __call__(self, square: Tensor, features: int) -> Tensor:
        """Values of the kernel at squared distances."""
        scale = 2.0 * features if self.scale is None else self.scale
        return scale / (scale + square)


Kernel: TypeAlias = RBF | IMQ


def _square_distances(points: Tensor, others: Tensor) -> Tensor:
    return (points[:, None] - others).square().sum(-1)


def _mean_of_pairs(values: Tensor) -> Tensor:
    """The mean over pairs of different points."""
    count = len(values)
    return (values.sum() - values.diagonal().sum()) / (count * (count - 1))


def mmd(points: Tensor, others: Tensor, kernel: Kernel) -> Tensor:
    r"""The squared maximum mean discrepancy between the laws of two sets of points.

    .. math:: \frac{1}{N(N-1)} \sum_{i \ne j} k(a_i, a_j)
              + \frac{1}{M(M-1)} \sum_{i \ne j} k(b_i, b_j) - \frac{2}{NM} \sum_{ij} k(a_i, b_j)

    It is a scalar without a unit. The estimate is unbiased for every number of points, so it may be
    negative. Its mean is zero for equal laws, and its variance falls with N.

    References:
        A Kernel Two-Sample Test (Gretton et al., 2012), equation 3.
        https://jmlr.org/papers/v13/gretton12a.html

    Arguments:
        points: ``(N, D)``, at least 2.
        others: ``(M, D)``, at least 2.
        kernel: ``RBF`` or ``IMQ``.

    Raises:
        ValueError: for fewer than two points, or different dimensions.
    """
    if points.shape[1] != others.shape[1] or min(len(points), len(others)) < 2:
        raise ValueError(
            "expected at least 2 points in each set, all of the same dimension; got "
            f"{tuple(points.shape)} and {tuple(others.shape)}."
        )
    with no_autocast(points):
        a, b, features = at_least_float32(points), at_least_float32(others), points.shape[1]
        within = sum(
            _mean_of_pairs(kernel(_square_distances(side, side), features)) for side in (a, b)
        )
        return within - 2 * kernel(_square_distances(a, b), features).mean()
