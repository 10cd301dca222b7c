"""What each process of ``test_processes`` does: run it with torchrun and a folder."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from toys import REAL, marks, splits, wrong

from priorwise import fit
from priorwise.data import Splits
from priorwise.likelihoods import Gaussian
from priorwise.models import moons_vae
from priorwise.objectives import (
    ELBO,
    AbstractObjective,
    Discriminator,
    Explanation,
    FactorVAE,
    Terms,
)
from priorwise.priors import GaussianMixture
from priorwise.testing import LinearGaussianVAE

OPTIONS = {"epochs": 2, "batch_size": 25, "warmup_epochs": 0, "lr": 0.02, "progress": False}


class Fixed(AbstractObjective):
    """A loss without draws: squared errors of the decoder's bias, and of the encoder's means."""

    def __init__(self, model: LinearGaussianVAE) -> None:
        super().__init__()
        self.model = model

    @property
    def trained(self) -> nn.Module:
        return self.model

    def explain(self) -> Explanation:
        return Explanation("bias + code", {}, is_bound=False, bound="a loss for tests")

    def forward(self, x: Tensor, step: int = 0) -> Terms:
        bias = (x - self.model.decoder.bias).square().sum(-1)
        return Terms({"bias": bias, "code": self.model.encoder(x).mean.square().sum(-1)})


def model() -> LinearGaussianVAE:
    network = wrong()
    # The fixed loss does not reach these parameters.
    for name in ("decoder.weight", "decoder.log_scale", "encoder.log_scale"):
        network.get_parameter(name).requires_grad = False
    return network


def main(out: Path) -> None:
    fixed = model()
    before = marks(fixed)
    fit(fixed, splits(51), Fixed(fixed), **OPTIONS)
    sampled = wrong()
    result = fit(sampled, splits(51), out=out / "run", **OPTIONS)
    torch.manual_seed(distributed.get_rank())  # the wrapper hands out the first process's weights
    players = FactorVAE(wrong(), 2, discriminator=Discriminator(2, (8,)))
    played = fit(players.model, splits(51), players, **OPTIONS)
    torch.manual_seed(0)
    without_rate = moons_vae(prior=GaussianMixture(2, 3), likelihood=partial(Gaussian, scale=1.0))
    mixture = without_rate.prior.loc.detach().clone()
    plane = Splits(*(torch.randn(n, 2) for n in (51, 20, 20)), replace(REAL, shape=(2,)))
    fit(without_rate, plane, ELBO(without_rate, beta=0.0), **OPTIONS)
    record = {
        "without_rate": without_rate.encoder.state_dict(),
        "mixture_stays": torch.equal(mixture, without_rate.prior.loc),
        "world": distributed.get_world_size(),
        "fixed": fixed.state_dict(),
        "sampled": sampled.state_dict(),
        "history": [line["validation"]["negative_elbo"] for line in result.history],
        "players": players.state_dict(),
        "played": played.history,
        "unchanged": marks(fixed) == before,
    }
    torch.save(record, out / f"rank{distributed.get_rank()}.pt")
    distributed.destroy_process_group()
    sys.stderr.flush()
    # The data-parallel wrapper keeps threads of gloo even after the group is destroyed. If one of
    # them still holds a tensor while the interpreter ends, the process aborts, with all work done:
    # https://github.com/pytorch/pytorch/pull/179291
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
