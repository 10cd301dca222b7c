"""The VampPrior paper's convolutional models as validated configuration."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from priorwise.config.abstract_models import AbstractVAEConfig
from priorwise.limits import LARGEST_LAYER

if TYPE_CHECKING:
    import torch

__all__ = ["ConvHVAEConfig", "PixelHVAEConfig"]


class ConvHVAEConfig(AbstractVAEConfig):
    """The two-level HVAE of gated convolutions, for images of any size."""

    kind: Literal["conv_hvae"] = "conv_hvae"
    hidden: int = Field(300, ge=1, le=LARGEST_LAYER)
    """Size of the hidden layers."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.models import conv_hvae

        return conv_hvae(
            shape, prior=prior, likelihood=likelihood, latent=self.latent, hidden=self.hidden
        )


class PixelHVAEConfig(AbstractVAEConfig):
    """The two-level HVAE of gated convolutions with a PixelCNN decoder, for images of any size."""

    kind: Literal["pixel_hvae"] = "pixel_hvae"
    hidden: int = Field(300, ge=1, le=LARGEST_LAYER)
    """Size of the hidden layers."""
    features: int = Field(64, ge=1, le=LARGEST_LAYER)
    """Features of each layer of the PixelCNN."""
    published: bool = False
    """Whether the PixelCNN has the form of the paper's code: its masks hide latents from pixels,
    the channels of a pixel are independent, and batches are normalised."""

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:  # noqa: ANN401
        from priorwise.models import pixel_hvae

        return pixel_hvae(
            shape,
            prior=prior,
            likelihood=likelihood,
            latent=self.latent,
            hidden=self.hidden,
            features=self.features,
            published=self.published,
        )
