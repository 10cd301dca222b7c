"""The density of the aggregate posterior, estimated from one batch of its components.

Letters: ``B`` batch, ``N`` size of the data set, ``D`` latent dimensions.
"""

import math
from typing import get_args

import torch
from torch import Tensor

from priorwise.choices import Weighting
from priorwise.nn import at_least_float32, no_autocast

__all__ = ["log_weights", "marginal_log_densities"]


def log_weights(
    batch: int, data_size: int, weighting: Weighting, *, device: torch.device | None = None
) -> Tensor:
    r"""Log weights with which the components of a batch represent the data set, ``(B, B)``.

    :math:`\hat q(z_i) = \sum_j W_{ij} \, q(z_i | x_j)`. With M = B - 1:

    - ``"stratified"``: :math:`W_{ii} = 1/N`, one other weight is :math:`(N - M)/(NM)`, and the rest
      are 1/M. Rows sum to one. The estimate of q(z_i) is unbiased over batches drawn without
      replacement.
    - ``"balanced"``: :math:`W_{ii} = 1/N`, and all others are (N - 1)/(NM). This is the mean of
      ``"stratified"`` over the choice of its odd component, so it is unbiased too, with less
      variance.
    - ``"weighted"``: all weights are 1/(NB). The estimate is biased low: rows sum to 1/N, so a log
      density is too low by up to log N nats.

    In a batch of one, nothing represents the other examples: its weight is 1.

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), section 4.1 and appendix
        C. The published code for ``"stratified"`` puts the weight 1/N into one column for all rows
        instead of on the diagonal, which overestimates q(z) by up to N/M.
        https://arxiv.org/abs/1802.04942

    Raises:
        ValueError: for a batch larger than the data set, or an unknown weighting.
    """
    if weighting not in get_args(Weighting):
        raise ValueError(
            f"expected `weights` as 'stratified', 'balanced' or 'weighted'; got {weighting!r}."
        )
    if batch > data_size:
        raise ValueError(
            f"expected a batch of at most `data_size` = {data_size} examples; got {batch}."
        )
    if weighting == "weighted":
        return torch.full((batch, batch), -math.log(data_size * batch), device=device)
    if batch == 1:
        return torch.zeros(1, 1, device=device)
    others = batch - 1
    diagonal, rest = 1 / data_size, 1 / others
    if weighting == "balanced":
        rest = (data_size - 1) / (data_size * others)
    weights = torch.full((batch, batch), rest, dtype=torch.float64, device=device)
    rows = torch.arange(batch, device=device)
    if weighting == "stratified":
        weights[rows, (rows + 1) % batch] = (data_size - others) / (data_size * others)
    weights[rows, rows] = diagonal
    return weights.log().float()


def marginal_log_densities(
    z: Tensor, loc: Tensor, scale: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Log q(z) and :math:`\sum_d \log q(z_d)` at each point, in nats, from Gaussian components.

    The memory grows like B x B x D, which suits batches of some hundreds.

    Arguments:
        z: Points ``(B, D)``.
        loc: Means of the components, ``(B, D)``.
        scale: Standard deviations of the components, ``(B, D)``.
        weights: The ``log_weights`` of the components, ``(B, B)``.

    Returns:
        Both sums, ``(B,)`` each.
    """
    with no_autocast(z):
        z, loc, scale = at_least_float32(z), at_least_float32(loc), at_least_float32(scale)
        eps = (z[:, None] - loc) / scale
        log_q = -0.5 * eps.square() - scale.log() - 0.5 * math.log(2 * math.pi)
        joint = (weights + log_q.sum(-1)).logsumexp(1)
        marginals = (weights[..., None] + log_q).logsumexp(1)
        return joint, marginals.sum(-1)
