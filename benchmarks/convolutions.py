"""The convolutional HVAE and its PixelCNN: steps beside their floor, and what a cache saves.

The floor of a step is its convolutions and matrix products, recorded while the step runs and called
again on the same tensors. A PixelCNN's sample is measured in teacher-forced passes over the same
images. Without a cache each pixel takes one pass, so one pass stands for 1/784 of an image.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import priorwise as pw
from benchmarks.contenders import objective_step
from benchmarks.images import SHAPE, binary_batches
from benchmarks.report import Row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, Race, race
from priorwise.distributions import Autoregressive
from priorwise.models import HVAE, conv_hvae, frozen, pixel_hvae
from priorwise.objectives import ELBO
from priorwise.priors import VampPrior

__all__ = ["Products", "measure", "products_of"]

_SUBJECT = "convolutions"
_PRODUCTS = {"convolution", "convolution_backward", "mm", "addmm", "bmm"}


class Products(TorchDispatchMode):
    """Keeps every convolution and matrix product that is computed inside, with its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operator of torch
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in _PRODUCTS:
            self.calls.append(lambda: func(*args, **kwargs))
        return func(*args, **kwargs)


def products_of(step: Callable[[], object]) -> Callable[[], None]:
    """The convolutions and products of a step, and nothing else, at a call."""
    with Products() as products:
        step()

    @torch.no_grad()
    def run() -> None:
        for call in products.calls:
            call()

    return run


def _prior(scale: Scale) -> VampPrior:
    return VampPrior.random(scale.components, SHAPE)


def _models(scale: Scale) -> dict[str, HVAE]:
    sizes = {"latent": scale.latent, "hidden": scale.hidden}
    with pw.seeded(0, "bench", "convolutions"):
        return {
            "convHVAE": conv_hvae(SHAPE, **sizes),
            "convHVAE, VampPrior": conv_hvae(SHAPE, prior=_prior(scale), **sizes),
            "convHVAE, VampPrior, channels first": conv_hvae(
                SHAPE, prior=_prior(scale), **sizes
            ).to(memory_format=torch.contiguous_format),
            "PixelCNN, published": pixel_hvae(SHAPE, published=True, **sizes),
            "PixelCNN": pixel_hvae(SHAPE, **sizes),
        }


def _race(contenders: dict[str, Callable[[], object]], scale: Scale) -> Race:
    """Steps side by side, fewer of them than of the dense networks: they are slower."""
    turns = {name: Contender(run, scale.batch) for name, run in contenders.items()}
    return race(turns, rounds=scale.likelihood_rounds, warmup=1)


def _steps(scale: Scale) -> list[Row]:
    batches = binary_batches(scale.batch)
    steps = {name: objective_step(ELBO(model), batches) for name, model in _models(scale).items()}
    rows = []
    for name, step in steps.items():
        result = _race({name: step, "floor": products_of(step)}, scale)
        rows += [
            row_of(_SUBJECT, f"{name} step", result.speed(name), "images/s"),
            _ratio(result, f"{name} step, ours / floor", name, "floor"),
        ]
    standard, vamp, first = list(steps)[:3]
    result = _race({name: steps[name] for name in (standard, vamp, first)}, scale)
    return [
        *rows,
        _ratio(result, "convHVAE, time of a step, VampPrior / standard prior", standard, vamp),
        _ratio(result, "convHVAE, VampPrior step, channels last / first", vamp, first),
    ]


def _ratio(result: Race, what: str, fast: str, slow: str) -> Row:
    return row_of(_SUBJECT, what, result.ratio(fast, slow), "x")


def _samples(model: HVAE, title: str, scale: Scale) -> list[Row]:
    drawn = min(64, scale.batch)
    with frozen(model), torch.no_grad(), pw.seeded(0, "bench", "pixels"):
        law = model.likelihood(model.generate(drawn))
        assert isinstance(law, Autoregressive)
        x = law.sample()

        def one_pass() -> Tensor:
            return law.log_prob(x)

        contenders = {
            "cache": Contender(law.sample, drawn),
            "teacher": Contender(one_pass, drawn),
            "no cache": Contender(one_pass, drawn / (SHAPE[1] * SHAPE[2])),
        }
        result = race(contenders, rounds=scale.likelihood_rounds, warmup=1)
    return [
        row_of(_SUBJECT, f"{title}, {drawn} samples", result.speed("cache"), "images/s"),
        _ratio(result, f"{title}, time of a sample / of a teacher-forced pass", "teacher", "cache"),
        _ratio(result, f"{title}, sampling with cache / without", "cache", "no cache"),
    ]


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    models = _models(scale)
    return [
        *_steps(scale),
        *_samples(models["PixelCNN, published"], "PixelCNN, published", scale),
        *_samples(models["PixelCNN"], "PixelCNN", scale),
    ]
