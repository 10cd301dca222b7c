"""What every latent-variable model is: two methods, against which the rest of the library is written.

Letters: ``S`` samples, ``B`` batch, ``K`` latent groups. Group 1 is the top one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.distributions import log_unnorm, picture, tilts_within, untilted
from priorwise.priors import AbstractPrior
from priorwise.randomness import seeded
from priorwise.samplers import AbstractSampler, Ancestral, SampleInfo
from priorwise.tilts import AbstractTilt, LogNorm
from priorwise.typing import Shape

__all__ = [
    "AbstractJointModel",
    "AbstractModel",
    "Draw",
    "Group",
    "draw_posterior",
    "draw_untilted",
    "example_pass",
    "frozen",
    "own_prior",
    "require_groups",
    "require_prior",
]


@dataclass
class Group:
    """One group of latents during a pass from the top down.

    Attributes:
        index: Its place, 1 at the top.
        prior: p(z_k | z_<k), of batch shape ``(*batch)``.
        posterior: q(z_k | z_<k, x), or None when nothing is observed.
        context: c(z_<k), what the group's prior was computed from; None at the top.
        z: The latents, set by the pass, ``(*batch, *event)``.
        info: What the sampler told of them, where one was used.
    """

    index: int
    prior: Distribution
    posterior: Distribution | None = None
    context: Tensor | None = None
    z: Tensor = field(init=False)
    info: SampleInfo | None = None

    @property
    def inferred(self) -> Distribution:
        """The posterior.

        Raises:
            ValueError: if nothing was observed.
        """
        if self.posterior is None:
            raise ValueError(
                "expected a posterior; got None. Pass `x` to `top_down` in order to infer."
            )
        return self.posterior

    def log_posterior(self) -> Tensor:
        """Log q(z_k | z_<k, x) at the draw, ``(*batch)``, in nats."""
        return self.inferred.log_prob(self.z)

    def log_prior(self) -> Tensor:
        """Log p(z_k | z_<k) at the draw, ``(*batch)``, in nats, without an unknown normaliser."""
        return log_unnorm(self.prior, self.z)

    def rate(self) -> Tensor:
        """Log q - log p at the draw, ``(*batch)``, in nats: its mean is the KL of the group."""
        return self.log_posterior() - self.log_prior()


Draw: TypeAlias = Callable[[Group], Tensor]


def draw_posterior(group: Group) -> Tensor:
    """A draw from the group's posterior, with gradients where it has them."""
    posterior = group.inferred
    return posterior.rsample() if posterior.has_rsample else posterior.sample()


def draw_untilted(group: Group) -> Tensor:
    """A draw from the group's prior before its tilt."""
    return untilted(group.prior).sample()


def require_groups(groups: Sequence[Group], batch_shape: Shape) -> None:
    """Refuse a pass whose distributions do not have the batch shape of the pass: their densities would broadcast.

    Raises:
        ValueError: naming the group, and what is wrong with it.
    """
    if not groups:
        raise ValueError("expected `top_down` to return at least one Group; got none.")
    size = torch.Size(batch_shape)
    for group in groups:
        for name, distribution in (("prior", group.prior), ("posterior", group.posterior)):
            if distribution is not None and (
                distribution.batch_shape != size or not distribution.event_shape
            ):
                raise ValueError(
                    f"expected the {name} of group {group.index} to have batch shape {tuple(size)} "
                    f"over events; got batch shape {tuple(distribution.batch_shape)} and event "
                    f"shape {tuple(distribution.event_shape)}. Wrap it in "
                    "torch.distributions.Independent over the dimensions of one latent, and "
                    "expand it to the batch."
                )


class AbstractModel(nn.Module, ABC):
    """How to write a model; everything else in the library works on the two methods.

    1. Inherit. Implement ``top_down(draw, batch_shape, x=None)``: one pass through the latent
       groups, top first. For each form a ``Group`` with its prior and, when ``x`` is given, its
       posterior, set ``group.z = draw(group)``, and go on with that ``z``. Return the groups.
    2. Implement ``likelihood(groups)``: p(x | z_1..z_K). 3. ``batch_shape`` is ``(B,)`` or ``(S,
       B)``; ``x`` is ``(B, *event)`` and is encoded once. Priors, posteriors and contexts have that
       batch shape before ``draw`` sees them.
    4. Return ``torch.distributions.Distribution`` objects, Independent over the event dimensions.
    5. Set ``training_defaults`` where a fit of this model should start from other options than
       ``TrainingConfig`` does.
    6. If the law is drawn as a whole and not group after group, inherit ``AbstractJointModel``.
    """

    training_defaults: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """One pass through the latent groups, top first."""

    @abstractmethod
    def likelihood(self, groups: list[Group]) -> Distribution:
        """p(x | z_1..z_K), of the batch shape of the pass."""

    @property
    def tilts(self) -> tuple[AbstractTilt, ...]:
        """The modules that own a normaliser: the model itself if it does, whose law is all of it; else those inside."""
        if isinstance(self, AbstractTilt):
            return (self,)
        return tuple(module for module in self.modules() if isinstance(module, AbstractTilt))

    @property
    def untilted(self) -> "AbstractModel":
        """The model underneath, for a model that tilts another one; else the model itself."""
        return self

    def owners(self) -> list[AbstractTilt | None]:
        """Who keeps each unknown normaliser of a pass, group after group; None for one that nobody keeps.

        A model that owns a tilt keeps one for all of it. Empty if every density is normalised.
        """
        with frozen(self), torch.no_grad():
            groups = example_pass(self)
            densities = [*(group.prior for group in groups), self.likelihood(groups)]
        unknown = [tilt.owner for density in densities for tilt in tilts_within(density)]
        if isinstance(self, AbstractTilt) and unknown:
            return [self]
        return [owner if isinstance(owner, AbstractTilt) else None for owner in unknown]

    def known_log_norm(self) -> LogNorm | None:
        """The log normaliser that ``log_joint`` leaves out, with its error: the sum over ``owners``.

        It is 0 if the densities of a pass are normalised, and None if one is not and its normaliser
        is unknown: not estimated yet, estimated for other weights, or owned by nobody.
        """
        owners = self.owners()
        log_norms = {owner: None if owner is None else owner.kept_log_norm for owner in owners}
        estimated = {
            owner: log_norm for owner, log_norm in log_norms.items() if log_norm is not None
        }
        if not owners:
            return LogNorm()
        if len(estimated) < len(log_norms):
            return None
        if len(owners) == 1:
            return next(iter(estimated.values()))
        times = {
            owner: owners.count(owner) for owner in estimated
        }  # one that tilts two groups errs in both alike
        return LogNorm(
            value=math.fsum(times[owner] * one.value for owner, one in estimated.items()),
            stderr=math.hypot(*(times[owner] * one.stderr for owner, one in estimated.items())),
            ess=min(one.ess for one in estimated.values()),
            is_doubtful=any(one.is_doubtful for one in estimated.values()),
        )

    @property
    def default_sampler(self) -> AbstractSampler:
        """The sampler that ``generate`` uses if none is given: that of the first tilt, else plain draws."""
        return self.tilts[0].sampler if self.tilts else Ancestral()

    def infer(self, x: Tensor, sample_shape: Shape = ()) -> list[Group]:
        """A pass that draws every group from its posterior: ``z`` of shape ``(*sample_shape, B, *event)``."""
        groups = self.top_down(draw_posterior, (*sample_shape, len(x)), x)
        require_groups(groups, (*sample_shape, len(x)))
        return groups

    def generate(self, n: int, sampler: AbstractSampler | None = None) -> list[Group]:
        """A pass that draws every group from its prior with the sampler; ``group.info`` holds what it told.

        An ``AbstractJointModel`` has the sampler draw its law as a whole, and the pass is the one
        that belongs to the draw.
        """
        return self._generated(n, sampler)[0]

    def _generated(
        self, n: int, sampler: AbstractSampler | None
    ) -> tuple[list[Group], Tensor | None]:
        """The pass, and the observations where they are drawn together with the latents."""
        if n < 1:
            raise ValueError(f"expected `n` of at least 1; got {n}.")
        chosen = self.default_sampler if sampler is None else sampler
        if isinstance(self, AbstractJointModel):
            u, info = chosen.run(self.law(), (n,))
            groups, x = self.from_law(u)
            for group in groups:
                group.info = info
            return groups, x

        def draw(group: Group) -> Tensor:
            z, group.info = chosen.run(group.prior)
            return z

        groups = self.top_down(draw, (n,))
        require_groups(groups, (n,))
        return groups, None

    def log_joint(self, groups: list[Group], x: Tensor) -> Tensor:
        """Log p(x | z) + sum_k log p(z_k | z_<k), of the batch shape of the pass, in nats.

        What is unknown is left out: ``known_log_norm``.
        """
        log_pz = sum(group.log_prior() for group in groups)
        return log_unnorm(self.likelihood(groups), x) + log_pz

    def sample(
        self,
        n: int,
        sampler: AbstractSampler | None = None,
        *,
        mean: bool = True,
        seed: int | None = None,
    ) -> Tensor:
        """New observations, ``(n, *event)``: the decoder's means, or draws where it has none or with ``mean=False``."""
        with frozen(self), torch.no_grad(), seeded(seed, "sample"):
            groups, x = self._generated(n, sampler)
            if mean or x is None:
                observed = self.likelihood(groups)
                return picture(observed) if mean else observed.sample()
            return x

    def encode(self, x: Tensor) -> Distribution:
        """q(z_1 | x), the posterior of the top group, of batch shape ``(B,)``."""
        return self.infer(x)[0].inferred

    def decode(self, z: Tensor, sampler: AbstractSampler | None = None) -> Distribution:
        """p(x | z) for top latents ``(B, *event)``; groups below them are drawn from their priors."""
        chosen = self.default_sampler if sampler is None else sampler
        return self.likelihood(
            self.top_down(lambda group: z if group.index == 1 else chosen(group.prior), (len(z),))
        )

    def reconstruct(self, x: Tensor, *, seed: int | None = None) -> Tensor:
        """The decoder's means (draws where it has none) at draws from the posterior of ``x``, ``(B, *event)``."""
        with frozen(self), torch.no_grad(), seeded(seed, "reconstruct"):
            return picture(self.likelihood(self.infer(x)))


class AbstractJointModel(AbstractModel, AbstractTilt):
    """How to write a model whose law is drawn as a whole, such as one with an energy on observations.

    1. Inherit, implement what ``AbstractModel`` and ``AbstractTilt`` ask for. A tilt on
       observations stands in ``likelihood``, as a ``Tilted`` over p(x|z) without a ``log_norm``.
    2. ``law`` is over whatever a chain should move in, such as the noise of latents and
       observations.
    3. Implement ``from_law(u)``: the pass and the observations that belong to draws of it.
    """

    @abstractmethod
    def from_law(self, u: Tensor) -> tuple[list[Group], Tensor]:
        """Draws ``(n, *event)`` of ``law`` to the groups of a pass and observations ``(n, *observed)``."""


def own_prior(model: AbstractModel) -> nn.Module | None:
    """The module that a model keeps as ``prior``, that of its top latents; None where it has none.

    No contract of models: one whose top prior lies elsewhere cannot be fitted a new one.
    """
    return dict(model.named_children()).get("prior")


def require_prior(model: AbstractModel) -> AbstractPrior:
    """The prior that a model keeps as ``prior``, which can be fitted alone or replaced.

    Raises:
        TypeError: if it has none, or one that is not of ``priorwise.priors``.
    """
    prior = own_prior(model)
    if not isinstance(prior, AbstractPrior):
        raise TypeError(
            "expected a model with a `prior` that can be replaced, one of priorwise.priors; "
            f"{type(model).__name__} has {'none' if prior is None else type(prior).__name__}."
        )
    return prior


def example_pass(model: AbstractModel) -> list[Group]:
    """A pass of one example, drawn from the priors before their tilts: for the shapes and kinds of what a model returns.

    Call it inside ``frozen``; the random stream stays as it was.
    """
    with seeded(0, "example"):
        return model.top_down(draw_untilted, (1,))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluate without leaving a trace: eval mode, no gradients into the parameters, priors built once.

    Gradients into inputs still flow. Modes and ``requires_grad`` flags are put back after the
    block; blocks may be nested.
    """
    modules = list(model.modules())
    modes = [(module, module.training) for module in modules]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        with ExitStack() as stack:
            for module in modules:
                module.training = False
                if isinstance(module, AbstractPrior):
                    stack.enter_context(module.kept())
            for parameter, _ in flags:
                parameter.requires_grad = False
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in flags:
            parameter.requires_grad = flag
