"""The InfoVAE: a discrepancy between draws pulls the aggregate posterior towards the prior."""

from torch import Tensor

from priorwise.choices import KL
from priorwise.models import AbstractModel, Group
from priorwise.objectives.base import AbstractModelObjective, Explanation, Terms
from priorwise.objectives.discrepancy import IMQ, Kernel, mmd
from priorwise.objectives.evidence import check_kl, one_draw

__all__ = ["InfoVAE"]


class InfoVAE(AbstractModelObjective):
    r"""The InfoVAE with the maximum mean discrepancy.

    .. math:: -\mathbb{E}_q[\log p(x|z)] + (1 - \alpha) \, D_\mathrm{KL}[q(z|x) \,\|\, p(z)] +
              (\alpha + \lambda - 1) \, \mathrm{MMD}^2[q(z), p(z)]

    The discrepancy is computed from draws of both, so its gradient reaches the parameters of the
    prior: a flow, a mixture with fixed weights, pseudo-inputs. With ``prior=FlowPrior(...)`` this
    is the Info-dpVAE. Terms: ``distortion`` and ``rate_k`` in nats per example, and ``mmd`` per
    batch, which has no unit and is unbiased for every batch size; a batch of one has no ``mmd``.
    ``alpha=1`` computes no rate, so a deterministic encoder works.

    References:
        InfoVAE (Zhao et al., 2019), equation 6. https://arxiv.org/abs/1706.02262
        dpVAE (Bhalodia et al., 2020), equations 32-33. https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model, with any prior that can be sampled with gradients; in a hierarchy the top
            group is compared.
        alpha: 1 minus the weight of the rates.
        lambda_: The weight of the discrepancy is ``alpha + lambda_ - 1``.
        kernel: ``IMQ()`` or ``RBF()``, with a scale of your choice.
        kl: How the rate is computed, as in ``ELBO``.
    """

    def __init__(
        self,
        model: AbstractModel,
        *,
        alpha: float = 0.0,
        lambda_: float = 1000.0,
        kernel: Kernel | None = None,
        kl: KL = "sample",
    ) -> None:
        super().__init__(model, "InfoVAE objective")
        if alpha > 1:
            raise ValueError(
                f"expected `alpha` of at most 1; got {alpha:g}, with which the objective would "
                "reward the rate."
            )
        self.alpha = float(alpha)
        self.lambda_ = float(lambda_)
        self.kernel = IMQ() if kernel is None else kernel
        self.kl = check_kl(kl)

    @property
    def may_skip_parameters(self) -> bool:
        """Without a rate, a batch of one gives the prior no gradient."""
        return self.alpha == 1

    def _discrepancy(self, top: Group) -> Tensor:
        if not top.prior.has_rsample:
            raise TypeError(
                "expected a prior that can be sampled with gradients, since InfoVAE trains it by "
                f"them; got {type(top.prior).__name__}. A mixture needs `learn_weights=False`."
            )
        prior_z = top.prior.rsample()
        return mmd(top.z.flatten(1), prior_z.flatten(1), self.kernel)

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One draw from the posterior of each example, and as many from the prior."""
        evidence = one_draw(self.model, x, self.kl, rates=self.alpha != 1)
        weights = dict.fromkeys(evidence.rates, 1 - self.alpha) | {
            "mmd": self.alpha + self.lambda_ - 1
        }
        batch = {"mmd": self._discrepancy(evidence.groups[0])} if len(x) > 1 else {}
        return Terms({"distortion": evidence.distortion} | evidence.rates, batch, weights)

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        weight = self.alpha + self.lambda_ - 1
        return Explanation(
            minimised="distortion + (1 - alpha) * sum of rates + (alpha + lambda - 1) * mmd",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "rate_k": f"weight {1 - self.alpha:g}; KL(q(z_k|z_<k,x) || p(z_k|z_<k)), nats",
                "mmd": f"weight {weight:g}; squared discrepancy between q(z) and p(z) with "
                f"{self.kernel}, no unit",
            },
            is_bound=self.alpha <= 0 and weight >= 0,
            bound="at alpha <= 0 the rate has at least weight 1 and the mean discrepancy is not "
            "negative, so it is a bound, loose by the discrepancy; at alpha > 0 part of the rate "
            "is missing",
            reduction="distortion and rates are summed over pixels or latent dimensions and "
            "averaged over the batch; the discrepancy is one number per batch",
            remarks=(
                "the weight of the discrepancy is in nats per unit of the kernel, the same for "
                "every batch size",
            ),
        )
