"""The evidence lower bound."""

from torch import Tensor

from priorwise.choices import KL
from priorwise.models import AbstractModel
from priorwise.objectives.base import (
    AbstractModelObjective,
    Explanation,
    Terms,
    Weight,
    weight_at,
)
from priorwise.objectives.evidence import check_kl, one_draw
from priorwise.objectives.judging import FINAL_STEP, ROWS, mean_over_blocks

__all__ = ["ELBO"]


class ELBO(AbstractModelObjective):
    r"""The negative evidence lower bound.

    .. math:: -\mathbb{E}_q[\log p(x|z)] +
              \beta \sum_k \mathbb{E}_q[\log q(z_k | z_{<k}, x) - \log p(z_k | z_{<k})]

    At beta = 1 it bounds the likelihood, and a fit is judged there for every beta. Terms:
    ``distortion`` and one ``rate_k`` per group, in nats per example. ``beta=0`` is an autoencoder:
    it computes no rate, so a deterministic encoder works, and it is judged by its distortion.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), equations 2 and 4; beta is its warm-up.
        https://arxiv.org/abs/1705.07120
        dpVAE (Bhalodia et al., 2020), equation 5 with its constant, for ``kl="entropy"``.
        https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model.
        beta: Weight of the rate, a number or a function of the step.
        kl: ``"sample"`` estimates the rate from the same draw as the distortion; ``"entropy"``
            takes the posterior's entropy in closed form and the rest from that draw; ``"analytic"``
            uses torch's closed form, and raises an error where there is none.
    """

    def __init__(self, model: AbstractModel, *, beta: Weight = 1.0, kl: KL = "sample") -> None:
        super().__init__(model, "ELBO")
        self.beta = beta
        self.kl = check_kl(kl)

    @property
    def _has_rates(self) -> bool:
        """Whether the rate ever has a weight; a function of the step counts as a warm-up."""
        return callable(self.beta) or self.beta != 0

    @property
    def may_skip_parameters(self) -> bool:
        """Without a rate the prior gets no gradient."""
        return not self._has_rates

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One draw from the posterior of each example."""
        evidence = one_draw(self.model, x, self.kl, rates=self._has_rates)
        return evidence.terms(weight_at(self.beta, step))

    @property
    def metric(self) -> str:
        """The negative ELBO; the distortion where the rate has no weight."""
        return "negative_elbo" if self._has_rates else "distortion"

    def is_final(self, step: int) -> bool:
        """Whether beta has its last value."""
        return weight_at(self.beta, step) == weight_at(self.beta, FINAL_STEP)

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float:
        """The mean over all examples at beta = 1, one draw for each, in nats.

        The batch size has no influence.
        """

        def negative_elbo(batch: Tensor) -> Tensor:
            return one_draw(self.model, batch, "sample", rates=self._has_rates).negative_elbo()

        return mean_over_blocks(negative_elbo, x, block=ROWS, seed=seed, address="elbo")

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        beta = "a function of the step" if callable(self.beta) else f"{self.beta:g}"
        fixed = not callable(self.beta)
        return Explanation(
            minimised="distortion + beta * sum of rates",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "rate_k": f"weight beta = {beta}; KL(q(z_k|z_<k,x) || p(z_k|z_<k)), nats",
            },
            is_bound=fixed and float(self.beta) >= 1,  # type: ignore[arg-type]
            bound="at beta = 1 it is the ELBO, above 1 a looser bound, below 1 no bound; during a "
            "warm-up of beta its values cannot be compared between steps",
        )
