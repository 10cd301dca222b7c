"""Feature extractors: they turn images into the vectors that quality measures compare."""

from priorwise.features.base import AbstractExtractor, AbstractImageExtractor, Features, extract
from priorwise.features.classifier import TrainedClassifier, trained_classifier
from priorwise.features.efficientnet import EfficientNetLite
from priorwise.features.inception import INCEPTION, Inception
from priorwise.features.raw import Raw

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
