"""The importance-weighted bound."""

import math

from torch import Tensor

from priorwise.models import AbstractModel
from priorwise.objectives.base import AbstractModelObjective, Explanation, Terms
from priorwise.objectives.evidence import one_draw
from priorwise.objectives.judging import ROWS, mean_over_blocks

__all__ = ["IWAE"]


class IWAE(AbstractModelObjective):
    r"""The negative importance-weighted bound, tighter than the ELBO with every sample.

    .. math:: -\mathbb{E}\left[\log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x, z_k)}{q(z_k | x)}\right]

    A bound on the likelihood for every K. One term, ``bound``, in nats per example.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016), equation 8.
        https://arxiv.org/abs/1509.00519

    Arguments:
        model: The model.
        samples: Number of importance samples K.
    """

    def __init__(self, model: AbstractModel, samples: int = 50) -> None:
        super().__init__(model, "IWAE bound")
        if samples < 1:
            raise ValueError(f"expected `samples` of at least 1; got {samples}.")
        self.samples = samples

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """K draws from the posterior for each example."""
        log_w = -one_draw(self.model, x, "sample", sample_shape=(self.samples,)).negative_elbo()
        return Terms({"bound": math.log(self.samples) - log_w.logsumexp(0)})

    @property
    def metric(self) -> str:
        """The bound itself, with as many samples as in the fit."""
        return "negative_iwae_bound"

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float:
        """The mean bound over all examples, in nats; the batch size has no influence."""
        block = max(1, ROWS // self.samples)
        return mean_over_blocks(
            lambda batch: self(batch).per_example["bound"],
            x,
            block=block,
            seed=seed,
            address="iwae",
        )

    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""
        return Explanation(
            minimised="bound",
            terms={
                "bound": f"weight 1; -log of the mean of {self.samples} importance weights p(x, "
                "z) / q(z|x), nats"
            },
            is_bound=True,
            bound="it is one for every number of samples; the gap falls like 1/K, here "
            f"K = {self.samples}",
        )
