"""What owns a tilt: the module with the tilting network, which keeps the log normaliser that it was estimated to have."""

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
    """

    value: float = 0.0
    stderr: float = 0.0


class AbstractTilt(nn.Module, ABC):
    """How to write a module that tilts a law and whose normaliser is unknown: a prior, or a whole model.

    1. Inherit, beside ``AbstractPrior`` or ``AbstractModel``, and keep the tilting network as a submodule.
    2. The distributions that you return are ``Tilted`` without a ``log_norm``. If you know it, give it to the ``Tilted``
       and do not inherit from here: such a distribution is normalised, and everybody treats it so.
    3. Implement ``law``: what is tilted, as one ``Tilted`` of batch shape ``()``, whose base can be drawn.
    4. Set ``sampler`` if draws are not made by ``SIR(1000)`` unless somebody says otherwise.

    ``priorwise.estimators.log_norm`` estimates log Z and leaves it here. It is kept in checkpoints, and it is given back
    only while all parameters and buffers of this module are what they were: another optimiser step, another
    ``load_state_dict``, more training of a model underneath, and it is unknown again.
    """

    sampler: AbstractSampler = SIR(1000)

    _log_norm: Tensor
    _log_norm_stderr: Tensor
    _log_norm_of: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_log_norm", torch.tensor(float("nan")))
        self.register_buffer("_log_norm_stderr", torch.tensor(float("nan")))
        self.register_buffer("_log_norm_of", torch.zeros(_DIGEST, dtype=torch.uint8))

    @abstractmethod
    def law(self) -> Tilted:
        """The law that is tilted, as one ``Tilted`` of batch shape ``()`` whose base can be drawn."""

    @property
    def kept_log_norm(self) -> LogNorm | None:
        """Log Z and its error in nats, or None until estimated for the tensors as they are now."""
        if bool(self._log_norm.isnan()) or not torch.equal(self._log_norm_of.cpu(), self._content()):
            return None
        return LogNorm(float(self._log_norm), float(self._log_norm_stderr))

    def set_log_norm(self, value: float, stderr: float) -> None:
        """Keep an estimate of log Z (nats) and its standard error, for the tensors as they are now."""
        self._log_norm.fill_(value)
        self._log_norm_stderr.fill_(stderr)
        self._log_norm_of.copy_(self._content())

    def forget_log_norm(self) -> None:
        """Mark log Z as unknown."""
        self._log_norm.fill_(float("nan"))
        self._log_norm_stderr.fill_(float("nan"))

    def _content(self) -> Tensor:
        """A hash of every tensor on which log Z depends."""
        return torch.frombuffer(bytearray.fromhex(content_hash(tensors_without_log_norms(self))), dtype=torch.uint8)


class AbstractContrastiveTilt(AbstractTilt):
    """A tilt over another model that is learnt by contrast.

    The log tilt of each group is the logit of a classifier that tells the aggregate posterior from the untilted prior.
    ``priorwise.objectives.NCE`` trains it, and ``priorwise.estimators.contrast`` judges it.
    """

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The classifiers: what is trained."""


def tensors_without_log_norms(module: nn.Module) -> dict[str, Tensor]:
    """The ``state_dict`` of a module without the estimates that tilts inside it keep."""
    tilts = [part for part in module.modules() if isinstance(part, AbstractTilt)]
    kept = {id(buffer) for tilt in tilts for buffer in (tilt._log_norm, tilt._log_norm_stderr, tilt._log_norm_of)}
    tensors = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in tensors.items() if id(tensor) not in kept}
