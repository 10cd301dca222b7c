"""A quality of generated images: a number that carries its protocol and is compared with its like only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TypeAlias

import torch
from torch import Tensor

from priorwise.estimators.base import Estimate
from priorwise.features import AbstractExtractor, Features, extract

__all__ = ["Quality", "as_features", "protocol_differences", "protocol_of", "require_comparable"]

Protocol: TypeAlias = dict[str, str | int | float | None]

# What may differ between two numbers that are compared: what is judged, how errors were drawn, and
# labels of what hashes decide.
_FREE = {"generated", "generated_data", "reference", "seed", "bootstrap", "priorwise", "torch"}
_VERSIONS = ("priorwise", "torch")


@dataclass(frozen=True)
class Quality:
    """One number about generated images against reference images.

    Attributes:
        name: What it is: "FID" for Inception features, else a name that contains the extractor's.
        value: The number.
        stderr: Standard error, over both sets of images.
        interval: 95% interval for what the number is on average over sets of these sizes; the bias
            that goes with the sizes is not in it.
        count: Number of generated images.
        diagnostics: What tells whether the number can be trusted.
        protocol: What was done, in full.
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
        )

    def minus(self, other: "Quality") -> Estimate:
        """The difference ``self - other`` of two sets of generated images against one reference set.

        Both errors contain that of the reference set. With one seed it was resampled alike, so it
        is taken out.

        Raises:
            ValueError: if the two protocols differ in anything but what is judged; the message says
                in what.
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
        """Everything but the replicates, ready for JSON; what is not finite becomes None."""
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
    """In words, what keeps two protocols (as they are, or read back from JSON) from being compared; empty if nothing does."""
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
    """Refuse two protocols that differ in more than what is judged.

    Raises:
        ValueError: with what differs, in words.
    """
    if found := protocol_differences(first, second):
        raise ValueError(
            f"expected two numbers of one protocol; these differ in {', '.join(found)}. Compute "
            "both in the same way."
        )


def as_features(
    x: Tensor | Features, extractor: AbstractExtractor | None, *, split: str
) -> Features:
    """Features as they are, or those of images.

    Raises:
        ValueError: for images without an extractor, or features of another one.
    """
    if isinstance(x, Tensor):
        if extractor is None:
            raise ValueError(
                "expected an `extractor` for images; got None. Pass one, or features of both sets."
            )
        return extract(extractor, x, split=split)
    if extractor is not None and (x.extractor, x.weights) != (
        extractor.name,
        extractor.fingerprint,
    ):
        raise ValueError(
            f"expected features of {extractor.name} with weights {extractor.fingerprint}; got "
            f"those of {x.extractor} with {x.weights}. Extract them again, or leave `extractor` "
            "out."
        )
    return x


def protocol_of(
    estimator: str, real: Features, fake: Features, seed: int, **options: int
) -> Protocol:
    """What a second person needs to repeat a number.

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
