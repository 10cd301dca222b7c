"""Distances of samples: which features, which images, and the same answer every time."""

from dataclasses import replace

import members
import pytest
import torch

from priorwise import likelihoods
from priorwise.data import DataSpec, Splits, load
from priorwise.estimators import protocol_differences
from priorwise.evaluation import sample_quality as quality
from priorwise.evaluation.sample_quality import build_extractor, quality_measures
from priorwise.features import Features, Raw, TrainedClassifier, extract
from priorwise.models import NCP, gated_vae, moons_vae


def grey(count: int = 60) -> Splits:
    """Grey images of 8x8 pixels, dequantised afresh each time they are looked at."""
    pixels = torch.arange(count * 64).reshape(count, 1, 8, 8) * 37 % 101 * 2 % 256
    spec = DataSpec("grey", (1, 8, 8), 256, "gaussian", "none", "dequantize")
    return Splits(*pixels.to(torch.uint8).split([count - 40, 20, 20]), spec)


def test_vectors_are_their_own_features():
    splits = load("two_moons")
    assert isinstance(build_extractor("auto", splits), Raw)
    with pytest.raises(
        ValueError, match=r"expected images for the features 'classifier'; the data are vectors"
    ):
        build_extractor("classifier", splits)
    with pytest.raises(ValueError, match=r"expected 'auto', 'raw', .*got 'vgg'"):
        build_extractor("vgg", grey())


def test_a_classifier_is_trained_once_and_found_again(tmp_path):
    """Fault: noise of dequantisation in what it is trained on, so that every call trains another
    one.
    """
    first, second = (
        build_extractor("auto", grey(), cache=tmp_path, progress=False) for _ in range(2)
    )
    assert isinstance(first, TrainedClassifier)
    assert first.fingerprint == second.fingerprint
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_labels_of_the_set_name_the_classifier(tmp_path):
    splits = load("digits")
    told, untold = (
        build_extractor("classifier", data, cache=tmp_path, progress=False)
        for data in (splits, replace(splits, labels=None))
    )
    assert (told.name, untold.name) == ("classifier:digits:1x8x8", "rotations:digits:1x8x8")


def test_measures_are_repeatable_and_low_posterior_samples_are_further_off():
    """Fault: an unseeded choice of the reference; random and low-posterior samples exchanged."""
    splits = load("two_moons")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = moons_vae()
    test = splits.evaluation("test")[:300]
    first, second = (quality_measures(model, splits, test, Raw(), images=100) for _ in range(2))
    assert first == second
    assert set(first) == {
        "floor",
        "random",
        "random_neighbours",
        "low_posterior",
        "low_posterior_neighbours",
    }
    assert first["floor"]["value"] < first["random"]["value"]
    assert first["random"]["protocol"]["generated"] == "random samples"
    assert first["random"]["count"] == first["low_posterior"]["count"] == 100


def test_pixels_stay_in_range(tmp_path):
    """Fault: decoder means of a Gaussian beyond 0 and 1, which extractors refuse."""
    splits = grey()
    model = gated_vae((1, 8, 8), latent=2, hidden=8)
    extractor = build_extractor("classifier", splits, cache=tmp_path, progress=False)
    qualities = quality_measures(model, splits, splits.evaluation("test"), extractor, images=20)
    assert qualities["random"]["protocol"]["extractor"] == extractor.name


def bits(count: int = 400, *, grey_values: bool = False) -> Splits:
    """Pixels that are 1 with probability 1/2, all independent; as grey values or as bits."""
    pixels = torch.randint(0, 2, (3 * count, *members.SHAPE), dtype=torch.uint8)
    spec = DataSpec("bits", members.SHAPE, 2, "bernoulli", "none", "unit")
    if grey_values:
        spec = DataSpec("grey", members.SHAPE, 256, "discretized_logistic", "none", "midpoint")
    return Splits(*pixels.split(count), spec)


def measured(monkeypatch, model, splits) -> tuple[dict[str, object], dict[str, torch.Tensor]]:
    """The measures, and the images that they compared."""
    images = {}

    def spy(extractor, x: torch.Tensor, *, split: str, **options: object) -> Features:
        images[split] = x
        return extract(extractor, x, split=split, **options)

    monkeypatch.setattr(quality, "extract", spy)
    return quality_measures(model, splits, splits.evaluation("test"), Raw(), images=100), images


def is_binary(x: torch.Tensor) -> bool:
    return bool(((x == 0) | (x == 1)).all())


AS = {
    "draws": (members.vae, bits),
    "draws of an NCP": (lambda: NCP(members.vae(), hidden_features=(8,)), bits),
    "means": (lambda: members.vae(likelihood=likelihoods.Gaussian), bits),
    "means for grey values": (members.vae, lambda: bits(grey_values=True)),
}


@pytest.mark.parametrize("name", AS)
def test_bits_are_compared_with_bits(monkeypatch, name):
    """Fault: grey means of a Bernoulli decoder compared with binarised images; draws of a Gaussian,
    which are noise.
    """
    model, splits = (make() for make in AS[name])
    kind = name.split()[0]
    qualities, images = measured(monkeypatch, model, splits)
    for sample in ("random", "low_posterior"):
        assert is_binary(images[f"{sample} samples"]) == (kind == "draws")
        assert qualities[sample]["protocol"]["generated_as"] == kind
        for measure in qualities[f"{sample}_neighbours"].values():
            assert measure["protocol"]["generated_as"] == kind


def test_a_perfect_model_of_bits_has_no_distance(monkeypatch):
    """Fault: means in place of draws, which are at a distance from bits for every model, also for
    the true one.
    """
    splits, model = bits(), members.vae()
    torch.nn.init.zeros_(model.decoder.head.logits.weight)
    torch.nn.init.zeros_(model.decoder.head.logits.bias)
    qualities, _ = measured(monkeypatch, model, splits)
    assert qualities["random"]["value"] < 5 * qualities["floor"]["value"] + 0.05
    means = model.sample(100, seed=0)
    away = quality.frechet_distance(
        extract(Raw(), splits.evaluation("test")), extract(Raw(), means)
    )
    assert away.value > 1


def test_means_and_draws_are_not_compared(monkeypatch):
    """Fault: a distance of draws set beside one of means; older numbers, which do not say, beside
    each other are.
    """
    splits = bits()
    (drawn, _), (means, _) = (
        measured(monkeypatch, members.vae(likelihood=kind), splits)
        for kind in (likelihoods.Bernoulli, likelihoods.Gaussian)
    )
    one, other = drawn["random"]["protocol"], means["random"]["protocol"]
    assert protocol_differences(one, other) == ["generated_as (draws against means)"]
    older = {key: value for key, value in one.items() if key != "generated_as"}
    assert protocol_differences(older, one) == ["generated_as (none against draws)"]
    assert protocol_differences(older, older) == []


def test_images_in_another_range_are_mapped_and_not_cut():
    """Fault: images in [-1, 1] whose darker half is cut to black before the features are taken."""
    images = torch.rand(120, 1, 8, 8) * 2 - 1
    images[0, 0, 0, 0], images[1, 0, 0, 0] = -1.0, 1.0
    spec = DataSpec("signed", (1, 8, 8), None, "gaussian", "none", "none")
    splits = Splits(images, images[:40], images[:40], spec)
    assert torch.allclose(quality._pixels(images, splits), (images + 1) / 2, atol=1e-6)
    unit = Splits(images.abs(), images[:40].abs(), images[:40].abs(), spec)
    assert torch.equal(quality._pixels(images.abs(), unit), images.abs())


def test_small_images_are_their_own_features():
    spec = DataSpec("small", (1, 6, 6), 2, "bernoulli", "none", "unit")
    bits = torch.randint(0, 2, (60, 1, 6, 6), dtype=torch.uint8)
    assert isinstance(build_extractor("auto", Splits(bits, bits, bits, spec)), Raw)


@pytest.mark.parametrize(("pockets", "doubtful"), [(9.0, False), (4.0, True), (None, True)])
def test_pockets_that_are_no_farther_are_doubted(pockets, doubtful):
    """Fault: pockets nearer to the data than random samples without a word, or a doubt of the
    neighbours that no view shows.
    """
    name = "frechet distance, raw"
    distances = {
        kind: {"name": name, "value": value, "stderr": 1.0, "warnings": []}
        for kind, value in (("random", 5.0), ("low_posterior", pockets), ("floor", 1.0))
    }
    share = {"value": 0.5, "stderr": 0.1, "warnings": ["few images."]}
    value = distances | {"random_neighbours": {"precision": share, "recall": share}}
    cells = quality.QUALITY.shown(value)
    assert bool(cells["distance, pockets"].doubts) == doubtful
    assert cells["precision / recall"].doubts == ("few images.",)
    assert pockets != 4.0 or "(4 against 5)" in cells["distance, pockets"].doubts[0]
