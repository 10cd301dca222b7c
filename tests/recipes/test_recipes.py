"""Every recipe: its name is a promise, its run is complete, its model is the paper's."""

import pytest
import torch
from torch import nn

from priorwise.data import DataSpec
from priorwise.models import HVAE, NCP, VAE
from priorwise.priors import GaussianMixture, StandardNormal, VampPrior
from priorwise.recipes import UnknownRecipeError, recipe, recipes
from priorwise.recipes.tables import papers, published_beside_ours
from priorwise.training.overrides import validated
from priorwise.training.run import NCPConfig, Run, build_model

SETS = ["static_mnist", "dynamic_mnist", "omniglot", "omniglot_part", "frey"]
KINDS = ["standard", "mixture", "vamp", "vamp_data"]
VAMPPRIOR = [f"vampprior/{data}_{model}_{prior}" for data in SETS for model in ("vae", "hvae") for prior in KINDS]
OTHERS = [
    "digits/mixture",
    "digits/ncp",
    "digits/standard",
    "digits/vamp",
    "ncp/posthoc",
    "own/hvae",
    "own/vae",
    "own/vae_vamp",
]
BITS = DataSpec("bits", (1, 28, 28), 2, "bernoulli", "none", "unit")
FACES = DataSpec("faces", (1, 28, 20), 256, "discretized_logistic", "none", "midpoint")
SMALL = DataSpec("small", (1, 8, 8), 17, "gaussian", "none", "dequantize")


def spec_for(name: str) -> DataSpec:
    if name.startswith("digits"):
        return SMALL
    return FACES if "/frey" in name else BITS


def built(name: str, run: Run) -> nn.Module:
    spec = spec_for(name)
    return build_model(run.model, spec, seed=0, x=torch.rand(1000, *spec.shape))


def test_names_are_frozen():
    """Fault: a recipe that is renamed or lost, and somebody's scripts with it. New ones are added here."""
    assert sorted(recipes()) == sorted([*VAMPPRIOR, *OTHERS])


@pytest.mark.parametrize("name", [*VAMPPRIOR, *OTHERS])
def test_recipe_is_complete_and_its_model_works(name):
    """Fault: a recipe that fails only once it is trained, or that changes on its way through JSON."""
    run = recipe(name)
    assert run.name == name
    assert validated(run.model_dump(mode="json")) == run
    model = built(name, run)
    assert isinstance(model, {"vae": VAE, "hvae": HVAE, "ncp": NCP}[run.model.kind])
    if not isinstance(model, NCP):
        x = torch.rand(2, *spec_for(name).shape).round()
        with torch.no_grad():
            assert bool(model.log_joint(model.infer(x), x).isfinite().all())


@pytest.mark.parametrize("name", VAMPPRIOR)
def test_vampprior_follows_the_paper(name):
    """Tomczak & Welling (2018), section 5 and its code: K, initial pseudo-inputs, optimiser, warm-up, sizes, likelihood."""
    run = recipe(name)
    data, _, prior = name.removeprefix("vampprior/").replace("_vamp_data", "_vamp-data").rpartition("_")
    training = run.training
    assert (training.optimizer, training.lr, training.schedule) == ("adam_normalized", 5e-4, "constant")
    assert (training.batch_size, training.epochs, training.patience, training.seed) == (100, 2000, 50, 14)
    assert training.warmup_epochs == 100
    assert run.evaluation.samples == 5000
    assert run.evaluation.images is None
    assert (run.model.latent, run.model.hidden) == (40, 300)
    if prior != "standard":
        assert run.model.prior.components == (1000 if data.startswith("omniglot") else 500)
    if prior == "vamp":
        assert (run.model.prior.mean, run.model.prior.std) == ((0.5, 0.02) if data.startswith("frey") else (0.05, 0.01))
    paper = "discretized_logistic_paper" if data.startswith("frey") else "bernoulli"
    assert run.model.likelihood == paper
    fixed = data.startswith(("static", "frey"))
    assert run.data.binarize == (None if fixed else "dynamic")


SIZES = {
    "vampprior/static_mnist_vae_standard": 1_116_864,
    "vampprior/static_mnist_vae_vamp": 1_116_864 + 500 * 784,
    "vampprior/static_mnist_vae_vamp_data": 1_116_864,
    "vampprior/static_mnist_vae_mixture": 1_116_864 + 2 * 500 * 40,
    "vampprior/static_mnist_hvae_standard": 2_431_024,
    "vampprior/omniglot_hvae_vamp": 2_431_024 + 1000 * 784,
}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_as_many_as_in_the_paper(name):
    """Fault: a layer too few, a bias too many, fixed pseudo-inputs that are trained."""
    model = built(name, recipe(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == SIZES[name]


def test_priors_are_what_their_names_say():
    """Fault: the same prior under four names."""
    kinds = [StandardNormal, GaussianMixture, VampPrior, VampPrior]
    for name, kind in zip(KINDS, kinds, strict=True):
        prior = built("", recipe(f"vampprior/static_mnist_hvae_{name}")).prior
        assert isinstance(prior, kind)
        if kind is VampPrior:
            assert prior.trainable == (name == "vamp")


def test_posthoc_waits_for_its_base():
    run = recipe("ncp/posthoc")
    assert isinstance(run.model, NCPConfig)
    assert run.model.base_run == ""
    assert (run.training.warmup_epochs, run.training.patience) == (0, 20)


@pytest.mark.parametrize("name", ["vampprior/static_mnist_vae_vampp", "Own/VAE ", "ncp/post-hoc"])
def test_unknown_names_are_answered_with_near_ones(name):
    with pytest.raises(UnknownRecipeError, match=r"unknown recipe .*Did you mean .*priorwise list"):
        recipe(name)
    with pytest.raises(UnknownRecipeError, match=r"unknown recipe 'zzz'\. `priorwise list`"):
        recipe("zzz")


def test_published_rows_name_recipes_that_exist():
    """Fault: a published number beside nothing, because its recipe is spelt otherwise."""
    found = {row.recipe for paper in papers() for row in published_beside_ours(paper) if row.recipe}
    assert found <= set(recipes())
    assert {"vampprior/static_mnist_vae_standard", "vampprior/static_mnist_hvae_vamp"} <= found
    with pytest.raises(ValueError, match="unknown paper 'x'; there are: "):
        published_beside_ours("x")
