"""A run as one complete, validated configuration."""

from typing import Literal

from pydantic import Field, model_validator

from priorwise.choices import Binarize, Likelihood, LogNormMethod, Precision
from priorwise.config.base import AbstractConfig
from priorwise.config.models import AbstractPosthocConfig, ModelConfig
from priorwise.config.objectives import ELBOConfig, ObjectiveConfig
from priorwise.config.training import TrainingConfig
from priorwise.features.extractor_names import ExtractorName

__all__ = ["DataConfig", "EvaluationConfig", "Run"]


class DataConfig(AbstractConfig):
    """Which data, and how they are shown to the model."""

    name: str
    """A name of ``priorwise list``, or the path of an .npz file or image folder."""
    binarize: Binarize | None = None
    """Overrides how the set is binarised; None keeps what the set says."""
    likelihood: Likelihood | None = None
    """Overrides for which likelihood the values are prepared; None keeps what the set says."""


class EvaluationConfig(AbstractConfig):
    """How a model is measured; ``priorwise.report`` takes the same names as keywords."""

    samples: int = Field(1000, ge=1)
    """Importance samples of each test image."""
    images: int | None = Field(1000, ge=1)
    """A random subset of the test images, for the likelihood; None takes all."""
    hole_classifier: bool = True
    """Whether a small classifier is fitted that judges the prior, a minute at most."""
    quality: Literal["none"] | ExtractorName = "auto"
    """Features for the distances of generated images; auto takes the points themselves for
    vectors, else a classifier that is trained on the training set on the spot. "none" measures no
    distances."""
    quality_images: int = Field(5000, ge=50)
    """Generated images of each kind, at most; all test images stand against them."""
    log_norm: LogNormMethod = "importance"
    """How the log normaliser of a tilted prior is estimated; annealed brackets it."""
    log_norm_samples: int = Field(1_000_000, ge=1)
    """Draws for it, by importance sampling."""
    log_norm_chains: int = Field(1000, ge=2)
    """Paths each way, by annealing."""
    log_norm_temperatures: int = Field(1000, ge=1)
    """Steps of each path."""
    precision: Precision = "no"
    """Precision of the decoder in the likelihood; the cost of bf16 in nats is shown beside it."""
    compile: bool = False
    """Compile the likelihood (``torch.compile``; needs a C++ compiler). It pays off on long ones."""
    seed: int = 0
    """Seed of the draws."""


class Run(AbstractConfig):
    """A complete run: data, model, training, evaluation."""

    name: str
    """Name of the recipe."""
    data: DataConfig
    model: ModelConfig
    objective: ObjectiveConfig = ELBOConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _check_objective(self) -> "Run":
        if isinstance(self.model, AbstractPosthocConfig) and self.objective != ELBOConfig():
            raise ValueError(
                f"expected no `objective` for an {self.model.title}, whose own follows from it; "
                f"got {self.objective.kind!r}."
            )
        return self
