"""Features from a small network that is trained on the reference data.

They suit grey and small images, which networks trained on ImageNet describe poorly.

Letters: ``N`` images of ``C`` channels, ``H`` high and ``W`` wide; ``B`` images of a batch; ``F``
features.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from priorwise.features.base import AbstractImageExtractor
from priorwise.models import frozen
from priorwise.progress import tell
from priorwise.randomness import seeded
from priorwise.refusals import UnavailableError
from priorwise.storage import atomic_file, content_hash
from priorwise.typing import Shape

__all__ = ["TrainedClassifier", "trained_classifier"]

_VERSION = 1  # version of the network and its training, which decide the features
_BATCH = 128
_LEARNING_RATE = 2e-3
_HELD_OUT = 2000
_SMALLEST_MAP = 7
_POOLED = 2
_QUARTERS = 4


class TrainedClassifier(AbstractImageExtractor):
    """The penultimate layer of a small convolutional classifier.

    ``trained_classifier`` builds and trains it. Distances carry its name, such as
    ``"classifier:mnist:1x28x28"``, and are not FID: they compare models on one data set, with one
    set of weights. The features are taken before the nonlinearity, where a Gaussian describes them
    best.

    Arguments:
        shape: ``(C, H, W)`` of one image.
        classes: Number of classes.
        task: What it classifies: ``"classifier"`` for labels, ``"rotations"`` for turned images.
        label: Name of the reference set.
        features: Number of features F.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        task: str = "classifier",
        label: str = "own",
        features: int = 64,
    ) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.task = task
        self.label = label
        self.accuracy = math.nan  # on held-out images, once it is trained
        self.body = _body(self.shape, features)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(features, classes))

    @property
    def name(self) -> str:
        """The name that distances carry."""
        return f"{self.task}:{self.label}:{'x'.join(map(str, self.shape))}"

    @property
    def resize(self) -> str:
        """Images are not resized."""
        return "none"

    def logits(self, images: Tensor) -> Tensor:
        """Map ``(B, C, H, W)``, of any height and width, to ``(B, classes)``."""
        return self.head(self.body(images))

    def _features(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"expected images of shape {self.shape}, on which this extractor was trained; got "
                f"{tuple(images.shape[1:])}. Train an extractor on images of that shape."
            )
        return self.body(images)

    def extra_repr(self) -> str:
        """The text in the repr."""
        return f"{self.name}, accuracy={self.accuracy:.3f}"


def _body(shape: Shape, features: int) -> nn.Sequential:
    """Convolutions that halve the image down to about 7 pixels, coarse pooling, a dense layer."""
    halvings = max(1, int(math.log2(min(shape[1:]) / _SMALLEST_MAP)))
    widths = [min(32 * 2**stage, 128) for stage in range(halvings + 1)]
    layers: list[nn.Module] = []
    for stage, (before, after) in enumerate(zip([shape[0], *widths], widths, strict=False)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
        layers += [nn.MaxPool2d(2)] if stage < halvings else []
    layers += [
        nn.AdaptiveAvgPool2d(_POOLED),
        nn.Flatten(),
        nn.Linear(widths[-1] * _POOLED**2, features),
    ]
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class _Settings:
    """The settings that, together with the data, determine the weights."""

    seed: int
    features: int
    epochs: int
    examples: int
    version: int = _VERSION

    def file_name(self, task: str, x: Tensor, y: Tensor | None) -> str:
        """The file name of the weights in a cache; other settings or data give another name."""
        settings = "-".join(f"{name}{value}" for name, value in asdict(self).items())
        data = content_hash({"x": x} if y is None else {"x": x, "y": y})
        return f"{task}-{settings}-{data}.safetensors"


def trained_classifier(
    x: Tensor,
    y: Tensor | None = None,
    *,
    label: str = "own",
    seed: int = 0,
    features: int = 64,
    epochs: int = 4,
    examples: int = 20_000,
    cache: str | Path | None = None,
    report: Callable[[int], None] | None = None,
) -> TrainedClassifier:
    """Train an extractor to classify a labelled reference set.

    Without labels it learns to predict by how many right angles an image was turned, which requires
    it to recognise shapes. Where the turn cannot be seen (textures, round objects) its ``accuracy``
    is near 1/4 and its features mean little. For photographs without labels, prefer
    ``EfficientNetLite``.

    The same data, seed and settings give the same weights on one kind of machine, and the same up
    to rounding on another. So check that numbers have the same ``fingerprint`` before you compare
    them, or share the file in the cache. Training takes about a minute on one processor core for
    28x28 images.

    References:
        Unsupervised Representation Learning by Predicting Image Rotations (Gidaris et al., 2018),
        section 3. https://arxiv.org/abs/1803.07728

    Arguments:
        x: Reference images ``(N, C, H, W)`` in [0, 1], at least 8 pixels high and wide; use
            training data, not test data.
        y: Classes of the images ``(N,)``, any integers; None turns images instead.
        label: Name of the reference set; part of the extractor's name.
        seed: Seed of the initial weights and of the order of the images.
        features: Number of features; distances need several times as many images.
        epochs: Passes over the images.
        examples: Maximal number of images, drawn at random; a tenth of them, at most 2000, is held
            out for ``accuracy``.
        cache: Folder where trained extractors are stored; None trains anew.
        report: Called with the number of images that were just trained on; the total is ``epochs``
            times the number of training images.

    Raises:
        ValueError: for images or classes that do not fit.
    """
    _check(x, y)
    if min(features, epochs, examples) < 1:
        raise ValueError(
            f"expected `features`, `epochs` and `examples` of at least 1; got {features}, {epochs} "
            f"and {examples}."
        )
    classes = torch.zeros(0) if y is None else y.unique()
    count = len(classes) if y is not None else _QUARTERS
    network = _built(x, count, turned=y is None, label=label, features=features, seed=seed)
    settings = _Settings(seed, features, epochs, examples)
    path = (
        None
        if cache is None
        else Path(cache) / "extractors" / settings.file_name(network.task, x, y)
    )
    accuracy = None if path is None else _kept_accuracy(network, path)
    if accuracy is None:
        targets = None if y is None else torch.searchsorted(classes, y)
        accuracy = _train(network.to(x.device), x, targets, settings, report)
        if path is not None:
            _keep(network, accuracy, path)
    network.accuracy = accuracy
    return network.to(x.device).eval().requires_grad_(requires_grad=False)


def _built(
    x: Tensor, classes: int, *, turned: bool, label: str, features: int, seed: int
) -> TrainedClassifier:
    task = "rotations" if turned else "classifier"
    with seeded(seed, "trained_classifier", "weights"):
        return TrainedClassifier(
            tuple(x.shape[1:]), classes, task=task, label=label, features=features
        )


def _check(x: Tensor, y: Tensor | None) -> None:
    if x.dim() != 4 or min(x.shape[2:]) < 8:
        raise UnavailableError(
            f"expected images (N, C, H, W) of at least 8 x 8 pixels; got shape {tuple(x.shape)}."
        )
    if not x.is_floating_point() or not bool(((x >= 0) & (x <= 1)).all()):
        raise ValueError(
            f"expected images as floats in [0, 1]; got other values ({x.dtype}). Divide them by "
            "the largest possible value."
        )
    if len(x) < 10:
        raise UnavailableError(f"expected at least 10 images to train on; got {len(x)}.")
    if y is None:
        return
    if y.shape != (len(x),) or y.is_floating_point():
        raise ValueError(
            f"expected one integer class for each of {len(x)} images; got {y.dtype} of shape "
            f"{tuple(y.shape)}."
        )
    if len(y.unique()) < 2:
        raise ValueError(
            "expected at least two classes in `y`; got one. Leave `y` out to learn from turned "
            "images."
        )


def _turned(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central squares, a quarter of them turned by each multiple of 90 degrees, and the turns."""
    side = min(x.shape[2:])
    top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
    parts = x[:, :, top : top + side, left : left + side].tensor_split(_QUARTERS)
    angles = [torch.full((len(part),), angle, device=x.device) for angle, part in enumerate(parts)]
    turned = [part.rot90(angle, (2, 3)) for angle, part in enumerate(parts)]
    return torch.cat(turned), torch.cat(angles)


def _pairs(x: Tensor, y: Tensor | None, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images and classes in the given order."""
    for rows in order.split(_BATCH):
        yield _turned(x[rows]) if y is None else (x[rows], y[rows])


def _train(
    network: TrainedClassifier,
    x: Tensor,
    y: Tensor | None,
    settings: _Settings,
    report: Callable[[int], None] | None,
) -> float:
    """Train in place; return the accuracy on held-out images."""
    with seeded(settings.seed, "trained_classifier", "examples"):
        examples = torch.randperm(len(x))[: settings.examples].to(x.device)
    held = examples[: max(1, min(_HELD_OUT, len(examples) // 10))]
    rows = examples[len(held) :]
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, fused=True)
    steps = settings.epochs * math.ceil(len(rows) / _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps + 1)
    network.train()
    for epoch in range(settings.epochs):
        with seeded(settings.seed, "trained_classifier", "order", epoch):
            order = rows[torch.randperm(len(rows)).to(x.device)]
        for images, classes in _pairs(x, y, order):
            optimizer.zero_grad()
            F.cross_entropy(network.logits(images), classes).backward()
            optimizer.step()
            schedule.step()
            tell(report, len(images))
    return _accuracy(network, x, y, held)


def _accuracy(network: TrainedClassifier, x: Tensor, y: Tensor | None, rows: Tensor) -> float:
    with frozen(network), torch.no_grad():
        right = [
            (network.logits(images).argmax(1) == classes).float()
            for images, classes in _pairs(x, y, rows)
        ]
    return float(torch.cat(right).mean())


def _kept_accuracy(network: nn.Module, path: Path) -> float | None:
    """Load stored weights and return their held-out accuracy; None without an intact file."""
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            accuracy = float((file.metadata() or {})["accuracy"])
    except (SafetensorError, OSError, KeyError):
        return None  # the extractor is trained again, and the file is written anew
    network.load_state_dict(tensors)
    return accuracy


def _keep(network: nn.Module, accuracy: float, path: Path) -> None:
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    with atomic_file(path) as partial:
        partial.write_bytes(save(tensors, metadata={"accuracy": repr(accuracy)}))
