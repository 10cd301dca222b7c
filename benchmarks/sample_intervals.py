"""The intervals of the estimators that judge samples or labelled codes, for the coverage study."""

from collections.abc import Iterator

import torch
from torch import Tensor

import priorwise as pw
from benchmarks.readings import Reading, Setting, Target
from priorwise import estimators
from priorwise.estimators import Quality
from priorwise.features import Raw

__all__ = ["settings"]

# -- quality of samples ----------------------------------------------------------------------------


_FEATURES = 8
_GIVEN_SEED = -1  # of examples that stay the same


def _features(seed: int, count: int, shift: float, *, heavy: bool = False) -> tuple[Tensor, Tensor]:
    """Real and generated points: half-normal, as after a ReLU, or log-normal with heavy tails."""
    with pw.seeded(seed, "coverage", "features"):
        real, fake = torch.randn(2, count, _FEATURES)
    return (real.exp(), fake.exp() + shift) if heavy else (real.abs(), fake.abs() + shift)


def _of(quality: Quality, target: Target = "mean", truth: float | None = None) -> Reading:
    return Reading(
        quality.value,
        quality.stderr,
        target,
        truth,
        quality.interval,
        warned=bool(quality.warnings),
    )


def _frechet() -> Iterator[Setting]:
    for words, shift, heavy in (
        ("one law", 0.0, False),
        ("shifted", 0.5, False),
        ("shifted, heavy tails", 0.5, True),
    ):
        for count in (100, 400):

            def run(
                seed: int, *, count: int = count, shift: float = shift, heavy: bool = heavy
            ) -> dict[str, Reading]:
                points = _features(seed, count, shift, heavy=heavy)
                distance = estimators.frechet_distance(*points, Raw(), seed=seed)
                corrected, truth = distance.diagnostics["corrected"], _FEATURES * shift**2
                return {
                    "interval and stderr": _of(distance),
                    "corrected, stderr": Reading(
                        corrected, distance.stderr, "law", truth, warned=bool(distance.warnings)
                    ),
                }

            yield Setting("frechet_distance", f"{words}, 2 x {count} images, 8 features", run, 0.15)

    def paired(seed: int) -> dict[str, Reading]:
        real, fake = _features(seed, 200, 0.5)
        _, other = _features(seed + 10**6, 200, 0.6)
        first, second = (
            estimators.frechet_distance(real, side, Raw(), seed=seed) for side in (fake, other)
        )
        difference = second.minus(first)
        return {"stderr": Reading.of(difference, "mean")}

    yield Setting(
        "Quality.minus", "Frechet distances of two models to one reference, 200 images", paired, 0.3
    )


def _precision_recall() -> Iterator[Setting]:
    for words, shift in (("one law", 0.0), ("shifted", 0.5)):

        def run(seed: int, shift: float = shift) -> dict[str, Reading]:
            found = estimators.precision_recall(*_features(seed, 300, shift), Raw(), seed=seed)
            names = ("precision", "recall", "density", "coverage")
            return {f"{name}, interval and stderr": _of(getattr(found, name)) for name in names}

        yield Setting("precision_recall", f"{words}, 2 x 300 images, 8 features", run, 0.05)


# -- disentanglement -------------------------------------------------------------------------------


def _codes(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Codes that tell two factors imperfectly."""
    with pw.seeded(seed, "coverage", "codes"):
        factors = torch.stack([torch.randint(4, (count,)), torch.randint(3, (count,))], 1)
        noise = torch.randn(count, 3)
    mixed = torch.stack(
        [factors[:, 0] + 0.3 * factors[:, 1], factors[:, 1].float(), torch.zeros(count)], 1
    )
    return mixed + 0.6 * noise, factors


def _disentanglement() -> Iterator[Setting]:
    def gap(seed: int) -> dict[str, Reading]:
        estimate = estimators.mig(*_codes(seed, 1000), seed=seed)
        return {"stderr_data": Reading.over_data(estimate, "mean")}

    def three(seed: int) -> dict[str, Reading]:
        scores = estimators.dci(*_codes(seed, 400), trees=5, seed=seed)
        names = ("disentanglement", "completeness", "informativeness")
        parts = {name: getattr(scores, name) for name in names}
        return {
            f"{name}, stderr_data": Reading.over_data(part, "mean") for name, part in parts.items()
        }

    given = _codes(_GIVEN_SEED, 400)

    def three_again(seed: int) -> dict[str, Reading]:
        scores = estimators.dci(*given, trees=5, seed=seed)
        names = ("disentanglement", "completeness", "informativeness")
        parts = {name: getattr(scores, name) for name in names}
        return {f"{name}, stderr": Reading.of(part, "mean") for name, part in parts.items()}

    def votes(seed: int) -> dict[str, Reading]:
        estimate = estimators.factor_vae_score(*given, votes=500, batch=8, seed=seed)
        return {"stderr": Reading.of(estimate, "mean")}

    yield Setting("mig", "1000 new examples", gap, 0.1)
    yield Setting("dci", "400 new examples, 5 trees", three, 0.3)
    yield Setting("dci", "400 given examples, 5 trees", three_again, 0.3)
    yield Setting("factor_vae_score", "400 given examples, 500 votes", votes)


def settings() -> Iterator[Setting]:
    """All settings of this file."""
    for part in (_frechet, _precision_recall, _disentanglement):
        yield from part()
