"""The log normaliser of a tilted prior, by importance sampling from its base."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from priorwise.distributions import Tilted, from_noise, has_noise_form
from priorwise.estimators.base import Estimate
from priorwise.models import NCP, AbstractModel, Group, frozen
from priorwise.randomness import seeded

__all__ = ["GroupNorms", "log_norm"]

_BLOCK = 1000
_TRUSTED_ESS = 100.0


def _model_tilt(model: NCP) -> Tensor:
    """Summed logits of ancestral draws from the base's prior, ``(block,)``."""
    groups = model.top_down(lambda group: _base_draw(group.prior), (_BLOCK,))
    return torch.stack([_tilt(group.prior, group.z) for group in groups]).sum(0)


def _base_draw(prior: object) -> Tensor:
    assert isinstance(prior, Tilted)
    return prior.base.sample()


def _tilt(prior: object, z: Tensor) -> Tensor:
    assert isinstance(prior, Tilted)
    return prior.log_tilt(z)


def _log_weights(tilt: Callable[[], Tensor], samples: int, seed: int) -> Tensor:
    parts = []
    for block in range(math.ceil(samples / _BLOCK)):
        with seeded(seed, "log_norm", block):
            parts.append(tilt().double().cpu())
    return torch.cat(parts)[:samples]


@torch.no_grad()
def log_norm(what: AbstractModel | Tilted, *, samples: int = 100_000, seed: int = 0) -> Estimate:
    r"""The log normaliser of a tilted prior, in nats.

    .. math:: \log Z = \log \mathbb{E}_{p_0(z)}\Big[\prod_k e^{t_k(z_k)}\Big]
              \approx \log \frac{1}{S} \sum_{s=1}^{S} \prod_k e^{t_k(z_{s,k})}

    For a hierarchy this is the single global Z over ancestral draws from the base. The estimate is too low in expectation, by
    about half its squared error. It is kept in the model, and in its checkpoints; a model without a tilt has log Z = 0.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al., 2021), section 5.1.

    Arguments:
        what: An ``NCP``, whose estimate is also stored in it, another model, or a ``Tilted`` of batch shape ``()``.
        samples: Draws from the base; the paper uses 1000, which leaves an error of up to 0.23 nats.
        seed: Seed of the draws; the first n draws are the same for every ``samples``.

    Raises:
        TypeError: for anything else.
    """
    if samples < 1:
        raise ValueError(f"expected at least 1 of `samples`; got {samples}.")
    if isinstance(what, NCP):
        with frozen(what):
            estimate = _estimate(_log_weights(lambda: _model_tilt(what), samples, seed), seed)
        what.set_log_norm(estimate.value, estimate.stderr)
        return estimate
    if isinstance(what, Tilted):
        if what.batch_shape:
            raise ValueError(f"expected a Tilted of batch shape (); got {tuple(what.batch_shape)}.")
        return _estimate(_log_weights(lambda: what.log_tilt(what.base.sample((_BLOCK,))), samples, seed), seed)
    if isinstance(what, AbstractModel):
        return Estimate(0.0, 0.0, 0, protocol={"estimator": "exact: the prior is normalised"})
    raise TypeError(f"expected a model or a Tilted distribution; got {type(what).__name__}.")


def _estimate(log_w: Tensor, seed: int) -> Estimate:
    count = len(log_w)
    ess = float((2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp())
    spread = count / (count - 1) if count > 1 else math.nan  # one weight does not tell its own error
    stderr = math.sqrt(max(0.0, 1 / ess - 1 / count) * spread)
    warnings: tuple[str, ...] = ()
    if ess < _TRUSTED_ESS:
        warnings = (
            f"the effective sample size is {ess:.1f} of {count} draws: log Z is likely too low, and likelihoods with it too "
            "good. Use more samples.",
        )
    return Estimate(
        value=float(log_w.logsumexp(0)) - math.log(count),
        stderr=stderr,
        count=count,
        diagnostics={"ess": ess, "bias": -0.5 * stderr**2},
        protocol={"estimator": "importance sampling from the base", "samples": count, "seed": seed},
        warnings=warnings,
    )


class GroupNorms:
    r"""The normalisers of a tilted hierarchy group by group, :math:`\sum_k \log Z_k(z_{<k})`, in nats.

    .. math:: Z_k(z_{<k}) = \mathbb{E}_{p(z_k | z_{<k})}[r_k(z_k, z_{<k})]

    Drawing group after group (SIR, Langevin, rejection) targets :math:`\prod_k r_k p_k / Z_k(z_{<k})`; this makes that density
    computable. Every context is judged with the same noise, so the numbers do not depend on how the work is cut.

    Arguments:
        model: The NCP.
        samples: Draws behind each normaliser; each log is too low by about half the squared error of its mean.
        seed: Seed of the draws.
    """

    def __init__(self, model: NCP, samples: int, seed: int) -> None:
        if samples < 1:
            raise ValueError(f"expected at least 1 of `normalizer_samples`; got {samples}.")
        self.samples = samples
        self.seed = seed
        with seeded(seed, "group_norm", 1):
            top = model.top_down(lambda group: _base_draw(group.prior), (samples,))[0]
        self.top = _tilt(top.prior, top.z).logsumexp(0) - math.log(samples)

    def __call__(self, groups: list[Group]) -> Tensor:
        """For the groups of a pass, of its batch shape."""
        below = [self._below(group) for group in groups[1:]]
        return torch.stack([*below, self.top.expand(groups[0].prior.batch_shape)]).sum(0)

    def _below(self, group: Group) -> Tensor:
        tilted = group.prior
        assert isinstance(tilted, Tilted)
        total = None
        for draw in range(self.samples):
            with seeded(self.seed, "group_norm", group.index, draw):
                if has_noise_form(tilted.base):
                    z = from_noise(tilted.base, torch.randn(tilted.event_shape, device=group.z.device))
                else:
                    z = tilted.base.sample()
            logit = tilted.log_tilt(z)
            total = logit if total is None else torch.logaddexp(total, logit)
        assert total is not None
        return total - math.log(self.samples)
