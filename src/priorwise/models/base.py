"""What every latent-variable model is: two methods, against which the rest of the library is written.

Letters: ``S`` samples, ``B`` batch, ``K`` latent groups. Group 1 is the top one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.distributions import log_unnorm
from priorwise.priors import AbstractPrior
from priorwise.randomness import seeded
from priorwise.samplers import AbstractSampler, Ancestral, SampleInfo
from priorwise.typing import Shape

__all__ = ["AbstractModel", "Draw", "Group", "frozen"]


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


Draw: TypeAlias = Callable[[Group], Tensor]


def _from_posterior(group: Group) -> Tensor:
    if group.posterior is None:
        raise ValueError("expected a posterior; got None. Pass `x` to `top_down` in order to infer.")
    return group.posterior.rsample() if group.posterior.has_rsample else group.posterior.sample()


class AbstractModel(nn.Module, ABC):
    """How to write a model; everything else in the library works on the two methods.

    1. Inherit. Implement ``top_down(draw, batch_shape, x=None)``: one pass through the latent groups, top first. For each
       form a ``Group`` with its prior and, when ``x`` is given, its posterior, set ``group.z = draw(group)``, and go on
       with that ``z``. Return the groups.
    2. Implement ``likelihood(groups)``: p(x | z_1..z_K).
    3. ``batch_shape`` is ``(B,)`` or ``(S, B)``; ``x`` is ``(B, *event)`` and is encoded once. Priors, posteriors and
       contexts have that batch shape before ``draw`` sees them.
    4. Return ``torch.distributions.Distribution`` objects, Independent over the event dimensions.
    5. Set ``training_defaults`` where a fit of this model should start from other options than
       ``TrainingConfig`` does.
    """

    training_defaults: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def top_down(self, draw: Draw, batch_shape: Shape, x: Tensor | None = None) -> list[Group]:
        """One pass through the latent groups, top first."""

    @abstractmethod
    def likelihood(self, groups: list[Group]) -> Distribution:
        """p(x | z_1..z_K), of the batch shape of the pass."""

    @property
    def log_norm(self) -> Tensor | None:
        """The log normaliser of the model's prior in nats: 0, unless a tilt makes it unknown (None) or estimated."""
        return torch.zeros(())

    @property
    def log_norm_stderr(self) -> Tensor | None:
        """The standard error of ``log_norm`` in nats."""
        return torch.zeros(())

    @property
    def default_sampler(self) -> AbstractSampler:
        """The sampler that ``generate`` uses if none is given."""
        return Ancestral()

    def infer(self, x: Tensor, sample_shape: Shape = ()) -> list[Group]:
        """A pass that draws every group from its posterior: ``z`` of shape ``(*sample_shape, B, *event)``."""
        return self.top_down(_from_posterior, (*sample_shape, len(x)), x)

    def generate(self, n: int, sampler: AbstractSampler | None = None) -> list[Group]:
        """A pass that draws every group from its prior with the sampler; ``group.info`` holds what it told."""
        if n < 1:
            raise ValueError(f"expected `n` of at least 1; got {n}.")
        chosen = self.default_sampler if sampler is None else sampler

        def draw(group: Group) -> Tensor:
            z, group.info = chosen.run(group.prior)
            return z

        return self.top_down(draw, (n,))

    def log_joint(self, groups: list[Group], x: Tensor) -> Tensor:
        """Log p(x | z) + sum_k log p(z_k | z_<k) before the normaliser, in nats, of the batch shape of the pass."""
        log_pz = sum(log_unnorm(group.prior, group.z) for group in groups)
        return self.likelihood(groups).log_prob(x) + log_pz

    def sample(
        self, n: int, sampler: AbstractSampler | None = None, *, mean: bool = True, seed: int | None = None
    ) -> Tensor:
        """New observations, ``(n, *event)``: the decoder's means, or draws from it with ``mean=False``."""
        with frozen(self), torch.no_grad(), seeded(seed, "sample"):
            observed = self.likelihood(self.generate(n, sampler))
            return observed.mean if mean else observed.sample()

    def encode(self, x: Tensor) -> Distribution:
        """q(z_1 | x), the posterior of the top group, of batch shape ``(B,)``."""
        posterior = self.infer(x)[0].posterior
        assert posterior is not None
        return posterior

    def decode(self, z: Tensor, sampler: AbstractSampler | None = None) -> Distribution:
        """p(x | z) for top latents ``(B, *event)``; groups below them are drawn from their priors."""
        chosen = self.default_sampler if sampler is None else sampler
        return self.likelihood(self.top_down(lambda group: z if group.index == 1 else chosen(group.prior), (len(z),)))

    def reconstruct(self, x: Tensor, *, seed: int | None = None) -> Tensor:
        """The decoder's means at draws from the posterior of ``x``, ``(B, *event)``."""
        with frozen(self), torch.no_grad(), seeded(seed, "reconstruct"):
            return self.likelihood(self.infer(x)).mean


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluate without leaving a trace: eval mode, no gradients into the parameters, priors built once.

    Gradients into inputs still flow. Modes and ``requires_grad`` flags are put back after the block; blocks may be nested.
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
