"""Conditional distributions: a body computes features, a head turns them into a distribution.

Encoders, decoders and conditional priors are the same kind of thing: a module whose ``forward``
returns a ``torch.distributions.Distribution``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from priorwise.backbones import PixelCache, PixelCNN
from priorwise.distributions import AbstractConditionals, Autoregressive, diagonal_gaussian
from priorwise.nn import at_least_float32
from priorwise.typing import Shape

__all__ = ["Conditional", "GaussianHead", "PixelConditional"]


class GaussianHead(nn.Module):
    """Features to a diagonal Gaussian over latents.

    Arguments:
        in_features: Size of the features.
        latent_features: Number of latent dimensions.
        log_var_range: The log-variance is clamped to this range; None leaves it free.

    References:
        VAE with a VampPrior (Tomczak & Welling, 2018), whose code clamps the log-variance to
        [-6, 2]. https://arxiv.org/abs/1705.07120
    """

    def __init__(
        self,
        in_features: int,
        latent_features: int,
        log_var_range: tuple[float, float] | None = (-6.0, 2.0),
    ) -> None:
        super().__init__()
        self.log_var_range = log_var_range
        self.linear = nn.Linear(in_features, 2 * latent_features)

    def forward(self, features: Tensor) -> Distribution:
        """``(*batch, in_features)`` to a Gaussian of event shape ``(latent_features,)``."""
        loc, log_var = at_least_float32(self.linear(features)).chunk(2, -1)
        if self.log_var_range is not None:
            log_var = F.hardtanh(log_var, *self.log_var_range)
        return diagonal_gaussian(loc, torch.exp(0.5 * log_var))


class Conditional(nn.Module):
    """A distribution that depends on inputs: ``head(body(*inputs))``.

    Arguments:
        body: Maps the inputs to features ``(*batch, features)``.
        head: Maps features to a distribution: ``GaussianHead``, or a module of
            ``priorwise.likelihoods``.

    Example:
        >>> encoder = Conditional(nn.Linear(3, 8), GaussianHead(8, 2))
        >>> encoder(torch.zeros(5, 3)).batch_shape
        torch.Size([5])
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, *inputs: Tensor) -> Distribution:
        """The distribution for these inputs; their leading dimensions broadcast."""
        return self.head(self.body(*inputs))


class PixelConditional(nn.Module, AbstractConditionals):
    r"""Pixels that depend on the pixels before them, and on inputs.

    .. math:: p(x | h) = \prod_i p(x_i | x_{<i}, h), \qquad h = \text{body}(\text{inputs})

    The returned law is normalised. Its ``log_prob`` is one pass of the network; it is drawn from
    pixel by pixel, which costs about one pass, too (``PixelCache``). It has no mean in closed form.

    Arguments:
        body: Maps the inputs to conditioning planes ``(*batch, P, H, W)``.
        network: Features of every pixel, from the pixels before it and the planes.
        likelihood: A class of ``priorwise.likelihoods``, called with a number of features and the
            shape of what it is the law of: one pixel, or one channel of it.
        shape: Shape (C, H, W) of an image.
    """

    def __init__(
        self,
        body: nn.Module,
        network: PixelCNN,
        likelihood: Callable[[int, Shape], nn.Module],
        shape: Shape,
    ) -> None:
        super().__init__()
        self.event_shape = tuple(shape)
        self.body = body
        self.network = network
        groups = network.groups
        self.heads = nn.ModuleList(
            likelihood(network.features // groups, (shape[0] // groups, 1, 1))
            for _ in range(groups)
        )

    def forward(self, *inputs: Tensor) -> Autoregressive:
        """The law for these inputs; their leading dimensions broadcast."""
        planes = self.body(*inputs)
        return Autoregressive(planes, self, planes.dim() - 3)

    def log_prob_of_rows(self, x: Tensor, condition: Tensor) -> Tensor:
        """Teacher forcing: ``(R, C, H, W), (R, P, H, W) -> (R)``, in nats."""
        features = self.network(x, condition).movedim(1, -1).chunk(len(self.heads), -1)
        values = x.movedim(1, -1)[..., None, None].chunk(len(self.heads), -3)
        each = [
            head(h).log_prob(value)
            for head, h, value in zip(self.heads, features, values, strict=True)
        ]
        return torch.stack(each).sum(0).flatten(1).sum(1)

    def sample_rows(self, condition: Tensor) -> Tensor:
        """One image for each row, pixel by pixel: ``(R, P, H, W) -> (R, C, H, W)``.

        Images are drawn 500 at a time, so that the cache of MNIST's takes 0.1 GB.
        """
        return torch.cat([self._sample(part) for part in condition.split(500)])

    def _sample(self, condition: Tensor) -> Tensor:
        cache = PixelCache(self.network, condition)
        x = condition.new_zeros(len(condition), *self.event_shape)
        channels = self.event_shape[0] // len(self.heads)
        for row in range(self.event_shape[1]):
            cache.start_row(row)
            for column in range(self.event_shape[2]):
                for group, head in enumerate(self.heads):
                    drawn = head(cache.features(column, group)).sample().flatten(1)
                    cache.put(column, group, drawn)
                    x[:, group * channels : (group + 1) * channels, row, column] = drawn
        return x

    def part(self) -> Distribution:
        """The law of a pixel, or of one channel of it, with features of zero."""
        head = self.heads[0]
        like = next(self.parameters())
        return head(like.new_zeros(1, self.network.features // len(self.heads)))
