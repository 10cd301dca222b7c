"""A diagonal Gaussian, as torch writes it: an ``Independent`` over a ``Normal``."""

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from priorwise.refusals import NotGaussianError

__all__ = ["diagonal_gaussian", "normal_within", "require_diagonal_gaussian"]


def diagonal_gaussian(loc: Tensor, scale: Tensor, event_dims: int = 1) -> Independent:
    """N(loc, diag(scale^2)) over the last dimensions.

    Arguments:
        loc: Means, ``(*batch, *event)``.
        scale: Standard deviations, of a shape that broadcasts with that of ``loc``.
        event_dims: Number of dimensions of the event.
    """
    normal = Normal(loc, scale, validate_args=False)
    return Independent(normal, event_dims, validate_args=False)


def normal_within(distribution: Distribution | None) -> Normal | None:
    """The ``Normal`` of all coordinates if this is a diagonal Gaussian, else None."""
    if isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal):
        return distribution.base_dist
    return None


def require_diagonal_gaussian(
    distribution: Distribution | None, expected: str, advice: str
) -> Normal:
    """The ``Normal`` of all coordinates.

    Arguments:
        distribution: What should be a diagonal Gaussian.
        expected: What the refusal says was expected.
        advice: Why, and what to do instead.

    Raises:
        NotGaussianError: if it is another distribution.
    """
    normal = normal_within(distribution)
    if normal is None:
        raise NotGaussianError(f"expected {expected}; got {type(distribution).__name__}. {advice}")
    return normal
