"""The Inception network of the published FID, through torch-fidelity."""

from pathlib import Path

import torch
from torch import Tensor, nn

from priorwise.features.base import AbstractImageExtractor, as_colour
from priorwise.refusals import MissingExtraError
from priorwise.storage import file_hash

__all__ = ["INCEPTION", "INCEPTION_FILE", "Inception"]

INCEPTION = "inception-v3-2015"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_ADDRESS = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
_DIGEST = "6726825d"  # the first digits of the file's SHA-256, also part of its name


class Inception(AbstractImageExtractor):
    """The 2048 pooled features of the Inception network of 2015, which define FID.

    The Frechet distance of these features, and of no others, is FID. It needs the extra ``fid`` and
    a file of weights (91 MB), which is downloaded only if you ask for it. A published FID also
    fixes the number of images (usually 50,000), the data split and the crop; the protocol of a
    number records them.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et
        al., 2017), equation 6. https://arxiv.org/abs/1706.08500

    Arguments:
        weights: The file of weights; None looks in the cache of torch hub.
        download: Whether a missing file may be downloaded to the cache of torch hub.

    Raises:
        MissingExtraError: if the extra is not installed, or if torchvision, which torch-fidelity
            imports, does not load.
        FileNotFoundError: if there are no weights; the message says where to put them.
        ValueError: if the file does not hold the weights of the published network.
    """

    def __init__(self, weights: str | Path | None = None, *, download: bool = False) -> None:
        super().__init__()
        make = _network_class()
        path = (
            Path(weights)
            if weights is not None
            else Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
        )
        if not path.is_file():
            _fetch(path, download=download and weights is None)
        _verify(path)
        network: nn.Module = make(INCEPTION, ["2048"], feature_extractor_weights_path=str(path))
        self.network = network.eval().requires_grad_(requires_grad=False)

    @property
    def name(self) -> str:
        """The name that distances carry; with this one they are called FID."""
        return INCEPTION

    @property
    def resize(self) -> str:
        """What is done to an image before the network."""
        return "rounded to 8 bits, grey repeated to RGB, bilinear to 299x299 as in TensorFlow 1"

    def _features(self, images: Tensor) -> Tensor:
        levels = (255 * as_colour(images)).round().to(torch.uint8)
        return self.network(levels)[0]


def _network_class() -> type[nn.Module]:
    try:
        from torch_fidelity import FeatureExtractorInceptionV3
    except ImportError as error:
        missing = "torchvision" if "torchvision" in str(error) else "torch-fidelity"
        raise MissingExtraError(
            f"expected the package {missing}, which Inception features need; it is not installed. "
            "Run pip install 'priorwise[fid]', or use another extractor: "
            "priorwise.features.trained_classifier or EfficientNetLite."
        ) from error
    except RuntimeError as error:  # this torchvision was built for another torch
        raise MissingExtraError(
            "expected a torchvision that loads, since torch-fidelity imports it; it failed with: "
            f"{error}. Install the torchvision that was built for your torch, or use another "
            "extractor: priorwise.features.trained_classifier or EfficientNetLite."
        ) from error
    return FeatureExtractorInceptionV3


def _fetch(path: Path, *, download: bool) -> None:
    if not download:
        raise FileNotFoundError(
            f"expected the Inception weights at {path}; there is no such file. Put {_ADDRESS} "
            "there, name your file in `weights`, or call Inception(download=True)."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(_ADDRESS, str(path), hash_prefix=_DIGEST, progress=False)


def _verify(path: Path) -> None:
    """Check the hash of the file, because torch-fidelity unpickles it."""
    sha256 = file_hash(path)
    if not sha256.startswith(_DIGEST):
        raise ValueError(
            f"expected the published Inception weights, SHA-256 {_DIGEST}..., in {path}; got "
            f"{sha256[:8]}.... Remove the file and download it again: with other weights the "
            "distance is not FID."
        )
