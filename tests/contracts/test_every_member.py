"""No exported class escapes the contract tests."""

import inspect
from types import ModuleType

import pytest
from members import (
    DISTRIBUTIONS,
    LIKELIHOODS,
    MODELS,
    OBJECTIVES,
    PRIORS,
    SAMPLERS,
    WITHOUT_DENSITY,
)
from torch import nn
from torch.distributions import Distribution

from priorwise import distributions, likelihoods, models, objectives, priors, samplers

KINDS = {
    "priors": (priors, priors.AbstractPrior, set(PRIORS)),
    "samplers": (samplers, samplers.AbstractSampler, set(SAMPLERS)),
    "distributions": (distributions, Distribution, set(DISTRIBUTIONS) | set(WITHOUT_DENSITY)),
    "likelihoods": (likelihoods, nn.Module, set(LIKELIHOODS)),
    "models": (models, models.AbstractModel, set(MODELS)),
    "objectives": (objectives, objectives.AbstractObjective, set(OBJECTIVES)),
}


def concrete(module: ModuleType, base: type) -> set[str]:
    exported = [getattr(module, name) for name in module.__all__]
    classes = [item for item in exported if inspect.isclass(item) and issubclass(item, base)]
    return {item.__name__ for item in classes if not inspect.isabstract(item)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_exported_class_has_a_member(kind):
    """Fault: a new class that no law is applied to."""
    module, base, members = KINDS[kind]
    missing = concrete(module, base) - {name.split(",")[0] for name in members}
    assert not missing, f"add to tests/members.py: {sorted(missing)}"


def test_the_search_finds_classes():
    """Fault: a search that finds nothing and so never complains."""
    assert {"StandardNormal", "GaussianMixture", "VampPrior"} <= concrete(
        priors, priors.AbstractPrior
    )
    assert "AbstractPrior" not in concrete(priors, priors.AbstractPrior)
