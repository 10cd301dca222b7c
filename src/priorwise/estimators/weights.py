"""The importance weights of a likelihood, tile by tile: in which precision, and whether compiled.

Letters: ``S`` draws and ``B`` images of a tile, ``G`` folds of the draws behind normalisers.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from priorwise.arrays import Array
from priorwise.choices import Precision
from priorwise.compilation import compiled, explained
from priorwise.distributions import from_noise, has_noise_form, log_unnorm
from priorwise.estimators.base import device_of
from priorwise.estimators.blocks import BlockDraws, Chunk, draw_chunks
from priorwise.estimators.normalizer import GroupNorms
from priorwise.models import AbstractModel, Group

__all__ = ["ROWS", "CompiledLogWeights", "LogWeights", "check_images", "streamed", "tiles"]

ROWS = 2000
"""Draws x images that are evaluated at once, at most."""


def check_images(model: AbstractModel, x: Array, samples: int, rows: int | None) -> None:
    """Refuse what cannot be estimated."""
    if not isinstance(model, AbstractModel):
        raise TypeError(
            "expected a priorwise model with `top_down` and `likelihood`; got "
            f"{type(model).__name__}. Inherit from priorwise.models.AbstractModel, or use "
            "priorwise.wrap(encode=..., decode=...)."
        )
    if samples < 1:
        raise ValueError(f"expected at least 1 of `samples`; got {samples}.")
    if getattr(x, "shape", ())[:1] == (0,):
        raise ValueError("expected at least one example in `x`; got none.")
    if rows is not None and rows < 1:
        raise ValueError(f"expected `rows` of at least 1; got {rows}.")


def tiles(
    model: AbstractModel, x: Tensor, images: Chunk, *, samples: int, seed: int, rows: int
) -> Iterator[tuple[BlockDraws, Tensor]]:
    """One chunk of images, a chunk of draws at a time: how to draw, and ``x`` ``(B, *event)``."""
    part = x[images.start : images.stop].to(device_of(model))
    like = part if part.is_floating_point() else part[:0].float()
    for draws in draw_chunks(samples, rows):
        yield BlockDraws(seed, "posterior", images, draws, like), part


class LogWeights:
    """``log p(x, z) - log q(z|x)`` at draws from the posterior, log Z of the groups taken off.

    In bf16 the networks of p(x|z) work under autocast, and nothing else: encoder, prior,
    classifiers and all densities stay as they are.

    Arguments:
        model: The model.
        norms: Normalisers group by group; None where one number holds for all.
        precision: Of the networks of p(x|z).
    """

    def __init__(
        self, model: AbstractModel, norms: GroupNorms | None = None, precision: Precision = "no"
    ) -> None:
        self.model = model
        self.norms = norms
        self.precision = precision

    def __call__(self, draw: BlockDraws, x: Tensor) -> Tensor:
        """``(1 + G, S, B)`` float64 on the CPU, in nats."""
        groups = self.model.top_down(draw, draw.batch_shape, x)
        log_w = self.of_pass(groups, x).double()
        each = log_w.unsqueeze(0) if self.norms is None else log_w - self.norms(groups).double()
        return each.cpu()

    def of_pass(self, groups: list[Group], x: Tensor) -> Tensor:
        """The log-weights of a pass, ``(S, B)``."""
        log_q = torch.stack([group.log_posterior() for group in groups]).sum(0)
        return self._log_joint(groups, x) - log_q

    def _log_joint(self, groups: list[Group], x: Tensor) -> Tensor:
        if self.precision == "no":
            return self.model.log_joint(groups, x)
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            observed = self.model.likelihood(groups)
        _refuse_half(observed)
        log_pz = sum(log_unnorm(group.prior, group.z) for group in groups)
        return log_unnorm(observed, x) + log_pz


def _refuse_half(observed: Distribution) -> None:
    """Refuse parameters of a density that stayed in half precision.

    Raises:
        ValueError: naming the distribution.
    """
    for part in vars(observed).values():
        if isinstance(part, Distribution):
            _refuse_half(part)
        elif isinstance(part, Tensor) and part.dtype in (torch.bfloat16, torch.float16):
            raise ValueError(
                "expected p(x|z) in float32 for `precision='bf16'`, where the networks alone work "
                f"in half precision; the decoder's {type(observed).__name__} holds {part.dtype} "
                "tensors, whose densities are wrong by whole nats. Pass them through "
                "priorwise.nn.at_least_float32, or take `precision='no'`."
            )


class CompiledLogWeights:
    """The same, compiled for tiles of one size; those at the edges are computed as they stand.

    Arguments:
        weights: What is compiled.
        x: Images ``(N, *event)``, of which one is encoded for the shapes of the latents.
        full: Draws and images ``(S, B)`` of the tiles that are compiled.

    Raises:
        ValueError: for posteriors that are no image of normal noise, and for normalisers group by
            group.
    """

    def __init__(self, weights: LogWeights, x: Tensor, full: tuple[int, int]) -> None:
        if weights.norms is not None:
            raise ValueError(
                "expected `density='global'` for `compile`; normalisers of every context are "
                "drawn between the steps of a pass, which cannot be compiled."
            )
        self.weights = weights
        self.model = weights.model
        self.full = full
        self.events = _latent_events(weights.model, x)
        self._compiled: Callable[[Mapping[int, Tensor], Tensor], Tensor] = compiled(self._of_noise)

    def __call__(self, draw: BlockDraws, x: Tensor) -> Tensor:
        """``(1, S, B)`` float64 on the CPU, in nats."""
        if draw.batch_shape != self.full:
            return self.weights(draw, x)
        noise = {index: draw.noise(index, event) for index, event in self.events.items()}
        with explained("a model"):
            return self._compiled(noise, x).double().unsqueeze(0).cpu()

    def _of_noise(self, noise: Mapping[int, Tensor], x: Tensor) -> Tensor:
        def draw(group: Group) -> Tensor:
            assert group.posterior is not None
            return from_noise(group.posterior, noise[group.index])

        return self.weights.of_pass(self.model.top_down(draw, self.full, x), x)


def _latent_events(model: AbstractModel, x: Tensor) -> dict[int, torch.Size]:
    """The shape of each group's latents; on the way priors are built, unseen by a compiler."""
    events = {}
    for group in model.infer(x[:1].to(device_of(model))):
        assert group.posterior is not None
        if not has_noise_form(group.posterior):
            raise ValueError(
                "expected posteriors that are images of normal noise for `compile`; that of group "
                f"{group.index} is {type(group.posterior).__name__}. Leave `compile` at False."
            )
        log_unnorm(group.prior, group.z)
        events[group.index] = group.posterior.event_shape
    return events


def streamed(
    weights: LogWeights | CompiledLogWeights,
    x: Tensor,
    images: Chunk,
    *,
    samples: int,
    seed: int,
    rows: int,
) -> Tensor:
    """Per image: log sum w, log sum w^2, log max w, sum log w, then log sum w without each fold.

    The folds are those of the draws behind normalisers. ``(4 + G, B)`` float64 on the CPU.
    """
    state: Tensor | None = None
    for draw, part in tiles(weights.model, x, images, samples=samples, seed=seed, rows=rows):
        each = weights(draw, part)
        log_w = each[0]
        new = torch.stack(
            [
                log_w.logsumexp(0),
                (2 * log_w).logsumexp(0),
                log_w.amax(0),
                log_w.sum(0),
                *each[1:].logsumexp(1),
            ]
        )
        state = new if state is None else _merged(state, new)
    assert state is not None
    return state


def _merged(state: Tensor, new: Tensor) -> Tensor:
    sums = torch.logaddexp(state, new)
    sums[2], sums[3] = torch.maximum(state[2], new[2]), state[3] + new[3]
    return sums
