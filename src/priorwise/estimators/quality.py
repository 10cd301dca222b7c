"""A quality measure of generated images, which is compared only at the same protocol."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TypeAlias

import torch
from torch import Tensor

from priorwise.arrays import Array, as_tensor
from priorwise.estimators.base import Estimate
from priorwise.estimators.doubts import marked
from priorwise.features import AbstractExtractor, Features, extract

__all__ = ["Quality", "as_features", "protocol_differences", "protocol_of", "require_comparable"]

Protocol: TypeAlias = dict[str, str | int | float | None]

# What may differ between two numbers that are compared: the generated images, the seed and size of
# the bootstrap, and labels of what hashes identify.
_FREE = {"generated", "generated_data", "reference", "seed", "bootstrap", "priorwise", "torch"}
_VERSIONS = ("priorwise", "torch")


@dataclass(frozen=True)
class Quality:
    """A number that compares generated images with reference images.

    Attributes:
        name: "FID" for Inception features, otherwise a name that contains that of the extractor.
        value: The number.
        stderr: Standard error, over both sets of images.
        interval: 95 % interval for the mean of the number over sets of these sizes; it does not
            cover the bias that comes with the sizes.
        count: Number of generated images.
        diagnostics: Numbers that show whether the value can be trusted.
        protocol: Everything that is needed to repeat the number.
        warnings: Reasons for doubt, in words.
        replicates: The number on resampled images, scaled so that their standard deviation is
            ``stderr``, ``(R,)``.
    """

    name: str
    value: float
    stderr: float
    interval: tuple[float, float]
    count: int
    diagnostics: dict[str, float] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    replicates: Tensor = field(default_factory=lambda: torch.zeros(0), repr=False, compare=False)

    def __str__(self) -> str:
        low, high = self.interval
        counts = f"{self.protocol.get('reference_count')} real, {self.count} generated"
        return (
            f"{self.name}: {self.value:.3f} ± {self.stderr:.3f} [{low:.3f}, {high:.3f}] ({counts})"
            f"{marked(self.warnings)}"
        )

    def minus(self, other: "Quality") -> Estimate:
        """The difference ``self - other`` between two sets of generated images.

        Both are compared with the same reference set, whose sampling error is part of both errors.
        With the same seed it was resampled in the same way, so it cancels.

        Raises:
            ValueError: if the protocols differ in more than the generated images; the message lists
                the differences.
        """
        require_comparable(
            {"measure": self.name, **self.protocol}, {"measure": other.name, **other.protocol}
        )
        paired = self.protocol.get("seed") == other.protocol.get("seed") and len(
            self.replicates
        ) == len(other.replicates)
        error = math.hypot(self.stderr, other.stderr)
        if paired and len(self.replicates):
            error = float((self.replicates - other.replicates).std())
        return Estimate(
            value=self.value - other.value,
            stderr=error,
            count=self.count,
            unit=self.name,
            protocol={"kind": "paired difference" if paired else "difference of unpaired errors"},
            warnings=self.warnings + other.warnings + _version_words(self.protocol, other.protocol),
        )

    def to_json(self) -> dict[str, object]:
        """All fields except the replicates, for JSON; NaN and infinity become None."""
        return {
            "name": self.name,
            "value": _finite(self.value),
            "stderr": _finite(self.stderr),
            "interval": [_finite(bound) for bound in self.interval],
            "count": self.count,
            "diagnostics": {name: _finite(value) for name, value in self.diagnostics.items()},
            "protocol": dict(self.protocol),
            "warnings": list(self.warnings),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def protocol_differences(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    """The differences, in words, that make two protocols incomparable; empty if there are none.

    Arguments:
        first: The protocol of a ``Quality``, or the same read back from JSON.
        second: The other protocol.

    Example:
        >>> protocol_differences({"features": 64, "seed": 0}, {"features": 2048, "seed": 1})
        ['features (64 against 2048)']
    """
    fields = [
        name
        for name in {**first, **second}
        if name not in _FREE and first.get(name) != second.get(name)
    ]
    return [f"{name} ({_words(name, first)} against {_words(name, second)})" for name in fields]


def _words(name: str, protocol: Mapping[str, object]) -> str:
    value = str(protocol.get(name, "none"))
    return f"{protocol.get('reference')}: {value}" if name == "reference_data" else value


def _version_words(first: Mapping[str, object], second: Mapping[str, object]) -> tuple[str, ...]:
    pairs = [(name, first.get(name), second.get(name)) for name in _VERSIONS]
    return tuple(
        f"the two were computed with {name} {one} and {two}."
        for name, one, two in pairs
        if one != two
    )


def require_comparable(first: Mapping[str, object], second: Mapping[str, object]) -> None:
    """Refuse two protocols that differ in more than the generated images.

    Raises:
        ValueError: listing the differences.
    """
    if differences := protocol_differences(first, second):
        raise ValueError(
            "expected two numbers with the same protocol; got numbers that differ in "
            f"{', '.join(differences)}. Compute both in the same way."
        )


def as_features(
    x: Array | Features, extractor: AbstractExtractor | None, *, split: str
) -> Features:
    """Return features as they are, and extract those of images.

    Raises:
        ValueError: for images without an extractor, or features of another extractor.
    """
    if not isinstance(x, Features):
        if extractor is None:
            raise ValueError(
                "expected an `extractor` for images; got None. Pass one, or pass the features of "
                "both sets."
            )
        return extract(extractor, as_tensor(x), split=split)
    if extractor is not None and (x.extractor, x.weights) != (
        extractor.name,
        extractor.fingerprint,
    ):
        raise ValueError(
            f"expected features of {extractor.name} with weights {extractor.fingerprint}; got "
            f"those of {x.extractor} with {x.weights}. Extract them again, or leave out "
            "`extractor`."
        )
    return x


def protocol_of(
    estimator: str, real: Features, fake: Features, seed: int, **options: int
) -> Protocol:
    """Everything that is needed to repeat a number.

    Raises:
        ValueError: if the two sets of features were not computed in the same way.
    """
    sides = [
        {"extractor": side.extractor, "weights": side.weights, "resize": side.resize}
        for side in (real, fake)
    ]
    require_comparable(
        sides[0] | {"features": real.values.shape[1]}, sides[1] | {"features": fake.values.shape[1]}
    )
    return {
        "estimator": estimator,
        **sides[0],
        "features": real.values.shape[1],
        "reference": real.split,
        "reference_data": real.data,
        "reference_count": len(real),
        "generated": fake.split,
        "generated_data": fake.data,
        "generated_count": len(fake),
        **({} if fake.decoded is None else {"generated_as": fake.decoded}),
        **options,
        "seed": seed,
        "priorwise": version("priorwise"),
        "torch": torch.__version__,
    }
