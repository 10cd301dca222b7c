"""A toy of each kind that CONTRIBUTING.md's table of places knows: the files that are written for
it, and what changes in those that are touched.
"""

from typing import TypeAlias

Changes: TypeAlias = tuple[tuple[str, str], ...]  # what stands in a file, and what will stand there
Toy: TypeAlias = dict[str, str | Changes | None]  # None: a command writes the file

EXPORTS = "__all__ = [\n"
LAZY = "else:\n    __getattr__"


def exported(folder: str, module: str, name: str) -> Changes:
    """A class or function among the names of its folder."""
    line = f"from priorwise.{folder}.{module} import {name}\n"
    return ((f"\n\n{EXPORTS}", f"\n{line}\n{EXPORTS}"), (EXPORTS, f'{EXPORTS}    "{name}",\n'))


def exported_lazily(folder: str, module: str, name: str) -> Changes:
    """The same in a folder that imports a name when somebody asks for it."""
    line = f"    from priorwise.{folder}.{module} import {name}\n"
    return ((LAZY, line + LAZY), (EXPORTS, f'{EXPORTS}    "{name}",\n'))


def configured(union: str, config: str, text: str) -> Changes:
    """A configuration that joins the union of its file."""
    return (
        (f"{union} = Annotated[\n", f"{text}\n\n{union} = Annotated[\n    {config} |\n"),
        (EXPORTS, f'{EXPORTS}    "{config}",\n'),
    )


PRIOR = '''"""A normal prior of another scale."""

import torch

from priorwise.distributions import diagonal_gaussian
from priorwise.priors.base import AbstractPrior

__all__ = ["ToyPrior"]


class ToyPrior(AbstractPrior):
    """N(0, exp(2s) I) with a learned s."""

    def __init__(self, latent):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.zeros(latent))

    def _distribution(self, encode_top):
        return diagonal_gaussian(torch.zeros_like(self.log_scale), self.log_scale.exp())
'''

TILT = '''"""N(0, I) tilted by a constant slope."""

import torch

from priorwise.distributions import Tilted, diagonal_gaussian
from priorwise.priors.base import AbstractPrior
from priorwise.tilts import AbstractTilt

__all__ = ["ToyTilt"]


class ToyTilt(AbstractTilt, AbstractPrior):
    """Tilted by sum(z) / 2, so that log Z is latent / 8."""

    def __init__(self, latent):
        super().__init__()
        self.register_buffer("slope", torch.full((latent,), 0.5))

    def _distribution(self, encode_top):
        base = diagonal_gaussian(torch.zeros_like(self.slope), torch.ones_like(self.slope))
        return Tilted(base, lambda z: z @ self.slope, owner=self)

    def law(self):
        """As it stands."""
        return self._distribution(None)
'''

PRIOR_CONFIG = '''
class {name}Config(AbstractPriorConfig):
    """A toy."""

    kind: Literal["{kind}"] = "{kind}"

    def build(
        self, latent: int, shape: tuple[int, ...], x: "torch.Tensor | None"
    ) -> "torch.nn.Module":
        """The prior."""
        from priorwise import priors

        return priors.{name}(latent)
'''

OBJECTIVE = '''"""An autoencoder's objective."""

from priorwise.objectives.base import AbstractObjective, Explanation, Terms

__all__ = ["ToyObjective"]


class ToyObjective(AbstractObjective):
    """The distortion alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    @property
    def trained(self):
        """The model."""
        return self.model

    @property
    def may_skip_parameters(self):
        """The prior is not trained."""
        return True

    def forward(self, x, step=0):
        """One draw."""
        groups = self.model.infer(x)
        return Terms({"toy_distortion": -self.model.likelihood(groups).log_prob(x)})

    def explain(self):
        """What the number is."""
        return Explanation("toy_distortion", {"toy_distortion": "-log p(x|z)"}, False, "no rate")
'''

OBJECTIVE_CONFIG = '''
class ToyObjectiveConfig(AbstractObjectiveConfig):
    """A toy."""

    kind: Literal["toy"] = "toy"

    def build(
        self, model: "priorwise.models.AbstractModel", fit: Fit
    ) -> "priorwise.objectives.AbstractObjective":
        """The objective."""
        from priorwise import objectives

        return objectives.ToyObjective(model)
'''

MODEL = '''"""A VAE of single layers."""

from priorwise.conditionals import Conditional, GaussianHead
from priorwise.models.vae import VAE
from priorwise.nn import MLP, FlattenEvent
from torch import nn

__all__ = ["toy_vae"]


def toy_vae(shape, *, prior, likelihood, latent):
    """Single layers."""
    body = nn.Sequential(FlattenEvent(shape), MLP(shape.numel(), 5, ()))
    encoder = Conditional(body, GaussianHead(5, latent))
    return VAE(encoder, Conditional(MLP(latent, 5, ()), likelihood(5, shape)), prior)
'''

MODEL_CONFIG = '''
class ToyVAEConfig(AbstractVAEConfig):
    """A toy."""

    kind: Literal["toy"] = "toy"

    def _networks(self, shape: tuple[int, ...], prior: "torch.nn.Module", likelihood: Any) -> Any:
        import torch

        from priorwise.models import toy_vae

        return toy_vae(torch.Size(shape), prior=prior, likelihood=likelihood, latent=self.latent)
'''

SAMPLER = '''"""Draws from the base, whatever the tilt."""

from priorwise.samplers.base import AbstractSampler, SampleInfo

__all__ = ["ToySampler"]


class ToySampler(AbstractSampler):
    """The base."""

    def __repr__(self):
        return "ToySampler()"

    def _run(self, tilted, sample_shape):
        return tilted.base.sample(sample_shape), SampleInfo("toy", exact=False)
'''

EXTRACTOR = '''"""Means of the columns."""

from priorwise.features.base import AbstractImageExtractor

__all__ = ["ToyExtractor"]


class ToyExtractor(AbstractImageExtractor):
    """Means of the columns of an image."""

    @property
    def name(self):
        """What distances are named after."""
        return "toy columns"

    @property
    def resize(self):
        """Nothing."""
        return "none"

    def _features(self, images):
        return images.mean((1, 2))
'''

ESTIMATOR = '''"""How far the encodings lie from 0."""

from priorwise.estimators.base import Estimate, standard_error
from priorwise.models import frozen
from priorwise.randomness import seeded

__all__ = ["toy_distance"]


def toy_distance(model, x, *, seed=0):
    """The mean norm of a draw of the top latents."""
    with frozen(model), seeded(seed, "toy"):
        norms = model.infer(x)[0].z.detach().flatten(1).norm(dim=1).double().cpu()
    return Estimate(norms.mean().item(), standard_error(norms), len(x), unit="")
'''

QUANTITY = """
TOY = Quantity(
    key="toy_distance",
    meanings={"toy distance": "How far encodings lie from 0."},
    compute=lambda subject: toy_distance(subject.model, subject.x, seed=subject.config.seed),
    cells=lambda value: {"toy distance": estimate_cell(value, digits=4)},
)

"""

DATA_SPEC = """    DataSpec("toy", (1, 8, 8), 2, "bernoulli", "none", "unit", note="noise"),
"""

DATA_MAKER = '''def _toy() -> Splits:
    """Noise."""
    images = np.random.RandomState(0).randint(0, 2, (240, 1, 8, 8), dtype=np.uint8)
    return _cut(images, (120, 40, 80), EMBEDDED["toy"])


'''

RECIPE = '''"""A toy."""

from priorwise.config.models import VAEConfig
from priorwise.config.run import DataConfig, EvaluationConfig, Run
from priorwise.config.training import TrainingConfig
from priorwise.recipes.family import Family

__all__ = ["FAMILIES"]


def _small(name: str) -> Run:
    return Run(
        name=name,
        data=DataConfig(name="digits"),
        model=VAEConfig(latent=2, hidden=4),
        training=TrainingConfig(epochs=1, warmup_epochs=0),
        evaluation=EvaluationConfig(
            samples=5, images=20, hole_classifier=False, quality="none"
        ),
    )


FAMILIES = (Family("toy/small", "a toy", _small),)
'''

TOYS: dict[str, Toy] = {
    "prior": {
        "priors/toy.py": PRIOR,
        "priors/__init__.py": exported("priors", "toy", "ToyPrior"),
        "config/priors.py": configured(
            "PriorConfig", "ToyPriorConfig", PRIOR_CONFIG.format(name="ToyPrior", kind="toy")
        ),
    },
    "tilt": {
        "priors/toy_tilt.py": TILT,
        "priors/__init__.py": exported("priors", "toy_tilt", "ToyTilt"),
        "config/priors.py": configured(
            "PriorConfig", "ToyTiltConfig", PRIOR_CONFIG.format(name="ToyTilt", kind="toy_tilt")
        ),
    },
    "objective": {
        "objectives/toy.py": OBJECTIVE,
        "objectives/__init__.py": exported("objectives", "toy", "ToyObjective"),
        "config/objectives.py": configured(
            "ObjectiveConfig", "ToyObjectiveConfig", OBJECTIVE_CONFIG
        ),
    },
    "model": {
        "models/toy.py": MODEL,
        "models/__init__.py": exported("models", "toy", "toy_vae"),
        "config/models.py": configured("BaseConfig", "ToyVAEConfig", MODEL_CONFIG),
    },
    "sampler": {
        "samplers/toy.py": SAMPLER,
        "samplers/__init__.py": exported_lazily("samplers", "toy", "ToySampler"),
        "samplers/sampler_names.py": (
            ('    mala = "mala"\n', '    mala = "mala"\n    toy = "toy"\n'),
            (
                "    match name:\n",
                "    match name:\n        case SamplerName.toy:\n"
                "            return samplers.ToySampler(temperature)\n",
            ),
        ),
    },
    "data set": {
        "data/known_sets.py": (("_EMBEDDED = (\n", f"_EMBEDDED = (\n{DATA_SPEC}"),),
        "data/embedded.py": (
            ("_MAKERS: dict", f"{DATA_MAKER}_MAKERS: dict"),
            ('    "sprites": _sprites,\n', '    "sprites": _sprites,\n    "toy": _toy,\n'),
        ),
    },
    "extractor": {
        "features/toy.py": EXTRACTOR,
        "features/__init__.py": exported_lazily("features", "toy", "ToyExtractor"),
        "features/extractor_names.py": (
            ('Literal["auto", ', 'Literal["toy", "auto", '),
            (
                "    match name:\n",
                '    match name:\n        case "toy":\n'
                "            return features.ToyExtractor()\n",
            ),
        ),
    },
    "estimator": {
        "estimators/toy.py": ESTIMATOR,
        "estimators/__init__.py": exported("estimators", "toy", "toy_distance"),
        "evaluation/latent_use.py": (
            (
                "from priorwise.estimators import ",
                "from priorwise.estimators import toy_distance, ",
            ),
            ("QUANTITIES: tuple", f"{QUANTITY}QUANTITIES: tuple"),
            ("...] = (", "...] = (TOY, "),
        ),
    },
    "recipe": {
        "recipes/toy.py": RECIPE,
        "recipes/registry.py": (
            ("from priorwise.recipes import ", "from priorwise.recipes import toy, "),
            ("    *own.FAMILIES,\n", "    *own.FAMILIES,\n    *toy.FAMILIES,\n"),
        ),
    },
    "result": {"recipes/results/toy.json": None},
}
