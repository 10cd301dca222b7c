"""The decoupled prior: a flow between the representation space and the generation space.

Letters: ``L`` latent dimensions.
"""

from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.backbones import CouplingFlow, Standardised
from priorwise.distributions import (
    AbstractBijection,
    NormalizingFlow,
    is_standard_normal,
    is_zuko_flow,
    shaped,
    vector_size,
)
from priorwise.priors.base import AbstractPrior
from priorwise.typing import Encode, Shape

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
                f"{type(distribution).__name__}. A module that returns another distribution "
                "already is a prior: pass it to the model."
            )
        if not is_standard_normal(distribution.base):
            raise ValueError(
                f"expected a zuko flow over a standard normal base; got {distribution.base}."
            )
        self.module = module
        self.features = distribution.event_shape[0]

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z0, log_det = self.module().transform.call_and_ladj(z)
        # Elementwise maps return one log-determinant per dimension.
        return z0, log_det.reshape(*z0.shape[:-1], -1).sum(-1)

    def inverse(self, z0: Tensor) -> Tensor:
        return self.module().transform.inv(z0)


class FlowPrior(AbstractPrior):
    r"""The dpVAE's decoupled prior, which is standard normal in a separate generation space.

    .. math:: p(z) = \mathcal{N}(g(z); 0, I_L) \, \left|\det \frac{\partial g(z)}{\partial z}\right|

    The encoder, the decoder and any regulariser work with the representation z. New observations
    start in the generation space, :math:`z_0 \sim \mathcal{N}(0, I)`, and reach the decoder as
    :math:`z = g^{-1}(z_0)`. Normalised; exact sampling; reparameterised. The prior is trained
    together with the model, by the same loss.

    Before training g is not the identity: its networks start at random, as in the paper.

    References:
        dpVAEs: Fixing Sample Generation for Regularized VAEs (Bhalodia et al., 2020), equations
        2-5. https://arxiv.org/abs/1911.10506

        With ``kl="entropy"`` an objective's rate is equation 5, including the constant -L/2 that
        the paper's text omits.

    Arguments:
        flow: The number of latent dimensions L or the shape of the latents, which the flow sees as
            vectors, to build the paper's affine couplings; or your own map, an
            ``AbstractBijection`` or an unconditional zuko flow over a standard normal.
        blocks: Number of couplings to build.
        hidden_features: Sizes of the hidden layers of the two networks of each coupling.

    Example:
        >>> prior = FlowPrior(2)
        >>> z = prior().sample((5,))
        >>> bool((prior.to_representation(prior.to_generation(z)) - z).abs().max() < 1e-4)
        True
    """

    def __init__(
        self,
        flow: int | Shape | nn.Module,
        *,
        blocks: int = 6,
        hidden_features: tuple[int, ...] = (64, 64),
    ) -> None:
        super().__init__()
        shape = None if isinstance(flow, nn.Module) else flow
        if not isinstance(flow, nn.Module):
            size = vector_size(flow)[1]
            flow = CouplingFlow(size, blocks=blocks, hidden_features=hidden_features)
        self.bijection = flow if isinstance(flow, AbstractBijection) else _ZukoBijection(flow)
        self.shape, _ = vector_size(self.bijection.features if shape is None else shape)

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        return shaped(NormalizingFlow(self.bijection), self.shape)

    def expect_codes(self) -> None:
        """Put a standardisation before the map, which sees no more than a few units."""
        if not isinstance(self.bijection, Standardised):
            self.bijection = Standardised(self.bijection)

    def start_from(self, codes: Tensor, x: Tensor, *, show: bool = False) -> None:
        """Standardise the codes; mean and scale stay with the prior."""
        self.expect_codes()
        assert isinstance(self.bijection, Standardised)
        self.bijection.standardise(codes.flatten(1))

    def extra_repr(self) -> str:
        """The number of features; repr also shows the map."""
        return f"features={self.bijection.features}"

    def to_generation(self, z: Tensor) -> Tensor:
        """Representations to generation space, :math:`z_0 = g(z)`: ``(*, *shape) -> (*, L)``."""
        return self.bijection(z.flatten(-len(self.shape)))[0]

    def to_representation(self, z0: Tensor) -> Tensor:
        """The inverse of ``to_generation``: :math:`z = g^{-1}(z_0)`, ``(*, L) -> (*, *shape)``."""
        return self.bijection.inverse(z0).unflatten(-1, self.shape)
