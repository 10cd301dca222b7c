"""The latent dimensions that a model uses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.estimators.blocks import tile_rows
from priorwise.estimators.doubts import require_finite
from priorwise.models import AbstractModel, as_observations, frozen
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError

__all__ = ["ActiveUnits", "active_units"]

_BLOCK = 500


@dataclass(frozen=True)
class ActiveUnits:
    """The active units of one group.

    Attributes:
        group: Index of the group, 1 at the top.
        active: Number of active dimensions.
        dimensions: Number of dimensions.
        variance: For each dimension, the variance of its posterior mean over the data, ``(D,)``.
    """

    group: int
    active: int
    dimensions: int
    variance: Tensor


def active_units(
    model: AbstractModel, x: Array, *, threshold: float = 0.01, samples: int = 1, seed: int = 0
) -> list[ActiveUnits]:
    r"""For each group, the dimensions whose posterior mean varies over the data.

    .. math:: A_u = \mathrm{Cov}_x\big(\mathbb{E}_{q(u|x)}[u]\big) > 0.01

    Below the top group, the posterior mean is averaged over draws of the groups above, so it is a
    Monte-Carlo estimate: more ``samples`` reduce its noise.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), section 5.2.
        https://arxiv.org/abs/1509.00519

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``, at least 2.
        threshold: A dimension with a larger variance is active.
        samples: Number of draws of the groups above over which posterior means are averaged.
        seed: Seed of those draws.

    Example:
        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3)
        >>> with seeded(0, "example"):
        ...     x = model.marginal().sample((500,)).float()
        >>> units = active_units(model, x)[0]
        >>> units.active, units.dimensions
        (2, 2)
    """
    x = as_observations(model, x)
    if len(x) < 2:
        raise UnavailableError(f"expected at least 2 observations; got {len(x)}.")
    means: list[list[Tensor]] = []
    with frozen(model), torch.no_grad():
        rows = max(1, tile_rows(model, _BLOCK * samples) // samples)
        for block, part in enumerate(x.split(rows)):
            with seeded(seed, "active_units", block):
                groups = model.infer(part, (samples,))
            means.append(
                [group.inferred.mean.mean(0).flatten(1).double().cpu() for group in groups]
            )
    units = []
    for index in range(len(means[0])):
        group_means = torch.cat([part[index] for part in means])
        require_finite(group_means, "posterior means")
        variance = group_means.var(0)
        units.append(
            ActiveUnits(index + 1, int((variance > threshold).sum()), len(variance), variance)
        )
    return units
