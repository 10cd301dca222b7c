"""The evidence lower bound."""

from torch import Tensor, nn

from priorwise.models import AbstractModel
from priorwise.objectives.base import AbstractObjective, Explanation, Terms, Weight, refuse_unnormalised, weight_at
from priorwise.objectives.evidence import KL, check_kl, one_draw

__all__ = ["ELBO"]


class ELBO(AbstractObjective):
    r"""The negative evidence lower bound.

    .. math:: -\mathbb{E}_q[\log p(x|z)] + \beta \sum_k \mathbb{E}_q[\log q(z_k | z_{<k}, x) - \log p(z_k | z_{<k})]

    A bound on the likelihood at beta = 1. Terms: ``distortion`` and one ``rate_k`` a group, in nats per example.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), equations 2 and 4; beta is its warm-up. ``kl="entropy"``: dpVAE
        (Bhalodia et al., 2020), equation 5, with its constant.

    Arguments:
        model: The model.
        beta: Weight of the rate, a number or a function of the step.
        kl: ``"sample"`` estimates the rate from the same draw as the distortion; ``"entropy"`` takes the posterior's entropy
            in closed form and the rest from that draw; ``"analytic"`` uses torch's closed form and refuses where there is
            none.
    """

    def __init__(self, model: AbstractModel, *, beta: Weight = 1.0, kl: KL = "sample") -> None:
        super().__init__()
        refuse_unnormalised(model, "ELBO")
        self.model = model
        self.beta = beta
        self.kl = check_kl(kl)

    @property
    def trained(self) -> nn.Module:
        """The whole model."""
        return self.model

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One draw from the posterior of each example."""
        return one_draw(self.model, x, self.kl).terms(weight_at(self.beta, step))

    def explain(self) -> Explanation:
        """What the number is."""
        beta = "a function of the step" if callable(self.beta) else f"{self.beta:g}"
        fixed = not callable(self.beta)
        return Explanation(
            minimised="distortion + beta * sum of rates",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "rate_k": f"weight beta = {beta}; KL(q(z_k|z_<k,x) || p(z_k|z_<k)), nats",
            },
            is_bound=fixed and float(self.beta) >= 1,  # type: ignore[arg-type]
            bound="at beta = 1 it is the ELBO, above 1 a looser bound, below 1 none; during a warm-up of beta it is not "
            "comparable between steps",
        )
