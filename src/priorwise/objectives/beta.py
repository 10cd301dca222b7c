"""The beta-VAE, with a constant weight on the rate or with a capacity that it is held at."""

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

    Terms as ``ELBO``'s; ``beta=0`` computes no rate. With ``prior=FlowPrior(...)`` in the model
    this is the beta-dpVAE-H.

    References:
        beta-VAE (Higgins et al., 2017), equation 4; dpVAE (Bhalodia et al., 2020), equations 25-26.

    Arguments:
        model: The model, with any prior.
        beta: The weight; the dpVAE configurations use 5.
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
        """What the number is."""
        return Explanation(
            minimised="distortion + beta * sum of rates",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "rate_k": f"weight {self.beta:g}; KL(q(z_k|z_<k,x) || p(z_k|z_<k)), nats",
            },
            is_bound=self.beta >= 1,
            bound="the ELBO itself"
            if self.beta == 1
            else "the rate is not negative, so a weight above 1 loosens the ELBO and one below "
            "1 breaks it",
            remarks=(
                "beta and the scale of a Gaussian likelihood are one knob: beta at scale s "
                "trains as beta = 1 at scale s * sqrt(beta) does, up to a constant",
            ),
        )


class AnnealedVAE(AbstractModelObjective):
    r"""The beta-VAE with a capacity that grows (beta-VAE-B).

    .. math:: -\mathbb{E}_q[\log p(x|z)] + \gamma \, \Big| \overline{D_\mathrm{KL}[q(z|x) \,\|\, p(z)]} - C \Big|, \qquad
              C: 0 \to C_\mathrm{max}

    The bar is the mean over the batch: the capacity is held by the data together, not by each
    example. It grows linearly over the first ``capacity_steps`` steps. Terms: ``distortion`` of an
    example, and the batch's ``capacity_gap``, both nats. With ``prior=FlowPrior(...)`` this is the
    beta-dpVAE-B.

    References:
        Understanding disentangling in beta-VAE (Burgess et al., 2018), equation 8; dpVAE (Bhalodia
        et al., 2020), section 5.

    Arguments:
        model: The model, with any prior; a hierarchy is held at the sum of its rates.
        gamma: Weight of the gap; the dpVAE configurations use 15. At 0 no rate is computed.
        capacity: The final capacity in nats an example.
        capacity_steps: Over how many steps it is reached.
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
        """The capacity C of a step, in nats an example."""
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
        """What the number is."""
        return Explanation(
            minimised="distortion + gamma * |mean rate - C|",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "capacity_gap": f"weight {self.gamma:g}; distance of the batch's mean KL from C, "
                f"nats; C rises from 0 to {self.capacity:g} over "
                f"{self.capacity_steps} steps",
            },
            is_bound=False,
            bound="the rate may be anything near C at no cost, so the number says nothing about "
            "the likelihood",
            reduction="the distortion is summed over pixels and averaged over the batch; the "
            "gap is that of the batch's mean",
            remarks=(
                "a batch of one example holds that example at C; larger batches hold their mean",
            ),
        )
