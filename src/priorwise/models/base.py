"""The contract of latent-variable models: two methods, on which the rest of the library builds.

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

from priorwise.arrays import Array, input_tensor
from priorwise.distributions import log_unnorm, picture, require_event_shape, tilts_within, untilted
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
    "as_distribution",
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
    """One group of latents during a top-down pass.

    Attributes:
        index: Position of the group; 1 is the top.
        prior: p(z_k | z_<k), of batch shape ``(*batch)``.
        posterior: q(z_k | z_<k, x), or None when nothing is observed.
        context: c(z_<k), from which the group's prior was computed; None at the top.
        z: The latents, set by the pass, ``(*batch, *event)``.
        info: The sampler's report on the draw, where a sampler was used.
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
            raise ValueError("expected a posterior; got None. Pass `x` to `top_down` to get one.")
        return self.posterior

    def log_posterior(self) -> Tensor:
        """Log q(z_k | z_<k, x) at the draw, ``(*batch)``, in nats."""
        return self.inferred.log_prob(self.z)

    def log_prior(self) -> Tensor:
        """Log p(z_k | z_<k) at the draw, ``(*batch)``, in nats, without an unknown normaliser."""
        return log_unnorm(self.prior, self.z)

    def rate(self) -> Tensor:
        """Log q - log p at the draw, ``(*batch)``, in nats; its mean is the KL of the group."""
        return self.log_posterior() - self.log_prior()


Draw: TypeAlias = Callable[[Group], Tensor]


def draw_posterior(group: Group) -> Tensor:
    """A draw from the group's posterior, reparameterised where the posterior allows it."""
    posterior = group.inferred
    return posterior.rsample() if posterior.has_rsample else posterior.sample()


def draw_untilted(group: Group) -> Tensor:
    """A draw from the group's prior without its tilt."""
    return untilted(group.prior).sample()


def require_groups(groups: Sequence[Group], batch_shape: Shape) -> None:
    """Refuse a pass in which a distribution does not have the batch shape of the pass.

    Densities of another batch shape would broadcast.

    Raises:
        ValueError: naming the group and its shapes.
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


def as_distribution(result: object, part: str) -> Distribution:
    """What a part of a model returned, which must be a distribution.

    Arguments:
        result: What it returned.
        part: The name of the part, for the message.

    Raises:
        TypeError: if it is something else, such as a tensor.
    """
    if isinstance(result, Distribution):
        return result
    raise TypeError(
        f"expected `{part}` to return a torch Distribution; got {type(result).__name__}. Build it "
        "from a network with priorwise.conditionals.Conditional, or give networks that return "
        "tensors to priorwise.wrap(encode=..., decode=...)."
    )


class AbstractModel(nn.Module, ABC):
    """How to write a model; the rest of the library builds on its two methods.

    1. Inherit, and implement ``top_down(draw, batch_shape, x=None)``: one pass through the latent
       groups, top first. For each group, build a ``Group`` with its prior and, if ``x`` is given,
       its posterior; set ``group.z = draw(group)``, and continue with that ``z``. Return the
       groups.
    2. Implement ``likelihood(groups)``: p(x | z_1..z_K).
    3. ``batch_shape`` is ``(B,)`` or ``(S, B)``; ``x`` is ``(B, *event)``, to be encoded once.
       Priors, posteriors and contexts must have this batch shape when they are passed to ``draw``.
    4. Return ``torch.distributions.Distribution`` objects, Independent over the event dimensions.
    5. Set ``training_defaults`` if a fit of this model should have other defaults than
       ``TrainingConfig``.
    6. If the law is sampled as a whole and not group by group, inherit ``AbstractJointModel``.
    """

    training_defaults: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """One pass through the latent groups, top first."""

    @abstractmethod
    def likelihood(self, groups: list[Group]) -> Distribution:
        """p(x | z_1..z_K), of the batch shape of the pass."""

    def observed(self, groups: list[Group], x: Tensor) -> Distribution:
        """``likelihood(groups)``, for observations ``(B, *event)``.

        Raises:
            ValueError: if ``x`` has another shape, which densities would broadcast.
        """
        likelihood = self.likelihood(groups)
        require_event_shape(likelihood, x)
        return likelihood

    @property
    def tilts(self) -> tuple[AbstractTilt, ...]:
        """The modules that own a log normaliser.

        If the model itself owns one, its law covers the whole model, so it is the only one.
        """
        if isinstance(self, AbstractTilt):
            return (self,)
        return tuple(module for module in self.modules() if isinstance(module, AbstractTilt))

    @property
    def untilted(self) -> "AbstractModel":
        """The model underneath if this model tilts another one; else the model itself."""
        return self

    @property
    def borrowed(self) -> tuple[nn.Module, ...]:
        """The parts that somebody else trained; a fit leaves them alone unless ``train="all"``."""
        return ()

    def owners(self) -> list[AbstractTilt | None]:
        """The module that keeps each unknown log normaliser of a pass, group by group.

        An entry is None if no module keeps that normaliser. A model that owns a tilt keeps one for
        the whole pass. The list is empty if every density is normalised.
        """
        with frozen(self), torch.no_grad():
            groups = example_pass(self)
            densities = [*(group.prior for group in groups), self.likelihood(groups)]
        unknown = [tilt.owner for density in densities for tilt in tilts_within(density)]
        if isinstance(self, AbstractTilt) and unknown:
            return [self]
        return [owner if isinstance(owner, AbstractTilt) else None for owner in unknown]

    def known_log_norm(self) -> LogNorm | None:
        """The log normaliser that ``log_joint`` omits, with its error: the sum over ``owners``.

        It is 0 if all densities of a pass are normalised. It is None if one of the log normalisers
        is unknown: not estimated yet, estimated for other weights, or kept by no module.
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
        # The same owner has the same error in every group that it tilts, so its error adds up.
        times = {owner: owners.count(owner) for owner in estimated}
        return LogNorm(
            value=math.fsum(times[owner] * each.value for owner, each in estimated.items()),
            stderr=math.hypot(*(times[owner] * each.stderr for owner, each in estimated.items())),
            ess=min(each.ess for each in estimated.values()),
            is_doubtful=any(each.is_doubtful for each in estimated.values()),
        )

    @property
    def default_sampler(self) -> AbstractSampler:
        """The default sampler of ``generate``: that of the first tilt, else ``Ancestral``."""
        return self.tilts[0].sampler if self.tilts else Ancestral()

    def infer(self, x: Tensor, sample_shape: Shape = ()) -> list[Group]:
        """A pass that draws every group from its posterior, ``(*sample_shape, B, *event)``."""
        groups = self.top_down(draw_posterior, (*sample_shape, len(x)), x)
        require_groups(groups, (*sample_shape, len(x)))
        return groups

    def generate(self, n: int, sampler: AbstractSampler | None = None) -> list[Group]:
        """A pass that draws every group from its prior with the sampler.

        ``group.info`` is the sampler's report. For an ``AbstractJointModel`` the sampler draws from
        the law as a whole, and the pass is computed from the draw.
        """
        return self._generated(n, sampler)[0]

    def _generated(
        self, n: int, sampler: AbstractSampler | None
    ) -> tuple[list[Group], Tensor | None]:
        """The pass, and the observations if they are drawn together with the latents."""
        if not isinstance(n, int):
            raise TypeError(f"expected `n` as a whole number; got {n!r}.")
        if n < 1:
            raise ValueError(f"expected `n` of at least 1; got {n}.")
        if sampler is not None and not isinstance(sampler, AbstractSampler):
            raise TypeError(
                "expected `sampler` as an object of priorwise.samplers, such as SIR(1000); got "
                f"{sampler!r}."
            )
        sampler = self.default_sampler if sampler is None else sampler
        if isinstance(self, AbstractJointModel):
            u, info = sampler.run(self.law(), (n,))
            groups, x = self.from_law(u)
            for group in groups:
                group.info = info
            return groups, x

        def draw(group: Group) -> Tensor:
            z, group.info = sampler.run(group.prior)
            return z

        groups = self.top_down(draw, (n,))
        require_groups(groups, (n,))
        return groups, None

    def log_joint(self, groups: list[Group], x: Tensor) -> Tensor:
        """Log p(x | z) + sum_k log p(z_k | z_<k), of the batch shape of the pass, in nats.

        It omits the log normalisers of tilts: see ``known_log_norm``.
        """
        log_pz = sum(group.log_prior() for group in groups)
        return log_unnorm(self.observed(groups, x), x) + log_pz

    def sample(
        self,
        n: int,
        sampler: AbstractSampler | None = None,
        *,
        mean: bool = True,
        seed: int | None = None,
    ) -> Tensor:
        """New observations, ``(n, *event)``.

        They are the means of the decoder, or draws if it has no mean or with ``mean=False``.
        """
        with frozen(self), torch.no_grad(), seeded(seed, "sample"):
            groups, x = self._generated(n, sampler)
            if mean or x is None:
                observed = self.likelihood(groups)
                return picture(observed) if mean else observed.sample()
            return x

    def encode(self, x: Array) -> Distribution:
        """q(z_1 | x), the posterior of the top group, of batch shape ``(B,)``."""
        return self.infer(input_tensor(self, x))[0].inferred

    def decode(self, z: Tensor, sampler: AbstractSampler | None = None) -> Distribution:
        """p(x | z) for top latents ``(B, *event)``; lower groups are drawn from their priors."""
        sampler = self.default_sampler if sampler is None else sampler
        return self.likelihood(
            self.top_down(lambda group: z if group.index == 1 else sampler(group.prior), (len(z),))
        )

    def reconstruct(self, x: Array, *, seed: int | None = None) -> Tensor:
        """Reconstructions of ``x``, ``(B, *event)``, each from one draw of the posterior.

        They are the means of the decoder, or draws if it has no mean.
        """
        with frozen(self), torch.no_grad(), seeded(seed, "reconstruct"):
            x = input_tensor(self, x)
            self.observed(example_pass(self), x)
            return picture(self.likelihood(self.infer(x)))


class AbstractJointModel(AbstractModel, AbstractTilt):
    """How to write a model that is sampled as a whole, such as one with an energy on observations.

    1. Inherit, and implement what ``AbstractModel`` and ``AbstractTilt`` require. A tilt on
       observations belongs in ``likelihood``, as a ``Tilted`` over p(x|z) without a ``log_norm``.
    2. ``law`` is over the variables in which a chain should move, such as the noise of latents and
       observations.
    3. Implement ``from_law(u)``: the pass and the observations of draws ``u``.
    """

    @abstractmethod
    def from_law(self, u: Tensor) -> tuple[list[Group], Tensor]:
        """The groups and observations ``(n, *observed)`` of draws ``(n, *event)`` of ``law``."""


def own_prior(model: AbstractModel) -> nn.Module | None:
    """The submodule ``prior`` of a model, the prior of its top latents; None if it has none.

    The model contract does not require it. A model that keeps its top prior elsewhere cannot get a
    new one by a fit.
    """
    return dict(model.named_children()).get("prior")


def require_prior(model: AbstractModel) -> AbstractPrior:
    """The submodule ``prior`` of a model, to fit it alone or replace it.

    Raises:
        TypeError: if the model has none, or one that is not an ``AbstractPrior``.
    """
    prior = own_prior(model)
    if not isinstance(prior, AbstractPrior):
        raise TypeError(
            "expected a model with a `prior` that can be replaced, one of priorwise.priors; "
            f"{type(model).__name__} has {'none' if prior is None else type(prior).__name__}."
        )
    return prior


def example_pass(model: AbstractModel) -> list[Group]:
    """A pass of one example, drawn from the untilted priors, to see what a model returns.

    Call it inside ``frozen``. It leaves torch's random state as it was.
    """
    with seeded(0, "example"):
        return model.top_down(draw_untilted, (1,))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluate a model without changing it: eval mode, no parameter gradients, priors built once.

    Gradients still flow to inputs. After the block, modes and ``requires_grad`` flags are restored.
    Blocks can be nested.
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
