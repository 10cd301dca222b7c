"""The terms of every bound: a draw from the posterior, its distortion and its rates."""

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from priorwise.choices import KL
from priorwise.models import AbstractModel, Group
from priorwise.objectives.base import Terms, require_normalised
from priorwise.priors import AbstractPrior, StandardNormal
from priorwise.typing import Shape

__all__ = ["Evidence", "check_kl", "one_draw", "prior_factorises"]


@dataclass(frozen=True)
class Evidence:
    """One draw, or several, from the posterior of each example; shapes are those of the pass.

    Attributes:
        groups: The latent groups of the pass.
        distortion: -log p(x|z), ``(*S, B)`` nats.
        rates: Maps ``rate_k`` to the KL of group k, ``(*S, B)`` nats; empty if rates were not
            requested.
    """

    groups: list[Group]
    distortion: Tensor
    rates: dict[str, Tensor]

    def negative_elbo(self) -> Tensor:
        """The sum of distortion and rates, ``(*S, B)`` nats."""
        return torch.stack([self.distortion, *self.rates.values()]).sum(0)

    def terms(self, beta: float) -> Terms:
        """Distortion, and rates that share one weight."""
        return Terms(
            {"distortion": self.distortion} | self.rates, weights=dict.fromkeys(self.rates, beta)
        )


def check_kl(kl: str) -> KL:
    """Return the name if it is one of ``KL``; raise an error otherwise."""
    for name in get_args(KL):
        if kl == name:
            return name
    raise ValueError(f"expected `kl` as 'sample', 'entropy' or 'analytic'; got {kl!r}.")


def _rate(group: Group, kl: KL) -> Tensor:
    """KL of one group, or its one-draw estimate, in nats; it has the batch shape of the pass."""
    if kl == "sample":
        return group.rate()
    try:
        if kl == "entropy":
            return -group.inferred.entropy() - group.log_prior()
        return kl_divergence(group.inferred, group.prior)
    except NotImplementedError:
        raise ValueError(
            f"expected a pair with a closed-form {'entropy' if kl == 'entropy' else 'KL'} for "
            f"kl={kl!r}; got {type(group.posterior).__name__} against "
            f"{type(group.prior).__name__}. Use kl='sample'."
        ) from None


def one_draw(
    model: AbstractModel, x: Tensor, kl: KL, *, rates: bool = True, sample_shape: Shape = ()
) -> Evidence:
    """One pass of the model over a batch ``(B, *event)``.

    Arguments:
        model: The model.
        x: Observations.
        kl: ``"sample"`` estimates the rate from the same draw as the distortion; ``"entropy"``
            takes the posterior's entropy in closed form and the cross-entropy from the draw;
            ``"analytic"`` uses torch's closed form.
        rates: Whether to compute the rates. Without them no density of the posterior or the prior
            is evaluated, so a deterministic encoder works.
        sample_shape: Shape ``S`` of the draws for each example; one draw by default.

    Raises:
        ValueError: for a prior or a likelihood whose normaliser is unknown, or where ``kl`` asks
            for a closed form that does not exist.
    """
    groups = model.infer(x, sample_shape)
    if rates:
        require_normalised(groups)
    by_group = {f"rate_{group.index}": _rate(group, kl) for group in groups} if rates else {}
    return Evidence(groups, -model.observed(groups, x).log_prob(x), by_group)


def prior_factorises(model: AbstractModel) -> bool:
    """Whether every prior of the model is a product over dimensions."""
    priors = [module for module in model.modules() if isinstance(module, AbstractPrior)]
    return bool(priors) and all(isinstance(prior, StandardNormal) for prior in priors)
