"""What owns a tilt: the module with the tilting network, which keeps the log normaliser that it was estimated to have."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from priorwise.distributions import Tilted
from priorwise.samplers import SIR, AbstractSampler
from priorwise.storage import content_hash

__all__ = ["AbstractContrastiveTilt", "AbstractTilt", "LogNorm", "tensors_without_log_norms"]

_DIGEST = 8  # bytes of a content hash


@dataclass(frozen=True)
class LogNorm:
    """A log normaliser.

    Attributes:
        value: Log Z in nats.
        stderr: Its standard error in nats.
        ess: Effective sample size behind it; infinite where it is exact.
        ends: Between which two numbers it lies (95 % each), where it was bracketed.
        is_doubtful: Whether its estimate came with a warning.
    """

    value: float = 0.0
    stderr: float = 0.0
    ess: float = math.inf
    ends: tuple[float, float] | None = None
    is_doubtful: bool = False

    @property
    def doubts(self) -> tuple[str, ...]:
        """What whoever uses it should say, in words; empty if nothing."""
        if not self.is_doubtful:
            return ()
        between = (
            ""
            if self.ends is None
            else f", between {self.ends[0]:.3f} and {self.ends[1]:.3f} if its starts are right"
        )
        return (
            f"log Z = {self.value:.3f} ± {self.stderr:.3f} was doubtful when it was estimated "
            f"(effective sample size {self.ess:.0f}{between}), and this number shares the doubt: "
            "see the warnings of priorwise.estimators.log_norm.",
        )


class AbstractTilt(nn.Module, ABC):
    """How to write a module that tilts a law and whose normaliser is unknown: a prior, or a whole model.

    1. Inherit, beside ``AbstractPrior`` or ``AbstractModel``, and keep the tilting network as a
       submodule.
    2. The distributions that you return are ``Tilted(..., owner=self)`` without a ``log_norm``. If
       you know it, give it to the ``Tilted`` and do not inherit from here: such a distribution is
       normalised, and everybody treats it so.
    3. Implement ``law``: what is tilted, as one ``Tilted`` of batch shape ``()``, whose base can be
       drawn.
    4. Set ``sampler`` if draws are not made by ``SIR(1000)`` unless somebody says otherwise.

    ``priorwise.estimators.log_norm`` estimates log Z and leaves it here. It is kept in checkpoints,
    and it is given back only while all parameters and buffers of this module are what they were:
    another optimiser step, another ``load_state_dict``, more training of a model underneath, and it
    is unknown again.
    """

    sampler: AbstractSampler = SIR(1000)

    _log_norm: Tensor  # value, stderr, ess, both ends, whether it is doubtful
    _log_norm_of: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_log_norm", torch.full((6,), torch.nan, dtype=torch.float64))
        self.register_buffer("_log_norm_of", torch.zeros(_DIGEST, dtype=torch.uint8))

    @abstractmethod
    def law(self) -> Tilted:
        """The law that is tilted, as one ``Tilted`` of batch shape ``()`` whose base can be drawn."""

    @property
    def kept_log_norm(self) -> LogNorm | None:
        """Log Z and its error in nats, or None until estimated for the tensors as they are now."""
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
        """Keep an estimate of log Z, as ``LogNorm`` describes it, for the tensors as they are now."""
        low, high = (math.nan, math.nan) if ends is None else ends
        kept = [value, stderr, ess, low, high, float(is_doubtful)]
        self._log_norm.copy_(torch.tensor(kept, dtype=torch.float64))
        self._log_norm_of.copy_(self._content())

    def forget_log_norm(self) -> None:
        """Mark log Z as unknown."""
        self._log_norm.fill_(math.nan)

    def _content(self) -> Tensor:
        """A hash of every tensor on which log Z depends."""
        return torch.frombuffer(
            bytearray.fromhex(content_hash(tensors_without_log_norms(self))), dtype=torch.uint8
        )


class AbstractContrastiveTilt(AbstractTilt):
    """A tilt over another model that is learnt by contrast.

    The log tilt of each group is the logit of a classifier that tells the aggregate posterior from
    the untilted prior. ``priorwise.objectives.NCE`` trains it, and
    ``priorwise.estimators.contrast`` judges it.
    """

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The classifiers: what is trained."""


def tensors_without_log_norms(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers of a module but for the estimates that tilts inside it keep."""
    tilts = [part for part in module.modules() if isinstance(part, AbstractTilt)]
    kept = {id(buffer) for tilt in tilts for buffer in (tilt._log_norm, tilt._log_norm_of)}
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: tensor for name, tensor in tensors.items() if id(tensor) not in kept}
