"""A smaller evaluation does not replace a larger one, and says so."""

import warnings

import pytest

from priorwise.config import EvaluationConfig
from priorwise.evaluation import EvaluationRecord
from priorwise.evaluation.extent import not_smaller

LARGE = EvaluationConfig(samples=1000, images=None, log_norm_samples=5000)


def record(config: EvaluationConfig, **values: object) -> EvaluationRecord:
    """A record of these values, measured with the settings."""
    names = {
        "nll": ("samples", "images", "precision", "compile", "seed"),
        "active_units": ("images", "seed"),
        "log_norm": ("log_norm", "log_norm_samples", "seed"),
    }
    settings = {key: {name: config.model_dump()[name] for name in names[key]} for key in values}
    numbers = {"subject": {}, "config": config.model_dump(), "settings": settings, **values}
    return EvaluationRecord(numbers)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"samples": 10}, {"samples": 1000}),
        ({"images": 5}, {"images": None}),
        ({"samples": 10, "images": 5}, {"samples": 1000, "images": None}),
        ({"samples": 10, "log_norm_samples": 9}, {"samples": 1000, "log_norm_samples": 5000}),
        ({"quality": "none", "samples": 10}, {"samples": 1000}),
        ({}, {}),
        ({"samples": 2000}, {}),
        ({"samples": 2000, "images": 5}, {}),  # neither is the larger
        ({"samples": 10, "seed": 3}, {}),
        ({"samples": 10, "precision": "bf16"}, {}),
    ],
    ids=str,
)
def test_what_is_larger_stays(asked, kept):
    """Fault: an evaluation of hours that a quick look replaces; a request that is ignored silently;
    settings of one number that change another.
    """
    earlier = record(LARGE, nll={"value": 1}, active_units=[], log_norm={"value": 0})
    wanted = LARGE.model_copy(update=asked)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        config = not_smaller(wanted, earlier)
    assert config == wanted.model_copy(update=kept)
    assert len(warned) == bool(kept)
    for name, value in kept.items():
        size = "all" if value is None else value
        assert f"{name}={size} instead of {asked[name]}" in str(warned[0].message)
        assert "--again" in str(warned[0].message)


def test_what_was_refused_or_never_measured_binds_nobody():
    wanted = LARGE.model_copy(update={"samples": 10})
    assert not_smaller(wanted, record(LARGE, nll={"refused": "no density"})) == wanted
    assert not_smaller(wanted, record(LARGE, active_units=[])) == wanted
