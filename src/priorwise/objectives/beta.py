"""The beta-VAE, with a constant weight on the rate or with a target capacity for it."""

import torch
from torch import Tensor

from priorwise.choices import KL
from priorwise.models import AbstractModel
from priorwise.objectives.base import AbstractModelObjective, Explanation, Terms, weight_at
from priorwise.objectives.evidence import check_kl, one_draw

__all__ = ["AnnealedVAE", "BetaVAE"]


class BetaVAE(AbstractModelObjective):
    r"""The beta-VAE (beta-VAE-H): a constant weight on the rate.

    .. math:: -\mathbb{E}_q[\log p(x|z)] + \beta \, D_\mathrm{KL}[q(z|x) \,\|\, p(z)]

    The terms are those of ``ELBO``; ``beta=0`` computes no rate. With ``prior=FlowPrior(...)`` in
    the model this is the beta-dpVAE-H.

    References:
        beta-VAE (Higgins et al., 2017), equation 4. https://openreview.net/forum?id=Sy2fzU9gl
        dpVAE (Bhalodia et al., 2020), equations 25-26. https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model, with any prior.
        beta: The weight; the configurations of dpVAE use 5.
        kl: How the rate is computed, as in ``ELBO``.
    """

    def __init__(self, model: AbstractModel, *, beta: float = 4.0, kl: KL = "sample") -> None:
        super().__init__(model, "beta-VAE objective")
        if beta < 0:
            raise ValueError(f"expected `beta` of at least 0; got {beta:g}.")
        self.beta = float(beta)
        self.kl = check_kl(kl)

    @property
    def may_skip_parameters(self) -> bool:
        """Without a rate the prior gets no gradient."""
        return self.beta == 0

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One draw from the posterior of each example."""
        return one_draw(self.model, x, self.kl, rates=self.beta != 0).terms(self.beta)

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        return Explanation(
            minimised="distortion + beta * sum of rates",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "rate_k": f"weight {self.beta:g}; KL(q(z_k|z_<k,x) || p(z_k|z_<k)), nats",
            },
            is_bound=self.beta >= 1,
            bound="it is the ELBO itself"
            if self.beta == 1
            else "the rate is not negative, so a weight above 1 gives a looser bound than the "
            "ELBO, and a weight below 1 gives no bound",
            remarks=(
                "beta and the scale of a Gaussian likelihood are one setting: up to a constant, "
                "beta at scale s trains like beta = 1 at scale s * sqrt(beta)",
            ),
        )


class AnnealedVAE(AbstractModelObjective):
    r"""The beta-VAE with a capacity that grows (beta-VAE-B).

    .. math:: -\mathbb{E}_q[\log p(x|z)] +
              \gamma \, \Big| \overline{D_\mathrm{KL}[q(z|x) \,\|\, p(z)]} - C \Big|, \qquad
              C: 0 \to C_\mathrm{max}

    The bar is the mean over the batch: the capacity applies to the mean of the data, not to each
    example. It grows linearly over the first ``capacity_steps`` steps. Terms: ``distortion`` per
    example, and ``capacity_gap`` per batch, both in nats. With ``prior=FlowPrior(...)`` this is
    the beta-dpVAE-B.

    References:
        Understanding disentangling in beta-VAE (Burgess et al., 2018), equation 8.
        https://arxiv.org/abs/1804.03599
        dpVAE (Bhalodia et al., 2020), section 5. https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model, with any prior; for a hierarchy the capacity applies to the sum of rates.
        gamma: Weight of the gap; the configurations of dpVAE use 15. At 0 no rate is computed.
        capacity: The final capacity in nats per example.
        capacity_steps: Number of steps until the final capacity is reached.
        kl: How the rate is computed, as in ``ELBO``.
    """

    def __init__(
        self,
        model: AbstractModel,
        *,
        gamma: float = 1000.0,
        capacity: float = 25.0,
        capacity_steps: int = 100_000,
        kl: KL = "sample",
    ) -> None:
        super().__init__(model, "beta-VAE objective")
        for name, value in (("gamma", gamma), ("capacity", capacity)):
            if value < 0:
                raise ValueError(f"expected `{name}` of at least 0; got {value:g}.")
        if capacity_steps < 1:
            raise ValueError(f"expected `capacity_steps` of at least 1; got {capacity_steps}.")
        self.gamma = float(gamma)
        self.capacity = float(capacity)
        self.capacity_steps = capacity_steps
        self.kl = check_kl(kl)

    @property
    def may_skip_parameters(self) -> bool:
        """Without the gap the prior gets no gradient."""
        return self.gamma == 0

    def capacity_at(self, step: int) -> float:
        """The capacity C at a step, in nats per example."""
        return self.capacity * min(1.0, step / self.capacity_steps)

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One draw from the posterior of each example."""
        evidence = one_draw(self.model, x, self.kl, rates=self.gamma != 0)
        if not evidence.rates:
            return Terms({"distortion": evidence.distortion})
        rate = torch.stack([*evidence.rates.values()]).sum(0)
        gap = (rate.mean() - weight_at(self.capacity_at, step)).abs()
        return Terms(
            {"distortion": evidence.distortion}, {"capacity_gap": gap}, {"capacity_gap": self.gamma}
        )

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        return Explanation(
            minimised="distortion + gamma * |mean rate - C|",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "capacity_gap": f"weight {self.gamma:g}; distance of the batch's mean KL from C, "
                f"nats; C rises from 0 to {self.capacity:g} over {self.capacity_steps} steps",
            },
            is_bound=False,
            bound="a rate near C costs nothing, so the number says nothing about the likelihood",
            reduction="the distortion is summed over pixels and averaged over the batch; the "
            "gap is computed from the mean KL of the batch",
            remarks=(
                "with batches of one example, each example is held at C; with larger batches only "
                "their mean is",
            ),
        )
