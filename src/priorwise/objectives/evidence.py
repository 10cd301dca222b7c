"""The terms from which every bound is made: one draw from the posterior, its distortion and its rates."""

from dataclasses import dataclass
from typing import get_args

from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from priorwise.choices import KL
from priorwise.distributions import log_unnorm
from priorwise.models import AbstractModel, Group
from priorwise.objectives.base import Terms, require_normalised
from priorwise.priors import AbstractPrior, StandardNormal

__all__ = [
    "Evidence",
    "check_kl",
    "gaussian_posterior",
    "log_posterior",
    "one_draw",
    "prior_factorises",
]


@dataclass(frozen=True)
class Evidence:
    """One draw from the posterior of each example.

    Attributes:
        groups: The latent groups of the pass.
        distortion: -log p(x|z), ``(B,)`` nats.
        rates: ``rate_k`` to the KL of group k, ``(B,)`` nats; empty if none was asked for.
    """

    groups: list[Group]
    distortion: Tensor
    rates: dict[str, Tensor]

    def terms(self, beta: float) -> Terms:
        """Distortion, and the rates under one weight."""
        return Terms(
            {"distortion": self.distortion} | self.rates, weights=dict.fromkeys(self.rates, beta)
        )


def check_kl(kl: str) -> KL:
    """The name itself, if it is one of ``KL``."""
    for known in get_args(KL):
        if kl == known:
            return known
    raise ValueError(f"expected `kl` as 'sample', 'entropy' or 'analytic'; got {kl!r}.")


def log_posterior(group: Group) -> Tensor:
    """Log q(z_k | z_<k, x) at the group's draw, in nats."""
    assert group.posterior is not None
    return group.posterior.log_prob(group.z)


def _rate(group: Group, kl: KL) -> Tensor:
    """KL of one group, or its one-draw estimate, in nats, of the batch shape of the pass."""
    assert group.posterior is not None
    if kl == "sample":
        return log_posterior(group) - log_unnorm(group.prior, group.z)
    try:
        if kl == "entropy":
            return -group.posterior.entropy() - log_unnorm(group.prior, group.z)
        return kl_divergence(group.posterior, group.prior)
    except NotImplementedError:
        raise ValueError(
            f"expected a pair with a closed-form {'entropy' if kl == 'entropy' else 'KL'} for "
            f"kl={kl!r}; got {type(group.posterior).__name__} against "
            f"{type(group.prior).__name__}. Use kl='sample'."
        ) from None


def one_draw(model: AbstractModel, x: Tensor, kl: KL, *, rates: bool = True) -> Evidence:
    """One pass of the model over a batch ``(B, *event)``.

    Arguments:
        model: The model.
        x: Observations.
        kl: ``"sample"`` estimates the rate from the same draw as the distortion; ``"entropy"``
            takes the posterior's entropy in closed form and the cross-entropy from the draw;
            ``"analytic"`` uses torch's closed form.
        rates: Whether to compute the rates. Without them no density of the posterior or the prior
            is asked for, so a deterministic encoder will do.
    """
    groups = model.infer(x)
    if rates:
        require_normalised(groups)
    found = {f"rate_{group.index}": _rate(group, kl) for group in groups} if rates else {}
    return Evidence(groups, -model.likelihood(groups).log_prob(x), found)


def gaussian_posterior(group: Group, objective: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a group's diagonal Gaussian posterior, ``(B, D)`` each.

    Raises:
        TypeError: if it is another distribution.
    """
    posterior = group.posterior
    if not (isinstance(posterior, Independent) and isinstance(posterior.base_dist, Normal)):
        raise TypeError(
            f"expected an Independent Normal posterior of the top group for {objective}, which "
            f"needs its marginal densities; got {type(posterior).__name__}."
        )
    return posterior.base_dist.loc.flatten(1), posterior.base_dist.scale.flatten(1)


def prior_factorises(model: AbstractModel) -> bool:
    """Whether every prior among the model's parts is a product over dimensions."""
    priors = [module for module in model.modules() if isinstance(module, AbstractPrior)]
    return bool(priors) and all(isinstance(prior, StandardNormal) for prior in priors)
