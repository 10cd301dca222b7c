"""How pictures show the output of a decoder."""

from torch import Tensor
from torch.distributions import Distribution

from priorwise.distributions.tilted import untilted

__all__ = ["has_mean", "picture"]


def picture(distribution: Distribution) -> Tensor:
    """The mean where the distribution has one, else a draw: ``(*batch, *event)``.

    A tilted distribution is shown without its tilt.

    Example:
        >>> import torch
        >>> picture(torch.distributions.Normal(torch.tensor([1.0, 2.0]), 3.0))
        tensor([1., 2.])
    """
    distribution = untilted(distribution)
    mean = _mean(distribution)
    return distribution.sample() if mean is None else mean


def has_mean(distribution: Distribution) -> bool:
    """Whether the distribution has a mean; autoregressive decoders and classes have none."""
    return _mean(untilted(distribution)) is not None


def _mean(distribution: Distribution) -> Tensor | None:
    try:
        mean = distribution.mean
    except NotImplementedError:  # torch raises this for a distribution without a mean
        return None
    # For classes torch's mean is NaN.
    return None if bool(mean.isnan().all()) else mean
