"""Which latent dimensions a model uses."""

from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.estimators.base import device_of
from priorwise.estimators.blocks import tile_rows
from priorwise.models import AbstractModel, frozen
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
        variance: Variance over the data of each dimension's posterior mean, ``(D,)``.
    """

    group: int
    active: int
    dimensions: int
    variance: Tensor


def active_units(
    model: AbstractModel, x: Tensor, *, threshold: float = 0.01, samples: int = 1, seed: int = 0
) -> list[ActiveUnits]:
    r"""For each group, the dimensions whose posterior mean varies over the data.

    .. math:: A_u = \mathrm{Cov}_x\big(\mathbb{E}_{q(u|x)}[u]\big) > 0.01

    Below the top, the mean is over draws of the groups above, so it is itself a Monte-Carlo
    estimate: more ``samples`` take its noise out.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), section 5.2.

    Arguments:
        model: The model.
        x: Observations ``(N, *event)``, at least 2.
        threshold: From which variance on a dimension is active.
        samples: Draws of the groups above over which posterior means are averaged.
        seed: Seed of those draws.
    """
    if len(x) < 2:
        raise UnavailableError(f"expected at least 2 observations; got {len(x)}.")
    means: list[list[Tensor]] = []
    device = device_of(model)
    with frozen(model), torch.no_grad():
        rows = max(1, tile_rows(model, _BLOCK * samples) // samples)
        for block, part in enumerate(x.split(rows)):
            with seeded(seed, "active_units", block):
                groups = model.infer(part.to(device), (samples,))
            means.append(
                [group.inferred.mean.mean(0).flatten(1).double().cpu() for group in groups]
            )
    units = []
    for index in range(len(means[0])):
        variance = torch.cat([part[index] for part in means]).var(0)
        units.append(
            ActiveUnits(index + 1, int((variance > threshold).sum()), len(variance), variance)
        )
    return units
