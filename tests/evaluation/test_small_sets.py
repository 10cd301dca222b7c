"""Test sets of one, two and three images: what cannot be had is refused in words."""

import json
import math

import pytest
import torch

from priorwise.config import EvaluationConfig
from priorwise.data import from_arrays
from priorwise.evaluation import Subject, measure
from priorwise.likelihoods import DiscretizedLogistic
from priorwise.models import gated_vae
from priorwise.reporting import report, save_comparison, save_traversal

X = torch.randint(0, 256, (20, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
SETTINGS = {"samples": 3, "images": None, "quality": "raw"}


def model():
    return gated_vae((1, 6, 6), latent=2, hidden=6, likelihood=DiscretizedLogistic)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_number_or_its_reason(count):
    splits = from_arrays(X, validation=X[:2], test=X[:count])
    subject = Subject(model(), splits, EvaluationConfig(**SETTINGS), progress=False)
    numbers = measure(subject).numbers
    reasons = {
        key: value["refused"]
        for key, value in numbers.items()
        if isinstance(value, dict) and "refused" in value
    }
    assert "at least 40 points of each kind" in reasons["two_sample"]
    assert (
        f"at least 6 images for the distance between two halves of them; got {count}."
        in (reasons["quality"])
    )
    few = {"symmetric_kl", "active_units", "leakage"}
    assert few & reasons.keys() == (few if count == 1 else set())
    assert math.isfinite(numbers["nll"]["value"])


def test_a_set_of_three_has_a_report_and_pictures(tmp_path):
    """Fault: a traceback, a warning of torch, or nothing."""
    splits = from_arrays(X[:3])
    path = report(model(), splits, tmp_path / "page.html", progress=False, **SETTINGS)
    assert "expected at least 2 observations" in path.read_text(encoding="utf-8")
    json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    walk = save_traversal(model(), splits, tmp_path / "walk.png", dimensions=2, steps=3)
    assert walk.variances == [0.0, 0.0]
    save_comparison({"model": model()}, splits, tmp_path / "rows.png", draws=20)
