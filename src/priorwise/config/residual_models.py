"""The VAE of residual convolutions as validated configuration."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from priorwise.config.abstract_models import AbstractVAEConfig
from priorwise.limits import LARGEST_LAYER

if TYPE_CHECKING:
    import torch

__all__ = ["ResidualVAEConfig"]


class ResidualVAEConfig(AbstractVAEConfig):
    """The VAE of residual convolutions, for images of any height and width."""

    training: ClassVar[dict[str, Any]] = {
        "batch_size": 16,
        "lr": 2e-3,
        "lr_warmup_steps": 100,
    }
    """Options of a fit that serve it better than the defaults."""

    kind: Literal["residual_vae"] = "residual_vae"
    latent: int = Field(128, ge=1, le=LARGEST_LAYER)
    """Number of latent dimensions."""
    width: int = Field(32, ge=2, le=LARGEST_LAYER)
    """Planes of the finest level; the coarser ones have up to 4 times as many."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.models import residual_vae

        return residual_vae(
            shape, prior=prior, likelihood=likelihood, latent=self.latent, width=self.width
        )
