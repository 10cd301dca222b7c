"""A diagonal Gaussian, as torch writes it: an ``Independent`` over a ``Normal``."""

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from priorwise.refusals import NotGaussianError

__all__ = ["diagonal_gaussian", "normal_within", "require_diagonal_gaussian"]


def diagonal_gaussian(loc: Tensor, scale: Tensor, event_dims: int = 1) -> Independent:
    """N(loc, diag(scale^2)) over the last dimensions.

    Arguments:
        loc: Means, ``(*batch, *event)``.
        scale: Standard deviations, in a shape that broadcasts with ``loc``.
        event_dims: Number of dimensions of the event.
    """
    normal = Normal(loc, scale, validate_args=False)
    return Independent(normal, event_dims, validate_args=False)


def normal_within(distribution: Distribution | None) -> Normal | None:
    """The ``Normal`` over all coordinates of a diagonal Gaussian; None for anything else."""
    if isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal):
        return distribution.base_dist
    return None


def require_diagonal_gaussian(
    distribution: Distribution | None, expected: str, advice: str
) -> Normal:
    """The ``Normal`` over all coordinates of a diagonal Gaussian.

    Arguments:
        distribution: The distribution that should be a diagonal Gaussian.
        expected: The error message says that this was expected.
        advice: The rest of the error message: why, and what to do instead.

    Raises:
        NotGaussianError: if it is another distribution.
    """
    normal = normal_within(distribution)
    if normal is None:
        raise NotGaussianError(f"expected {expected}; got {type(distribution).__name__}. {advice}")
    return normal
