"""A VAE that was trained elsewhere, as a model of this library."""

import warnings
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from priorwise.callables import modules_of
from priorwise.distributions import Delta, UnflattenedRows, diagonal_gaussian
from priorwise.models.base import AbstractModel, Draw, Group
from priorwise.nn import at_least_float32, event_rows
from priorwise.priors import StandardNormal, as_prior
from priorwise.typing import Shape

__all__ = ["WrappedVAE", "wrap"]

Encoded: TypeAlias = Distribution | Tensor | tuple[Tensor, Tensor]


def _as_posterior(encoded: Encoded, event_dims: int) -> Distribution:
    """A posterior from a distribution, a pair (mean, log-variance), or a tensor of points."""
    if isinstance(encoded, Distribution):
        missing = event_dims - len(encoded.event_shape)
        return Independent(encoded, missing, validate_args=False) if missing > 0 else encoded
    if isinstance(encoded, Tensor):
        return Delta(encoded, event_dims)
    if isinstance(encoded, tuple) and len(encoded) == 2:
        loc, log_var = encoded
        return diagonal_gaussian(loc, torch.exp(0.5 * log_var), event_dims)
    raise TypeError(
        "expected `encode(x)` to return a Distribution, a pair (mean, log-variance) or a tensor "
        f"of codes; got {type(encoded).__name__}."
    )


class WrappedVAE(AbstractModel):
    """A model of two callables and a prior. Build it with ``priorwise.wrap``.

    The modules that the callables use are registered. A deep copy has its own modules where the
    callables can be copied, as modules, their methods and ``functools.partial`` can. Functions are
    never copied, so a copy of the model shares the modules that they hold.

    The networks are somebody's, so a fit leaves them as they are: weights, batch statistics, modes.
    ``priorwise.fit(model, data)`` trains the prior alone, by the ELBO, and ``train="all"`` trains
    encoder and decoder too. To fit a prior, ``priorwise.fit_prior`` needs no decoder, so it is
    faster; a tilt such as ``priorwise.NCP`` never trains the networks.
    """

    def __init__(
        self,
        encode: Callable[[Tensor], Encoded],
        decode: Callable[[Tensor], Distribution | Tensor],
        latent_shape: Shape,
        prior: nn.Module,
        likelihood: Callable[[Tensor], Distribution] | None,
        modules: Iterable[nn.Module] = (),
    ) -> None:
        super().__init__()
        self._encode = encode
        self._decode = decode
        self._owners = nn.ModuleList()
        self._likelihood = likelihood
        self._latent_shape = tuple(latent_shape)
        self._listed = tuple(modules)  # a tuple, so that torch does not register them
        self.prior = prior
        self._register()

    @property
    def borrowed(self) -> tuple[nn.Module, ...]:
        """The networks of the callables, and those that were listed."""
        return tuple(part for part in self.children() if part is not self.prior)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - as torch has it
        super().__setattr__(name, as_prior(value) if name == "prior" else value)

    def _callables(self) -> list[Callable[..., Any]]:
        return [part for part in (self._encode, self._decode, self._likelihood) if part is not None]

    def _register(self) -> None:
        """Register the modules that the callables use and those listed, each once."""
        self._owners = nn.ModuleList()
        registered = set(self.modules())
        self._owners.extend(
            module
            for module in modules_of(*self._callables(), *self._listed)
            if module not in registered
        )

    def __getstate__(self) -> dict[str, Any]:
        """The state without the registered modules: a copy registers those of its callables."""
        return vars(self) | {"_modules": self._modules | {"_owners": nn.ModuleList()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._register()

    def __deepcopy__(self, memo: dict[int, Any]) -> "WrappedVAE":
        """A deep copy.

        It shares listed modules that the search does not reach, since it also shares the functions
        that use them.
        """
        reached = {part for module in modules_of(*self._callables()) for part in module.modules()}
        memo.update({id(module): module for module in self._listed if module not in reached})
        memo[id(self)] = copy = WrappedVAE.__new__(WrappedVAE)
        copy.__setstate__(deepcopy(self.__getstate__(), memo))
        return copy

    def _posterior(self, x: Tensor) -> Distribution:
        posterior = _as_posterior(self._encode(x), len(self._latent_shape))
        if tuple(posterior.event_shape) != self._latent_shape:
            raise ValueError(
                f"expected `encode(x)` to return latents of shape {self._latent_shape}, as in "
                f"`latent`; got {tuple(posterior.event_shape)}."
            )
        return posterior

    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """The single group."""
        size = torch.Size(batch_shape)
        posterior = None if x is None else self._posterior(x).expand(size)
        group = Group(1, self.prior(self._posterior).expand(size), posterior)
        group.z = draw(group)
        return [group]

    def likelihood(self, groups: list[Group]) -> Distribution:
        """p(x | z); the decoder is called with rows ``(rows, *event)``."""
        rows, batch_shape = event_rows(groups[0].z, len(self._latent_shape))
        decoded = self._decode(rows)
        if isinstance(decoded, Tensor):
            decoded = at_least_float32(decoded)
            event_dims = decoded.dim() - 1
            decoded = (
                Delta(decoded, event_dims)
                if self._likelihood is None
                else self._likelihood(decoded)
            )
        if not isinstance(decoded, Distribution):
            raise TypeError(
                "expected `decode(z)` to return a Distribution or a tensor of means; got "
                f"{type(decoded).__name__}."
            )
        missing = len(decoded.batch_shape) - 1  # event dimensions that are in the batch shape
        if missing > 0:
            decoded = Independent(decoded, missing, validate_args=False)
        return (
            decoded if decoded.batch_shape == batch_shape else UnflattenedRows(decoded, batch_shape)
        )


def wrap(
    *,
    encode: Callable[[Tensor], Encoded],
    decode: Callable[[Tensor], Distribution | Tensor],
    latent: int | Shape,
    prior: nn.Module | None = None,
    likelihood: Callable[[Tensor], Distribution] | None = None,
    modules: Iterable[nn.Module] | nn.Module | None = None,
) -> WrappedVAE:
    """A VAE from anywhere, as a model that works with the whole library.

    The networks that the functions use become part of the model, so that evaluation mode, devices
    and checkpoints reach them. ``wrap`` searches the functions for them: modules and their methods,
    objects that hold modules, ``functools.partial``, closures, default arguments and the globals
    that a function names; ``priorwise.callables`` has the details. The search runs none of the
    functions. Name the modules that it cannot find in ``modules``.

    Arguments:
        encode: Maps ``(B, *event)`` to a Distribution over latents, a pair (mean, log-variance), or
            a tensor of codes (a deterministic encoder, which has no likelihoods).
        decode: Maps latents ``(rows, *latent)`` to a Distribution over observations, or to their
            means.
        latent: Number of latent dimensions, or their shape.
        prior: The prior that the model was trained with; standard normal if None.
        likelihood: Turns the decoder's means into p(x|z), for example ``lambda mean:
            Independent(Normal(mean, 0.1), 3)``. Without it samples work, but likelihoods refuse.
        modules: Modules that the functions use, in addition to those that the search finds. An
            empty tuple says that there are no others.

    Raises:
        TypeError: if ``encode`` or ``decode`` is not callable, or if ``modules`` holds anything but
            modules.

    Warns:
        UserWarning: if no module is found in ``encode`` or in ``decode`` and ``modules`` is None.

    Example:
        >>> model = wrap(encode=nn.Linear(4, 2), decode=nn.Linear(2, 4), latent=2)
        >>> model.sample(3, seed=0).shape
        torch.Size([3, 4])
    """
    for name, part in (("encode", encode), ("decode", decode)):
        if not callable(part):
            raise TypeError(f"expected `{name}` to be callable; got {type(part).__name__}.")
    if modules is None:
        _warn_of_bare_functions(encode=encode, decode=decode)
    shape = (latent,) if isinstance(latent, int) else tuple(latent)
    if not all(isinstance(size, int) for size in shape):
        raise TypeError(f"expected `latent` as a whole number or a tuple of such; got {latent!r}.")
    prior = StandardNormal(shape) if prior is None else prior
    return WrappedVAE(encode, decode, shape, prior, likelihood, _checked(modules))


def _checked(modules: Iterable[nn.Module] | nn.Module | None) -> tuple[nn.Module, ...]:
    if modules is None:
        return ()
    listed = (
        (modules,)
        if isinstance(modules, nn.Module) or not isinstance(modules, Iterable)
        else tuple(modules)
    )
    for module in listed:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"expected `modules` as a list of torch modules; got {type(module).__name__}."
            )
    return listed


def _warn_of_bare_functions(**callables: Callable[..., Any]) -> None:
    bare = [f"`{name}`" for name, part in callables.items() if not modules_of(part)]
    if bare:
        warnings.warn(
            f"no module was found in {' and '.join(bare)}. If a network is used there, its "
            "weights, mode and batch statistics are out of reach: dropout stays on in evaluations, "
            "running statistics change, nothing is trained or saved. Pass every network in "
            "`modules=[...]`, or pass `modules=()` if there is none.",
            stacklevel=3,
        )
