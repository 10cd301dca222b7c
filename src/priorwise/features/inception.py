"""The Inception network of the published FID, through torch-fidelity."""

from pathlib import Path

import torch
from torch import Tensor, nn

from priorwise.features.base import AbstractImageExtractor, as_colour
from priorwise.storage import file_hash

__all__ = ["INCEPTION", "INCEPTION_FILE", "Inception"]

INCEPTION = "inception-v3-2015"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_ADDRESS = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
_DIGEST = "6726825d"  # the file's name carries the beginning of its SHA-256


class Inception(AbstractImageExtractor):
    """The 2048 pooled features of the Inception network of 2015: the Frechet distance of these, and of no others, is FID.

    Needs the extra ``fid`` and a file of weights (91 MB), which is never downloaded unasked. A
    published FID also fixes the number of images, 50,000 as a rule, the data split and the crop:
    the protocol of a number says what it was.

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et
        al., 2017), equation 6.

    Arguments:
        weights: The file of weights; None looks in torch hub's cache.
        download: Whether a missing file may be downloaded to torch hub's cache.

    Raises:
        ImportError: if the extra is not installed, or torchvision, which torch-fidelity imports,
            does not load.
        FileNotFoundError: if there are no weights; the message says where to put them.
        ValueError: if the file is not that of the published network.
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
        """What distances are named after; this one makes them FID."""
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
        raise ImportError(
            f"expected the package {missing}, which Inception features need; it is not installed. "
            "Run pip install 'priorwise[fid]', or use another extractor: "
            "priorwise.features.trained_classifier or EfficientNetLite."
        ) from error
    except RuntimeError as error:  # a torchvision that was built for another torch
        raise ImportError(
            f"torch-fidelity imports torchvision, which does not load here ({error}). Install the "
            "torchvision that was built for your torch, or use another extractor: "
            "priorwise.features.trained_classifier or EfficientNetLite."
        ) from error
    return FeatureExtractorInceptionV3


def _fetch(path: Path, *, download: bool) -> None:
    if not download:
        raise FileNotFoundError(
            f"expected the Inception weights at {path}; there are none. Put {_ADDRESS} there, name "
            "the file in `weights`, or call Inception(download=True)."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(_ADDRESS, str(path), hash_prefix=_DIGEST, progress=False)


def _verify(path: Path) -> None:
    """The file is unpickled by torch-fidelity, so it must be the one that is known."""
    sha256 = file_hash(path)
    if not sha256.startswith(_DIGEST):
        raise ValueError(
            f"expected the published Inception weights, SHA-256 {_DIGEST}..., in {path}; got "
            f"{sha256[:8]}.... Remove the file and get it again: features of other weights give no "
            "FID."
        )
