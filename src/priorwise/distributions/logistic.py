"""The discretised logistic law of grey and colour pixels, and its mixture.

Values lie in [0, 1] in ``levels`` bins of equal width. Bin j covers [j / levels, (j + 1) / levels).
Draws are bin centres.

Letters: ``K`` mixture components, ``C H W`` channels, height, width.
"""

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints
from torch.nn import functional as F

from priorwise.nn import at_least_float32, no_autocast
from priorwise.typing import SizeLike

__all__ = ["DiscretizedLogistic", "DiscretizedLogisticMixture"]


def _bins(x: Tensor, levels: int) -> Tensor:
    """The index of each value's bin; the value 1 belongs to the last bin."""
    return (x * levels).floor().clamp(0, levels - 1)


def _log_mass(x: Tensor, loc: Tensor, log_scale: Tensor, levels: int, *, tails: bool) -> Tensor:
    """The log probability of each value's bin under a logistic law.

    With tails the outermost bins reach to infinity, so the masses sum to one. The difference of two
    sigmoids is computed in the log domain, ``log S(u) + log S(-v) + log(1 - exp(v - u))``, which
    has no floor. Without tails this is the VampPrior paper's form, including its 1e-7.
    """
    index = _bins(x, levels)
    inverse_scale = torch.exp(-log_scale)
    upper = ((index + 1) / levels - loc) * inverse_scale
    lower = (index / levels - loc) * inverse_scale
    if not tails:
        return torch.log(torch.sigmoid(upper) - torch.sigmoid(lower) + 1e-7)
    below = F.logsigmoid(upper)
    above = F.logsigmoid(-lower)
    between = below + above + torch.log(-torch.expm1(-inverse_scale / levels))
    return torch.where(index == 0, below, torch.where(index == levels - 1, above, between))


def _draw_bins(loc: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """One logistic draw per location, rounded to the centre of its bin."""
    uniform = torch.rand_like(loc).clamp(1e-6, 1 - 1e-6)
    value = loc + log_scale.exp() * torch.logit(uniform)
    return (_bins(value, levels) + 0.5) / levels


class DiscretizedLogistic(Distribution):
    r"""Independent logistic variables, observed in bins of equal width on [0, 1].

    .. math:: P(j) = S\!\left(\frac{(j+1)/L - \mu}{s}\right) - S\!\left(\frac{j/L - \mu}{s}\right)

    With ``tails`` the first and the last bin hold the mass outside [0, 1], so the masses sum to
    one. Without them it is the form of the VampPrior code, whose masses sum to less. Do not compare
    numbers of one form with numbers of the other.

    References:
        Improving Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
        appendix. https://arxiv.org/abs/1606.04934

        VAE with a VampPrior (Tomczak & Welling, 2018), section 5.
        https://arxiv.org/abs/1705.07120

    Arguments:
        loc: Location in data units, ``(*batch, *event)``.
        log_scale: Log of the logistic scale, of the same shape.
        levels: Number of bins.
        tails: Whether the outermost bins reach to infinity.
        event_dims: How many trailing dimensions form one event.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self,
        loc: Tensor,
        log_scale: Tensor,
        *,
        levels: int = 256,
        tails: bool = True,
        event_dims: int = 1,
    ) -> None:
        self.loc, self.log_scale = torch.broadcast_tensors(loc, log_scale)
        self.levels = levels
        self.tails = tails
        self.event_dims = event_dims
        cut = self.loc.dim() - event_dims
        super().__init__(self.loc.shape[:cut], self.loc.shape[cut:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Events of values in [0, 1]."""
        return constraints.independent(constraints.unit_interval, self.event_dims)

    @property
    def mean(self) -> Tensor:
        """The location, clamped to [0, 1], as pictures show it.

        This is not the mean of the truncated law.
        """
        return self.loc.clamp(0.0, 1.0)

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "DiscretizedLogistic":
        """The same pixels for every member of a larger batch."""
        shape = (*batch_shape, *self.event_shape)
        return DiscretizedLogistic(
            self.loc.expand(shape),
            self.log_scale.expand(shape),
            levels=self.levels,
            tails=self.tails,
            event_dims=self.event_dims,
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """The log probability of the bins of ``x``: ``(*batch, *event) -> (*batch)``, in nats."""
        with no_autocast(x):
            loc, log_scale = at_least_float32(self.loc), at_least_float32(self.log_scale)
            return (
                _log_mass(x, loc, log_scale, self.levels, tails=self.tails)
                .flatten(-self.event_dims)
                .sum(-1)
            )

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Bin centres, ``(*sample, *batch, *event)``."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            return _draw_bins(self.loc.expand(shape), self.log_scale.expand(shape), self.levels)


class DiscretizedLogisticMixture(Distribution):
    r"""A mixture of discretised logistics per pixel, with linear links between its channels.

    All channels of a pixel share the mixture component. The location of channel c is shifted by a
    learned multiple of the (centred) values of the channels before it. The outermost bins hold the
    tails, so the masses sum to one.

    References:
        PixelCNN++ (Salimans et al., 2017), section 2.1 and equations 2-3.
        https://arxiv.org/abs/1701.05517

    Arguments:
        logits: Unnormalised log weights, ``(*batch, K, H, W)``.
        loc: Locations, ``(*batch, K, C, H, W)``.
        log_scale: Log scales, ``(*batch, K, C, H, W)``.
        links: Coefficients between channels, ``(*batch, K, C(C-1)/2, H, W)``, in the order (1<-0),
            (2<-0), (2<-1); None for one channel or for no links.
        levels: Number of bins.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.independent(constraints.unit_interval, 3)

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        log_scale: Tensor,
        links: Tensor | None = None,
        *,
        levels: int = 256,
    ) -> None:
        channels = loc.shape[-3]
        expected = channels * (channels - 1) // 2
        if links is not None and links.shape[-3] != expected:
            raise ValueError(
                f"expected {expected} `links` for {channels} channels; got {links.shape[-3]}."
            )
        self.logits, self.loc, self.log_scale, self.links, self.levels = (
            logits,
            loc,
            log_scale,
            links,
            levels,
        )
        super().__init__(loc.shape[:-4], loc.shape[-3:], validate_args=False)

    def _shifted(self, loc: Tensor, links: Tensor | None, x: Tensor) -> Tensor:
        """Locations, shifted by the values ``x``, ``(..., C, H, W)``, of the earlier channels."""
        if links is None:
            return loc
        loc = loc.expand(torch.broadcast_shapes(loc.shape, x.shape))
        centred = x - 0.5
        channels = []
        used = 0
        for channel in range(loc.shape[-3]):
            shifted = loc[..., channel, :, :]
            for before in range(channel):
                shifted = shifted + links[..., used, :, :] * centred[..., before, :, :]
                used += 1
            channels.append(shifted)
        return torch.stack(channels, -3)

    @property
    def mean(self) -> Tensor:
        """The locations weighted by the mixture, channel after channel, clamped to [0, 1]."""
        weights = self.logits.softmax(-3).unsqueeze(-3)
        x = torch.zeros_like(self.loc[..., 0, :, :, :])
        for channel in range(self.loc.shape[-3]):
            location = (weights * self._shifted(self.loc, self.links, x.unsqueeze(-4))).sum(-4)
            x = torch.cat([x[..., :channel, :, :], location[..., channel:, :, :]], -3)
        return x.clamp(0.0, 1.0)

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "DiscretizedLogisticMixture":
        """The same pixels for every member of a larger batch."""

        def wider(tensor: Tensor, dims: int) -> Tensor:
            return tensor.expand(*batch_shape, *tensor.shape[tensor.dim() - dims :])

        links = None if self.links is None else wider(self.links, 4)
        return DiscretizedLogisticMixture(
            wider(self.logits, 3),
            wider(self.loc, 4),
            wider(self.log_scale, 4),
            links,
            levels=self.levels,
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """The log probability of the bins of ``x``: ``(*batch, C, H, W) -> (*batch)``, in nats."""
        with no_autocast(x):
            logits, loc, log_scale = map(at_least_float32, (self.logits, self.loc, self.log_scale))
            # The law is over bins, so channels are linked through bin centres, not through values.
            value = ((_bins(x, self.levels) + 0.5) / self.levels).unsqueeze(-4)
            loc = self._shifted(loc, self.links, value)
            mass = _log_mass(value, loc, log_scale, self.levels, tails=True).sum(-3)
            return (mass + logits.log_softmax(-3)).logsumexp(-3).flatten(-2).sum(-1)

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Bin centres, ``(*sample, *batch, C, H, W)``."""
        with torch.no_grad():
            batch = torch.Size(sample_shape) + self.batch_shape
            wide = self.expand(batch)
            weights = wide.logits.movedim(-3, -1)
            component = Categorical(logits=weights, validate_args=False).sample()
            index = component.unsqueeze(-3).unsqueeze(-3)

            def of_component(tensor: Tensor) -> Tensor:
                return tensor.gather(-4, index.expand(*batch, 1, *tensor.shape[-3:])).squeeze(-4)

            loc, log_scale = of_component(wide.loc), of_component(wide.log_scale)
            links = None if wide.links is None else of_component(wide.links)
            x = torch.zeros_like(loc)
            for channel in range(loc.shape[-3]):
                drawn = _draw_bins(self._shifted(loc, links, x), log_scale, self.levels)
                x[..., channel, :, :] = drawn[..., channel, :, :]
            return x
