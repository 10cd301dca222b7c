"""How well, on held-out data, classifiers distinguish the aggregate posterior from the prior."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.distributions import Tilted
from priorwise.estimators.base import (
    Estimate,
    effective_sample_size,
    standard_error,
    with_cause,
)
from priorwise.models import AbstractModel, as_observations, frozen
from priorwise.objectives.nce import CONTRAST_BLOCK, contrast_logits, cross_entropy
from priorwise.randomness import seeded
from priorwise.samplers import SIR
from priorwise.storage import content_hash

__all__ = ["GroupContrast", "contrast", "held_out_bce"]


@dataclass(frozen=True)
class GroupContrast:
    """The held-out diagnostics of one group.

    Attributes:
        group: Index of the group, 1 at the top.
        bce: Cross-entropy in the sum form (both classes added), in nats; 2 log 2 = 1.386 where
            posterior and prior cannot be distinguished.
        bce_mean: The same in the mean form (which most frameworks print), in nats; log 2 = 0.693
            where the two cannot be distinguished.
        bce_stderr: Standard error of ``bce``.
        jsd: Jensen-Shannon divergence that the classifier demonstrates, log 2 - bce / 2, in nats; a
            lower bound in expectation.
        calibration: Mean of the density ratio r over prior draws; 1 for the true ratio.
        calibration_stderr: Standard error of ``calibration``, too small where ``calibration_ess``
            is small.
        calibration_ess: Effective sample size of r over these draws; below a few hundred, few draws
            dominate the mean.
        ess: Effective sample size of SIR for each number of proposals, averaged over contexts.
    """

    group: int
    bce: float
    bce_mean: float
    bce_stderr: float
    jsd: float
    calibration: float
    calibration_stderr: float
    calibration_ess: float
    ess: dict[int, float]


def _logits(model: AbstractModel, x: Tensor, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Held-out logits of positives and negatives per group, ``(N,)`` each, on the CPU."""
    if len(x) < 1:
        raise ValueError("expected at least one observation in `x`; got none.")
    parts: list[list[tuple[Tensor, Tensor]]] = []
    with frozen(model), torch.no_grad():
        for block, part in enumerate(x.split(CONTRAST_BLOCK)):
            with seeded(seed, "contrast", block):
                pairs = contrast_logits(model, part)
            parts.append(
                [(positive.double().cpu(), negative.double().cpu()) for positive, negative in pairs]
            )
    return [
        (torch.cat([part[k][0] for part in parts]), torch.cat([part[k][1] for part in parts]))
        for k in range(len(parts[0]))
    ]


def held_out_bce(model: AbstractModel, x: Array, *, seed: int = 0) -> Estimate:
    """The held-out cross-entropy (sum form), summed over groups, in nats.

    The early stopping of an NCP uses this number.

    Arguments:
        model: A model whose priors are tilted by classifiers, such as an NCP.
        x: Observations ``(N, *event)`` that the classifiers were not fitted on.
        seed: Seed of the draws.

    Example:
        An untrained classifier is worth about 2 log 2 = 1.386.

        >>> from priorwise import NCP
        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3)
        >>> with seeded(0, "example"):
        ...     x, ncp = model.marginal().sample((500,)).float(), NCP(model)
        >>> round(held_out_bce(ncp, x).value, 1)
        1.4
    """
    x = as_observations(model, x)
    per_example = torch.stack([cross_entropy(*pair) for pair in _logits(model, x, seed)]).sum(0)
    estimate = Estimate(
        value=float(per_example.mean()),
        stderr=standard_error(per_example),
        count=len(x),
        stderr_data=standard_error(per_example),
        per_example=per_example,
        protocol={"estimator": "held-out cross-entropy, sum form", "seed": seed},
        data=content_hash({"x": x}),
    )
    return with_cause(estimate, model)


def contrast(
    model: AbstractModel,
    x: Array,
    *,
    proposals: tuple[int, ...] = (50, 500, 5000),
    contexts: int = 32,
    seed: int = 0,
) -> list[GroupContrast]:
    """The diagnostics of every group on held-out data.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), section 5.3 and figure 4. Its threshold "L* >= 0.4" does not say which form of the
        cross-entropy is meant, so both are reported. https://arxiv.org/abs/2010.02917

    Arguments:
        model: A model whose priors are tilted by classifiers, such as an NCP.
        x: Observations ``(N, *event)`` that the classifiers were not fitted on.
        proposals: Numbers of proposals for which the effective sample size is computed.
        contexts: Number of contexts over which the effective sample size is averaged.
        seed: Seed of the draws.

    Example:
        >>> from priorwise import NCP
        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> model = LinearGaussianVAE(latent=2, observed=3)
        >>> with seeded(0, "example"):
        ...     x, ncp = model.marginal().sample((500,)).float(), NCP(model)
        >>> (group,) = contrast(ncp, x, proposals=(50,))
        >>> round(group.bce, 1), round(group.calibration, 1), round(group.ess[50])
        (1.4, 1.0, 50)
    """
    x = as_observations(model, x)
    pairs = _logits(model, x, seed)
    ess = _ess(model, x[:contexts], proposals, seed)
    return [_group(k, *pair, ess[k - 1]) for k, pair in enumerate(pairs, 1)]


def _group(index: int, positive: Tensor, negative: Tensor, ess: dict[int, float]) -> GroupContrast:
    bce = cross_entropy(positive, negative)
    ratio = negative.exp()
    return GroupContrast(
        group=index,
        bce=float(bce.mean()),
        bce_mean=float(bce.mean()) / 2,
        bce_stderr=standard_error(bce),
        jsd=math.log(2) - float(bce.mean()) / 2,
        calibration=float(ratio.mean()),
        calibration_stderr=standard_error(ratio),
        calibration_ess=effective_sample_size(negative),
        ess=ess,
    )


def _ess(
    model: AbstractModel, x: Tensor, proposals: tuple[int, ...], seed: int
) -> list[dict[int, float]]:
    """Effective sample sizes of SIR for each group, with ancestors drawn from the posterior."""
    with frozen(model), torch.no_grad(), seeded(seed, "ess"):
        groups: list[dict[int, float]] = []
        for group in model.infer(x):
            assert isinstance(group.prior, Tilted)
            sizes = {}
            for count in proposals:
                _, info = SIR(count).run(group.prior)
                assert info.ess is not None
                sizes[count] = float(info.ess.mean())
            groups.append(sizes)
    return groups
