"""A VAE that somebody else trained, as a model of ours."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from priorwise.distributions import Delta, UnflattenedRows
from priorwise.models.base import AbstractModel, Draw, Group
from priorwise.nn import event_rows
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
        return Independent(Normal(loc, torch.exp(0.5 * log_var), validate_args=False), event_dims, validate_args=False)
    raise TypeError(
        "expected `encode(x)` to return a Distribution, a pair (mean, log-variance) or a tensor of codes; got "
        f"{type(encoded).__name__}."
    )


def _owners(*parts: object) -> list[nn.Module]:
    """The modules whose bound methods are given, each once: their weights belong to the model too."""
    owners = [getattr(part, "__self__", None) for part in parts]
    return list(dict.fromkeys(owner for owner in owners if isinstance(owner, nn.Module)))


class WrappedVAE(AbstractModel):
    """Two callables and a prior, as a model. Build it with ``priorwise.wrap``."""

    def __init__(
        self,
        encode: Callable[[Tensor], Encoded],
        decode: Callable[[Tensor], Distribution | Tensor],
        latent_shape: Shape,
        prior: nn.Module,
        likelihood: Callable[[Tensor], Distribution] | None,
    ) -> None:
        super().__init__()
        self._encode = encode  # modules among these are registered, so that modes and devices reach them
        self._decode = decode
        self._owners = nn.ModuleList(_owners(encode, decode))
        self._likelihood = likelihood
        self._latent_shape = tuple(latent_shape)
        self.prior = as_prior(prior)

    def _posterior(self, x: Tensor) -> Distribution:
        posterior = _as_posterior(self._encode(x), len(self._latent_shape))
        if tuple(posterior.event_shape) != self._latent_shape:
            raise ValueError(
                f"expected `encode(x)` to give latents of shape {self._latent_shape}, as `latent` says; got "
                f"{tuple(posterior.event_shape)}."
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
            event_dims = decoded.dim() - 1
            decoded = Delta(decoded, event_dims) if self._likelihood is None else self._likelihood(decoded)
        if not isinstance(decoded, Distribution):
            raise TypeError(
                f"expected `decode(z)` to return a Distribution or a tensor of means; got {type(decoded).__name__}."
            )
        forgotten = len(decoded.batch_shape) - 1  # event dimensions left in the batch shape
        if forgotten > 0:
            decoded = Independent(decoded, forgotten, validate_args=False)
        return decoded if decoded.batch_shape == batch_shape else UnflattenedRows(decoded, batch_shape)


def wrap(
    *,
    encode: Callable[[Tensor], Encoded],
    decode: Callable[[Tensor], Distribution | Tensor],
    latent: int | Shape,
    prior: nn.Module | None = None,
    likelihood: Callable[[Tensor], Distribution] | None = None,
) -> WrappedVAE:
    """A VAE from anywhere, as a model to which everything in the library applies.

    Arguments:
        encode: Maps ``(B, *event)`` to a Distribution over latents, a pair (mean, log-variance), or a tensor of codes
            (a deterministic encoder: no likelihoods then).
        decode: Maps latents ``(rows, *latent)`` to a Distribution over observations, or to their means.
        latent: Number of latent dimensions, or their shape.
        prior: What the model was trained with; standard normal if None.
        likelihood: Turns the decoder's means into p(x|z), for example
            ``lambda mean: Independent(Normal(mean, 0.1), 3)``; without it samples work and likelihoods refuse.

    Raises:
        TypeError: if one of the two is not callable.

    Example:
        >>> model = wrap(encode=nn.Linear(4, 2), decode=nn.Linear(2, 4), latent=2)
        >>> model.sample(3, seed=0).shape
        torch.Size([3, 4])
    """
    for name, part in (("encode", encode), ("decode", decode)):
        if not callable(part):
            raise TypeError(f"expected `{name}` to be callable; got {type(part).__name__}.")
    shape = (latent,) if isinstance(latent, int) else tuple(latent)
    return WrappedVAE(encode, decode, shape, StandardNormal(shape) if prior is None else prior, likelihood)
