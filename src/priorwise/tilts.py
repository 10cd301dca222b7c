"""Modules that own a tilt: each holds the tilting network and keeps the estimate of log Z."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from priorwise.compilation import uncompiled_name
from priorwise.distributions import Tilted
from priorwise.samplers import SIR, AbstractSampler
from priorwise.storage import content_hash

__all__ = [
    "AbstractContrastiveTilt",
    "AbstractTilt",
    "LogNorm",
    "lost_tensors",
    "tensors_without_log_norms",
]

_DIGEST = 8  # bytes of a content hash


@dataclass(frozen=True)
class LogNorm:
    """A log normaliser.

    Attributes:
        value: Log Z in nats.
        stderr: Its standard error in nats.
        ess: Effective sample size of the estimate; infinite where it is exact.
        ends: The lower and the upper end of its bracket (95 % each), where it was bracketed.
        is_doubtful: Whether the estimate came with a warning.
    """

    value: float = 0.0
    stderr: float = 0.0
    ess: float = math.inf
    ends: tuple[float, float] | None = None
    is_doubtful: bool = False

    @property
    def doubts(self) -> tuple[str, ...]:
        """The warnings that a number based on it must repeat; empty if there are none."""
        if not self.is_doubtful:
            return ()
        between = (
            ""
            if self.ends is None
            else f", between {self.ends[0]:.3f} and {self.ends[1]:.3f} if its starts are right"
        )
        return (
            f"log Z = {self.value:.3f} ± {self.stderr:.3f} was doubtful when it was estimated "
            f"(effective sample size {self.ess:.0f}{between}): this number is doubtful, too. See "
            "the warnings of priorwise.estimators.log_norm.",
        )


class AbstractTilt(nn.Module, ABC):
    """How to write a prior or model that tilts a law whose normaliser is unknown.

    1. Inherit, together with ``AbstractPrior`` or ``AbstractModel``, and keep the tilting network
       as a submodule.
    2. Return distributions ``Tilted(..., owner=self)`` without a ``log_norm``. If you know the log
       normaliser, give it to the ``Tilted`` and do not inherit from this class: the distribution
       is then normalised, and the whole library treats it so.
    3. Implement ``law``: the tilted law as one ``Tilted`` of batch shape ``()``, whose base can be
       sampled.
    4. Set ``sampler`` if the default sampler should be another than ``SIR(1000)``.

    ``priorwise.estimators.log_norm`` estimates log Z and stores it here. Checkpoints keep it. It is
    valid only while all parameters and buffers of this module stay the same: after another
    optimiser step, another ``load_state_dict``, or more training of the model underneath, log Z is
    unknown again.
    """

    sampler: AbstractSampler = SIR(1000)

    _log_norm: Tensor  # value, stderr, ess, both ends, whether it is doubtful
    _log_norm_of: Tensor  # the hash of the tensors that it was estimated for

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_log_norm", torch.full((6,), torch.nan, dtype=torch.float64))
        self.register_buffer("_log_norm_of", torch.zeros(_DIGEST, dtype=torch.uint8))

    @abstractmethod
    def law(self) -> Tilted:
        """The tilted law as one ``Tilted`` of batch shape ``()`` whose base can be sampled."""

    @property
    def kept_log_norm(self) -> LogNorm | None:
        """Log Z with its error in nats; None unless it was estimated for the current tensors."""
        value, stderr, ess, low, high, doubtful = self._log_norm.tolist()
        if math.isnan(value) or not torch.equal(self._log_norm_of.cpu(), self._content()):
            return None
        return LogNorm(value, stderr, ess, None if math.isnan(low) else (low, high), bool(doubtful))

    def set_log_norm(
        self,
        value: float,
        stderr: float,
        *,
        ess: float = math.inf,
        ends: tuple[float, float] | None = None,
        is_doubtful: bool = False,
    ) -> None:
        """Keep an estimate of log Z for the current tensors; ``LogNorm`` explains the arguments."""
        low, high = (math.nan, math.nan) if ends is None else ends
        estimate = [value, stderr, ess, low, high, float(is_doubtful)]
        self._log_norm.copy_(torch.tensor(estimate, dtype=torch.float64))
        self._log_norm_of.copy_(self._content())

    def _content(self) -> Tensor:
        """A hash of every tensor on which log Z depends."""
        return torch.frombuffer(
            bytearray.fromhex(content_hash(tensors_without_log_norms(self))), dtype=torch.uint8
        )


class AbstractContrastiveTilt(AbstractTilt):
    """A tilt over another model, learned by noise contrastive estimation.

    The log tilt of each group is the logit of a classifier that distinguishes the aggregate
    posterior from the untilted prior. ``priorwise.objectives.NCE`` trains it, and
    ``priorwise.estimators.contrast`` evaluates it.
    """

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The classifiers, which are what is trained."""


def tensors_without_log_norms(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of a module, without the log normalisers that its tilts keep."""
    tilts = [part for part in module.modules() if isinstance(part, AbstractTilt)]
    log_norms = {id(buffer) for tilt in tilts for buffer in (tilt._log_norm, tilt._log_norm_of)}
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        uncompiled_name(name): tensor
        for name, tensor in tensors.items()
        if id(tensor) not in log_norms
    }


def lost_tensors(module: nn.Module) -> list[str]:
    """Names of the tensors with which every number of a module is wrong.

    These are parameters with NaN or infinity, and buffers with NaN; a mask may be infinite.
    """
    parameters = {uncompiled_name(name) for name, _ in module.named_parameters()}
    return [
        name
        for name, tensor in tensors_without_log_norms(module).items()
        if tensor.is_floating_point()
        and bool((~tensor.isfinite() if name in parameters else tensor.isnan()).any())
    ]
