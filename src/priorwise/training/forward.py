"""How a fit calls its objective: as it stands, compiled, or as one of several processes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from priorwise.compilation import compiled, explained
from priorwise.config.training import TrainingConfig
from priorwise.objectives import AbstractObjective, Terms

__all__ = ["CompiledObjective", "forward_of", "require_compilation"]


def require_compilation(processes: int) -> None:
    """Refuse what can be known to fail before anything is touched: compile a line, in one process.

    Raises:
        ValueError: for several processes, whose shares of a batch differ in size.
        CompilationError: if there is no compiler.
    """
    if processes > 1:
        raise ValueError(
            f"expected one process for `compile`; got {processes}. Leave `training.compile` at "
            "False, or start one process."
        )
    with explained("code"):
        compiled(lambda x: x.exp() + 1)(torch.zeros(2))


def forward_of(
    objective: AbstractObjective, x: Tensor, config: TrainingConfig, processes: int
) -> Callable[..., Terms]:
    """The objective as a fit calls it: with a batch, the step, and each player but the first.

    Arguments:
        objective: The objective, in the mode in which it is trained.
        x: A full batch ``(B, *event)``.
        config: The options of the fit.
        processes: How many share a batch.
    """
    if config.compile:
        return CompiledObjective(objective, x)
    if processes == 1:
        return objective
    skips = objective.may_skip_parameters
    return nn.parallel.DistributedDataParallel(objective, find_unused_parameters=skips)


class CompiledObjective:
    """Gives an objective's terms: compiled for batches of the full size, others as they stand.

    So the smaller batch at the end of an epoch compiles nothing anew. Every player's turn is
    compiled, forwards and backwards, when this is built: what cannot be compiled is refused before
    the first step. The objective itself stays as it is, and is judged as it stands.

    Whatever this process compiled before is forgotten first (``torch.compiler.reset``): the
    compiler makes other code, which rounds in another way, where it has seen similar functions
    before, and a resumed run would then differ from an unbroken one. Compiled functions of yours
    keep working; their next call compiles them again.

    Arguments:
        objective: The objective, in the mode in which it is trained.
        x: A full batch ``(B, *event)``; nothing is learnt from it.

    Raises:
        CompilationError: if the objective cannot be compiled.
    """

    def __init__(self, objective: AbstractObjective, x: Tensor) -> None:
        self.objective = objective
        self.rows = len(x)
        torch.compiler.reset()
        self._compiled = compiled(self._plain)
        statistics = [(buffer, buffer.clone()) for buffer in objective.buffers()]
        with explained("an objective"):
            for turn in ({}, *({"player": player.name} for player in objective.players[1:])):
                self._compiled(x, 0, **turn).loss().backward()
        for buffer, before in statistics:
            buffer.copy_(before)
        objective.zero_grad(set_to_none=True)

    def __call__(self, x: Tensor, step: int, **turn: str) -> Terms:
        """The terms of a batch in one player's turn."""
        if len(x) != self.rows:
            return self._plain(x, step, **turn)
        return self._compiled(x, step, **turn)

    def _plain(self, x: Tensor, step: int, **turn: str) -> Terms:
        """What is compiled: a call, for torch marks a module that it is given."""
        return self.objective(x, step, **turn)
