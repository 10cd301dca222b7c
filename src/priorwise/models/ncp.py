"""The noise contrastive prior: any model, with each group's prior tilted by a classifier.

Letters: ``S`` samples, ``B`` batch, ``K`` latent groups.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from priorwise.backbones import LatentClassifier
from priorwise.distributions import Tilted
from priorwise.models.base import AbstractModel, Draw, Group, frozen
from priorwise.randomness import seeded
from priorwise.samplers import SIR, AbstractSampler
from priorwise.typing import Shape

__all__ = ["NCP"]


def _standardised(prior: Distribution, z: Tensor) -> Tensor:
    """The latents in units of their Gaussian prior: what the base explains is taken away before the classifier looks."""
    if isinstance(prior, Independent) and isinstance(prior.base_dist, Normal):
        return (z - prior.base_dist.loc) / prior.base_dist.scale
    return z


def _logit(classifier: nn.Module, prior: Distribution, context: Tensor | None, z: Tensor) -> Tensor:
    flat = _standardised(prior, z).flatten(-len(prior.event_shape))
    if context is not None:
        context = context.flatten(len(prior.batch_shape))
    if isinstance(classifier, LatentClassifier):  # broadcasts the context over samples by itself
        return classifier(flat, context)
    batch = flat.shape[:-1]
    if context is not None:
        context = context.expand(*batch, -1).reshape(-1, context.shape[-1])
    return classifier(flat.reshape(-1, flat.shape[-1]), context).reshape(batch)


class NCP(AbstractModel):
    r"""A trained model whose prior is reweighted by what tells the aggregate posterior from it.

    .. math:: p_\mathrm{NCP}(z) = \frac{1}{Z} \prod_{k=1}^{K} r_k(z_k, c(z_{<k}))\, p(z_k | z_{<k}),
              \qquad \log r_k = \text{logit of classifier } k

    The model underneath is not changed: not its parameters, nor their ``requires_grad``, modes, statistics or hooks. Before
    a fit the classifiers are what they were built as, so fit first: ``priorwise.fit(ncp, data)``.

    The density above has one global Z; drawing group after group (SIR, Langevin) targets
    :math:`\prod_k r_k p_k / Z_k(z_{<k})` instead. The two agree for one group, and where each :math:`Z_k` is constant, as it
    is for perfect classifiers.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al., 2021), equations 1-5.

    Arguments:
        base: The model underneath.
        classifiers: One module a group, ``(z, context) -> logits``, where ``z`` comes as rows of vectors (standardised by
            its prior where that is Gaussian) and the context, or None, as as many rows; built to size if None.
        hidden_features: Hidden layers of the classifiers that are built.
        max_logit: Bound of the logits of the classifiers that are built, in nats; with one, rejection sampling is exact.
    """

    training_defaults: ClassVar[Mapping[str, Any]] = {"warmup_epochs": 0, "patience": 20}

    _log_norm: Tensor
    _log_norm_stderr: Tensor

    def __init__(
        self,
        base: AbstractModel,
        classifiers: Sequence[nn.Module] | None = None,
        *,
        hidden_features: tuple[int, ...] = (256, 256, 256),
        max_logit: float | None = None,
    ) -> None:
        super().__init__()
        if isinstance(base, NCP):
            raise TypeError(
                "expected a model that is not an NCP itself; tilt its `base` once, with better classifiers."
            )
        if not isinstance(base, AbstractModel):
            raise TypeError(
                f"expected a priorwise model with `top_down` and `likelihood`; got {type(base).__name__}. Inherit from "
                "priorwise.models.AbstractModel, or use priorwise.wrap(encode=..., decode=...)."
            )
        self.base = base
        groups = _probe(base)
        if classifiers is None:
            classifiers = [_classifier_for(group, hidden_features, max_logit) for group in groups]
        if len(classifiers) != len(groups):
            raise ValueError(f"expected {len(groups)} `classifiers`, one a latent group; got {len(classifiers)}.")
        self.classifiers = nn.ModuleList(classifiers)
        self.register_buffer("_log_norm", torch.tensor(float("nan")))
        self.register_buffer("_log_norm_stderr", torch.tensor(float("nan")))

    @property
    def log_norm(self) -> Tensor | None:
        """Log Z in nats, or None until ``priorwise.estimators.log_norm(model)`` has estimated it."""
        return None if bool(self._log_norm.isnan()) else self._log_norm

    @property
    def log_norm_stderr(self) -> Tensor | None:
        """The standard error of ``log_norm`` in nats, None while that is unknown."""
        return None if bool(self._log_norm.isnan()) else self._log_norm_stderr

    def set_log_norm(self, value: float, stderr: float) -> None:
        """Keep an estimate of log Z (nats) and its standard error with the model."""
        self._log_norm.fill_(value)
        self._log_norm_stderr.fill_(stderr)

    def forget_log_norm(self) -> None:
        """Mark log Z as unknown, as every change of the classifiers does."""
        self.set_log_norm(float("nan"), float("nan"))

    @property
    def default_sampler(self) -> AbstractSampler:
        """SIR with 1000 proposals."""
        return SIR(1000)

    def tilted(self, group: Group) -> Group:
        """The group of the base with its prior tilted by the group's classifier."""
        classifier = self.classifiers[group.index - 1]
        log_tilt = partial(_logit, classifier, group.prior, group.context)
        bound = classifier.max_logit if isinstance(classifier, LatentClassifier) else None
        return Group(group.index, Tilted(group.prior, log_tilt, log_bound=bound), group.posterior, group.context)

    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """The base's pass, each prior tilted before ``draw`` sees it."""
        tilted: list[Group] = []

        def tilted_draw(group: Group) -> Tensor:
            tilted.append(self.tilted(group))
            tilted[-1].z = draw(tilted[-1])
            return tilted[-1].z

        self.base.top_down(tilted_draw, batch_shape, x)
        return tilted

    def likelihood(self, groups: list[Group]) -> Distribution:
        """The base's p(x | z)."""
        return self.base.likelihood(groups)


def _probe(base: AbstractModel) -> list[Group]:
    """One generated example, for the shapes of latents and contexts; leaves the model and the random stream alone."""
    with frozen(base), torch.no_grad(), seeded(0, "probe"):
        return base.generate(1)


def _classifier_for(group: Group, hidden_features: tuple[int, ...], max_logit: float | None) -> LatentClassifier:
    latent = group.z[0].numel()
    context = 0 if group.context is None else group.context[0].numel()
    classifier = LatentClassifier(latent, context, hidden_features=hidden_features, max_logit=max_logit)
    return classifier.to(group.z.device)
