"""A run as one complete, validated configuration."""

from typing import Any, Literal

from pydantic import Field, model_validator

from priorwise.choices import Binarize, Likelihood, LogNormMethod, Precision
from priorwise.config.base import AbstractConfig
from priorwise.config.models import AbstractPosthocConfig, ModelConfig
from priorwise.config.objectives import ELBOConfig, ObjectiveConfig
from priorwise.config.training import AnyTrainingConfig, TrainingConfig
from priorwise.features.extractor_names import ExtractorName
from priorwise.limits import LARGEST_COUNT, LARGEST_SEED

__all__ = ["CandidatesConfig", "DataConfig", "EvaluationConfig", "Run"]


class DataConfig(AbstractConfig):
    """Which data, and how they are shown to the model."""

    name: str
    """A name of ``priorwise list``, or the path of an .npz file or image folder."""
    binarize: Binarize | None = None
    """How the data are binarised; None takes the default of the set."""
    likelihood: Likelihood | None = None
    """The likelihood that the values are prepared for; None takes the default of the set."""


class EvaluationConfig(AbstractConfig):
    """How a model is measured; ``priorwise.report`` takes the same names as keywords."""

    samples: int = Field(1000, ge=1, le=LARGEST_COUNT)
    """Importance samples per test image."""
    images: int | None = Field(1000, ge=1, le=LARGEST_COUNT)
    """Size of the random subset of test images for the likelihood; None takes all of them."""
    hole_classifier: bool = True
    """Whether to judge the prior by a small classifier, which is fitted in a minute at most."""
    quality: Literal["none"] | ExtractorName = "auto"
    """Features for the distances of generated images. "auto" takes the points themselves for
    vectors, and for images a classifier that is first trained on the training set. "none" measures
    no distances."""
    quality_images: int = Field(5000, ge=50, le=LARGEST_COUNT)
    """Generated images of each kind, at most; they are compared with all test images."""
    log_norm: LogNormMethod = "importance"
    """How to estimate the log normaliser of a tilted prior; "annealed" brackets it."""
    log_norm_samples: int = Field(1_000_000, ge=1, le=LARGEST_COUNT)
    """Draws for the log normaliser by importance sampling."""
    log_norm_chains: int = Field(1000, ge=2, le=LARGEST_COUNT)
    """Annealing paths in each direction."""
    log_norm_temperatures: int = Field(1000, ge=1, le=LARGEST_COUNT)
    """Steps of each annealing path."""
    precision: Precision = "no"
    """Precision of the decoder in the likelihood; the cost of bf16 in nats is shown beside it."""
    compile: bool = False
    """Compile the likelihood (``torch.compile``, with a C++ compiler); it pays off in long runs."""
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Seed of the draws."""


class CandidatesConfig(AbstractConfig):
    """Runs that differ in one setting; the bound on the validation data chooses one of them."""

    setting: str = "model.prior.components"
    """The setting in which they differ."""
    values: tuple[int | str, ...] = ()
    """Its values, whole numbers or words, such as [50, 100, 250]; if there are none, the run is
    trained as it is."""
    samples: int = Field(10, ge=1, le=LARGEST_COUNT)
    """Draws from the posterior of each validation example, for the bound."""


class Run(AbstractConfig):
    """A complete run: data, model, training, evaluation."""

    name: str
    """Name of the recipe."""
    data: DataConfig
    model: ModelConfig
    objective: ObjectiveConfig = ELBOConfig()
    training: AnyTrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    candidates: CandidatesConfig = CandidatesConfig()

    def record(self) -> dict[str, Any]:
        """The run as plain data; what it was chosen from is no part of it."""
        return self.model_dump(mode="json", exclude={"candidates"})

    @model_validator(mode="after")
    def _check_objective(self) -> "Run":
        if isinstance(self.model, AbstractPosthocConfig) and self.objective != ELBOConfig():
            raise ValueError(
                f"expected no `objective` for an {self.model.title}, which has its own; got "
                f"{self.objective.kind!r}. Leave it out."
            )
        return self
