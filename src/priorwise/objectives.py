"""What is minimised: modules that hold the model and give the terms of the loss, in nats per example."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn import functional as F

from priorwise.distributions import Tilted, log_unnorm
from priorwise.models import NCP, AbstractModel, Group, frozen

__all__ = ["ELBO", "IWAE", "NCE", "AbstractObjective", "Terms"]

Weight: TypeAlias = float | Callable[[int], float]


@dataclass(frozen=True)
class Terms:
    """The terms of a loss on one batch.

    Attributes:
        per_example: Name to ``(B,)`` nats, signed as they are minimised.
        batch: Name to a scalar of the batch as a whole, signed as it is minimised.
        weights: Weight of each term; 1 where none stands.
    """

    per_example: dict[str, Tensor]
    batch: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def loss(self) -> Tensor:
        """The scalar that is minimised: weighted batch means plus the weighted batch terms."""
        means = {name: term.mean() for name, term in self.per_example.items()} | self.batch
        return torch.stack([self.weights.get(name, 1.0) * term for name, term in means.items()]).sum()


class AbstractObjective(nn.Module, ABC):
    """How to write an objective.

    1. Inherit, keep the model as a submodule.
    2. Implement ``forward(x, step)``: the ``Terms`` on a batch ``(B, *event)``, nats per example, the batch mean left to
       ``Terms.loss``.
    3. Name the module whose parameters are stepped in ``trained``; open what must surround all steps in ``running``.
    """

    @property
    @abstractmethod
    def trained(self) -> nn.Module:
        """The module whose parameters are trained."""

    @abstractmethod
    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """The terms of the loss on one batch."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Surrounds a whole fit."""
        yield


def _weight(weight: Weight, step: int) -> float:
    return float(weight(step)) if callable(weight) else float(weight)


def _refuse_unnormalised(model: AbstractModel, name: str) -> None:
    if isinstance(model, NCP):
        raise TypeError(
            f"expected a model that is trained by its {name}; got an NCP, which is fitted after its base by "
            "priorwise.objectives.NCE: priorwise.fit(ncp, data)."
        )


class ELBO(AbstractObjective):
    r"""The negative evidence lower bound.

    .. math:: -\mathbb{E}_q[\log p(x|z)] + \beta \sum_k \mathbb{E}_q[\log q(z_k | z_{<k}, x) - \log p(z_k | z_{<k})]

    A bound on the likelihood at beta = 1. Terms: ``distortion`` and one ``rate_k`` a group, in nats per example.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), equations 2 and 4; beta is its warm-up.

    Arguments:
        model: The model.
        beta: Weight of the rate, a number or a function of the step.
        kl: ``"sample"`` estimates the rate from the same draw as the distortion; ``"analytic"`` uses torch's closed form
            and refuses where there is none.
    """

    def __init__(
        self, model: AbstractModel, *, beta: Weight = 1.0, kl: Literal["sample", "analytic"] = "sample"
    ) -> None:
        super().__init__()
        _refuse_unnormalised(model, "ELBO")
        if kl not in ("sample", "analytic"):
            raise ValueError(f"expected `kl` as 'sample' or 'analytic'; got {kl!r}.")
        self.model = model
        self.beta = beta
        self.kl = kl

    @property
    def trained(self) -> nn.Module:
        """The whole model."""
        return self.model

    def rate(self, group: Group) -> Tensor:
        """KL of one group, or its one-draw estimate, in nats, of the batch shape of the pass."""
        assert group.posterior is not None
        if self.kl == "sample":
            return group.posterior.log_prob(group.z) - log_unnorm(group.prior, group.z)
        try:
            return kl_divergence(group.posterior, group.prior)
        except NotImplementedError:
            raise ValueError(
                f"expected a pair with a closed-form KL for kl='analytic'; got {type(group.posterior).__name__} against "
                f"{type(group.prior).__name__}. Use kl='sample'."
            ) from None

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One draw from the posterior of each example."""
        groups = self.model.infer(x)
        beta = _weight(self.beta, step)
        rates = {f"rate_{group.index}": self.rate(group) for group in groups}
        distortion = -self.model.likelihood(groups).log_prob(x)
        return Terms({"distortion": distortion} | rates, weights=dict.fromkeys(rates, beta))


class IWAE(AbstractObjective):
    r"""The negative importance-weighted bound, tighter than the ELBO with every sample.

    .. math:: -\mathbb{E}\left[\log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x, z_k)}{q(z_k | x)}\right]

    A bound on the likelihood for every K. One term, ``bound``, in nats per example.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), equation 8.

    Arguments:
        model: The model.
        samples: Number of importance samples K.
    """

    def __init__(self, model: AbstractModel, samples: int = 50) -> None:
        super().__init__()
        _refuse_unnormalised(model, "IWAE bound")
        if samples < 1:
            raise ValueError(f"expected at least 1 of `samples`; got {samples}.")
        self.model = model
        self.samples = samples

    @property
    def trained(self) -> nn.Module:
        """The whole model."""
        return self.model

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """K draws from the posterior of each example."""
        groups = self.model.infer(x, (self.samples,))
        log_w = self.model.log_joint(groups, x) - sum(_log_posterior(group) for group in groups)
        return Terms({"bound": math.log(self.samples) - log_w.logsumexp(0)})


def _log_posterior(group: Group) -> Tensor:
    assert group.posterior is not None
    return group.posterior.log_prob(group.z)


class NCE(AbstractObjective):
    r"""Noise contrastive estimation of an NCP's classifiers: tell the aggregate posterior from the prior.

    .. math:: \sum_k \mathbb{E}_{q(z_{<k})}\big[-\mathbb{E}_{q(z_k|z_{<k})} \log D_k - \mathbb{E}_{p(z_k|z_{<k})}
              \log(1 - D_k)\big]

    Positives and negatives of a group share the ancestors :math:`z_{<k}`, drawn from the posterior, and go through the
    classifier in one forward. One term ``bce_k`` a group: the sum form of the cross-entropy, 2 log 2 = 1.386 nats where the
    two cannot be told apart. Not a bound on the likelihood. The model underneath is frozen.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al., 2021), equations 3-4.

    Arguments:
        ncp: The model whose classifiers are trained.
    """

    def __init__(self, ncp: NCP) -> None:
        super().__init__()
        if not isinstance(ncp, NCP):
            raise TypeError(
                f"expected a priorwise.NCP; got {type(ncp).__name__}. Wrap the model: priorwise.NCP(model)."
            )
        self.ncp = ncp

    @property
    def trained(self) -> nn.Module:
        """The classifiers."""
        return self.ncp.classifiers

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keeps the base frozen, and forgets a log Z that the fit makes untrue."""
        self.ncp.forget_log_norm()
        with frozen(self.ncp.base):
            yield

    def logits(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each group the logits of positives and of negatives, ``(B,)`` each."""
        with torch.no_grad():
            groups = self.ncp.infer(x)
        pairs = []
        for group in groups:
            tilted = group.prior
            assert isinstance(tilted, Tilted)
            with torch.no_grad():
                both = torch.stack([group.z, tilted.base.sample()])
            positive, negative = tilted.log_tilt(both)
            pairs.append((positive, negative))
        return pairs

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One positive and one negative a group and example."""
        pairs = self.logits(x)
        return Terms(
            {
                f"bce_{k}": F.softplus(-positive) + F.softplus(negative)
                for k, (positive, negative) in enumerate(pairs, 1)
            }
        )
