"""What bf16 costs in nats and brings in speed.

The same weights are evaluated with the decoder in float32 and in bf16, with the same random
numbers, so the difference of the two NLLs has a far smaller error over images than either. Then
training in bf16 is set against training in float32: equal initial weights, data, order and draws,
both evaluated in float32. Densities stay in float32 in all of it.
"""

from collections.abc import Callable

from benchmarks.contenders import TITLES, Architecture, fitted
from benchmarks.images import binary_test
from benchmarks.report import Row, plain_row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, race
from priorwise.estimators import nll
from priorwise.estimators.base import Estimate
from priorwise.models import AbstractModel

__all__ = ["measure"]

_ARCHITECTURES: tuple[Architecture, ...] = ("vae_standard", "vae_vamp")


def _nll(model: AbstractModel, scale: Scale, *, half: bool = False) -> Estimate:
    return nll(
        model,
        binary_test(scale.precision_images),
        samples=scale.precision_samples,
        precision="bf16" if half else "no",
    )


def _difference_row(what: str, changed: Estimate, plain: Estimate) -> Row:
    difference = changed.minus(plain)
    error = difference.stderr_data or 0.0
    return plain_row(
        "precision",
        what,
        difference.value,
        "nats",
        low=difference.value - error,
        high=difference.value + error,
        note=f"{plain.value:.3f} in float32; error {error:.4f} over {plain.count} images",
    )


def _evaluation(model: AbstractModel, scale: Scale, *, half: bool) -> Callable[[], object]:
    x, samples = binary_test(10), scale.precision_samples

    return lambda: nll(model, x, samples=samples, precision="bf16" if half else "no")


def _rows(architecture: Architecture, scale: Scale) -> list[Row]:
    title = TITLES[architecture]
    model = fitted(architecture, scale)
    plain = _nll(model, scale)
    trained = fitted(architecture, scale, "bf16")
    runs = {name: _evaluation(model, scale, half=name == "bf16") for name in ("float32", "bf16")}
    contenders = {name: Contender(run, 10) for name, run in runs.items()}
    result = race(contenders, rounds=scale.likelihood_rounds, warmup=1)
    return [
        _difference_row(
            f"{title} NLL, evaluated in bf16 - float32", _nll(model, scale, half=True), plain
        ),
        _difference_row(f"{title} NLL, trained in bf16 - float32", _nll(trained, scale), plain),
        row_of(
            "precision", f"{title} NLL speed, bf16 / float32", result.ratio("bf16", "float32"), "x"
        ),
    ]


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    return [row for architecture in _ARCHITECTURES for row in _rows(architecture, scale)]
