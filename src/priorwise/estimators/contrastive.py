"""How well the classifiers of a tilted prior tell the aggregate posterior from the prior, on data not used for their fit."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.distributions import Tilted
from priorwise.estimators.base import Estimate, device_of, effective_sample_size, standard_error
from priorwise.models import AbstractModel, frozen
from priorwise.objectives.nce import CONTRAST_BLOCK, contrast_logits, cross_entropy
from priorwise.randomness import seeded
from priorwise.samplers import SIR
from priorwise.storage import content_hash

__all__ = ["GroupContrast", "contrast", "held_out_bce"]


@dataclass(frozen=True)
class GroupContrast:
    """The held-out verdict on one group.

    Attributes:
        group: Index of the group, 1 at the top.
        bce: Cross-entropy in the sum form (both classes added), nats; 2 log 2 = 1.386 where the two
            cannot be told apart.
        bce_mean: The same in the mean form (what most frameworks print), nats; log 2 = 0.693 then.
        bce_stderr: Standard error of ``bce``.
        jsd: Jensen-Shannon divergence that the classifier proves, log 2 - bce / 2, nats; a lower
            bound in expectation.
        calibration: Mean of r over prior draws, 1 for the true ratio.
        calibration_stderr: Its standard error, too small where ``calibration_ess`` is small.
        calibration_ess: Effective sample size of r over these draws: under some hundred, few draws
            carry the mean.
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
    """Held-out logits of positives and negatives for each group, ``(N,)`` each, on the CPU."""
    if len(x) < 1:
        raise ValueError("expected at least one observation in `x`; got none.")
    parts: list[list[tuple[Tensor, Tensor]]] = []
    with frozen(model), torch.no_grad():
        for block, part in enumerate(x.split(CONTRAST_BLOCK)):
            with seeded(seed, "contrast", block):
                pairs = contrast_logits(model, part.to(device_of(model)))
            parts.append(
                [(positive.double().cpu(), negative.double().cpu()) for positive, negative in pairs]
            )
    return [
        (torch.cat([part[k][0] for part in parts]), torch.cat([part[k][1] for part in parts]))
        for k in range(len(parts[0]))
    ]


def held_out_bce(model: AbstractModel, x: Tensor, *, seed: int = 0) -> Estimate:
    """The sum over groups of the held-out cross-entropy (sum form), in nats: what the early stopping of an NCP watches.

    Arguments:
        model: A model whose groups' priors are tilted by classifiers, such as an NCP.
        x: Observations ``(N, *event)`` that the classifiers were not fitted on.
        seed: Seed of the draws.
    """
    per_example = torch.stack([cross_entropy(*pair) for pair in _logits(model, x, seed)]).sum(0)
    return Estimate(
        value=float(per_example.mean()),
        stderr=standard_error(per_example),
        count=len(x),
        stderr_data=standard_error(per_example),
        per_example=per_example,
        protocol={"estimator": "held-out cross-entropy, sum form", "seed": seed},
        data=content_hash({"x": x}),
    )


def contrast(
    model: AbstractModel,
    x: Tensor,
    *,
    proposals: tuple[int, ...] = (50, 500, 5000),
    contexts: int = 32,
    seed: int = 0,
) -> list[GroupContrast]:
    """The diagnostics of every group on held-out data.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), section 5.3 and figure 4; its threshold "L* >= 0.4" does not say which of the two
        forms is meant, so both are given.

    Arguments:
        model: A model whose groups' priors are tilted by classifiers, such as an NCP.
        x: Observations ``(N, *event)`` that the classifiers were not fitted on.
        proposals: Numbers of proposals for which the effective sample size is given.
        contexts: Over how many contexts it is averaged.
        seed: Seed of the draws.
    """
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
    """Effective sample sizes of SIR given posterior ancestors, for each group."""
    with frozen(model), torch.no_grad(), seeded(seed, "ess"):
        found: list[dict[int, float]] = []
        for group in model.infer(x.to(device_of(model))):
            assert isinstance(group.prior, Tilted)
            sizes = {}
            for count in proposals:
                _, info = SIR(count).run(group.prior)
                assert info.ess is not None
                sizes[count] = float(info.ess.mean())
            found.append(sizes)
    return found
