"""Whose parameters a turn steps, with which optimiser and rate, and what may happen to gradients
before.
"""

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import killed_before_each_write, same_bits
from torch import Tensor, nn
from torch.optim import Adam, Adamax, Optimizer
from toys import Hooked, splits, wrong

from priorwise import fit
from priorwise.objectives import ELBO, AbstractObjective, Explanation, Player, Terms
from priorwise.objectives.evidence import one_draw
from priorwise.randomness import seeded
from priorwise.schedules import cosine
from priorwise.testing import LinearGaussianVAE
from priorwise.training import TrainingConfig
from priorwise.training.optimizer import build_optimizer
from priorwise.training.players import steppers_for

QUICK: dict[str, Any] = {"epochs": 4, "batch_size": 20, "warmup_epochs": 0, "progress": False}
CLIP = 0.3


class TwoPlayers(AbstractObjective):
    """Encoder and decoder in turn, each by an ELBO with another weight; the decoder's gradients are
    clipped.
    """

    def __init__(self, model: LinearGaussianVAE, *, clips: bool = True) -> None:
        super().__init__()
        self.model = model
        self.clips = clips

    @property
    def trained(self) -> nn.Module:
        return self.model

    @property
    def players(self) -> tuple[Player, ...]:
        encoder, decoder = (
            list(part.parameters()) for part in (self.model.encoder, self.model.decoder)
        )
        second = {"lr": 0.05, "betas": (0.5, 0.9), "weight_decay": 0.1, "optimizer": "adamax"}
        return (
            Player("model", self.model, parameters=encoder),
            Player("decoder", self.model, parameters=decoder, **second),
        )

    def forward(self, x: Tensor, step: int = 0, player: str = "model") -> Terms:
        terms = one_draw(self.model, x, "sample").terms(1.0 if player == "model" else 0.5)
        return Terms({f"{player}_{name}": term for name, term in terms.per_example.items()})

    def before_step(self, player: Player, optimizer: Optimizer, step: int) -> None:
        if self.clips and player.name == "decoder":
            nn.utils.clip_grad_norm_(player.trained(), CLIP)

    def explain(self) -> Explanation:
        return Explanation("two ELBOs", {}, is_bound=False, bound="a loss for tests")


def by_hand(model: LinearGaussianVAE, steps: int, seed: int = 14) -> None:
    """The same fit in plain torch: 60 examples, batches of 20,
    a cosine after a rise over 4 steps.
    """
    objective, x = TwoPlayers(model), splits().train
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    first = Adam(encoder, lr=1e-2, weight_decay=0.01, fused=True)
    second = Adamax(decoder, lr=0.05, betas=(0.5, 0.9), weight_decay=0.1)
    for step in range(steps):
        with seeded(seed, "order", step // 3 + 1):
            rows = torch.randperm(60)[step % 3 * 20 : (step % 3 + 1) * 20]
        factor = (step + 1) / 4 if step < 4 else cosine(step - 4, 8, final=0.1)
        for optimizer, lr, name in ((first, 1e-2, "model"), (second, 0.05, "decoder")):
            address = () if name == "model" else (name,)
            with seeded(seed, "train", step, 0, *address):
                loss = objective(x[rows], step, player=name).loss()
            model.zero_grad()
            loss.backward()
            if name == "decoder":
                # Without gradients above the limit, the clip proves nothing.
                assert nn.utils.clip_grad_norm_(decoder, CLIP) > CLIP
            optimizer.param_groups[0]["lr"] = lr * factor
            optimizer.step()


HAND = QUICK | {
    "lr": 1e-2,
    "weight_decay": 0.01,
    "lr_warmup_steps": 4,
    "lr_final": 0.1,
    "keep": "last",
}


def test_two_players_and_a_hook_are_a_hand_written_loop():
    """Fault: a hook before backward or after the step, a player with the other's optimiser, rate or
    decay. Bit for bit.
    """
    model, expected = wrong(), wrong()
    fit(model, splits(), TwoPlayers(model), **HAND)
    by_hand(expected, steps=12)
    for name, tensor in expected.state_dict().items():
        assert same_bits(model.state_dict()[name], tensor), name
    unclipped = wrong()
    fit(unclipped, splits(), TwoPlayers(unclipped, clips=False), **HAND)
    assert not torch.equal(unclipped.decoder.weight, expected.decoder.weight)


@pytest.mark.parametrize("seconds", [1e-9, 1e9], ids=["often", "seldom"])
def test_killed_hand_written_loop_ends_the_same(seconds, tmp_path):
    """Fault: an Adamax, a rise of the rate or a clip that starts again; killed before every third
    write.
    """
    options = HAND | {"checkpoint_seconds": seconds}

    def train(out: Path) -> LinearGaussianVAE:
        model = wrong()
        fit(model, splits(), TwoPlayers(model), out=out, **options)
        return model

    expected = wrong()
    by_hand(expected, steps=12)
    _, resumed = killed_before_each_write(train, tmp_path, every=3)
    for model in resumed:
        for name, tensor in expected.state_dict().items():
            assert same_bits(model.state_dict()[name], tensor), name


class Watching(Hooked):
    """Notes what the hook is given."""

    def __init__(self, inner: AbstractObjective) -> None:
        super().__init__(inner, lambda terms, step: terms)
        self.seen: list[tuple[str, int, list[float]]] = []

    def before_step(self, player: Player, optimizer: Optimizer, step: int) -> None:
        assert {id(p) for p in optimizer.param_groups[0]["params"]} == {
            id(p) for p in player.trained()
        }
        norms = [float(parameter.grad.norm()) for parameter in player.trained()]
        self.seen.append((player.name, step, norms))


def test_the_hook_sees_normalised_gradients_once_a_turn():
    """Fault: a hook that is called for one player alone, or before the normalisation undoes what it
    did.
    """
    model = wrong()
    objective = Watching(TwoPlayers(model))
    fit(model, splits(), objective, optimizer="adam_normalized", **QUICK)
    assert [(name, step) for name, step, _ in objective.seen] == [
        (name, step) for step in range(12) for name in ("model", "decoder")
    ]
    of_model = [norms for name, _, norms in objective.seen if name == "model"]
    of_decoder = [norms for name, _, norms in objective.seen if name == "decoder"]
    assert all(norm == pytest.approx(1.0, abs=1e-3) for norms in of_model for norm in norms)
    # The decoder's Adamax is not normalised.
    assert any(abs(norm - 1) > 0.1 for norms in of_decoder for norm in norms)


# -- who owns what ---------------------------------------------------------------------------------


class WithPlayers(TwoPlayers):
    """Players from a function of the model."""

    def __init__(
        self, model: LinearGaussianVAE, players: Callable[[LinearGaussianVAE], tuple[Player, ...]]
    ) -> None:
        super().__init__(model)
        self.make = players

    @property
    def players(self) -> tuple[Player, ...]:
        return self.make(self.model)


@pytest.mark.parametrize(
    ("players", "words"),
    [
        (
            lambda model: (Player("model", model), Player("decoder", model.decoder)),
            r"players with parameters of their own; "
            r"'model' and 'decoder' both step `model\.decoder\.weight`",
        ),
        (
            lambda model: (Player("model", model.encoder), Player("model", model.decoder)),
            r"players of different names; got model, model",
        ),
        (
            lambda model: (Player("model", model), Player("energy", nn.Linear(3, 1))),
            r"parameters of player 'energy' among those of WithPlayers; "
            r"one of shape \(1, 3\) is not",
        ),
        (
            lambda model: (Player("model", model), Player("none", model, parameters=[])),
            r"at least one parameter",
        ),
    ],
    ids=["shared", "same name", "not the objective's", "nothing"],
)
def test_players_that_do_not_fit_are_refused(players, words, tmp_path):
    """Fault: two optimisers on one parameter, or a player that no checkpoint holds; a folder made
    before the refusal.
    """
    model = wrong()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=words):
        fit(model, splits(), WithPlayers(model, players), out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_frozen_parameter_may_be_in_two_lists():
    """Fault: a refusal of what nobody steps."""
    model = wrong()
    model.decoder.requires_grad_(False)
    rest = list(model.decoder.parameters())
    players = lambda m: (Player("model", m), Player("one", m.encoder, parameters=rest))  # noqa: E731
    with pytest.raises(ValueError, match="at least one parameter to train"):
        fit(model, splits(), WithPlayers(model, players), **QUICK)


# -- optimisers and rates --------------------------------------------------------------------------


def one_step(name: str, gradients: list[float], decay: float, eps: float = 1e-8) -> float:
    """A parameter that starts at 2, after steps of rate 0.1 with these gradients."""
    parameter = nn.Parameter(torch.tensor(2.0))
    optimizer = build_optimizer(
        [parameter], 0.1, (0.9, 0.99), name=name, weight_decay=decay, eps=eps
    )
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return float(parameter.detach())


@pytest.mark.parametrize("decay", [0.0, 0.7])
@pytest.mark.parametrize("eps", [1e-8, 1e-1])
def test_adam_and_adamax_by_hand(decay, eps):
    """Fault: decoupled decay, an eps that is not passed on, the second moment of Adam in Adamax.

    Adam (Kingma & Ba, 2015), algorithms 1 and 2, with the decay inside the gradient; Adamax with
    eps inside the maximum.
    """
    gradients = [0.5, -1.5, 0.25]
    adam = adamax = 2.0
    m = v = first = largest = 0.0
    for step, gradient in enumerate(gradients, 1):
        g = gradient + decay * adam
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        adam -= 0.1 * (m / (1 - 0.9**step)) / ((v / (1 - 0.99**step)) ** 0.5 + eps)
        g = gradient + decay * adamax
        first, largest = 0.9 * first + 0.1 * g, max(0.99 * largest, abs(g) + eps)
        adamax -= 0.1 / (1 - 0.9**step) * first / largest
    assert one_step("adam", gradients, decay, eps) == pytest.approx(adam, rel=1e-5)
    assert one_step("adam_normalized", gradients, decay, eps) == pytest.approx(adam, rel=1e-5)
    assert one_step("adamax", gradients, decay, eps) == pytest.approx(adamax, rel=1e-5)


@pytest.mark.parametrize("option", [{"optimizer": "adamax"}, {"weight_decay": 1.0}, {"eps": 1.0}])
def test_options_reach_the_optimiser(option):
    """Fault: an option that changes nothing."""
    plain, other = wrong(), wrong()
    fit(plain, splits(), **QUICK)
    fit(other, splits(), **QUICK | option)
    assert not torch.equal(plain.encoder.weight, other.encoder.weight)


@pytest.mark.parametrize(
    ("options", "factors"),
    [
        (
            {"lr_warmup_steps": 5},
            [0.2, 0.4, 0.6, 0.8, 1.0] + [cosine(step, 7) for step in range(7)],
        ),
        ({"lr_warmup_steps": 3, "schedule": "constant"}, [1 / 3, 2 / 3] + [1.0] * 10),
        ({"lr_final": 0.25}, [cosine(step, 12, final=0.25) for step in range(12)]),
        ({"lr_warmup_steps": 20}, [(step + 1) / 20 for step in range(12)]),
        ({"schedule": "constant"}, [1.0] * 12),
    ],
    ids=["rise and cosine", "rise and constant", "final", "rise alone", "constant"],
)
def test_learning_rate_rises_and_falls(options, factors):
    """Fault: a rise from 0, one that multiplies the cosine, a cosine that ends too late. A slope of
    one moves Adam by lr.
    """
    model = wrong()
    seen = []

    def straight(terms: Terms, step: int) -> Terms:
        seen.append(float(model.decoder.log_scale.detach()))
        return Terms({"slope": -model.decoder.log_scale.expand(2)})

    objective = Hooked(ELBO(model), straight)
    objective.judge = lambda x, **options: None  # it would be seen too
    fit(model, splits(), objective, **QUICK | {"lr": 0.01} | options)
    moves = [
        after - before
        for before, after in pairwise([*seen, float(model.decoder.log_scale.detach())])
    ]
    assert moves == pytest.approx([0.01 * factor for factor in factors], rel=1e-3)


@pytest.mark.parametrize("names", [[], ["gan/enc"], [""]])
def test_names_of_players_are_checked(names):
    """Fault: a slash in a name, which parts the names of a checkpoint: the optimiser's state was
    lost on resume.
    """

    class Named(ELBO):
        @property
        def players(self):
            return tuple(Player(name, self.model) for name in names)

    with pytest.raises(ValueError, match="at least one, each with a name without a slash"):
        steppers_for(Named(wrong()), TrainingConfig(), 1)
