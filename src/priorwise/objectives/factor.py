"""The FactorVAE: total correlation estimated by a discriminator that is trained beside the model."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from priorwise.choices import KL
from priorwise.models import AbstractModel
from priorwise.nn import MLP, unmoved_statistics
from priorwise.objectives.base import (
    AbstractModelObjective,
    Explanation,
    Player,
    Terms,
)
from priorwise.objectives.evidence import check_kl, one_draw

__all__ = ["Discriminator", "FactorVAE"]


class Discriminator(nn.Sequential):
    """Five dense layers of 1000 units and two logits: drawn from q(z), or from the product of its marginals.

    References:
        Disentangling by Factorising (Kim & Mnih, 2018), appendix A. With two latents it has
        4,009,002 parameters.

    Arguments:
        latent_features: Number of latent dimensions.
        hidden_features: Hidden layers.
    """

    def __init__(
        self, latent_features: int, hidden_features: tuple[int, ...] = (1000,) * 5
    ) -> None:
        super().__init__(*MLP(latent_features, 2, hidden_features, _LeakyReLU))


class _LeakyReLU(nn.LeakyReLU):
    def __init__(self) -> None:
        super().__init__(0.2)


def _shuffled(z: Tensor) -> Tensor:
    """Each dimension permuted over the batch by itself: about a draw from the product of the marginals."""
    order = torch.rand_like(z).argsort(0)
    return z.gather(0, order)


class FactorVAE(AbstractModelObjective):
    r"""The FactorVAE.

    .. math:: -\mathbb{E}_q[\log p(x|z)] + D_\mathrm{KL}[q(z|x) \,\|\, p(z)] + \gamma \,
              D_\mathrm{KL}\big[q(z) \,\|\, \textstyle\prod_d q(z_d)\big]

    The last term is the discriminator's log-ratio at z. Two players are stepped in turn: the model,
    with the discriminator held still, then the discriminator on new draws of the model as it is
    now; for the other class their dimensions are permuted over the batch. The regulariser acts on
    z, the prior on the rate alone: with ``prior=FlowPrior(...)`` this is the Factor-dpVAE.

    Terms of the model: ``distortion``, ``rate_k`` and ``total_correlation``; of the discriminator:
    ``discriminator_bce``, log 2 where it cannot tell; nats per example. Of a hierarchy the top
    group is regularised.

    References:
        Disentangling by Factorising (Kim & Mnih, 2018), equation 2 and algorithm 2 (one batch
        serves both players here); dpVAE (Bhalodia et al., 2020), equations 27-29.

    Arguments:
        model: The model, with any prior.
        latent_features: Number of dimensions of the top group.
        gamma: Weight of the total correlation.
        discriminator: Rows of z to two logits; the paper's if None.
        discriminator_lr: Its learning rate.
        discriminator_betas: Its averaging of Adam.
        kl: How the rate is computed, as in ``ELBO``.
    """

    def __init__(
        self,
        model: AbstractModel,
        latent_features: int,
        *,
        gamma: float = 10.0,
        discriminator: nn.Module | None = None,
        discriminator_lr: float = 1e-4,
        discriminator_betas: tuple[float, float] = (0.9, 0.999),
        kl: KL = "sample",
    ) -> None:
        super().__init__(model, "FactorVAE objective")
        self.discriminator = (
            Discriminator(latent_features) if discriminator is None else discriminator
        )
        self.gamma = float(gamma)
        self.discriminator_lr = discriminator_lr
        self.discriminator_betas = discriminator_betas
        self.kl = check_kl(kl)

    @property
    def players(self) -> tuple[Player, ...]:
        """The model, then the discriminator."""
        second = Player(
            "discriminator",
            self.discriminator,
            lr=self.discriminator_lr,
            betas=self.discriminator_betas,
        )
        return (Player("model", self.model), second)

    def _log_ratio(self, z: Tensor) -> Tensor:
        """Log q(z) - log of the product, ``(B,)``, by the discriminator as a constant function."""
        still = {
            name: tensor.detach()
            for name, tensor in self.discriminator.state_dict(keep_vars=True).items()
        }
        joint, product = functional_call(self.discriminator, still, (z,)).unbind(-1)
        return joint - product

    def forward(
        self, x: Tensor, step: int = 0, player: Literal["model", "discriminator"] = "model"
    ) -> Terms:
        """The terms of one player on one batch."""
        if player == "discriminator":
            return Terms({"discriminator_bce": self._cross_entropy(x)})
        evidence = one_draw(self.model, x, self.kl)
        ratio = self._log_ratio(evidence.groups[0].z.flatten(1))
        terms = {"distortion": evidence.distortion} | evidence.rates | {"total_correlation": ratio}
        return Terms(terms, weights={"total_correlation": self.gamma})

    def _cross_entropy(self, x: Tensor) -> Tensor:
        """The mean of both classes' cross-entropies, ``(B,)`` nats."""
        with (
            torch.no_grad(),
            unmoved_statistics([self.model]),
        ):  # the model's turn has counted this batch
            z, other = self.model.infer(x, (2,))[0].z.flatten(2)
        joint, product = self.discriminator(torch.cat([z, _shuffled(other)])).chunk(2)
        is_joint, is_product = joint.diff(dim=-1).squeeze(-1), product.diff(dim=-1).squeeze(-1)
        return 0.5 * (F.softplus(is_joint) + F.softplus(-is_product))

    def explain(self) -> Explanation:
        """What the number is."""
        return Explanation(
            minimised="distortion + sum of rates + gamma * total_correlation, and beside it "
            "discriminator_bce",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "rate_k": "weight 1; KL(q(z_k|z_<k,x) || p(z_k|z_<k)), nats",
                "total_correlation": f"weight {self.gamma:g}; the discriminator's log q(z) - sum "
                "of log q(z_d), nats",
                "discriminator_bce": "the other player's; log 2 = 0.693 nats where it cannot tell",
            },
            is_bound=False,
            bound="distortion and rates are the ELBO, but the total correlation is only as good "
            "as the discriminator, and can come out negative",
            remarks=("the number is not comparable between steps: the discriminator moves",),
        )
