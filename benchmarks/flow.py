"""The flow prior: a training pass and draws, ours and zuko's RealNVP of like size.

A training pass is the log density of a batch and its gradient to the points and the parameters.
Ours has two networks a coupling, as the dpVAE paper has it; zuko's has one, made wide enough for as
many parameters. zuko switches torch's argument validation off when it is imported; here it is off
for the races alone.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import priorwise as pw
from benchmarks.report import Row, plain_row, row_of
from benchmarks.scale import Scale
from benchmarks.timing import Contender, Race, race
from priorwise.priors import FlowPrior

__all__ = ["HOW_TO_INSTALL", "available", "measure"]

HOW_TO_INSTALL = "zuko is not installed: pip install -e '.[flows]'"

_BLOCKS = 6
# Of the two hidden layers of zuko's networks: 1 % more parameters than ours in 40 dimensions.
_WIDTH = 110
_DRAWS = 1000


def available() -> bool:
    """Whether zuko is installed."""
    return find_spec("zuko") is not None


@contextmanager
def _validation_off() -> Iterator[None]:
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def _build_flows(scale: Scale) -> dict[str, nn.Module]:
    with pw.seeded(0, "bench", "flows"):
        flows: dict[str, nn.Module] = {"ours": FlowPrior(scale.latent, blocks=_BLOCKS)}
        if available():
            from zuko.flows import RealNVP

            flows["zuko"] = RealNVP(
                scale.latent, transforms=_BLOCKS, hidden_features=(_WIDTH, _WIDTH)
            )
    return flows


def _training_pass(flow: nn.Module, z: Tensor) -> Callable[[], None]:
    def run() -> None:
        flow.zero_grad(set_to_none=True)
        flow().log_prob(z.clone().requires_grad_()).mean().neg().backward()

    return run


def _drawing(flow: nn.Module, draws: int) -> Callable[[], object]:
    return lambda: flow().sample((draws,))


def _rows(title: str, result: Race, unit: str, note: str) -> list[Row]:
    ours = row_of("flow", f"{title}, priorwise", result.speed("ours"), unit)
    if "zuko" not in result.amounts:
        return [ours, plain_row("flow", f"{title}, zuko", None, unit, note=HOW_TO_INSTALL)]
    return [
        ours,
        row_of("flow", f"{title}, zuko", result.speed("zuko"), unit),
        row_of("flow", f"{title}, priorwise / zuko", result.ratio("ours", "zuko"), "x", note=note),
    ]


def measure(scale: Scale) -> list[Row]:
    """All rows of this subject."""
    with _validation_off():
        flows = _build_flows(scale)
        sizes = {
            name: sum(parameter.numel() for parameter in flow.parameters())
            for name, flow in flows.items()
        }
        note = " and ".join(f"{size:,}" for size in sizes.values()) + " parameters"
        with pw.seeded(0, "bench", "flow points"):
            z = torch.randn(scale.batch, scale.latent)
        rows: list[Row] = []
        for title, build, amount, unit in (
            (
                "log density and gradient",
                lambda flow: _training_pass(flow, z),
                scale.batch,
                "points/s",
            ),
            (
                f"{scale.batch} draws",
                lambda flow: _drawing(flow, scale.batch),
                scale.batch,
                "draws/s",
            ),
            (f"{_DRAWS:,} draws", lambda flow: _drawing(flow, _DRAWS), _DRAWS, "draws/s"),
        ):
            contenders = {name: Contender(build(flow), amount) for name, flow in flows.items()}
            rows += _rows(
                title, race(contenders, rounds=scale.rounds, turns=scale.turns), unit, note
            )
    return rows
