"""The peer: pythae 0.1.2, with networks of the same layers and sizes as ours.

Its users write their own networks, so it is given our gated layer, which multiplies once where two
products are usual. Its optimiser, its data path and its estimator are its own.
"""

import contextlib
import io
import logging
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import cycle
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.images import SHAPE
from benchmarks.scale import Scale
from priorwise.backbones import gated_body, gated_image_body
from priorwise.models import VAE

__all__ = [
    "HOW_TO_INSTALL",
    "available",
    "build_peer",
    "copy_weights_",
    "log_likelihood",
    "step_of",
    "trainer_of",
]

HOW_TO_INSTALL = "pythae is not installed: pip install -e '.[bench]'"


def available() -> bool:
    """Whether the peer is installed."""
    return find_spec("pythae") is not None


@cache
def _pythae() -> ModuleType:
    """The peer, imported once, without its messages."""
    import pythae.models
    import pythae.trainers

    for name in ("pythae.trainers.base_trainer.base_trainer", "pythae.trainers.training_callbacks"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return pythae


def _networks(scale: Scale) -> tuple[nn.Module, nn.Module]:
    """The encoder and the decoder in the peer's form."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    pixels = SHAPE[0] * SHAPE[1] * SHAPE[2]

    class GatedEncoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = gated_image_body(SHAPE, scale.hidden)
            self.head = nn.Linear(scale.hidden, 2 * scale.latent)

        def forward(self, x: Tensor) -> Any:  # noqa: ANN401 - the peer's type
            loc, log_var = self.head(self.body(x)).chunk(2, -1)
            return ModelOutput(embedding=loc, log_covariance=F.hardtanh(log_var, -6.0, 2.0))

    class GatedDecoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = gated_body(scale.latent, scale.hidden)
            self.logits = nn.Linear(scale.hidden, pixels)

        def forward(self, z: Tensor) -> Any:  # noqa: ANN401 - the peer's type
            return ModelOutput(
                reconstruction=self.logits(self.body(z)).sigmoid().unflatten(-1, SHAPE)
            )

    return GatedEncoder(), GatedDecoder()


def build_peer(scale: Scale, *, vamp: bool) -> Any:  # noqa: ANN401 - the peer's model
    """The peer's VAE, or its VAMP with as many pseudo-inputs as ours has."""
    models = _pythae().models
    encoder, decoder = _networks(scale)
    common = {"input_dim": SHAPE, "latent_dim": scale.latent, "reconstruction_loss": "bce"}
    if vamp:
        config = models.VAMPConfig(
            **common, number_components=scale.components, linear_scheduling_steps=0
        )
        return models.VAMP(config, encoder, decoder)
    return models.VAE(models.VAEConfig(**common), encoder, decoder)


@torch.no_grad()
def copy_weights_(peer: Any, ours: VAE) -> None:  # noqa: ANN401 - the peer's model
    """Give the peer the weights of our model, so that both compute the same function."""
    peer.encoder.body.load_state_dict(ours.encoder.body.state_dict())
    peer.encoder.head.load_state_dict(ours.encoder.head.linear.state_dict())
    peer.decoder.body.load_state_dict(ours.decoder.body.state_dict())
    peer.decoder.logits.load_state_dict(ours.decoder.head.logits.state_dict())
    if hasattr(peer, "pseudo_inputs"):
        peer.pseudo_inputs[0].weight.copy_(ours.prior.pseudo_inputs.flatten(1).t())
        peer.pseudo_inputs[0].bias.zero_()


def step_of(peer: Any, batches: list[Tensor]) -> Callable[[], None]:  # noqa: ANN401 - the peer's model
    """One training step per call, as its trainer makes it, with Adam's defaults of torch."""
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-4)
    endless = cycle(batches)
    peer.train()

    def step() -> None:
        output = peer({"data": next(endless)}, epoch=1)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()

    return step


def trainer_of(peer: Any, raw: Tensor, folder: str, batch: int) -> Callable[[], None]:  # noqa: ANN401 - the peer's model
    """One epoch of its own trainer over ``raw`` per call, without a progress bar.

    It binarises nothing on the fly, so its dataset class is extended by the one line that does. Its
    checkpoints are not counted.
    """
    from pythae.data.datasets import BaseDataset, DatasetOutput

    class Binarized(BaseDataset):
        def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - the peer's type
            return DatasetOutput(data=torch.bernoulli(self.data[index]), labels=self.labels[index])

    trainers = _pythae().trainers
    config = trainers.BaseTrainerConfig(
        output_dir=folder,
        num_epochs=1,
        per_device_train_batch_size=batch,
        learning_rate=1e-4,
        no_cuda=True,
    )
    trainer = trainers.BaseTrainer(
        peer,
        Binarized(raw.float() / 255, torch.zeros(len(raw))),
        training_config=config,
        callbacks=None,
    )
    trainer.prepare_training()
    handler = trainer.callback_handler
    handler.callbacks = [
        one for one in handler.callbacks if type(one).__name__ != "ProgressBarCallback"
    ]
    return lambda: trainer.train_step(1)


def log_likelihood(peer: Any, x: Tensor, samples: int, *, graph: bool = False) -> float:  # noqa: ANN401 - the peer's model
    """Its estimate of the mean log p(x), by importance sampling in chunks of 100.

    It keeps the graph of all chunks, which ``graph=False`` spares it.
    """
    peer.eval()
    with torch.set_grad_enabled(graph), contextlib.redirect_stdout(io.StringIO()):
        return float(peer.get_nll(x, n_samples=samples, batch_size=min(100, samples)))
