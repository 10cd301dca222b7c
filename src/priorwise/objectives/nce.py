"""Noise contrastive estimation of a tilted prior."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorwise.distributions import Tilted
from priorwise.models import NCP, AbstractModel, draw_untilted, frozen
from priorwise.objectives.base import AbstractObjective, Explanation, Terms, Weight
from priorwise.objectives.default import default_objective
from priorwise.objectives.judging import mean_over_blocks
from priorwise.tilts import AbstractContrastiveTilt

__all__ = ["CONTRAST_BLOCK", "NCE", "contrast_logits", "cross_entropy"]


def contrast_logits(model: AbstractModel, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each group, the logits at a draw from the posterior and at one from the untilted prior.

    Returns:
        A pair of tensors ``(B,)`` per group.

    Raises:
        TypeError: for a model that has a prior without a tilt.
    """
    with torch.no_grad():
        groups = model.infer(x)
    pairs = []
    for group in groups:
        if not isinstance(group.prior, Tilted):
            raise TypeError(
                "expected a model whose priors are tilted by classifiers, such as "
                f"priorwise.NCP(model); the prior of group {group.index} is "
                f"{type(group.prior).__name__}."
            )
        with torch.no_grad():
            both = torch.stack([group.z, draw_untilted(group)])
        positive, negative = group.prior.log_tilt(both)
        pairs.append((positive, negative))
    return pairs


CONTRAST_BLOCK = 500
"""Number of examples that are judged at once, with one seed."""


def cross_entropy(positive: Tensor, negative: Tensor) -> Tensor:
    """The cross-entropy in the sum form, from the logits of both classes, in nats."""
    return F.softplus(-positive) + F.softplus(negative)


class NCE(AbstractObjective):
    r"""Noise contrastive estimation: classifiers of aggregate posterior against prior.

    .. math:: \sum_k \mathbb{E}_{q(z_{<k})}\big[-\mathbb{E}_{q(z_k|z_{<k})} \log D_k
              - \mathbb{E}_{p(z_k|z_{<k})} \log(1 - D_k)\big]

    The positives and negatives of a group share the ancestors :math:`z_{<k}`, drawn from the
    posterior, and pass through the classifier together. One term ``bce_k`` per group: the sum form
    of the cross-entropy, which is 2 log 2 = 1.386 nats where the two cannot be distinguished. It is
    not a bound on the likelihood. The model that the NCP wraps is frozen.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), equations 3-4. https://arxiv.org/abs/2010.02917

    Arguments:
        ncp: The model whose classifiers are trained: an ``NCP``, or your own model that also
            inherits ``AbstractContrastiveTilt``.
    """

    sees_only_codes = True

    def __init__(self, ncp: NCP) -> None:
        super().__init__()
        if not (isinstance(ncp, AbstractModel) and isinstance(ncp, AbstractContrastiveTilt)):
            raise TypeError(
                f"expected a priorwise.NCP; got {type(ncp).__name__}. Wrap the model: "
                "priorwise.NCP(model)."
            )
        self.ncp = ncp

    @property
    def trained(self) -> nn.Module:
        """The classifiers."""
        return self.ncp.network

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keeps the wrapped model frozen."""
        with frozen(self.ncp.untilted):
            yield

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """One positive and one negative for each group and example."""
        pairs = contrast_logits(self.ncp, x)
        return Terms({f"bce_{k}": cross_entropy(*pair) for k, pair in enumerate(pairs, 1)})

    @property
    def metric(self) -> str:
        """The cross-entropy, summed over groups."""
        return "held_out_bce"

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float:
        """The same number as ``priorwise.estimators.held_out_bce``, in nats."""

        def of_batch(batch: Tensor) -> Tensor:
            pairs = [
                (positive.double(), negative.double())
                for positive, negative in contrast_logits(self.ncp, batch)
            ]
            return torch.stack([cross_entropy(*pair) for pair in pairs]).sum(0)

        return mean_over_blocks(of_batch, x, block=CONTRAST_BLOCK, seed=seed, address="contrast")

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        return Explanation(
            minimised="sum of bce_k",
            terms={
                "bce_k": "weight 1; -log D at a draw from q plus -log(1 - D) at a draw from the "
                "prior of group k, nats"
            },
            is_bound=False,
            bound="it is a cross-entropy; log 2 - bce/2 is a lower bound on the Jensen-Shannon "
            "divergence between q and the prior",
            remarks=(
                "it is 2 log 2 = 1.386 nats per group where q and the prior cannot be "
                "distinguished",
            ),
        )


@default_objective.register(AbstractContrastiveTilt)  # these are models, too
def _(model: NCP, *, beta: Weight = 1.0) -> AbstractObjective:  # type: ignore[misc]
    return NCE(model)
