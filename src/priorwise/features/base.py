"""The base of all feature extractors, and the features of images with their origin.

Letters: ``N`` images of ``C`` channels, ``H`` high and ``W`` wide; ``F`` features.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from priorwise.models import frozen
from priorwise.nn import no_autocast
from priorwise.progress import tell
from priorwise.refusals import UnavailableError
from priorwise.storage import content_hash

__all__ = ["AbstractExtractor", "AbstractImageExtractor", "Features", "as_colour", "extract"]


class AbstractExtractor(nn.Module, ABC):
    """How to write an extractor.

    1. For images, inherit from ``AbstractImageExtractor``, which checks them, and implement
       ``_features(images)``: it maps ``(N, C, H, W)`` in [0, 1] to ``(N, F)``, where each row
       depends on its own image only. For other observations, inherit from this class and implement
       ``forward``.
    2. Implement ``name``, which appears in the names of distances. Two extractors with the same
       name may differ only in their weights.
    3. Implement ``resize``: describe in words everything that is done to an image before the
       network.
    4. Keep everything that the features depend on in the name, in ``resize``, or in parameters and
       buffers, which ``fingerprint`` hashes.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that distances carry, for example ``"classifier:mnist:1x28x28"``."""

    @property
    @abstractmethod
    def resize(self) -> str:
        """What is done to an image before the network, in words."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, *event)`` to features ``(N, F)``."""

    @property
    def fingerprint(self) -> str:
        """A short hash of the weights, or "no weights"."""
        tensors = self.state_dict()
        return content_hash(tensors) if tensors else "no weights"


class AbstractImageExtractor(AbstractExtractor):
    """An extractor that checks its images; implement ``_features``."""

    @abstractmethod
    def _features(self, images: Tensor) -> Tensor:
        """Map checked float images to ``(N, F)``."""

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` in [0, 1] to features ``(N, F)``.

        Raises:
            ValueError: for another shape or range.
        """
        if images.dim() != 4:
            raise ValueError(f"expected images (N, C, H, W); got shape {tuple(images.shape)}.")
        if not images.is_floating_point():
            raise ValueError(
                f"expected images as floats in [0, 1]; got {images.dtype}. Divide by the largest "
                "value."
            )
        if not bool(((images >= 0) & (images <= 1)).all()):  # also false for NaN
            low, high = float(images.min()), float(images.max())
            raise ValueError(
                f"expected images in [0, 1]; got values in [{low:.3g}, {high:.3g}]. Scale or clamp "
                "them."
            )
        return self._features(images)


def as_colour(images: Tensor) -> Tensor:
    """Repeat the channel of grey images three times; leave colour images as they are.

    Raises:
        ValueError: for another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"expected images with 1 or 3 channels; got {images.shape[1]}.")
    return images.expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class Features:
    """The features of a set of images with their origin; computed once, they serve many distances.

    Attributes:
        values: The features ``(N, F)``, all finite.
        extractor: Name of the extractor.
        weights: Hash of the extractor's weights.
        resize: What was done to the images before the network.
        data: Hash of the images; if it is empty, the hash of the features takes its place.
        split: What the images are, for example ``"mnist test"``.
        decoded: For generated images, whether they are ``"means"`` of the decoder or ``"draws"``
            from it; distances of the two cannot be compared. None for other images, or where this
            is unknown.
    """

    values: Tensor
    extractor: str
    weights: str = "unknown"
    resize: str = "unknown"
    data: str = ""
    split: str = "unnamed"
    decoded: str | None = None

    def __post_init__(self) -> None:
        if self.values.dim() != 2:
            raise ValueError(f"expected features (N, F); got shape {tuple(self.values.shape)}.")
        if not bool(self.values.isfinite().all()):
            raise UnavailableError(
                "expected finite features; got some that are NaN or infinite. Check the images and "
                "the extractor."
            )
        object.__setattr__(self, "data", self.data or content_hash({"values": self.values}))

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Features({len(self)} x {self.values.shape[1]}, {self.extractor}, {self.split})"


def extract(
    extractor: AbstractExtractor,
    images: Tensor,
    *,
    split: str = "unnamed",
    decoded: str | None = None,
    block: int = 250,
    report: Callable[[int], None] | None = None,
) -> Features:
    """The features of all images, block by block, on the CPU.

    Arguments:
        extractor: The extractor; it runs in eval mode, and its mode is restored.
        images: Images, or whatever the extractor takes, ``(N, *event)``.
        split: What the images are, for the protocol.
        decoded: For generated images, ``"means"`` or ``"draws"`` of the decoder, for the protocol.
        block: Number of images that go through the network at once; it changes the numbers by
            rounding only.
        report: Called with the number of images that were just finished, for a progress bar.

    Example:
        >>> from priorwise.features import Raw
        >>> extract(Raw(), torch.zeros(5, 2), split="two moons")
        Features(5 x 2, raw, two moons)
    """
    if len(images) < 1 or block < 1:
        raise ValueError(
            f"expected at least one image and a `block` of at least 1; got {len(images)} and "
            f"{block}."
        )
    device = next(
        (tensor.device for tensor in chain(extractor.parameters(), extractor.buffers())),
        images.device,
    )
    parts = []
    with frozen(extractor), torch.no_grad(), no_autocast(torch.empty(0, device=device)):
        for part in images.split(block):
            parts.append(extractor(part.to(device)).cpu())
            tell(report, len(part))
    return Features(
        values=torch.cat(parts),
        extractor=extractor.name,
        weights=extractor.fingerprint,
        resize=extractor.resize,
        data=content_hash({"images": images}),
        split=split,
        decoded=decoded,
    )
