"""The noise contrastive prior: a model whose groups' priors are each tilted by a classifier.

Letters: ``S`` samples, ``B`` batch, ``K`` latent groups.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.backbones import AbstractLatentClassifier, LatentClassifier
from priorwise.compilation import advice_if_compiled
from priorwise.distributions import Tilted, normal_within
from priorwise.models.base import AbstractModel, Draw, Group, example_pass, frozen
from priorwise.models.joint import JointPrior
from priorwise.tilts import AbstractContrastiveTilt
from priorwise.typing import Shape

__all__ = ["NCP"]


class _GroupLogit:
    """The logit of one group's classifier as a function of z; the context is encoded once."""

    def __init__(self, classifier: nn.Module, group: Group) -> None:
        self.classifier = classifier
        self.prior = group.prior
        self.context = group.context

    @cached_property
    def encoded(self) -> Tensor | None:
        if self.context is None or not isinstance(self.classifier, AbstractLatentClassifier):
            return self.context
        return self.classifier.encode_context(self.context)

    def __call__(self, z: Tensor) -> Tensor:
        return self.classifier(_standardised(self.prior, z), self.encoded)


def _standardised(prior: Distribution, z: Tensor) -> Tensor:
    """The latents, standardised by their prior if it is Gaussian, as input for a classifier."""
    normal = normal_within(prior)
    return z if normal is None else (z - normal.loc) / normal.scale


class NCP(AbstractModel, AbstractContrastiveTilt):
    r"""A trained model whose prior is reweighted towards the aggregate posterior.

    .. math:: p_\mathrm{NCP}(z) = \frac{1}{Z} \prod_{k=1}^{K} r_k(z_k, c(z_{<k}))\, p(z_k | z_{<k}),
              \qquad \log r_k = \text{logit of classifier } k

    Each classifier distinguishes draws of the aggregate posterior from draws of the prior. They
    start untrained, so fit them first: ``priorwise.fit(ncp, data)``. The model underneath never
    changes: neither its parameters nor their ``requires_grad``, modes, statistics or hooks.

    The density above has one global Z. Sampling group by group (SIR, Langevin) has the target
    :math:`\prod_k r_k p_k / Z_k(z_{<k})` instead. The two agree for one group, and where each
    :math:`Z_k` is constant, as it is for perfect classifiers.

    References:
        A Contrastive Learning Approach for Training Variational Autoencoder Priors (Aneja et al.,
        2021), equations 1-5. https://arxiv.org/abs/2010.02917

    Arguments:
        base: The model underneath; it must be possible to sample its priors.
        classifiers: One module per group: a ``priorwise.backbones.AbstractLatentClassifier``, or
            any module that maps ``z`` ``(*sample, *batch, *event)`` (standardised by its prior if
            that is Gaussian) and the context ``(*batch, *context_event)``, or None, to logits
            ``(*sample, *batch)``. If None, classifiers of the right sizes are built.
        hidden_features: Sizes of the hidden layers of classifiers that are built here.
        max_logit: Bound of the logits, in nats, of classifiers that are built here. With a bound,
            rejection sampling is exact.
    """

    training_defaults: ClassVar[Mapping[str, Any]] = {"warmup_epochs": 0, "patience": 20}

    def __init__(
        self,
        base: AbstractModel,
        classifiers: Sequence[nn.Module] | None = None,
        *,
        hidden_features: tuple[int, ...] = (256, 256, 256),
        max_logit: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(base, AbstractModel):
            raise TypeError(
                "expected a priorwise model with `top_down` and `likelihood`; got "
                f"{type(base).__name__}. Inherit from priorwise.models.AbstractModel, or use "
                f"priorwise.wrap(encode=..., decode=...).{advice_if_compiled(base)}"
            )
        if isinstance(base, NCP):
            raise TypeError(
                "expected a model that is not an NCP itself. Tilt its `base` once, with better "
                "classifiers."
            )
        groups = _probe(base)
        for group in groups:
            if isinstance(group.prior, Tilted):
                raise TypeError(
                    "expected a base whose priors can be sampled; the prior of group "
                    f"{group.index} is tilted already."
                )
        if base.tilts:
            raise TypeError(
                f"expected a base without a tilt of its own; {type(base.tilts[0]).__name__} owns "
                "one."
            )
        self.base = base
        if classifiers is None:
            classifiers = [_classifier_for(group, hidden_features, max_logit) for group in groups]
        if len(classifiers) != len(groups):
            raise ValueError(
                f"expected {len(groups)} `classifiers`, one per latent group; got "
                f"{len(classifiers)}."
            )
        self.classifiers = nn.ModuleList(classifiers)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - as torch has it
        if name == "prior":
            raise TypeError(
                "expected the prior of an NCP to be that of its base, tilted; got one of its own. "
                "Replace the prior of the base, and build the NCP over it anew: NCP(base)."
            )
        super().__setattr__(name, value)

    @property
    def network(self) -> nn.Module:
        """The classifiers."""
        return self.classifiers

    @property
    def untilted(self) -> AbstractModel:
        """The model underneath."""
        return self.base

    def tilted(self, group: Group) -> Tilted:
        """The prior of a group of the base, tilted by its classifier."""
        classifier = self.classifiers[group.index - 1]
        bound = classifier.max_logit if isinstance(classifier, AbstractLatentClassifier) else None
        return Tilted(group.prior, _GroupLogit(classifier, group), log_bound=bound, owner=self)

    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """The base's pass, with each prior tilted before it is passed to ``draw``."""
        tilted_groups: list[Group] = []

        def tilted_draw(group: Group) -> Tensor:
            tilted = copy(group)  # keeps the class of the group if the base has its own
            tilted.prior = self.tilted(group)
            tilted.z = draw(tilted)
            tilted_groups.append(tilted)
            return tilted.z

        groups = [copy(group) for group in self.base.top_down(tilted_draw, batch_shape, x)]
        for group, tilted in zip(groups, tilted_groups, strict=True):
            group.prior, group.info = tilted.prior, tilted.info
        return groups

    def likelihood(self, groups: list[Group]) -> Distribution:
        """The base's p(x | z)."""
        return self.base.likelihood(groups)

    def law(self) -> Tilted:
        """The latents of all groups as one vector, tilted by the sum of the logits."""
        probe = _probe(self.base)
        joint = JointPrior(self.base, probe)
        bounds = [self.tilted(group).log_bound for group in probe]
        bounded = [bound for bound in bounds if bound is not None]
        return Tilted(
            joint.as_base,
            joint.log_tilt(self._log_tilt),
            log_bound=sum(bounded) if len(bounded) == len(bounds) else None,
        )

    def _log_tilt(self, groups: list[Group]) -> Tensor:
        return torch.stack([self.tilted(group).log_tilt(group.z) for group in groups]).sum(0)


def _probe(base: AbstractModel) -> list[Group]:
    """A pass of one example, to see the shapes of latents and contexts."""
    with frozen(base), torch.no_grad():
        return example_pass(base)


def _classifier_for(
    group: Group, hidden_features: tuple[int, ...], max_logit: float | None
) -> LatentClassifier:
    context = None if group.context is None else tuple(group.context.shape[1:])
    classifier = LatentClassifier(
        tuple(group.z.shape[1:]), context, hidden_features=hidden_features, max_logit=max_logit
    )
    return classifier.to(group.z.device)
