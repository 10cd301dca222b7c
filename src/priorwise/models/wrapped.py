"""A VAE that somebody else trained, as a model of ours."""

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
    """A distribution as it is, (mean, log-variance) as a Gaussian, a tensor as a point."""
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
    """Two callables and a prior, as a model. Build it with ``priorwise.wrap``.

    The modules behind the callables are registered. A deep copy has its own ones where the
    callables can be copied, as modules, their methods and ``functools.partial`` can. Functions are
    never copied: a copy of the model shares what they hold.
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
        self._listed = tuple(modules)  # in a tuple torch does not register them
        self.prior = as_prior(prior)
        self._register()

    def _callables(self) -> list[Callable[..., Any]]:
        return [part for part in (self._encode, self._decode, self._likelihood) if part is not None]

    def _register(self) -> None:
        """Register what the callables use and what was listed, unless it is here already."""
        self._owners = nn.ModuleList()
        here = set(self.modules())
        self._owners.extend(
            module for module in modules_of(*self._callables(), *self._listed) if module not in here
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without the modules that were found: a copy registers those that its own callables use."""
        return vars(self) | {"_modules": self._modules | {"_owners": nn.ModuleList()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._register()

    def __deepcopy__(self, memo: dict[int, Any]) -> "WrappedVAE":
        """Listed modules that the search does not reach are shared, since the function that uses them is."""
        reached = {part for module in modules_of(*self._callables()) for part in module.modules()}
        memo.update({id(module): module for module in self._listed if module not in reached})
        memo[id(self)] = copy = WrappedVAE.__new__(WrappedVAE)
        copy.__setstate__(deepcopy(self.__getstate__(), memo))
        return copy

    def _posterior(self, x: Tensor) -> Distribution:
        posterior = _as_posterior(self._encode(x), len(self._latent_shape))
        if tuple(posterior.event_shape) != self._latent_shape:
            raise ValueError(
                f"expected `encode(x)` to give latents of shape {self._latent_shape}, as `latent` "
                f"says; got {tuple(posterior.event_shape)}."
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
        """p(x | z); the decoder sees rows ``(rows, *event)``."""
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
        forgotten = len(decoded.batch_shape) - 1  # event dimensions left in the batch shape
        if forgotten > 0:
            decoded = Independent(decoded, forgotten, validate_args=False)
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
    """A VAE from anywhere, as a model to which everything in the library applies.

    The networks that the functions use become part of the model, so that evaluation mode, devices
    and checkpoints reach them. They are looked for in the functions themselves: modules and their
    methods, objects that hold modules, ``functools.partial``, closures, default arguments and the
    globals that a function names; ``priorwise.callables`` says where exactly. Nothing is run on the
    way. What cannot be found is named by ``modules``.

    Arguments:
        encode: Maps ``(B, *event)`` to a Distribution over latents, a pair (mean, log-variance), or
            a tensor of codes (a deterministic encoder: no likelihoods then).
        decode: Maps latents ``(rows, *latent)`` to a Distribution over observations, or to their
            means.
        latent: Number of latent dimensions, or their shape.
        prior: What the model was trained with; standard normal if None.
        likelihood: Turns the decoder's means into p(x|z), for example ``lambda mean:
            Independent(Normal(mean, 0.1), 3)``; without it samples work and likelihoods refuse.
        modules: Modules that the functions use, beside those that are found. An empty tuple says
            that there are no others.

    Raises:
        TypeError: if one of the two is not callable, or ``modules`` holds something else.

    Warns:
        UserWarning: if no module is found behind one of the two, unless ``modules`` is given.

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
    own_prior = StandardNormal(shape) if prior is None else prior
    return WrappedVAE(encode, decode, shape, own_prior, likelihood, _checked(modules))


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
            f"no module was found in {' and '.join(bare)}, so weights, modes and batch statistics "
            "of a network that is used there are out of reach: dropout stays on in evaluations, "
            "running statistics move, nothing is trained or saved. Pass every network by "
            "`modules=[...]`, or `modules=()` if there is none.",
            stacklevel=3,
        )
