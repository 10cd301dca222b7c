"""Feature extractors: they turn images into the vectors that quality measures compare."""

from typing import TYPE_CHECKING

from priorwise.lazy import lazy_names

if TYPE_CHECKING:
    from priorwise.features.base import AbstractExtractor, AbstractImageExtractor, Features, extract
    from priorwise.features.classifier import TrainedClassifier, trained_classifier
    from priorwise.features.efficientnet import EfficientNetLite
    from priorwise.features.inception import INCEPTION, Inception
    from priorwise.features.raw import Raw
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "INCEPTION",
    "AbstractExtractor",
    "AbstractImageExtractor",
    "EfficientNetLite",
    "Features",
    "Inception",
    "Raw",
    "TrainedClassifier",
    "extract",
    "trained_classifier",
]
