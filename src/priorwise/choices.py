"""The words that an option accepts; configurations and constructors share these types."""

from typing import Literal, TypeAlias

__all__ = [
    "KL",
    "Binarize",
    "Likelihood",
    "LogNormMethod",
    "ModelLikelihood",
    "OptimizerName",
    "Precision",
    "Scaling",
    "Space",
    "Trained",
    "Weighting",
]

Binarize: TypeAlias = Literal["none", "dynamic", "threshold"]
KL: TypeAlias = Literal["sample", "entropy", "analytic"]
Likelihood: TypeAlias = Literal["bernoulli", "gaussian", "discretized_logistic"]
LogNormMethod: TypeAlias = Literal["importance", "annealed"]
ModelLikelihood: TypeAlias = Literal[
    "auto",
    "bernoulli",
    "gaussian",
    "gaussian_predicted",
    "discretized_logistic",
    "discretized_logistic_paper",
]
OptimizerName: TypeAlias = Literal["adam", "adam_normalized", "adamax"]
Precision: TypeAlias = Literal["no", "bf16"]
Scaling: TypeAlias = Literal["unit", "midpoint", "dequantize", "none"]
Space: TypeAlias = Literal["representation", "generation"]
Trained: TypeAlias = Literal["ours", "all"]
Weighting: TypeAlias = Literal["stratified", "balanced", "weighted"]
