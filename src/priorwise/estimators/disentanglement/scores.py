"""All three scores of a model at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from priorwise.arrays import Array, as_tensor, input_tensor
from priorwise.estimators.base import Estimate
from priorwise.estimators.disentanglement.information import mig
from priorwise.estimators.disentanglement.relative_importance import DCI, dci
from priorwise.estimators.disentanglement.votes import factor_vae_score
from priorwise.models import AbstractModel, frozen
from priorwise.progress import tell
from priorwise.randomness import seeded

__all__ = ["Disentanglement", "disentanglement_scores"]

_BLOCK = 500


@dataclass(frozen=True)
class Disentanglement:
    """How well the latent dimensions of a model represent known factors.

    Attributes:
        mig: The mutual information gap.
        dci: Disentanglement, completeness and informativeness.
        factor_vae_score: The FactorVAE score.
    """

    mig: Estimate
    dci: DCI
    factor_vae_score: Estimate


def disentanglement_scores(
    model: AbstractModel,
    x: Array,
    factors: Array,
    *,
    examples: int = 10_000,
    sample: bool = False,
    names: Sequence[str] | None = None,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Disentanglement:
    """MIG, DCI and FactorVAE score of a model's codes in the top group, with default settings.

    For other settings, encode once and call ``mig``, ``dci`` and ``factor_vae_score`` on the codes.

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        x: Observations ``(N, *event)`` as the model sees them; zeros and ones may be integers.
        factors: Factors of the observations, integers ``(N, F)``.
        examples: Maximal number of observations, drawn at random without replacement.
        sample: Whether codes are draws from q(z|x) instead of its means; dimensions that the model
            ignores then carry no information.
        names: Names of the factors.
        seed: Seed of the selected examples, the draws and the scores.
        report: Called with 1 after the encoding and after each of the three scores, for a progress
            bar.

    Raises:
        ValueError: if observations and factors do not fit, or cannot be used.

    Example:
        >>> from priorwise import wrap
        >>> combinations = torch.cartesian_prod(torch.arange(4), torch.arange(5), torch.arange(10))
        >>> factors = combinations[:, :2]
        >>> model = wrap(encode=torch.nn.Identity(), decode=torch.nn.Identity(), latent=2)
        >>> scores = disentanglement_scores(model, factors.float(), factors)
        >>> round(scores.mig.value, 3), scores.factor_vae_score.value
        (1.0, 1.0)
    """
    x, factors = as_tensor(x), as_tensor(factors, "factors")
    if not x.dim() or not factors.dim() or len(x) != len(factors):
        raise ValueError(
            "expected `factors` for every observation; got observations of shape "
            f"{tuple(x.shape)} and factors of shape {tuple(factors.shape)}."
        )
    if not x.is_floating_point() and int(x.max()) > 1:
        raise ValueError(
            f"expected `x` as the model sees it; got integers up to {int(x.max())}. Pass the "
            "result of Splits.prepare."
        )
    with seeded(seed, "disentanglement", "examples"):
        rows = torch.randperm(len(x))[:examples]
    codes = _codes(model, x[rows.to(x.device)], seed, sample=sample)
    factors = factors[rows.to(factors.device)]
    tell(report, 1)
    gap = mig(codes, factors, names=names, seed=seed)
    tell(report, 1)
    importances = dci(codes, factors, names=names, seed=seed)
    tell(report, 1)
    votes = factor_vae_score(codes, factors, names=names, seed=seed)
    tell(report, 1)
    return Disentanglement(mig=gap, dci=importances, factor_vae_score=votes)


def _codes(model: AbstractModel, x: Tensor, seed: int, *, sample: bool) -> Tensor:
    """Means of the posterior of the top group, or draws from it, ``(N, D)`` on the CPU."""
    codes = []
    with frozen(model), torch.no_grad():
        for block, rows in enumerate(x.split(_BLOCK)):
            with seeded(seed, "disentanglement", block):
                posterior = model.encode(input_tensor(model, rows))
                codes.append((posterior.sample() if sample else posterior.mean).flatten(1).cpu())
    return torch.cat(codes)
