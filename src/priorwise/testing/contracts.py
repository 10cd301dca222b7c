"""Contract checks: what a part must do so that the rest of the library works with it.

Each check draws with its own seed and leaves torch's random state as it was. All statistical
comparisons use the false-alarm rate ``ALPHA``.
"""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from priorwise.backbones import LatentClassifier
from priorwise.distributions import Delta, Tilted, has_mean, log_unnorm
from priorwise.models import AbstractModel, Group, draw_posterior
from priorwise.priors import StandardNormal, as_prior
from priorwise.randomness import seeded
from priorwise.samplers import AbstractSampler, Ancestral, SampleInfo
from priorwise.testing import laws
from priorwise.testing.laws import require
from priorwise.testing.oracles import GaussianTilt
from priorwise.testing.significance import Z_LIMIT, check_mean, standard_errors
from priorwise.typing import Encode, Shape

__all__ = ["check_distribution", "check_likelihood", "check_model", "check_prior", "check_sampler"]


def check_distribution(
    distribution: Distribution, *, continuous: bool = True, seed: int = 0
) -> None:
    """Certify a distribution: shapes, finite densities, ``expand``, draws that follow the density.

    A ``Tilted`` distribution is checked at draws from its base. A distribution passes if its
    ``expand`` raises torch's ``NotImplementedError``; priors and posteriors must implement it.

    Arguments:
        distribution: The distribution.
        continuous: Whether it has a density over real numbers. Only then are draws compared with
            the density.
        seed: Seed of the draws.

    Raises:
        AssertionError: naming what broke.
    """
    with seeded(seed, "check_distribution"):
        laws.samples_have_shape(distribution)
        with suppress(NotImplementedError):
            laws.expands(distribution, (4, *distribution.batch_shape))
        if distribution.has_rsample:
            shape = (2, *distribution.batch_shape, *distribution.event_shape)
            laws.is_finite(distribution.rsample(torch.Size((2,))), "reparameterised draws", shape)
        if continuous and not isinstance(distribution, Tilted):
            laws.draws_follow_density(distribution)


def check_prior(prior: nn.Module, encode_top: Encode | None = None, *, seed: int = 0) -> None:
    """Certify a prior: a module that returns a distribution over the top latents.

    It checks batch shape ``()`` and its expansion, finite densities, that draws follow the density
    and that the density integrates to one (where it is normalised), gradients of the density and of
    reparameterised draws, equal values in training and evaluation mode, a complete ``state_dict``,
    and that ``frozen`` leaves no trace.

    Arguments:
        prior: A module of ``priorwise.priors``, or any module that returns a distribution when
            called.
        encode_top: x -> q(z_top|x), for a prior made of encodings.
        seed: Seed of the draws.

    Raises:
        AssertionError: naming what broke.

    Example:
        >>> check_prior(StandardNormal(2))
    """
    with seeded(seed, "check_prior"):
        laws.names_itself(prior)
        module = laws.jittered(as_prior(prior))
        # Not `forward`, which would refuse wrong shapes before this check can.
        distribution = module._distribution(encode_top)
        require(
            tuple(distribution.batch_shape) == () and len(distribution.event_shape) > 0,
            "expected a prior of batch shape () over events; got batch shape "
            f"{tuple(distribution.batch_shape)} and event shape "
            f"{tuple(distribution.event_shape)}. Use torch.distributions.Independent over the "
            "dimensions of one latent.",
        )
        check_distribution(distribution, seed=seed)
        for shape in [(4,), (3, 4)]:
            laws.expands(distribution, shape)
        points = laws.points_of(distribution, (64,))

        def evaluate(module: nn.Module) -> Tensor:
            return log_unnorm(module(encode_top), points)

        laws.gradients_reach_all(
            module, lambda: evaluate(module).sum(), "the gradient of the density"
        )
        _draws_carry_gradients(module, encode_top)
        _check_module(module, evaluate)


def _check_module(module: nn.Module, evaluate: Callable[[nn.Module], Tensor]) -> None:
    """The checks that apply to every module."""
    laws.modes_agree(module, evaluate)
    laws.state_is_complete(module, evaluate)
    laws.frozen_leaves_no_trace(module, evaluate)


def _draws_carry_gradients(prior: nn.Module, encode_top: Encode | None) -> None:
    """Reparameterised draws reach at least one parameter, with a finite gradient."""
    distribution = prior(encode_top)
    parameters = [parameter for parameter in prior.parameters() if parameter.requires_grad]
    if isinstance(distribution, Tilted) or not (distribution.has_rsample and parameters):
        return
    z = distribution.rsample(torch.Size((64,)))
    require(
        z.requires_grad, "expected reparameterised draws to carry gradients; got detached ones."
    )
    gradients = [
        grad
        for grad in torch.autograd.grad(z.sin().sum(), parameters, allow_unused=True)
        if grad is not None
    ]
    require(gradients, "expected the gradient of a draw to reach a parameter; it reaches none.")
    require(
        all(grad.isfinite().all() for grad in gradients),
        "expected finite gradients of draws; some are not finite.",
    )


def _log_posterior(groups: list[Group]) -> Tensor:
    """The posterior's log density; a point posterior has none and adds nothing."""
    terms = [
        group.log_posterior()
        for group in groups
        if group.posterior is not None and not isinstance(group.posterior, Delta)
    ]
    return torch.stack(terms).sum(0) if terms else torch.zeros(())


def _log_weight(model: AbstractModel, z: list[Tensor], batch_shape: Shape, x: Tensor) -> Tensor:
    groups = model.top_down(lambda group: z[group.index - 1], batch_shape, x)
    return model.log_joint(groups, x) - _log_posterior(groups)


def _check_groups(groups: list[Group], batch_shape: Shape, *, inferred: bool) -> None:
    require(len(groups) > 0, "expected at least one latent group; got none.")
    indices = [group.index for group in groups]
    require(
        indices == list(range(1, len(groups) + 1)),
        f"expected groups 1, 2, ... in order; got {indices}.",
    )
    for group in groups:
        place = f"group {group.index}"
        require(
            (group.posterior is not None) == inferred,
            f"expected {place} {'with' if inferred else 'without'} a posterior; got "
            f"{group.posterior}.",
        )
        for name, part in (("prior", group.prior), ("posterior", group.posterior)):
            require(
                part is None or part.batch_shape == batch_shape,
                f"expected the {name} of {place} with batch shape {tuple(batch_shape)}; got "
                f"{tuple(part.batch_shape) if part is not None else None}.",
            )
        laws.is_finite(group.z, f"the latents of {place}", (*batch_shape, *group.prior.event_shape))
        require(
            group.context is None or group.context.shape[: len(batch_shape)] == batch_shape,
            f"expected the context of {place} to start with {tuple(batch_shape)}; got "
            f"{tuple(group.context.shape) if group.context is not None else None}.",
        )


def _check_rows_stay_apart(model: AbstractModel, x: Tensor) -> None:
    """A pass over (S, B) equals the passes over its rows; no example depends on another."""
    size = len(x)
    with torch.no_grad():
        z = [group.z for group in model.infer(x, (3,))]
        together = _log_weight(model, z, (3, size), x)
        laws.is_finite(together, "log weights of a pass over samples and batch", (3, size))
        for s in range(3):
            row = _log_weight(model, [part[s] for part in z], (size,), x)
            laws.same_values(together[s], row, f"log weights of sample {s}, alone and among 3,")
        alone = _log_weight(model, [part[:, :1] for part in z], (3, 1), x[:1])
        laws.same_values(
            together[:, :1], alone, "log weights of the first example, alone and in its batch,"
        )


def check_model(model: AbstractModel, x: Tensor, *, seed: int = 0) -> None:
    """Certify a latent-variable model by its two methods, ``top_down`` and ``likelihood``.

    It checks the shapes of groups, latents, contexts and densities for batch shapes ``(B,)`` and
    ``(S, B)``, that one pass equals the passes over its rows, ``generate`` and ``sample``,
    gradients of every parameter, equal values in training and evaluation mode, a complete
    ``state_dict``, and that ``frozen`` leaves no trace.

    Arguments:
        model: The model; its likelihood must have a density.
        x: A few observations, ``(B, *event)``, with B at least 2.
        seed: Seed of the draws.

    Raises:
        AssertionError: naming what broke.
    """
    with seeded(seed, "check_model"):
        laws.names_itself(model)
        model = laws.jittered(model).eval()
        for shape in [(len(x),), (3, len(x))]:
            groups = model.top_down(draw_posterior, shape, x)
            _check_groups(groups, shape, inferred=True)
            observed = model.likelihood(groups)
            require(
                (observed.batch_shape, observed.event_shape) == (shape, x.shape[1:]),
                f"expected p(x|z) with batch shape {shape} and event shape {tuple(x.shape[1:])}; "
                f"got {tuple(observed.batch_shape)} and {tuple(observed.event_shape)}.",
            )
            laws.is_finite(model.log_joint(groups, x), "log joint densities", shape)
        _check_rows_stay_apart(model, x)
        _check_generation(model, tuple(x.shape[1:]))
        z = [group.z.detach() for group in model.infer(x)]

        def evaluate(model: nn.Module) -> Tensor:
            assert isinstance(model, AbstractModel)
            return _log_weight(model, z, (len(x),), x)

        laws.gradients_reach_all(
            model, lambda: evaluate(model).sum(), "the gradient of the log weights"
        )
        _check_module(model, evaluate)


def _check_generation(model: AbstractModel, event_shape: Shape) -> None:
    with torch.no_grad():
        _check_groups(model.generate(3), (3,), inferred=False)
    for mean in (True, False):
        drawn = model.sample(3, mean=mean, seed=1)
        laws.is_finite(drawn, "new observations", (3, *event_shape))
        laws.same_values(
            model.sample(3, mean=mean, seed=1), drawn, "observations sampled twice with one seed"
        )


def check_likelihood(likelihood: nn.Module, features: Tensor, *, seed: int = 0) -> None:
    """Certify a likelihood: a module from features to p(x|z).

    It checks shapes for batch shapes ``(B,)`` and ``(S, B)``, finite densities, that rows are
    independent, that draws follow the density, gradients of every parameter, equal values in
    training and evaluation mode, a complete ``state_dict``, and that ``frozen`` leaves no trace. It
    cannot see a wrong constant that all densities share: check separately that the masses sum to
    one.

    Arguments:
        likelihood: The module.
        features: ``(B, in_features)``, with B at least 2.
        seed: Seed of the draws.

    Raises:
        AssertionError: naming what broke.
    """
    with seeded(seed, "check_likelihood"):
        laws.names_itself(likelihood)
        module = laws.jittered(likelihood)
        distribution = module(features)
        x = distribution.sample()
        check_distribution(distribution, continuous=False, seed=seed)
        batch, event = (len(features),), tuple(distribution.event_shape)
        if has_mean(distribution):
            laws.is_finite(distribution.mean, "means", (*batch, *event))
        wide = module(torch.stack([features, 2 * features]))
        log_px = wide.log_prob(x)
        laws.is_finite(log_px, "log likelihoods of x under features (S, B)", (2, *batch))
        laws.same_values(
            log_px[0], distribution.log_prob(x), "log likelihoods alone and among samples"
        )
        laws.same_values(
            module(features[:1]).log_prob(x[:1]),
            log_px[0, :1],
            "log likelihoods alone and in a batch",
        )
        with torch.no_grad():
            laws.draws_follow_density(module(features[0]), module(_nearby(module, features)))

        def evaluate(module: nn.Module) -> Tensor:
            return module(features).log_prob(x)

        laws.gradients_reach_all(
            module, lambda: evaluate(module).sum(), "the gradient of the log likelihood"
        )
        _check_module(module, evaluate)


def _nearby(likelihood: nn.Module, features: Tensor) -> Tensor:
    """Features between the first two rows, whose law is within a nat of that of the first row."""
    first = likelihood(features[0])
    x, fraction = first.sample(torch.Size((64,))), 1.0
    for _ in range(20):
        near = features[0].lerp(features[1], fraction)
        if float((first.log_prob(x) - likelihood(near).log_prob(x)).abs().mean()) < 1.0:
            return near
        fraction *= 0.6
    raise AssertionError(
        "expected a density that is continuous in the features; got one that jumps."
    )


def check_sampler(sampler: AbstractSampler, *, draws: int = 4000, seed: int = 0) -> None:
    """Certify a sampler on targets with known answers.

    It checks shapes, that distributions without a tilt are sampled as they are, that draws carry no
    gradients and leave none in the parameters of the tilt, that the same seed gives the same draws,
    and moments. With ``info.exact`` the mean and the variance must equal those of the target;
    otherwise the mean must lie strictly between base and target, up to chance.

    Arguments:
        sampler: The sampler; ``Ancestral`` must refuse a tilted distribution.
        draws: Number of draws per moment.
        seed: Seed of the draws.

    Raises:
        AssertionError: naming what broke.
    """
    with seeded(seed, "check_sampler"):
        laws.names_itself(sampler)
        _check_draws(sampler, GaussianTilt(features=2).tilted((3,)).base)
        _check_moments(sampler, GaussianTilt(slope=0.0, features=2), draws, tilted=False)
        if isinstance(sampler, Ancestral):
            _check_refusal(sampler)
            return
        network = LatentClassifier(2, hidden_features=(8,), max_logit=1.0)
        base = StandardNormal(2)().expand(torch.Size((3,)))
        _check_draws(sampler, Tilted(base, network, log_bound=1.0))
        for name, parameter in network.named_parameters():
            require(
                parameter.grad is None and parameter.requires_grad,
                f"expected sampling to leave the tilt's parameters alone; it touched `{name}`.",
            )
        _check_moments(sampler, GaussianTilt(slope=1.0, curvature=0.5), draws, tilted=True)


def _check_draws(sampler: AbstractSampler, distribution: Distribution) -> None:
    batch, event = tuple(distribution.batch_shape), tuple(distribution.event_shape)
    for shape in [(), (4,), (2, 3)]:
        z, info = sampler.run(distribution, shape)
        laws.is_finite(z, f"draws for a sample shape of {shape}", (*shape, *batch, *event))
        require(not z.requires_grad, "expected draws without gradients; got some that carry them.")
        _check_info(info)
    pair = []
    for _ in range(2):
        with seeded(1, "twice"):
            pair.append(sampler(distribution, (4,)))
    laws.same_values(pair[1], pair[0], "draws made twice with one seed", atol=0.0, rtol=0.0)
    require(
        not torch.equal(sampler(distribution), sampler(distribution)),
        "expected new draws at every call.",
    )


def _check_info(info: SampleInfo) -> None:
    require(info.method, "expected `info.method` to name the method; it is empty.")
    ess, rate = info.ess, info.acceptance
    require(
        ess is None or bool((ess > 1 - 1e-3).all()),
        "expected effective sample sizes of at least 1; got "
        f"{None if ess is None else float(ess.min())}.",
    )
    require(
        rate is None or bool(((rate >= 0) & (rate <= 1)).all()),
        "expected acceptance rates between 0 and 1.",
    )


def _check_moments(
    sampler: AbstractSampler, truth: GaussianTilt, draws: int, *, tilted: bool
) -> None:
    """Mean and variance of independent draws, each from its own chain or set of proposals."""
    distribution = truth.tilted()
    z, info = sampler.run(distribution if tilted else distribution.base, (draws,))
    z = z.flatten()
    if info.exact:
        check_mean(z, truth.mean, "the mean of the draws", comparisons=2)
        check_mean(
            (z - truth.mean).square(), truth.variance, "the variance of the draws", comparisons=2
        )
    elif tilted:
        mean, stderr = float(z.mean()), float(z.std() / len(z) ** 0.5)
        require(
            standard_errors(mean, 0.0, stderr) > Z_LIMIT
            and standard_errors(mean, truth.mean, stderr) < Z_LIMIT,
            "expected the draws to move from the base's mean 0 towards the target's "
            f"{truth.mean:.3f}; got {mean:.3f} ± {stderr:.3f}.",
        )


def _check_refusal(sampler: AbstractSampler) -> None:
    """Ancestral sampling would ignore a tilt, so it must refuse with a clear message."""
    try:
        sampler(GaussianTilt().tilted())
    except ValueError as error:
        require(
            "Tilted" in str(error),
            f"expected the refusal to name the Tilted distribution; got {error!s}",
        )
    else:
        raise AssertionError(
            "expected ancestral sampling to refuse a Tilted distribution; it ignored the tilt."
        )
