"""The beta-TCVAE: the rate split into mutual information, total correlation and a rest."""

from torch import Tensor

from priorwise.choices import Weighting
from priorwise.distributions import require_diagonal_gaussian
from priorwise.models import AbstractModel
from priorwise.objectives.base import AbstractModelObjective, Explanation, Terms
from priorwise.objectives.evidence import one_draw, prior_factorises
from priorwise.objectives.minibatch import log_weights, marginal_log_densities

__all__ = ["BetaTCVAE"]


class BetaTCVAE(AbstractModelObjective):
    r"""The beta-TCVAE.

    .. math:: -\mathbb{E}_q[\log p(x|z)]
              + \alpha \underbrace{\mathbb{E}\log\tfrac{q(z|x)}{q(z)}}_\text{mutual information}
              + \beta \underbrace{\mathbb{E}\log\tfrac{q(z)}{\prod_d q(z_d)}}
              _\text{total correlation}
              + \gamma \underbrace{\mathbb{E}\log\tfrac{\prod_d q(z_d)}{p(z)}}_\text{dimension-wise}

    The three terms add up to the KL of each example exactly, whatever the weights of the batch.
    p(z) is the full density of the model's prior; the last term is a sum of divergences only if
    this density is a product over dimensions. In general

    .. math:: \alpha I + \beta\,TC + \gamma(\cdot) =
              \alpha I + (\beta - \gamma)\,TC + \gamma D_\mathrm{KL}[q(z) \,\|\, p(z)],

    so with :math:`\gamma > \beta` and a prior that can follow q(z), such as a flow, total
    correlation is *rewarded*.

    Terms, in nats per example: ``distortion``, ``mutual_information``, ``total_correlation``,
    ``dimension_wise_kl``. In a hierarchy, the rate of the top group is split, and the rates below
    it are added with weight 1. q(z) is estimated from the batch, so the values of the terms depend
    on the batch size; see ``priorwise.objectives.minibatch``.

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), equation 2 and section 4.
        https://arxiv.org/abs/1802.04942
        dpVAE (Bhalodia et al., 2020), equations 30-31, with the log-determinant that its code
        leaves out. https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model, with any prior and a diagonal Gaussian posterior of the top group.
        data_size: Number N of training examples.
        alpha: Weight of the mutual information.
        beta: Weight of the total correlation.
        gamma: Weight of the dimension-wise term.
        weights: How a batch represents the data set: ``"stratified"``, ``"balanced"`` or
            ``"weighted"``.
    """

    def __init__(
        self,
        model: AbstractModel,
        data_size: int,
        *,
        alpha: float = 1.0,
        beta: float = 6.0,
        gamma: float = 1.0,
        weights: Weighting = "stratified",
    ) -> None:
        super().__init__(model, "beta-TCVAE objective")
        log_weights(1, data_size, weights)
        self.data_size = data_size
        self.alpha, self.beta, self.gamma = float(alpha), float(beta), float(gamma)
        self.weights = weights

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One draw from the posterior of each example."""
        evidence = one_draw(self.model, x, "sample")
        top = evidence.groups[0]
        posterior = require_diagonal_gaussian(
            top.posterior,
            "an Independent Normal posterior of the top group for BetaTCVAE",
            "The objective needs the posterior's marginal densities.",
        )
        loc, scale = posterior.loc.flatten(1), posterior.scale.flatten(1)
        log_w = log_weights(len(loc), self.data_size, self.weights, device=loc.device)
        log_q, log_marginals = marginal_log_densities(top.z.flatten(1), loc, scale, log_w)
        parts = {
            "mutual_information": top.log_posterior() - log_q,
            "total_correlation": log_q - log_marginals,
            "dimension_wise_kl": log_marginals - top.log_prior(),
        }
        below = {name: rate for name, rate in evidence.rates.items() if name != f"rate_{top.index}"}
        weights = dict(zip(parts, (self.alpha, self.beta, self.gamma), strict=True))
        return Terms({"distortion": evidence.distortion} | parts | below, weights=weights)

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        factorises = prior_factorises(self.model)
        remarks = [
            f"q(z) is estimated from each batch by {self.weights} sampling; its logarithm is "
            "biased, so the three terms depend on the batch size, but their plain sum does not"
        ]
        if self.weights == "weighted":
            remarks.append(
                "minibatch-weighted log densities are too low by up to log N nats, so the terms "
                "are shifted by constants"
            )
        if not factorises and self.gamma > self.beta:
            remarks.append(
                "the prior does not factorise and gamma > beta: the terms sum to alpha I + (beta - "
                "gamma) TC + gamma KL(q(z) || p), which rewards total correlation"
            )
        return Explanation(
            minimised="distortion + alpha * mutual_information + beta * total_correlation + "
            "gamma * dimension_wise_kl",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "mutual_information": f"weight {self.alpha:g}; log q(z|x) - log q(z), nats",
                "total_correlation": f"weight {self.beta:g}; log q(z) - sum of log q(z_d), nats",
                "dimension_wise_kl": f"weight {self.gamma:g}; sum of log q(z_d) - log p(z), nats"
                + ("" if factorises else "; may be negative, since this prior does not factorise"),
                "rate_k": "weight 1; KL of each group below the top one, where there are any, nats",
            },
            is_bound=self.alpha >= self.beta == self.gamma >= 1,
            bound="it is one if alpha >= beta = gamma >= 1, and at 1, 1, 1 it is the ELBO itself; "
            "with an exact q(z), alpha >= 1 and "
            + ("beta, gamma >= 1" if factorises else "beta >= gamma >= 1")
            + " would suffice, but total correlation estimated from a batch can be far below zero",
            remarks=tuple(remarks),
        )
