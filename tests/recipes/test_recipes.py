"""Every recipe: its name is a promise, its run is complete, its model is the paper's."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from priorwise.config.models import NCPConfig
from priorwise.config.overrides import override, validated
from priorwise.config.run import Run
from priorwise.data import DataSpec
from priorwise.data.known_sets import spec_of
from priorwise.models import HVAE, NCP, VAE
from priorwise.priors import FlowPrior, GaussianMixture, StandardNormal, VampPrior
from priorwise.recipes import UnknownRecipeError, recipe, recipes
from priorwise.recipes.departures import changed_settings
from priorwise.recipes.published import papers, published_beside_ours

SETS = {  # of the VampPrior's recipes, with the initial mean and spread of the pseudo-inputs
    "static_mnist": (0.05, 0.01),
    "dynamic_mnist": (0.05, 0.01),
    "omniglot": (0.05, 0.01),
    "omniglot_part": (0.05, 0.01),
    "frey": (0.5, 0.02),
    "caltech": (0.5, 0.02),
    "histopathology": (0.4, 0.05),
}
GREY_SETS = ("frey", "histopathology")
KINDS = ["standard", "mixture", "vamp", "vamp_data"]
VAMPPRIOR = [
    f"vampprior/{data}_{model}_{prior}"
    for data in SETS
    for model in ("vae", "hvae")
    for prior in KINDS
]
CONVOLUTIONAL = [
    f"vampprior/{data}_{model}_{prior}"
    for data in SETS
    for model in ("conv_hvae", "pixel_hvae")
    for prior in KINDS
]
# the others differ in their data or their prior alone, and 500 images take time to encode
CONVOLUTIONAL_SHAPES = [
    "vampprior/static_mnist_conv_hvae_standard",
    "vampprior/frey_conv_hvae_standard",
    "vampprior/static_mnist_pixel_hvae_standard",
    "vampprior/frey_pixel_hvae_vamp",
]
CHOSEN = [
    f"vampprior/{data}_{model}_vamp_k"
    for data in SETS
    for model in ("vae", "hvae", "conv_hvae", "pixel_hvae")
]
COLUMNS = ["mnist", "mnist_latent10", "svhn", "celeba"]  # of the dpVAE paper's table
DPVAE_SETS = ["two_moons", "sprites", *COLUMNS]
OBJECTIVES = ["vae", "beta_h", "beta_b", "beta_tc", "factor", "info"]
CELLS = [f"{objective}_{prior}" for objective in OBJECTIVES for prior in ("standard", "flow")]
DPVAE = [f"dpvae/{data}_{cell}" for data in DPVAE_SETS for cell in CELLS] + [
    f"dpvae/mnist_{cell}_repo" for cell in CELLS
]
OTHERS = [
    "digits/mixture",
    "digits/ncp",
    "digits/posthoc-flow",
    "digits/posthoc-full-mixture",
    "digits/posthoc-mixture",
    "digits/posthoc-vampprior",
    "digits/standard",
    "digits/vamp",
    "ncp/posthoc",
    "own/conv_vae",
    "own/hvae",
    "own/vae",
    "own/vae_vamp",
    "posthoc/flow",
    "posthoc/full-mixture",
    "posthoc/mixture",
    "posthoc/vampprior",
]
BITS = DataSpec("bits", (1, 28, 28), 2, "bernoulli", "none", "unit")
FACES = DataSpec("faces", (1, 28, 20), 256, "discretized_logistic", "none", "midpoint")
SMALL = DataSpec("small", (1, 8, 8), 17, "gaussian", "none", "dequantize")
GREY = DataSpec("grey", (1, 28, 28), 256, "gaussian", "none", "dequantize")
POINTS = DataSpec("points", (2,), None, "gaussian", "none", "none")
SHAPES = {"/svhn": (3, 32, 32), "/celeba": (3, 64, 64)}
MODELS = {
    "vae": VAE,
    "vae_by_size": VAE,
    "residual_vae": VAE,
    "hvae": HVAE,
    "conv_hvae": HVAE,
    "pixel_hvae": HVAE,
    "ncp": NCP,
    "conv_vae": VAE,
    "moons_vae": VAE,
    "posthoc": VAE,
}


def spec_for(name: str) -> DataSpec:
    if name.startswith("digits"):
        return SMALL
    if name.startswith("dpvae"):
        data = name.removeprefix("dpvae").split("_")[0]
        if data in ("/two", "/sprites"):
            return POINTS if data == "/two" else replace(BITS, shape=(1, 32, 32))
        return replace(GREY, shape=SHAPES.get(data, GREY.shape))
    if "/frey" in name:
        return FACES
    return replace(FACES, shape=(1, 28, 28)) if "/histopathology" in name else BITS


def built(name: str, run: Run) -> nn.Module:
    spec = spec_for(name)
    return run.model.build(spec, seed=0, x=torch.rand(1000, *spec.shape))


def test_names_are_frozen():
    """Fault: a recipe that is renamed or lost, and somebody's scripts with it. New ones are added
    here.
    """
    assert sorted(recipes()) == sorted([*VAMPPRIOR, *CONVOLUTIONAL, *CHOSEN, *DPVAE, *OTHERS])


@pytest.mark.parametrize("name", [*VAMPPRIOR, *CONVOLUTIONAL_SHAPES, *DPVAE, *OTHERS])
def test_recipe_is_complete_and_its_model_works(name):
    """Fault: a recipe that fails only once it is trained,
    or that changes on its way through JSON.
    """
    run = recipe(name)
    assert run.name == name
    assert validated(run.model_dump(mode="json")) == run
    model = built(name, run)
    assert isinstance(model, MODELS[run.model.kind])
    if not isinstance(model, NCP):
        x = torch.rand(2, *spec_for(name).shape).round()
        with torch.no_grad():
            assert bool(model.log_joint(model.infer(x), x).isfinite().all())


@pytest.mark.parametrize("name", [*VAMPPRIOR, *CONVOLUTIONAL])
def test_vampprior_follows_the_paper(name):
    """Tomczak & Welling (2018), section 5 and its code: K, initial pseudo-inputs, optimiser,
    warm-up, sizes, likelihood.
    """
    run = recipe(name)
    assert run.name == name
    assert validated(run.model_dump(mode="json")) == run
    data = next(word for word in SETS if name.startswith(f"vampprior/{word}_{run.model.kind}"))
    prior = name.removeprefix(f"vampprior/{data}_{run.model.kind}_")
    training = run.training
    assert (training.optimizer, training.lr, training.schedule) == (
        "adam_normalized",
        5e-4,
        "constant",
    )
    assert (training.batch_size, training.epochs, training.patience, training.seed) == (
        100,
        2000,
        50,
        14,
    )
    assert training.warmup_epochs == 100
    assert run.evaluation.samples == 5000
    assert run.evaluation.images is None
    assert (run.model.latent, run.model.hidden) == (40, 300)
    if "pixel" in name:
        assert run.model.published
    if prior != "standard":
        assert run.model.prior.components == (1000 if data.startswith("omniglot") else 500)
    if prior == "vamp":
        assert (run.model.prior.mean, run.model.prior.std) == SETS[data]
    paper = "discretized_logistic_paper" if data in GREY_SETS else "bernoulli"
    assert run.model.likelihood == paper
    fixed = data in (*GREY_SETS, "static_mnist", "caltech")
    assert run.data.binarize == (None if fixed else "dynamic")
    assert spec_of(run.data.name).shape == spec_for(name).shape


@pytest.mark.parametrize("name", CHOSEN)
def test_k_is_chosen_from_the_papers_and_others(name):
    """Fault: a grid without the paper's K, or a run that differs in more than its candidates."""
    run, fixed = recipe(name), recipe(name.removesuffix("_k"))
    assert validated(run.model_dump(mode="json")) == run
    assert run.record() == fixed.record() | {"name": name}
    assert run.candidates.setting == "model.prior.components"
    assert fixed.model.prior.components in run.candidates.values
    assert fixed.candidates.values == ()


def test_what_was_chosen_is_no_departure():
    """Fault: a committed result that is marked, because K is not that of the recipe."""
    run = recipe("vampprior/caltech_vae_vamp_k")
    spec = spec_of(run.data.name)
    assert changed_settings(override(run, ["model.prior.components=250"]), spec) == {}
    other = override(run, ["model.prior.components=251"])
    assert list(changed_settings(other, spec)) == ["prior"]


# Of the dpVAE code's configurations, for MNIST: weight of the squared error, batch size, and the
# objective's numbers as they are written there. Its reconstruction is a sum over the batch; what it
# averages is marked "mean".
WITHOUT_FLOW = {
    "vae": (1, 100, {}),
    "beta_h": (1, 24, {"beta": 5}),
    "beta_b": (100, 24, {"gamma": 15, "capacity": 25, "capacity_steps": 100_000}),
    "beta_tc": (10, 100, {"alpha": (1, "mean"), "beta": (4, "mean"), "gamma": (15, "mean")}),
    "factor": (1, 24, {"gamma": (1000, "mean"), "discriminator_lr": 1e-4}),
    "info": (10, 24, {"alpha": 0, "lambda": 1000}),
}
OF_THE_BATCH = {"capacity"}  # a number of nats of the whole batch


def each_image(written: dict, batch: int) -> dict[str, float]:
    """The numbers for a loss that is a mean over images."""
    settings = {}
    for name, value in written.items():
        number, divided = (
            (value[0], True) if isinstance(value, tuple) else (value, name in OF_THE_BATCH)
        )
        settings[name] = number / batch if divided else number
    if "lambda" in settings:  # alpha + lambda - 1 weighs the discrepancy, a mean
        settings["lambda_"] = (
            (settings["alpha"] + settings.pop("lambda") - 1) / batch + 1 - settings["alpha"]
        )
    return settings


def assert_settings(run: Run, weight: float, batch: int, written: dict) -> None:
    assert 1 / (2 * run.model.scale**2) == pytest.approx(weight)
    assert run.model.likelihood == "gaussian"
    for name, value in each_image(written, batch).items():
        assert getattr(run.objective, name) == pytest.approx(value), name


def steps_of(run: Run, examples: int) -> int:
    return run.training.epochs * math.ceil(examples / run.training.batch_size)


@pytest.mark.parametrize("prior", ["standard", "flow"])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("data", COLUMNS)
def test_dpvae_follows_the_paper(data, objective, prior):
    """Bhalodia et al. (2020), section 5: steps, batches, one rate, one set of weights for both
    priors.
    """
    run = recipe(f"dpvae/{data}_{objective}_{prior}")
    assert_settings(run, *WITHOUT_FLOW[objective])
    grey = data.startswith("mnist")
    network = "mnist_factor" if grey and objective == "factor" else data.split("_")[0]
    assert (run.model.kind, run.model.network) == ("conv_vae", network)
    assert run.model.latent == {"mnist": 2, "mnist_latent10": 10, "svhn": 10, "celeba": 60}[data]
    assert run.data.name == ("mnist" if grey else "")
    training = run.training
    assert (training.optimizer, training.lr, training.schedule) == ("adam", 1e-4, "constant")
    assert (training.warmup_epochs, training.patience, training.keep) == (0, None, "last")
    assert training.batch_size == (100 if grey else 50)
    examples = {"svhn": 73_257, "celeba": 162_770}.get(data, 50_000)
    assert 0 <= steps_of(run, examples) - 100_000 < examples / training.batch_size
    assert run.evaluation.samples == 21_000


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("data", DPVAE_SETS)
def test_dpvae_differs_in_the_prior_alone(data, objective):
    """Fault: a gain of the flow that is one of the settings."""
    plain, decoupled = (
        recipe(f"dpvae/{data}_{objective}_{prior}").model_dump() for prior in ("standard", "flow")
    )
    assert plain["model"].pop("prior") == {"kind": "standard"}
    assert decoupled["model"].pop("prior") == {
        "kind": "flow",
        "blocks": 6,
        "hidden_features": (64, 64),
    }
    assert plain.pop("name") != decoupled.pop("name")
    assert plain == decoupled


# Where the configurations with the flow differ, with learning rate and steps: of all, as they are
# written there.
REPO_RATES = {"beta_b": 1e-3}
WITH_FLOW = {
    "beta_h": ((10, 100, {"beta": 5}), 1e-3, 100_000),
    "beta_tc": (
        (1, 100, {"alpha": (1, "mean"), "beta": (4, "mean"), "gamma": (150, "mean")}),
        1e-4,
        200_000,
    ),
    "info": (WITHOUT_FLOW["info"], 1e-3, 100_000),
}


@pytest.mark.parametrize("prior", ["standard", "flow"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_repo_recipes_follow_the_configurations(objective, prior):
    """Fault: a configuration of the code that is another one's."""
    run = recipe(f"dpvae/mnist_{objective}_{prior}_repo")
    settings = (WITHOUT_FLOW[objective], REPO_RATES.get(objective, 1e-4), 100_000)
    if prior == "flow":
        settings = WITH_FLOW.get(objective, settings)
    (weight, batch, written), lr, steps = settings
    assert_settings(run, weight, batch, written)
    assert (run.training.batch_size, run.training.lr) == (batch, lr)
    assert 0 <= steps_of(run, 50_000) - steps < 50_000 / batch
    assert run.model.latent == 2


def test_recipes_of_our_own_sets():
    """What is ours there, two_moons and sprites:
    the paper's weights are lost, or for other images.
    """
    for cell in CELLS:
        moons, sprites = recipe(f"dpvae/two_moons_{cell}"), recipe(f"dpvae/sprites_{cell}")
        assert (moons.data.name, moons.model.kind, moons.model.latent) == (
            "two_moons",
            "moons_vae",
            2,
        )
        assert (sprites.data.name, sprites.model.kind, sprites.model.latent) == (
            "sprites",
            "vae",
            10,
        )
        assert (moons.model.likelihood, moons.model.scale) == ("gaussian", 0.1)
        for run, examples in [(moons, 2000), (sprites, 24_576)]:
            assert run.training.lr == 1e-3
            assert 0 <= steps_of(run, examples) - 10_000 < examples / 100
    assert recipe("dpvae/two_moons_beta_b_flow").objective.capacity == 3
    assert recipe("dpvae/sprites_beta_b_flow").objective.capacity == 20


def test_published_vampprior_rows_have_recipes():
    """Fault: a row of the six sets without a recipe, or beside that of another set or prior."""
    words = {
        "staticMNIST": "static_mnist",
        "dynamicMNIST": "dynamic_mnist",
        "Omniglot": "omniglot",
        "Caltech101": "caltech",
        "FreyFaces": "frey",
        "Histopathology": "histopathology",
    }
    models = {"VAE": "vae", "HVAE": "hvae", "convHVAE-PixelCNN": "pixel_hvae"}
    priors = {"SG": "standard", "MoG": "mixture", "Vamp": "vamp", "VampData": "vamp_data"}
    columns = {
        f"{model}-{prior}": f"{word}_{kind}"
        for model, word in models.items()
        for prior, kind in priors.items()
    } | {"convHVAE-Vamp": "pixel_hvae_vamp"}
    rows = [row for row in published_beside_ours("vampprior") if row.row in columns]
    for row in rows:
        assert row.recipe == f"vampprior/{words[row.dataset]}_{columns[row.row]}"
    assert len({(row.row, row.dataset) for row in rows if row.table == "T1"}) == 6 * len(words)


def test_published_dpvae_rows_have_recipes():
    """Fault: a flow's row beside a plain run, or a row without a recipe."""
    rows = published_beside_ours("dpvae")
    prefixes = {"MNIST": "mnist", "SVHN": "svhn", "CelebA": "celeba"}
    assert sorted(row.recipe for row in rows) == sorted(
        f"dpvae/{prefix}_{cell}" for prefix in prefixes.values() for cell in CELLS
    )
    for row in rows:
        assert row.recipe.startswith(f"dpvae/{prefixes[row.dataset]}_")
        assert row.recipe.endswith("_flow") == ("dp" in row.row)
        assert (row.table, row.quoted) == ("T1", False)
        assert len(row.published.split(" / ")) == len(row.metric.split(" / ")) == 4
    names = {
        "beta_h": "H",
        "beta_b": "B",
        "beta_tc": "TC",
        "factor": "Factor",
        "info": "Info",
        "vae": "VAE",
    }
    for objective, part in names.items():
        row_names = [row.row for row in rows if row.recipe == f"dpvae/mnist_{objective}_standard"]
        assert len(row_names) == 1
        assert part in row_names[0]


SIZES = {
    "vampprior/static_mnist_vae_standard": 1_116_864,
    "vampprior/static_mnist_vae_vamp": 1_116_864 + 500 * 784,
    "vampprior/static_mnist_vae_vamp_data": 1_116_864,
    "vampprior/static_mnist_vae_mixture": 1_116_864 + 2 * 500 * 40,
    "vampprior/static_mnist_hvae_standard": 2_431_024,
    "vampprior/omniglot_hvae_vamp": 2_431_024 + 1000 * 784,
    "vampprior/caltech_vae_vamp": 1_116_864 + 500 * 784,
    # a second head of 300 inputs and a bias for the scale of each pixel
    "vampprior/histopathology_hvae_vamp": 2_431_024 + 301 * 784 + 500 * 784,
    "vampprior/static_mnist_conv_hvae_standard": 2_210_861,
    "vampprior/static_mnist_pixel_hvae_vamp": 1_385_821 + 500 * 784,
    "dpvae/mnist_vae_standard": 467_173,
    "dpvae/mnist_vae_flow": 467_173 + 53_784,
    "dpvae/mnist_latent10_vae_flow": 467_173 + 8 * (2 * 257 + 256) + 66_168,
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


def test_dpvae_priors_and_networks():
    """Fault: the standard prior under the flow's name;
    a likelihood that is not the fixed Gaussian.
    """
    for name, kind in [("standard", StandardNormal), ("flow", FlowPrior)]:
        model = built(f"dpvae/mnist_vae_{name}", recipe(f"dpvae/mnist_vae_{name}"))
        assert isinstance(model.prior, kind)
        assert model.decoder.head.fixed_scale == pytest.approx(math.sqrt(0.5))
    assert len(model.prior.bijection.blocks) == 6


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        (
            "dpvae/svhn_vae_flow",
            GREY,
            r"images of shape \(3, 32, 32\) for model\.network=svhn; got .* \(1, 28, 28\)",
        ),
        (
            "dpvae/two_moons_vae_flow",
            GREY,
            r"points in the plane for model\.kind=moons_vae; got data of shape \(1, 28, 28\)",
        ),
    ],
)
def test_networks_refuse_other_data(name, spec, message):
    """Fault: a crash in the first convolution, once the run has begun."""
    with pytest.raises(ValueError, match=f"expected {message}"):
        recipe(name).model.build(spec, seed=0)


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
    names = {row.recipe for paper in papers() for row in published_beside_ours(paper) if row.recipe}
    assert names <= set(recipes())
    assert {"vampprior/static_mnist_vae_standard", "vampprior/static_mnist_hvae_vamp"} <= names
    with pytest.raises(ValueError, match="unknown paper 'x'; there are: "):
        published_beside_ours("x")
