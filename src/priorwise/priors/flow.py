"""The decoupled prior: a flow between the space of the representation and the space of generation.

Letters: ``L`` latent dimensions.
"""

from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.backbones import CouplingFlow
from priorwise.distributions import (
    AbstractBijection,
    NormalizingFlow,
    is_standard_normal,
    is_zuko_flow,
)
from priorwise.priors.base import AbstractPrior
from priorwise.typing import Encode

__all__ = ["FlowPrior"]


class _ZukoBijection(AbstractBijection):
    """The map of an unconditional zuko flow over a standard normal base."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        distribution: Any = module()
        if not is_zuko_flow(distribution):
            raise TypeError(
                "expected `flow` as a number of latent dimensions, a bijection or an "
                f"unconditional zuko flow; got {type(module).__name__}, which returns "
                f"{type(distribution).__name__}. A module that returns another distribution is a "
                "prior as it is: hand it to the model."
            )
        if not is_standard_normal(distribution.base):
            raise ValueError(
                f"expected a zuko flow over a standard normal base; got {distribution.base}."
            )
        self.module = module
        self.features = distribution.event_shape[0]

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z0, log_det = self.module().transform.call_and_ladj(z)
        return z0, log_det.reshape(*z0.shape[:-1], -1).sum(
            -1
        )  # maps of one dimension leave theirs apart

    def inverse(self, z0: Tensor) -> Tensor:
        return self.module().transform.inv(z0)


class FlowPrior(AbstractPrior):
    r"""A prior that is normal in a space of its own: the dpVAE's decoupled prior.

    .. math:: p(z) = \mathcal{N}(g(z); 0, I_L) \, \left|\det \frac{\partial g(z)}{\partial z}\right|

    The encoder, the decoder and any regulariser see the representation z; new observations are
    drawn in the generation space, :math:`z_0 \sim \mathcal{N}(0, I)`, and come to the decoder
    through :math:`z = g^{-1}(z_0)`. Normalised; exact sampling; reparameterised; trained with the
    model by the same loss, without a stage of its own.

    Before training g is not the identity: its networks start at random, as the paper's do.

    References:
        dpVAE: decoupled prior for VAEs (Bhalodia et al., 2020), equations 2-5. With
        ``kl="entropy"`` an objective's rate is equation 5, with the constant -L/2 that the paper's
        text leaves out.

    Arguments:
        flow: The number of latent dimensions L, for the paper's affine couplings; or a map of your
            own, an ``AbstractBijection`` or an unconditional zuko flow over a standard normal.
        blocks: Number of couplings that are built.
        hidden_features: Hidden layers of the two networks of each coupling that is built.

    Example:
        >>> prior = FlowPrior(2)
        >>> z = prior().sample((5,))
        >>> bool((prior.to_representation(prior.to_generation(z)) - z).abs().max() < 1e-4)
        True
    """

    def __init__(
        self, flow: int | nn.Module, *, blocks: int = 6, hidden_features: tuple[int, ...] = (64, 64)
    ) -> None:
        super().__init__()
        if isinstance(flow, int):
            flow = CouplingFlow(flow, blocks=blocks, hidden_features=hidden_features)
        self.bijection = flow if isinstance(flow, AbstractBijection) else _ZukoBijection(flow)

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        return NormalizingFlow(self.bijection)

    def extra_repr(self) -> str:
        """What repr shows beside the map."""
        return f"features={self.bijection.features}"

    def to_generation(self, z: Tensor) -> Tensor:
        """Representations to the space where the prior is normal: :math:`z_0 = g(z)`, ``(*, L) -> (*, L)``."""
        return self.bijection(z)[0]

    def to_representation(self, z0: Tensor) -> Tensor:
        """The inverse of ``to_generation``: :math:`z = g^{-1}(z_0)`, ``(*, L) -> (*, L)``."""
        return self.bijection.inverse(z0)
