"""A base that can be sampled, tilted by a network.

NCP, LARS, SNIS, latent energies and VAEBM all have this form.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from priorwise.refusals import UnavailableError
from priorwise.typing import LogTilt, SizeLike

__all__ = ["Tilted", "is_normalised", "log_unnorm", "tilts_within", "untilted"]


class Tilted(Distribution):
    r"""A base distribution times the exponential of a scalar function.

    .. math:: p(z) = p_0(z) \, e^{t(z)} / Z, \qquad Z = \mathbb{E}_{p_0}[e^{t(z)}]

    With a ``log_norm`` the distribution is normalised, and the whole library treats it so. Without
    one the constant is unknown. A module that inherits ``priorwise.AbstractTilt`` keeps an estimate
    of it for the distributions that it returns; without such an owner, likelihoods refuse.

    A sampler draws from it: ``priorwise.samplers.SIR``, ``Rejection`` or ``Langevin``. Only
    rejection is exact, and it needs a bounded tilt.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), equation 1. https://arxiv.org/abs/2010.02917

    Arguments:
        base: The distribution to tilt; batch shape ``(*batch)``, event shape ``(*event)``.
        log_tilt: Maps ``(*sample, *batch, *event)`` to ``(*sample, *batch)``, in nats.
        log_norm: log Z in nats where it is known: a number, or a tensor that broadcasts with the
            batch shape.
        log_bound: An upper bound of ``log_tilt`` where there is one; rejection sampling needs it.
        owner: The ``priorwise.AbstractTilt`` that keeps an unknown log Z; None if no module keeps
            it.

    Raises:
        ValueError: if ``log_norm`` is larger than the batch; or, at evaluation, if the shape of the
            tilt is not that of the batch of points.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self,
        base: Distribution,
        log_tilt: LogTilt,
        log_norm: float | Tensor | None = None,
        *,
        log_bound: float | None = None,
        owner: object | None = None,
    ) -> None:
        if isinstance(log_norm, Tensor):
            wide = torch.broadcast_shapes(log_norm.shape, base.batch_shape)
            if wide != base.batch_shape:
                raise ValueError(
                    "expected `log_norm` to broadcast with the batch shape "
                    f"{tuple(base.batch_shape)}; got shape {tuple(log_norm.shape)}."
                )
        self.base = base
        self.log_norm = log_norm
        self.log_bound = log_bound
        self.owner = owner
        self._tilt = log_tilt
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint | None:
        """The support of the base."""
        return self.base.support

    def expand(self, batch_shape: SizeLike, _instance: None = None) -> "Tilted":
        """The same distribution with a larger batch shape; the tilt must broadcast."""
        wide = self.base.expand(torch.Size(batch_shape))
        return Tilted(wide, self._tilt, self.log_norm, log_bound=self.log_bound, owner=self.owner)

    def log_tilt(self, z: Tensor) -> Tensor:
        """``t(z)``: ``(*sample, *batch, *event)`` to ``(*sample, *batch)``, in nats."""
        tilt = self._tilt(z)
        expected = z.shape[: z.dim() - len(self.event_shape)]
        if tilt.shape != expected:
            raise ValueError(
                f"expected `log_tilt` to map {tuple(z.shape)} to {tuple(expected)}, one number "
                f"per point; got {tuple(tilt.shape)}. A network that ends in one output needs "
                "`.squeeze(-1)`."
            )
        return tilt

    def checked_log_tilt(self, z: Tensor) -> Tensor:
        """``log_tilt`` where draws are weighted by it: NaN and positive infinity are refused.

        Raises:
            UnavailableError: saying at how many points the tilt has no value.
        """
        log_tilt = self.log_tilt(z)
        bad = log_tilt.isnan() | log_tilt.isposinf()
        if bool(bad.any()):
            raise UnavailableError(
                f"expected a tilt with a value at every draw; got {float(log_tilt[bad][0])} at "
                f"{int(bad.sum())} of {bad.numel()} draws. Look at the weights of its network: its "
                "training may have diverged."
            )
        return log_tilt

    def log_unnorm(self, z: Tensor) -> Tensor:
        """``log p_0(z) + t(z)``, minus ``log_norm`` where that is known, in nats."""
        log_density = log_unnorm(self.base, z) + self.log_tilt(z)
        return log_density if self.log_norm is None else log_density - self.log_norm

    def log_prob(self, z: Tensor) -> Tensor:
        """The normalised log density in nats.

        Raises:
            ValueError: while ``log_norm`` is unknown.
        """
        if not is_normalised(self):
            raise UnavailableError(
                "expected a `log_norm` for a normalised density; got None. Estimate it with "
                "priorwise.estimators.log_norm(...), or use `log_unnorm`."
            )
        return self.log_unnorm(z)

    def rsample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Refuse, since a tilted distribution does not sample by itself."""
        raise ValueError(
            "a Tilted distribution does not sample by itself. Call a sampler with it: "
            "priorwise.samplers.SIR, Rejection (exact, needs a bounded tilt) or Langevin."
        )

    def sample(self, sample_shape: SizeLike = torch.Size()) -> Tensor:
        """Refuse, as ``rsample`` does."""
        return self.rsample(sample_shape)


def is_normalised(distribution: Distribution) -> bool:
    """Whether the density is normalised: no tilt inside it has an unknown normaliser."""
    return not tilts_within(distribution)


def tilts_within(distribution: Distribution) -> list[Tilted]:
    """The tilts inside whose normaliser is unknown, outermost first."""
    if isinstance(distribution, Tilted):
        outermost = [distribution] if distribution.log_norm is None else []
        return outermost + tilts_within(distribution.base)
    inner = getattr(distribution, "base_dist", None)  # Independent and TransformedDistribution
    return tilts_within(inner) if isinstance(inner, Distribution) else []


def log_unnorm(distribution: Distribution, z: Tensor) -> Tensor:
    """The log density of ``z`` in nats, up to an unknown log normaliser.

    This is ``log_prob`` for everything but a ``Tilted`` whose ``log_norm`` is None.
    """
    return (
        distribution.log_unnorm(z) if isinstance(distribution, Tilted) else distribution.log_prob(z)
    )


def untilted(distribution: Distribution) -> Distribution:
    """The base under all tilts, which can be sampled; a distribution without a tilt as it is."""
    return untilted(distribution.base) if isinstance(distribution, Tilted) else distribution
