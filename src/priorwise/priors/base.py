"""The contract of priors: a module that returns a distribution over the top latents."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributions import Distribution

from priorwise.compilation import advice_if_compiled, is_compiled
from priorwise.typing import Encode

__all__ = ["AbstractPrior", "WrappedPrior", "as_prior"]


def _check_shapes(distribution: Distribution) -> None:
    """Refuse a distribution that does not give one density for all top latents together."""
    batch_shape, event_shape = tuple(distribution.batch_shape), tuple(distribution.event_shape)
    if batch_shape == () and event_shape != ():
        return
    name, dims = type(distribution).__name__, max(1, len(batch_shape))
    raise ValueError(
        f"expected a prior of batch shape () with the event shape of the latents; got {name} with "
        f"batch shape {batch_shape} and event shape {event_shape}, which would give one density "
        f"per dimension. Wrap it in torch.distributions.Independent({name}(...), "
        f"{dims})."
    )


class AbstractPrior(nn.Module, ABC):
    """How to write a prior.

    1. Inherit, and keep the parameters as in any torch module.
    2. Implement ``_distribution(encode_top)``: a distribution of batch shape ``()`` whose event
       shape is that of the top latents. ``encode_top`` maps observations to q(z_top|x); only priors
       made of encodings use it.
    3. Build distributions with ``validate_args=False``, and check the arguments in the constructor.

    Inside a ``kept`` block the parameters do not change, so the distribution is built once and
    reused.
    """

    def __init__(self) -> None:
        super().__init__()
        self._keeping = False
        self._kept: Distribution | None = None

    @abstractmethod
    def _distribution(self, encode_top: Encode | None) -> Distribution:
        """Build the distribution from the current parameters."""

    def forward(self, encode_top: Encode | None = None) -> Distribution:
        """The prior p(z_top), of batch shape ``()``.

        Raises:
            ValueError: for another batch shape, or for event shape ``()``, since the densities
                would broadcast.
        """
        if self._kept is not None:
            return self._kept
        distribution = self._distribution(encode_top)
        _check_shapes(distribution)
        if self._keeping:
            self._kept = distribution
        return distribution

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Build the distribution at most once inside the block; blocks can be nested."""
        outer = self._keeping
        self._keeping = True
        try:
            yield
        finally:
            self._keeping = outer
            if not outer:
                self._kept = None


class WrappedPrior(AbstractPrior):
    """A module from elsewhere as a prior.

    Arguments:
        module: Called without arguments, it must return a distribution; for example an
            unconditional zuko flow.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def _distribution(self, encode_top: Encode | None) -> Distribution:
        distribution = self.module()
        if not isinstance(distribution, Distribution):
            raise TypeError(
                f"expected `{type(self.module).__name__}()` to return a torch Distribution; got "
                f"{type(distribution).__name__}."
            )
        return distribution


def as_prior(prior: nn.Module) -> AbstractPrior:
    """The prior itself, or a wrapper around a module that returns a distribution when called.

    Raises:
        TypeError: if it is no module, or a compiled prior.
    """
    if isinstance(prior, AbstractPrior):
        return prior
    if is_compiled(prior) and isinstance(prior.get_submodule("_orig_mod"), AbstractPrior):
        raise TypeError(f"expected a prior; got one compiled.{advice_if_compiled(prior)}")
    if isinstance(prior, nn.Module):
        return WrappedPrior(prior)
    raise TypeError(
        "expected `prior` as a module that returns a Distribution, such as priorwise.priors; got "
        f"{type(prior).__name__}."
    )
