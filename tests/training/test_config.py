"""Configurations are validated, frozen and complete."""

import pytest
from pydantic import ValidationError

from priorwise.config.models import HVAEConfig, NCPConfig, VAEConfig
from priorwise.config.priors import GaussianMixtureConfig, VampPriorConfig
from priorwise.config.run import DataConfig, EvaluationConfig, Run
from priorwise.data import DataSpec
from priorwise.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from priorwise.recipes import recipe
from priorwise.training import TrainingConfig


@pytest.mark.parametrize("count", [0, -1])
@pytest.mark.parametrize(
    ("config", "field"),
    [
        (TrainingConfig, "epochs"),
        (TrainingConfig, "batch_size"),
        (TrainingConfig, "lr"),
        (TrainingConfig, "patience"),
        (TrainingConfig, "checkpoint_seconds"),
        (EvaluationConfig, "samples"),
        (EvaluationConfig, "images"),
        (EvaluationConfig, "log_norm_samples"),
        (GaussianMixtureConfig, "components"),
        (VampPriorConfig, "components"),
        (VAEConfig, "latent"),
        (HVAEConfig, "hidden"),
    ],
)
def test_counts_are_positive(config, field, count):
    """Fault: a loop over nothing, or over minus one, hours later."""
    with pytest.raises(ValidationError, match=field):
        config(**{field: count})


def test_configurations_are_closed_and_frozen():
    """Fault: a misspelt field that is dropped without a word."""
    with pytest.raises(ValidationError, match="epoch\n"):
        TrainingConfig(epoch=3)
    with pytest.raises(ValidationError, match="frozen"):
        TrainingConfig().epochs = 3


def test_kind_decides_what_a_part_is():
    """Fault: a part parsed as the first of its alternatives, its fields lost."""
    run = recipe("vampprior/static_mnist_hvae_vamp")
    again = Run.model_validate(run.model_dump(mode="json"))
    assert again == run
    assert isinstance(again.model, HVAEConfig)
    assert isinstance(again.model.prior, VampPriorConfig)
    with pytest.raises(ValidationError, match="kind"):
        Run.model_validate({"name": "x", "data": {"name": "y"}, "model": {"kind": "gan"}})


SPECS = {
    "bernoulli": (DataSpec("a", (1, 4, 4), 2, "bernoulli", "none", "unit"), Bernoulli),
    "gaussian": (DataSpec("a", (3,), None, "gaussian", "none", "none"), Gaussian),
    "discretized_logistic": (
        DataSpec("a", (1, 4, 4), 16, "discretized_logistic", "none", "midpoint"),
        DiscretizedLogistic,
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_likelihood_follows_the_data(name):
    """Fault: Bernoulli for everything."""
    spec, kind = SPECS[name]
    model = VAEConfig(latent=2, hidden=4).build(spec, seed=0)
    assert isinstance(model.decoder.head, kind)
    if kind is DiscretizedLogistic:
        assert (model.decoder.head.levels, model.decoder.head.tails) == (16, True)
        paper = VAEConfig(latent=2, hidden=4, likelihood="discretized_logistic_paper")
        assert not paper.build(spec, seed=0).decoder.head.tails
    chosen = VAEConfig(latent=2, hidden=4, likelihood="gaussian").build(spec, seed=0)
    assert isinstance(chosen.decoder.head, Gaussian)


def test_seed_decides_the_weights():
    """Fault: initial weights from the global stream."""
    spec = SPECS["bernoulli"][0]
    config = NCPConfig(base=VAEConfig(latent=2, hidden=4), base_run="x", hidden_features=(4,))
    first, second, third = (config.build(spec, seed=seed).state_dict() for seed in (1, 1, 2))
    same = [
        name
        for name, tensor in first.items()
        if tensor.equal(second[name]) or bool(tensor.isnan().any())
    ]
    assert same == list(first)
    assert not first["base.encoder.head.linear.weight"].equal(
        third["base.encoder.head.linear.weight"]
    )
    assert not first["classifiers.0.latent.weight"].equal(third["classifiers.0.latent.weight"])


def test_data_are_named():
    with pytest.raises(ValidationError, match="name"):
        DataConfig()
