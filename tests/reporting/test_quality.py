"""Distances of samples: which features, which images, and the same answer every time."""

import pytest
import torch

from priorwise.data import DataSpec, Splits, load
from priorwise.features import Raw, TrainedClassifier
from priorwise.models import gated_vae, moons_vae
from priorwise.reporting.quality import build_extractor, quality_measures


def grey(count: int = 60) -> Splits:
    """Grey images of 8x8 pixels, dequantised afresh each time they are looked at."""
    pixels = torch.arange(count * 64).reshape(count, 1, 8, 8) * 37 % 101 * 2 % 256
    spec = DataSpec("grey", (1, 8, 8), 256, "gaussian", "none", "dequantize")
    return Splits(*pixels.to(torch.uint8).split([count - 40, 20, 20]), spec)


def test_vectors_are_their_own_features():
    splits = load("two_moons")
    assert isinstance(build_extractor("auto", splits), Raw)
    with pytest.raises(ValueError, match=r"expected images for the features 'classifier'; two_moons has vectors"):
        build_extractor("classifier", splits)
    with pytest.raises(ValueError, match=r"expected 'auto', 'raw', .*got 'vgg'"):
        build_extractor("vgg", grey())


def test_a_classifier_is_trained_once_and_found_again(tmp_path):
    """Fault: noise of dequantisation in what it is trained on, so that every call trains another one."""
    first, second = (build_extractor("auto", grey(), cache=tmp_path, progress=False) for _ in range(2))
    assert isinstance(first, TrainedClassifier)
    assert first.fingerprint == second.fingerprint
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_labels_of_the_set_name_the_classifier(tmp_path):
    splits = load("digits")
    told = build_extractor("classifier", splits, labels="digits", cache=tmp_path, progress=False)
    untold = build_extractor("classifier", splits, cache=tmp_path, progress=False)
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
    assert set(first) == {"floor", "random", "random_neighbours", "low_posterior", "low_posterior_neighbours"}
    assert first["floor"]["value"] < first["random"]["value"]
    assert first["random"]["protocol"]["generated"] == "random samples"
    assert first["random"]["count"] == first["low_posterior"]["count"] == 100


def test_pixels_stay_in_range(tmp_path):
    """Fault: decoder means of a Gaussian beyond 0 and 1, which extractors refuse."""
    splits = grey()
    model = gated_vae((1, 8, 8), latent=2, hidden=8)
    extractor = build_extractor("classifier", splits, cache=tmp_path, progress=False)
    found = quality_measures(model, splits, splits.evaluation("test"), extractor, images=20)
    assert found["random"]["protocol"]["extractor"] == extractor.name
