"""The laws of samplers, distributions, likelihoods, models and objectives."""

import re

import pytest
import torch
from members import (
    DISTRIBUTIONS,
    LIKELIHOODS,
    MODELS,
    OBJECTIVES,
    SAMPLERS,
    WITHOUT_DENSITY,
    features,
    images,
    observations,
    vae,
)

from priorwise.models import frozen
from priorwise.testing import check_distribution, check_likelihood, check_model, check_sampler


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler(name):
    check_sampler(SAMPLERS[name]())


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name):
    build, continuous = DISTRIBUTIONS[name]
    check_distribution(build(), continuous=continuous)


@pytest.mark.parametrize("name", WITHOUT_DENSITY)
def test_distribution_without_density(name):
    """Fault: a density of a point mass, which would make a likelihood look finite."""
    distribution = WITHOUT_DENSITY[name]()
    shape = (5, *distribution.batch_shape, *distribution.event_shape)
    assert distribution.sample((5,)).shape == distribution.rsample((5,)).shape == shape
    assert distribution.expand((4, 3)).sample().shape == (4, 3, 2)
    with pytest.raises(ValueError, match="has no density"):
        distribution.log_prob(distribution.sample())


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood(name):
    check_likelihood(LIKELIHOODS[name](), features(name, 4))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_stays_in_single_precision(name):
    """Fault: a density in bfloat16, wrong by whole nats,
    once autocast surrounds the training step.
    """
    module, h = LIKELIHOODS[name](), features(name, 4)
    x = module(h).sample()
    with torch.autocast("cpu", torch.bfloat16):
        half = module(h)
        assert half.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(half.log_prob(x), module(h).log_prob(x), rtol=0.1, atol=2.0)


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    check_model(MODELS[name](), observations(name))


@pytest.mark.parametrize(
    "name", [name for name in LIKELIHOODS if not re.search("colour|of pixels|of planes", name)]
)
def test_every_likelihood_fits_a_model(name):
    head = LIKELIHOODS[name]()
    check_model(vae(likelihood=lambda features, shape: head), images())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective(name):
    """Fault: a term that is a batch mean already, or a trained parameter that the loss does not
    reach.
    """
    objective = OBJECTIVES[name]()
    x = images(6)
    with objective.running():
        terms = objective(x, 0)
        for term in terms.per_example.values():
            assert term.shape == (6,)
            assert term.isfinite().all()
        terms.loss().backward()
    for parameter_name, parameter in objective.trained.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    trained = {id(parameter) for parameter in objective.trained.parameters()}
    held = {id(parameter) for parameter in objective.parameters()}
    assert trained <= held


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective_reaches_only_what_it_trains(name):
    """Fault: NCE that leaks gradients into the base, or a fit that leaves the base frozen."""
    objective = OBJECTIVES[name]()
    trained = {id(parameter) for parameter in objective.trained.parameters()}
    others = [parameter for parameter in objective.parameters() if id(parameter) not in trained]
    with objective.running():
        objective(images(4), 0).loss().backward()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in others)
    with frozen(objective):
        assert objective(images(4), 0).loss().isfinite()
