"""What fits together in a description, and what an override makes of it."""

import json
from dataclasses import asdict, replace

import pytest

from priorwise.data import DataError, DataSpec

GREY = DataSpec("grey", (1, 4, 4), 256, "discretized_logistic", "none", "midpoint")
DYNAMIC = DataSpec("dynamic", (1, 4, 4), 256, "bernoulli", "dynamic", "unit")
BITS = DataSpec("bits", (1, 4, 4), 2, "bernoulli", "none", "unit")
REAL = DataSpec("real", (3,), None, "gaussian", "none", "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": ()}, "expected a `shape` of positive sizes"),
        ({"shape": (1, 0, 4)}, "expected a `shape` of positive sizes"),
        ({"levels": 1}, "expected `levels` from 2 to 256"),
        ({"levels": 257}, "expected `levels` from 2 to 256"),
        ({"levels": None}, "expected `scaling` 'none' for real values"),
        ({"scaling": "none"}, "expected `scaling` 'none' for real values"),
        (
            {"likelihood": "bernoulli", "scaling": "unit"},
            "expected zeros and ones for the Bernoulli likelihood",
        ),
        ({"binarize": "dynamic"}, "expected the Bernoulli likelihood for data that are binarised"),
        (
            {"levels": None, "scaling": "none"},
            "expected integers for the discretised logistic likelihood",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        DataSpec(**{**asdict(GREY), **changes})


@pytest.mark.parametrize(
    ("field", "value"), [("likelihood", "poisson"), ("binarize", "static"), ("scaling", "log")]
)
def test_unknown_choices_are_refused(field, value):
    # set past the constructor, whose types are checked under pytest before our own check is reached
    spec = replace(GREY)
    object.__setattr__(spec, field, value)
    with pytest.raises(DataError, match=f"expected `{field}` as one of .* got '{value}'"):
        spec.__post_init__()


@pytest.mark.parametrize(
    ("spec", "override", "likelihood", "binarize", "scaling"),
    [
        (GREY, {}, "discretized_logistic", "none", "midpoint"),
        (GREY, {"likelihood": "gaussian"}, "gaussian", "none", "dequantize"),
        (GREY, {"likelihood": "bernoulli"}, "bernoulli", "dynamic", "unit"),
        (GREY, {"binarize": "threshold"}, "bernoulli", "threshold", "unit"),
        (GREY, {"binarize": "none"}, "discretized_logistic", "none", "midpoint"),
        (DYNAMIC, {"binarize": "none"}, "discretized_logistic", "none", "midpoint"),
        (DYNAMIC, {"binarize": "none", "likelihood": "gaussian"}, "gaussian", "none", "dequantize"),
        (DYNAMIC, {"likelihood": "gaussian"}, "gaussian", "none", "dequantize"),
        (DYNAMIC, {"binarize": "threshold"}, "bernoulli", "threshold", "unit"),
        (DYNAMIC, {"likelihood": "bernoulli"}, "bernoulli", "dynamic", "unit"),
        (BITS, {"likelihood": "bernoulli"}, "bernoulli", "none", "unit"),
        (BITS, {"binarize": "none"}, "bernoulli", "none", "unit"),
        (REAL, {"binarize": "none"}, "gaussian", "none", "none"),
        (REAL, {"likelihood": "bernoulli"}, "bernoulli", "dynamic", "none"),
    ],
)
def test_what_is_not_overridden_follows_from_what_is(spec, override, likelihood, binarize, scaling):
    overridden = spec.overridden(**override)
    assert (overridden.likelihood, overridden.binarize, overridden.scaling) == (
        likelihood,
        binarize,
        scaling,
    )
    assert (overridden.name, overridden.shape, overridden.levels) == (
        spec.name,
        spec.shape,
        spec.levels,
    )


@pytest.mark.parametrize(
    ("spec", "override"),
    [
        (DYNAMIC, {"binarize": "none", "likelihood": "bernoulli"}),
        (GREY, {"binarize": "dynamic", "likelihood": "gaussian"}),
        (REAL, {"likelihood": "discretized_logistic"}),
    ],
)
def test_overrides_that_do_not_fit_are_refused(spec, override):
    with pytest.raises(DataError, match="expected"):
        spec.overridden(**override)


@pytest.mark.parametrize("spec", [GREY, DYNAMIC, BITS, REAL], ids=lambda spec: spec.name)
def test_a_description_survives_json(spec):
    record = json.loads(json.dumps(asdict(spec)))
    assert DataSpec(**{**record, "shape": tuple(record["shape"])}) == spec


def test_features():
    assert GREY.features == 16
