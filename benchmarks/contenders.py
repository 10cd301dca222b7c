"""Our models as they are measured, training steps, and short fits of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from itertools import cycle
from typing import Literal, TypeAlias

import torch
from torch import Tensor

import priorwise as pw
from benchmarks.images import SHAPE, training_part
from benchmarks.scale import Scale
from priorwise.models import VAE, AbstractModel, gated_hvae, gated_vae
from priorwise.objectives import ELBO, AbstractObjective
from priorwise.priors import VampPrior
from priorwise.training.optimizer import build_optimizer

__all__ = [
    "TITLES",
    "Architecture",
    "bf16",
    "build",
    "even",
    "fitted",
    "objective_step",
    "training_step",
]

Architecture: TypeAlias = Literal["vae_standard", "vae_vamp", "hvae_vamp"]
TITLES: dict[Architecture, str] = {
    "vae_standard": "VAE standard",
    "vae_vamp": "VAE VampPrior",
    "hvae_vamp": "HVAE VampPrior",
}


def build(architecture: Architecture, scale: Scale) -> AbstractModel:
    """A model with the initial weights of seed 0."""
    preset = gated_hvae if architecture == "hvae_vamp" else gated_vae
    with pw.seeded(0, "bench", architecture):
        prior = (
            None if architecture == "vae_standard" else VampPrior.random(scale.components, SHAPE)
        )
        return preset(SHAPE, prior=prior, latent=scale.latent, hidden=scale.hidden)


@torch.no_grad()
def even(architecture: Architecture, scale: Scale, shrinkage: float = 0.1) -> VAE:
    """A model with even importance weights: initial weights, with smaller output layers.

    The weights of a trained model have such heavy tails that two correct estimates differ by whole
    nats; these differ by hundredths, and a dropped constant shows. A product costs the same
    whatever the numbers.
    """
    model = build(architecture, scale)
    assert isinstance(model, VAE)
    for output in (model.encoder.head.linear, model.decoder.head.logits):
        output.weight.mul_(shrinkage)
        output.bias.mul_(shrinkage)
    return model


def bf16(*, enabled: bool = True) -> AbstractContextManager[object]:
    """Automatic mixed precision on the processor, or nothing."""
    return torch.autocast("cpu", dtype=torch.bfloat16) if enabled else nullcontext()


def training_step(
    model: AbstractModel, batches: list[Tensor], *, half: bool = False
) -> Callable[[], None]:
    """One step of training at a call: the bound, its gradient, the optimiser; batch after batch."""
    return objective_step(ELBO(model), batches, half=half)


def objective_step(
    objective: AbstractObjective, batches: list[Tensor], *, half: bool = False
) -> Callable[[], None]:
    """One step of any objective at a call, every player in its turn."""
    turns = [partial(objective, player=player.name) for player in objective.players[1:]]
    optimizers = [
        build_optimizer(player.module.parameters(), lr=1e-4) for player in objective.players
    ]
    endless = cycle(batches)

    def step() -> None:
        x = next(endless)
        for turn, optimizer in zip([objective, *turns], optimizers, strict=True):
            with bf16(enabled=half):
                terms = turn(x)
            for each in optimizers:
                each.zero_grad(set_to_none=True)
            terms.loss().backward()
            optimizer.step()

    return step


@cache
def fitted(
    architecture: Architecture, scale: Scale, precision: Literal["no", "bf16"] = "no"
) -> AbstractModel:
    """A model after a short fit, so that a trained one is judged; made once per process."""
    splits = training_part(scale.batch * scale.fit_steps)
    model = build(architecture, scale)
    pw.fit(
        model,
        splits,
        epochs=1,
        batch_size=scale.batch,
        warmup_epochs=0,
        patience=None,
        precision=precision,
        seed=0,
        progress=False,
    )
    return model
