"""Invertible networks: affine coupling layers.

Letters: ``L`` dimensions, ``K`` blocks.
"""

import torch
from torch import Tensor, nn

from priorwise.distributions import AbstractBijection
from priorwise.nn import MLP

__all__ = ["AffineCoupling", "CouplingFlow"]


class AffineCoupling(AbstractBijection):
    r"""One block: half of the dimensions scale and shift the other half.

    .. math:: g(z) = b \odot z
              + (1 - b) \odot \big(z \odot e^{s(b \odot z)} + t(b \odot z)\big), \qquad
              \log\left|\det \frac{\partial g}{\partial z}\right|
              = \sum_l (1 - b_l) \, s_l(b \odot z)

    s and t are two separate networks that end in a tanh, so that one block scales by e at most and
    shifts by 1 at most.

    References:
        dpVAEs: Fixing Sample Generation for Regularized VAEs (Bhalodia et al., 2020), equations
        3, 8 and 20-23. https://arxiv.org/abs/1911.10506

    Arguments:
        mask: The b above, ``(L,)``: 1 for the dimensions that stay as they are, 0 for the others.
        hidden_features: Sizes of the hidden layers of each of the two networks.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, hidden_features: tuple[int, ...] = (64, 64)) -> None:
        super().__init__()
        self.features = len(mask)
        self.register_buffer("mask", mask.float(), persistent=False)
        self.scale = nn.Sequential(
            MLP(len(mask), len(mask), hidden_features, nn.LeakyReLU), nn.Tanh()
        )
        self.shift = nn.Sequential(
            MLP(len(mask), len(mask), hidden_features, nn.LeakyReLU), nn.Tanh()
        )

    def _scale_and_shift(self, masked: Tensor) -> tuple[Tensor, Tensor]:
        free = 1 - self.mask
        return free * self.scale(masked), free * self.shift(masked)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``(*, L)`` to the transformed ``(*, L)`` and the log-determinant ``(*)`` in nats."""
        log_scale, shift = self._scale_and_shift(self.mask * z)
        return z * log_scale.exp() + shift, log_scale.sum(-1)

    def inverse(self, z0: Tensor) -> Tensor:
        """The exact inverse, ``(*, L) -> (*, L)``.

        The unchanged dimensions give the same scale and shift again.
        """
        log_scale, shift = self._scale_and_shift(self.mask * z0)
        return (z0 - shift) * (-log_scale).exp()


class CouplingFlow(AbstractBijection):
    r"""Affine couplings with alternating masks: :math:`g = g_K \circ \dots \circ g_1`.

    The masks alternate between the first and the second half of the dimensions. Six blocks scale a
    dimension by :math:`e^{\pm 3}` at most and shift it by a few units: a posterior far from the
    origin, or narrower than :math:`e^{-3}` everywhere, is beyond their reach.

    References:
        dpVAEs: Fixing Sample Generation for Regularized VAEs (Bhalodia et al., 2020), equations
        4 and 9. With six blocks the flow has 53,784 parameters for L = 2, 66,168 for L = 10 and
        143,568 for L = 60. https://arxiv.org/abs/1911.10506

    Arguments:
        features: Number of dimensions L, at least 2.
        blocks: Number of blocks K.
        hidden_features: Sizes of the hidden layers of the two networks of each block.
    """

    def __init__(
        self, features: int, *, blocks: int = 6, hidden_features: tuple[int, ...] = (64, 64)
    ) -> None:
        super().__init__()
        if features < 2:
            raise ValueError(
                f"expected at least 2 `features`, so that one half moves the other; got {features}."
            )
        if blocks < 2:
            raise ValueError(
                f"expected at least 2 `blocks`, so that both halves are moved; got {blocks}."
            )
        self.features = features
        first = (torch.arange(features) < features - features // 2).float()
        masks = (first, 1 - first)
        self.blocks = nn.ModuleList(
            AffineCoupling(masks[k % 2], hidden_features) for k in range(blocks)
        )

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """``(*, L)`` to the noise ``(*, L)`` and the log-determinant ``(*)`` in nats."""
        log_det = torch.zeros(z.shape[:-1], dtype=z.dtype, device=z.device)
        for block in self.blocks:
            z, log_scale = block(z)
            log_det = log_det + log_scale
        return z, log_det

    def inverse(self, z0: Tensor) -> Tensor:
        """Noise ``(*, L)`` to points ``(*, L)``, block by block in reverse."""
        for block in reversed(self.blocks):
            assert isinstance(block, AffineCoupling)
            z0 = block.inverse(z0)
        return z0
