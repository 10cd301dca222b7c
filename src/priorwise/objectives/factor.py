"""The FactorVAE: a discriminator, trained alongside the model, estimates total correlation."""

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
    """Distinguishes draws from q(z) from draws from the product of its marginals.

    Five dense layers of 1000 units and two logits. With two latents it has 4,009,002 parameters.

    References:
        Disentangling by Factorising (Kim & Mnih, 2018), appendix A.
        https://arxiv.org/abs/1802.05983

    Arguments:
        latent_features: Number of latent dimensions.
        hidden_features: Sizes of the hidden layers.
    """

    def __init__(
        self, latent_features: int, hidden_features: tuple[int, ...] = (1000,) * 5
    ) -> None:
        super().__init__(*MLP(latent_features, 2, hidden_features, _LeakyReLU))


class _LeakyReLU(nn.LeakyReLU):
    def __init__(self) -> None:
        super().__init__(0.2)


def _shuffled(z: Tensor) -> Tensor:
    """Permute each dimension over the batch, approximating the product of the marginals."""
    order = torch.rand_like(z).argsort(0)
    return z.gather(0, order)


class FactorVAE(AbstractModelObjective):
    r"""The FactorVAE.

    .. math:: -\mathbb{E}_q[\log p(x|z)] + D_\mathrm{KL}[q(z|x) \,\|\, p(z)] + \gamma \,
              D_\mathrm{KL}\big[q(z) \,\|\, \textstyle\prod_d q(z_d)\big]

    The last term is estimated by the discriminator's log-ratio at z. Two players take turns: first
    the model, with the discriminator held fixed, then the discriminator, on new draws from the
    updated model. For its second class, the dimensions of the draws are permuted over the batch.
    The regulariser acts on z, and the prior only on the rate: with ``prior=FlowPrior(...)`` this is
    the Factor-dpVAE.

    Terms of the model: ``distortion``, ``rate_k`` and ``total_correlation``. Term of the
    discriminator: ``discriminator_bce``, which is log 2 where it cannot distinguish the classes.
    All are in nats per example. In a hierarchy, the top group is regularised.

    References:
        Disentangling by Factorising (Kim & Mnih, 2018), equation 2 and algorithm 2; here one batch
        serves both players. https://arxiv.org/abs/1802.05983
        dpVAE (Bhalodia et al., 2020), equations 27-29. https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model, with any prior.
        latent_features: Number of dimensions of the top group.
        gamma: Weight of the total correlation.
        discriminator: Maps rows of z to two logits; the paper's if None.
        discriminator_lr: Learning rate of the discriminator.
        discriminator_betas: Averaging coefficients of the discriminator's Adam.
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
        """The discriminator's log q(z) - log prod_d q(z_d), ``(B,)``; its parameters are fixed."""
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
        # The model's turn has already updated the batch statistics with this batch.
        with torch.no_grad(), unmoved_statistics([self.model]):
            z, other = self.model.infer(x, (2,))[0].z.flatten(2)
        joint, product = self.discriminator(torch.cat([z, _shuffled(other)])).chunk(2)
        is_joint, is_product = joint.diff(dim=-1).squeeze(-1), product.diff(dim=-1).squeeze(-1)
        return 0.5 * (F.softplus(is_joint) + F.softplus(-is_product))

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        return Explanation(
            minimised="distortion + sum of rates + gamma * total_correlation by the model, and "
            "discriminator_bce by the discriminator",
            terms={
                "distortion": "weight 1; -log p(x|z) with its constants, nats",
                "rate_k": "weight 1; KL(q(z_k|z_<k,x) || p(z_k|z_<k)), nats",
                "total_correlation": f"weight {self.gamma:g}; the discriminator's log q(z) - sum "
                "of log q(z_d), nats",
                "discriminator_bce": "the discriminator's loss; log 2 = 0.693 nats where it cannot "
                "distinguish its two classes",
            },
            is_bound=False,
            bound="distortion and rates are the ELBO, but the total correlation is only as good "
            "as the discriminator, and its estimate can be negative",
            remarks=(
                "the loss cannot be compared between steps, because the discriminator changes",
            ),
        )
