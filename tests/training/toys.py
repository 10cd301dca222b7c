"""Small data and models for the tests of training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jaxtyping
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from priorwise import HVAE, VAE
from priorwise.conditionals import Conditional, GaussianHead
from priorwise.data import DataSpec, Splits
from priorwise.likelihoods import Gaussian
from priorwise.models import pixel_hvae
from priorwise.objectives import AbstractObjective, Explanation, Player, Terms
from priorwise.priors import StandardNormal, VampPrior
from priorwise.testing import LinearGaussianVAE

REAL = DataSpec("toy", (3,), None, "gaussian", "none", "none")
OPTIONS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 25,
    "warmup_epochs": 0,
    "lr": 0.05,
    "progress": False,
}


def splits(train: int = 60, validation: int = 40) -> Splits:
    """Draws from the law that ``LinearGaussianVAE(2, 3)`` has at construction, the same for every
    call.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = LinearGaussianVAE(2, 3).marginal().sample((train + 2 * validation,)).float()
    return Splits(*x.split([train, validation, validation]), REAL)


def bits(train: int = 30, validation: int = 10) -> Splits:
    """Small binary images, the same for every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x = torch.bernoulli(torch.full((train + 2 * validation, 1, 3, 2), 0.3)).to(torch.uint8)
    spec = DataSpec("toy", (1, 3, 2), 2, "bernoulli", "none", "unit")
    return Splits(*x.split([train, validation, validation]), spec)


def wrong() -> LinearGaussianVAE:
    """A model whose encoder has much to learn."""
    return LinearGaussianVAE(2, 3, shift=2.0, stretch=2.0)


class Hooked(AbstractObjective):
    """Another objective, whose terms go through a function of the step."""

    def __init__(self, inner: AbstractObjective, change: Callable[[Terms, int], Terms]) -> None:
        super().__init__()
        self.inner = inner
        self.change = change

    @property
    def trained(self) -> nn.Module:
        return self.inner.trained

    def explain(self) -> Explanation:
        return self.inner.explain()

    @property
    def players(self) -> tuple[Player, ...]:
        return self.inner.players

    @property
    def metric(self) -> str:
        return self.inner.metric

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float | None:
        return self.inner.judge(x, batch_size=batch_size, seed=seed)

    def before_step(self, player: Player, optimizer: Optimizer, step: int) -> None:
        self.inner.before_step(player, optimizer, step)

    def forward(self, x: Tensor, step: int = 0, **player: str) -> Terms:
        return self.change(self.inner(x, step, **player), step)


def with_batch_norm() -> VAE:
    """A VAE with batch statistics, dropout and a parameter that is not trained."""
    body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Dropout(0.2))
    decoder = Conditional(nn.Sequential(nn.Linear(2, 8), nn.SiLU()), Gaussian(8, (3,)))
    model = VAE(Conditional(body, GaussianHead(8, 2)), decoder, StandardNormal(2))
    model.decoder.body[0].bias.requires_grad = False
    model.encoder.body[3].eval()
    return model


def with_pixelcnn() -> HVAE:
    """A PixelCNN decoder with batch statistics, and pseudo-inputs that do not meet them."""
    prior = VampPrior.random(4, (1, 3, 2), mean=0.5, std=0.2)
    return pixel_hvae((1, 3, 2), prior=prior, latent=2, hidden=4, features=2, published=True)


@contextmanager
def checks_off() -> Iterator[None]:
    """The library as its users have it: without the type checks of the tests."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def marks(model: nn.Module) -> dict[str, object]:
    """Everything of a module that is no number:
    modes, flags, hooks, devices, methods of its own.
    """
    return {
        "modes": [module.training for module in model.modules()],
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad is None for parameter in model.parameters()],
        "hooks": [
            (len(module._forward_hooks), len(module._forward_pre_hooks))
            for module in model.modules()
        ],
        "devices": {str(parameter.device) for parameter in model.parameters()},
        "forward": ["forward" in vars(module) for module in model.modules()],
    }
