"""The leakage score: how far the aggregate posterior exceeds the prior where the prior is low.

Letters: ``S`` draws, ``M`` encodings, ``T`` thresholds, ``D`` latent dimensions of the top group.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from priorwise.arrays import Array
from priorwise.choices import Space
from priorwise.distributions import (
    AggregatePosterior,
    NormalizingFlow,
    Tilted,
    is_normalised,
    is_standard_normal,
)
from priorwise.estimators.base import Estimate, standard_error
from priorwise.estimators.doubts import below_log_sum
from priorwise.estimators.top_latents import (
    TopDraws,
    aggregate_posterior,
    places,
    posterior_draws,
    prior_draws,
    told,
)
from priorwise.models import AbstractModel, as_observations, example_pass, frozen
from priorwise.refusals import UnavailableError
from priorwise.samplers import AbstractSampler
from priorwise.storage import content_hash
from priorwise.tilts import LogNorm

__all__ = ["PAPER_THRESHOLDS", "Leakage", "leakage"]

# Thresholds on log p0(g(z)) in nats, whatever the dimension.
PAPER_THRESHOLDS = (-90.0, -70.0, -50.0, -30.0, -10.0, -1.0)
# Shares of the prior's mass below the default thresholds; 1 counts every draw.
_LEVELS = (0.001, 0.01, 0.1, 0.5, 1.0)
_SOUND_ENTROPY = 2.0  # nats: about seven encodings share a draw


@dataclass(frozen=True)
class Leakage:
    r"""The score over thresholds, and the draws from which any other threshold can be computed.

    .. math:: \mathrm{score}(\tau) = \frac{1}{S} \sum_s
              1[\log p(z_s) < \tau] \, (\log q(z_s) - \log p(z_s)), \qquad z_s \sim q

    Curves are ``(T,)``, one value per threshold. Densities are in nats, float64, on the CPU.

    Attributes:
        thresholds: The thresholds on log p, in nats; infinity counts every draw.
        space: ``"representation"`` or ``"generation"``: which density of the prior is used.
        log_q: Log q at each draw, from the encodings of the *other* images, ``(S,)``.
        log_q_with_own: The same, including the encoding that made the draw, ``(S,)``.
        log_p: The prior's log density at each draw, ``(S,)``.
        log_p_prior: The prior's log density at the same number of its own draws, ``(S,)``.
        images: Index of the image behind each draw, ``(S,)``.
        entropy: Mean entropy, in nats, of the posterior over which encoding made a draw. Near 0,
            each draw reveals its encoding, and q(z) says nothing about the regions between
            encodings.
        encodings: Number of encodings in q if they are those of the images drawn from; None if they
            are others, which ``stderr_data`` holds fixed.
        log_norm_stderr: Standard error, in nats, of the prior's log normaliser if it was estimated.
        protocol: How the draws were made.
        warnings: Reasons for doubt, in words.
        data: Identifies the draws: a hash of ``x`` and the reference, their number and seed.
    """

    thresholds: tuple[float, ...]
    space: str
    log_q: Tensor
    log_q_with_own: Tensor
    log_p: Tensor
    log_p_prior: Tensor
    images: Tensor
    entropy: float
    encodings: int | None = None
    log_norm_stderr: float = 0.0
    protocol: dict[str, str | int | float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    data: str | None = None

    @property
    def score(self) -> Tensor:
        """The leakage score in nats; its expectation is not above the true score."""
        return self._curve(lambda tau: float(self._terms(tau, self.log_q).mean()))

    @property
    def stderr(self) -> Tensor:
        """Standard error of ``score`` over the draws, with the encodings held fixed."""
        return self._curve(lambda tau: self.at(tau).stderr)

    @property
    def upper(self) -> Tensor:
        """The score with each draw's own encoding in q, as in the paper.

        Its expectation is not below the true score.
        """
        return self._curve(lambda tau: float(self._terms(tau, self.log_q_with_own).mean()))

    @property
    def below(self) -> Tensor:
        """Share of the draws from q(z) below the threshold."""
        return self._curve(lambda tau: _share(self.log_p, tau))

    @property
    def prior_below(self) -> Tensor:
        """Share of the prior's own draws below the threshold: ``below`` if there were no leak."""
        return self._curve(lambda tau: _share(self.log_p_prior, tau))

    @property
    def mean_below(self) -> Tensor:
        """The score divided by ``below``: the mean of log q - log p over draws below the threshold.

        The code of dpVAE reports this number. It is NaN where no draw is below.
        """
        return self.score / self.below

    def at(self, threshold: float) -> Estimate:
        """The score at any threshold, in nats.

        ``per_example`` has a value for each draw, so two models with the same ``x``, ``draws`` and
        seed can be compared draw by draw. ``stderr`` is the error over the draws, with the
        encodings held fixed (a little too large, as draws are spread evenly over the images).
        ``stderr_data`` is the error over images and draws: an image enters through its own draws
        and through its encoding in the density of the other draws. ``docs/derivations/coverage.md``
        reports the measured coverage of both.
        """
        terms = self._terms(threshold, self.log_q)
        below = _share(self.log_p, threshold)
        value, prior_below = float(terms.mean()), _share(self.log_p_prior, threshold)
        return Estimate(
            value=value,
            stderr=math.hypot(standard_error(terms), below * self.log_norm_stderr),
            count=len(terms),
            stderr_data=self._data_error(threshold, terms),
            per_example=terms,
            diagnostics={
                "upper": float(self._terms(threshold, self.log_q_with_own).mean()),
                "below": below,
                "prior_below": prior_below,
                "entropy": self.entropy,
            },
            protocol=self.protocol
            | {"threshold": threshold if math.isfinite(threshold) else str(threshold)},
            warnings=(*below_log_sum(value, below, prior_below), *self.warnings),
            data=self.data,
        )

    def __str__(self) -> str:
        rows = zip(self.thresholds, self.score, self.stderr, self.upper, self.below, strict=True)
        mark = " (!)" if self.warnings else ""
        lines = [
            f"log p < {tau:.4g}: leakage {score:.3f} ± {error:.3f} nats{mark}, at most "
            f"{upper:.3f}; {100 * below:.1f} % of the encodings"
            for tau, score, error, upper, below in rows
        ]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _data_error(self, threshold: float, terms: Tensor) -> float:
        """Standard error over images; they also act through their encodings if these make q."""
        means = _means(terms, self.images)
        if self.encodings is None:
            return standard_error(means)
        masses = _means((self.log_p < threshold).double(), self.images)  # below the threshold
        part = len(means) / self.encodings  # share of the encodings that were drawn from
        return math.hypot(
            standard_error(means + part * masses),
            math.sqrt(part * (1 - part)) * standard_error(masses),
        )

    def _terms(self, threshold: float, log_q: Tensor) -> Tensor:
        return torch.where(self.log_p < threshold, log_q - self.log_p, 0.0)

    def _curve(self, value: Callable[[float], float]) -> Tensor:
        return torch.tensor([value(tau) for tau in self.thresholds], dtype=torch.float64)


@torch.no_grad()
def leakage(
    model: AbstractModel,
    x: Array,
    *,
    reference: Array | None = None,
    thresholds: Sequence[float] | None = None,
    draws: int = 5000,
    space: Space = "representation",
    sampler: AbstractSampler | None = None,
    seed: int = 0,
    report: Callable[[int], None] | None = None,
) -> Leakage:
    r"""How far the aggregate posterior reaches into regions of low prior density, over thresholds.

    .. math:: \mathrm{LS}_\tau(z) = 1[\log p(z) < \tau] \, (\log q(z) - \log p(z)), \qquad
              \mathrm{score}(\tau) = \mathbb{E}_{q(z)}[\mathrm{LS}_\tau(z)]

    in nats, averaged over *all* draws. At an infinite threshold it is KL(q || p). log q at each
    draw comes from the encodings of the other images. The score is then not too high in
    expectation, so a leak that it shows is real. ``upper`` includes the draw's own encoding and is
    not too low. If the two are far apart, ``warnings`` says so.

    By default, the prior has 0.1, 1, 10, 50 and 100 % of its mass below the ``thresholds``, which
    asks the same question for every dimension and every prior. ``PAPER_THRESHOLDS`` are those of
    the paper, in nats: under N(0, I) a latent of one dimension is below -90 at 13 standard
    deviations, and a latent of a hundred dimensions always is.

    ``docs/derivations/leakage.md`` derives the bounds.

    References:
        dpVAE (Bhalodia et al., 2020), equation 6. Its code divides by the number of draws below the
        threshold (here ``mean_below``) and multiplies by covariances instead of their inverses.
        https://arxiv.org/abs/1911.10506

    Arguments:
        model: The model; a hierarchy is judged by its top group.
        x: Observations whose encodings are drawn from, ``(N, *event)``.
        reference: Observations whose encodings make q(z), ``(M, *event)``; ``x`` if None. The
            encoding of an image that is in both is left out of log q at its own draws.
        thresholds: Thresholds in nats of the prior density in ``space``.
        draws: Number of draws from q(z), and of draws from the prior.
        space: ``"representation"`` uses the density p(z). ``"generation"`` uses :math:`\log
            p_0(g(z))`, without the log-determinant, as the text of the paper does. It needs a flow
            prior (or a standard normal one, where both are the same). It is not a density ratio, so
            its value changes with the scale of z.
        sampler: Sampler of the prior; the model's default if None.
        seed: Seed of the draws.
        report: Called with the number of draws that are just done, ``2 * draws`` in all, for a
            progress bar.

    Raises:
        ValueError: for a prior without a normalised density, or ``space="generation"`` with a prior
            that has no generation space.
        TypeError: for an encoder whose posteriors are not diagonal Gaussians.

    Example:
        The aggregate posterior of the first model is its prior. The encoder of the second is
        shifted by one standard deviation.

        >>> from priorwise.randomness import seeded
        >>> from priorwise.testing.oracles import LinearGaussianVAE
        >>> exact, shifted = LinearGaussianVAE(), LinearGaussianVAE(shift=1.0)
        >>> with seeded(0, "example"):
        ...     x = exact.marginal().sample((500,)).float()
        >>> for model in (exact, shifted):
        ...     score = leakage(model, x, draws=500).at(math.inf)
        ...     print(score.value > 3 * score.stderr)
        False
        True
    """
    x = as_observations(model, x)
    if reference is not None:
        reference = as_observations(model, reference, "reference")
    reference = _check(x, reference, draws, space)
    own_places = places(x, reference)
    log_norm = _needed_log_norm(model)
    with frozen(model):
        q = aggregate_posterior(model, reference)
        encoded = posterior_draws(model, x, draws, seed=seed, purpose="leakage")
        columns = [
            (*_log_q(q, block, own_places), _log_p(block, space, log_norm), _images(block))
            for block in told(encoded, report)
        ]
        blocks = told(prior_draws(model, draws, sampler, seed=seed, purpose="leakage"), report)
        log_p_prior = torch.cat([_log_p(block, space, log_norm) for block in blocks])
    log_q, log_q_with_own, surprise, log_p, images = map(torch.cat, zip(*columns, strict=True))
    entropy = float(surprise.mean())
    return Leakage(
        thresholds=_grid(log_p_prior)
        if thresholds is None
        else tuple(float(tau) for tau in thresholds),
        space=space,
        log_q=log_q,
        log_q_with_own=log_q_with_own,
        log_p=log_p,
        log_p_prior=log_p_prior,
        images=images,
        entropy=entropy,
        encodings=q.count if reference is x else None,
        log_norm_stderr=0.0 if log_norm is None else log_norm.stderr,
        protocol={
            "estimator": "leakage, own encoding left out",
            "space": space,
            "draws": draws,
            "encodings": q.count,
            "seed": seed,
        },
        warnings=(*_doubts(entropy, q.count), *(() if log_norm is None else log_norm.doubts)),
        data=f"{content_hash({'x': x, 'reference': reference})}, {draws} draws, seed {seed}",
    )


def _needed_log_norm(model: AbstractModel) -> LogNorm | None:
    """Log Z if the density of the top prior needs it and it is known; None otherwise."""
    with frozen(model):
        top = example_pass(model)[0]
    return None if is_normalised(top.prior) else model.known_log_norm()


def _check(x: Tensor, reference: Tensor | None, draws: int, space: str) -> Tensor:
    """Return the reference; refuse what cannot be estimated."""
    if space not in ("representation", "generation"):
        raise ValueError(f"expected `space` as 'representation' or 'generation'; got {space!r}.")
    if draws < 1:
        raise ValueError(f"expected `draws` of at least 1; got {draws}.")
    reference = x if reference is None else reference
    if len(reference) < 2:
        raise UnavailableError(
            f"expected at least 2 observations for the encodings; got {len(reference)}."
        )
    return reference


# -- densities -------------------------------------------------------------------------------------


def _images(block: TopDraws) -> Tensor:
    assert block.images is not None
    return block.images


def _log_q(
    q: AggregatePosterior, block: TopDraws, own_places: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Log q without and with each draw's own encoding, and the surprise at that encoding.

    The surprise is minus the log of the encoding's share in q. All are ``(B,)``.
    """
    own = own_places[_images(block)]
    log_own = block.log_own().double().cpu()
    log_sum = q.log_sum(block.vectors, own.to(q.loc.device)).double().cpu()
    others = (q.count - (own >= 0).long()).double()
    log_sum_with_own = torch.logaddexp(log_sum, log_own)
    return log_sum - others.log(), log_sum_with_own - (others + 1).log(), log_sum_with_own - log_own


def _log_p(block: TopDraws, space: str, log_norm: LogNorm | None) -> Tensor:
    """The prior's log density in the given space, ``(B,)`` float64 on the CPU."""
    log_p = (
        _log_p0(block)
        if space == "generation"
        else block.log_p(None if log_norm is None else log_norm.value)
    )
    if log_p is None:
        raise UnavailableError(
            "expected a prior with a normalised density; got a tilted one whose log normaliser is "
            "unknown, so the score would be off by a constant. Estimate it first with "
            "priorwise.estimators.log_norm(model). For a tilted hierarchy, whose log_norm is not "
            "the top group's, use classifier_two_sample or symmetric_kl(method='knn')."
        )
    return log_p.double().cpu()


def _log_p0(block: TopDraws) -> Tensor:
    """The standard normal log density at the draws, mapped to the generation space, ``(B,)``."""
    prior = block.group.prior
    if isinstance(prior, NormalizingFlow):
        z0 = prior.bijection(block.z)[0]
    elif not isinstance(prior, Tilted) and is_standard_normal(prior):
        z0 = block.vectors
    else:
        raise UnavailableError(
            "expected a FlowPrior or a standard normal prior for space='generation'; got "
            f"{type(prior).__name__}, which has no generation space. Use space='representation'."
        )
    return -0.5 * (z0.square().sum(1) + z0.shape[1] * math.log(2 * math.pi))


# -- curves ----------------------------------------------------------------------------------------


def _grid(log_p_prior: Tensor) -> tuple[float, ...]:
    """Thresholds below which the prior has the shares ``_LEVELS`` of its mass."""
    levels = torch.tensor(_LEVELS[:-1], dtype=log_p_prior.dtype)
    return (*log_p_prior.quantile(levels).tolist(), math.inf)


def _share(log_p: Tensor, threshold: float) -> float:
    return float((log_p < threshold).double().mean())


def _means(terms: Tensor, images: Tensor) -> Tensor:
    """The mean over the draws of each image."""
    _, place, counts = images.unique(return_inverse=True, return_counts=True)
    return torch.zeros(len(counts), dtype=terms.dtype).index_add(0, place, terms) / counts


def _doubts(entropy: float, count: int) -> tuple[str, ...]:
    if entropy >= _SOUND_ENTROPY:
        return ()
    return (
        f"a draw is shared by only {math.exp(entropy):.1f} of {count} encodings (entropy "
        f"{entropy:.2f} nats, below {_SOUND_ENTROPY:.0f}): they are so narrow that their mixture "
        "says little about the regions between them, and score and upper bound are far apart. Use "
        "more reference images, or classifier_two_sample, which needs no density.",
    )
