"""What ``torch.compile`` brings: a training step and a likelihood, compiled and as they stand.

The compiled step is that of ``fit(compile=True)``, the compiled likelihood ``nll(compile=True)``;
both in float32. Compilation itself is not in the ratios: its seconds stand in a row of their own.
"""

import time
from collections.abc import Callable
from itertools import cycle

import torch

import priorwise as pw
from benchmarks.contenders import TITLES, Architecture, build, even
from benchmarks.images import binary_batches, binary_test
from benchmarks.report import Row, plain_row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, race
from priorwise.estimators import nll
from priorwise.objectives import ELBO, Terms
from priorwise.training.forward import CompiledObjective
from priorwise.training.optimizer import build_optimizer

__all__ = ["measure"]

_LIKELIHOODS: tuple[Architecture, ...] = ("vae_standard", "vae_vamp")


def _step(objective: ELBO, forward: Callable[..., Terms], scale: Scale) -> Callable[[], float]:
    """One step at a call, with its loss; the batches and the draws are those of every contender."""
    optimizer = build_optimizer(objective.trained.parameters(), lr=1e-4)
    batches = cycle(enumerate(binary_batches(scale.batch)))

    def run() -> float:
        place, x = next(batches)
        with pw.seeded(0, "bench", "compile", place):
            loss = forward(x, 0).loss()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return run


def _training_rows(architecture: Architecture, scale: Scale) -> list[Row]:
    title = f"{TITLES[architecture]} step"
    plain, traced = (ELBO(build(architecture, scale)) for _ in range(2))
    started = time.perf_counter()
    forward = CompiledObjective(traced, binary_batches(scale.batch)[0])
    seconds = time.perf_counter() - started
    runs = {"plain": _step(plain, plain, scale), "compiled": _step(traced, forward, scale)}
    losses = {name: torch.tensor([run() for _ in range(10)]) for name, run in runs.items()}
    apart = ((losses["compiled"] - losses["plain"]) / losses["plain"]).abs().max()
    result = race(
        {name: Contender(run) for name, run in runs.items()}, rounds=scale.rounds, turns=scale.turns
    )
    return [
        row_of("compilation", f"{title}, compiled / plain", result.ratio("compiled", "plain"), "x"),
        plain_row("compilation", f"{title}, compilation", seconds, "s"),
        plain_row("compilation", f"{title}, largest difference of a loss", float(apart), "of it"),
    ]


def _likelihood_rows(architecture: Architecture, scale: Scale) -> list[Row]:
    """The turn before the first round compiles; calls after it find what was compiled."""
    title = f"{TITLES[architecture]} NLL, {scale.samples:,} samples"
    model, x = even(architecture, scale), binary_test(scale.likelihood_images)

    def run(*, compile: bool) -> Callable[[], object]:
        return lambda: nll(model, x, samples=scale.samples, compile=compile)

    contenders = {
        "compiled": Contender(run(compile=True)),
        "plain": Contender(run(compile=False)),
    }
    result = race(contenders, rounds=scale.likelihood_rounds, warmup=1)
    values = [
        nll(model, x, samples=scale.samples, compile=compile).value for compile in (True, False)
    ]
    return [
        row_of("compilation", f"{title}, compiled / plain", result.ratio("compiled", "plain"), "x"),
        plain_row("compilation", f"{title}, compiled - plain", values[0] - values[1], "nats"),
    ]


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    rows = [row for architecture in TITLES for row in _training_rows(architecture, scale)]
    return rows + [row for each in _LIKELIHOODS for row in _likelihood_rows(each, scale)]
