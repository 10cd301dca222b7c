"""Objectives with one player or two, in the loop: every prior, resume, what validation sees."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import killed_before_each_write, same_bits
from torch import Tensor, nn
from toys import splits, wrong

from priorwise import fit, priors
from priorwise.data import Splits
from priorwise.data import load as load_data
from priorwise.models import AbstractModel, moons_vae
from priorwise.objectives import (
    ELBO,
    IWAE,
    AbstractObjective,
    AnnealedVAE,
    BetaTCVAE,
    BetaVAE,
    Discriminator,
    FactorVAE,
    InfoVAE,
)
from priorwise.randomness import seeded
from priorwise.training import CheckpointError
from priorwise.training.checkpoint import read_checkpoint
from priorwise.training.folder import RunFolderError
from priorwise.training.stage import judged

PRIORS: dict[str, Callable[[], nn.Module]] = {
    "standard": lambda: priors.StandardNormal(2),
    "mixture": lambda: priors.GaussianMixture(2, 5),
    "vamp": lambda: priors.VampPrior.random(5, (2,), mean=0.5, std=0.2),
    "flow": lambda: priors.FlowPrior(2, blocks=2, hidden_features=(8,)),
}
OBJECTIVES: dict[str, Callable[[AbstractModel], AbstractObjective]] = {
    "ELBO": lambda model: ELBO(model, kl="entropy"),
    "IWAE": lambda model: IWAE(model, 3),
    "BetaVAE": lambda model: BetaVAE(model, beta=5.0),
    "AnnealedVAE": lambda model: AnnealedVAE(model, gamma=15.0, capacity=3.0, capacity_steps=10),
    "BetaTCVAE": lambda model: BetaTCVAE(model, 2000, beta=4.0),
    "FactorVAE": lambda model: FactorVAE(model, 2, discriminator=Discriminator(2, (16, 16))),
    "InfoVAE": lambda model: InfoVAE(model, lambda_=10.0),
}


@pytest.fixture(scope="module")
def moons() -> Splits:
    return load_data("two_moons")


def watched(objective: AbstractObjective) -> dict[str, list[bool]]:
    """Whether each gradient that reaches a parameter is finite; the lists fill as it trains."""
    gradients: dict[str, list[bool]] = {}
    for name, parameter in objective.named_parameters():
        seen = gradients[name] = []
        parameter.register_post_accumulate_grad_hook(
            lambda p, seen=seen: seen.append(bool(p.grad.isfinite().all()))
        )
    return gradients


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_every_prior(name, prior, moons):
    """Fault: a parameter that a step forgets, of a player, a flow or pseudo-inputs; a gradient that
    is not finite.
    """
    torch.manual_seed(0)
    model = moons_vae(prior=PRIORS[prior]())
    objective = OBJECTIVES[name](model)
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    seen = watched(objective)
    result = fit(model, moons, objective, epochs=1, batch_size=100, warmup_epochs=0, progress=False)
    assert all(finite == [True] * 20 for finite in seen.values()), seen
    assert result.metric == {"ELBO": "negative_elbo", "IWAE": "negative_iwae_bound"}.get(
        name, "loss"
    )
    terms = {
        name for player in objective.players for name in _terms(objective, moons.train, player.name)
    }
    assert result.history[0]["train"].keys() == terms
    for key, parameter in objective.named_parameters():
        assert not torch.equal(parameter, before[key]), f"{key} did not move"
    assert objective.training


def _terms(objective: AbstractObjective, x: Tensor, player: str) -> set[str]:
    terms = objective(x[:5], 0) if player == "model" else objective(x[:5], 0, player=player)
    return set(terms.per_example | terms.batch)


# -- two players -----------------------------------------------------------------------------------

OPTIONS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 25,
    "warmup_epochs": 0,
    "lr": 0.02,
    "progress": False,
}


def factor() -> FactorVAE:
    torch.manual_seed(0)
    return FactorVAE(
        wrong(), 2, gamma=5.0, discriminator=Discriminator(2, (8, 8)), discriminator_lr=0.01
    )


def fitted(objective: AbstractObjective, **options: Any) -> Any:
    return fit(objective.model, splits(), objective, **(OPTIONS | options))


@pytest.mark.parametrize("seconds", [1e-9, 1e9], ids=["often", "seldom"])
def test_killed_players_end_as_quiet_ones(seconds, tmp_path):
    """Fault: a discriminator, or the moments of its optimiser, that start again; killed before
    every single write.
    """

    def train(out: Path) -> tuple[FactorVAE, list[dict[str, Any]]]:
        objective = factor()
        return objective, fitted(objective, out=out, checkpoint_seconds=seconds).history

    (quiet, quiet_history), resumed = killed_before_each_write(train, tmp_path)
    assert len(resumed) >= 6
    for objective, history in resumed:
        assert history == quiet_history
        for name, tensor in objective.state_dict().items():
            assert same_bits(tensor, quiet.state_dict()[name]), name


def test_checkpoint_holds_both_players(tmp_path):
    """Fault: one optimiser's state under the other's name."""
    objective = factor()
    fitted(objective, out=tmp_path)
    tensors, _ = read_checkpoint(tmp_path / "last.safetensors")
    for name, tensor in objective.discriminator.state_dict().items():
        assert same_bits(tensors[f"objective/discriminator.{name}"], tensor)
    for player in objective.players:
        for index, parameter in enumerate(player.module.parameters()):
            assert tensors[f"optimizer/{player.name}/{index}/exp_avg"].shape == parameter.shape
            assert float(tensors[f"optimizer/{player.name}/{index}/step"]) == 9


def test_each_player_has_its_own_rate(moons):
    """Fault: the model's rate for the discriminator. Adam's first step is the rate itself in every
    coordinate.
    """
    model = moons_vae()
    objective = FactorVAE(model, 2, discriminator=Discriminator(2, (4,)), discriminator_lr=1e-3)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    fit(
        model,
        moons,
        objective,
        epochs=1,
        batch_size=2000,
        lr=1e-2,
        schedule="constant",
        progress=False,
    )
    largest = {"model": 0.0, "discriminator": 0.0}
    for name, value in objective.state_dict().items():
        player = name.split(".")[0]
        largest[player] = max(largest[player], float((value - before[name]).abs().max()))
    assert largest == {
        "model": pytest.approx(1e-2, rel=1e-2),
        "discriminator": pytest.approx(1e-3, rel=1e-2),
    }


def test_factor_vae_without_its_term_trains_as_the_elbo():
    """Fault: a discriminator whose turn moves the model, its moments or its draws. Bit for bit."""
    objective, plain = factor(), ELBO(wrong())
    objective.gamma = 0.0
    for each in (objective, plain):
        fitted(each)
    for name, tensor in objective.model.state_dict().items():
        assert same_bits(tensor, plain.model.state_dict()[name]), name
    assert not torch.equal(objective.discriminator[0].weight, factor().discriminator[0].weight)


# -- checkpoints of other objectives ---------------------------------------------------------------


def wide() -> FactorVAE:
    return FactorVAE(
        wrong(), 2, gamma=5.0, discriminator=Discriminator(2, (9,)), discriminator_lr=0.01
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda: BetaVAE(wrong()), factor),
        (factor, lambda: BetaVAE(wrong())),
        (lambda: BetaVAE(wrong(), beta=2.0), lambda: BetaVAE(wrong(), beta=3.0)),
    ],
    ids=["one player, then two", "two players, then one", "another weight"],
)
def test_a_run_of_another_objective_is_refused(first, second, tmp_path):
    """Fault: a run that goes on with another loss, since all tensors fit."""
    fitted(first(), out=tmp_path)
    with pytest.raises(RunFolderError, match="objective"):
        fitted(second(), out=tmp_path)


def test_checkpoint_of_another_discriminator_stops_the_run(tmp_path):
    """Fault: a discriminator that starts anew in mid-run, or is dropped, without a word."""
    fitted(factor(), out=tmp_path)
    message = r"expected `discriminator\.0\.bias` of shape \(9,\), got \(8,\)"
    with pytest.raises(
        CheckpointError,
        match=rf"last\.safetensors holds another objective: {message}\. Continue with",
    ):
        fitted(wide(), out=tmp_path)


# -- validation ------------------------------------------------------------------------------------


def annealed(capacity_steps: int) -> AnnealedVAE:
    return AnnealedVAE(wrong(), gamma=10.0, capacity=4.0, capacity_steps=capacity_steps)


def validated(objective: AbstractObjective, batch_size: int = 15) -> float:
    assert objective.metric == "loss"
    value = judged(objective, splits().validation, batch_size)
    assert value is not None
    return value


def test_validation_sees_schedules_at_their_end():
    """Fault: a number that moves with the capacity; other draws every time; a torn batch that
    weighs as a whole one.
    """
    objective = annealed(1000)
    value = validated(objective)
    assert value == validated(objective) == validated(annealed(1))
    losses = []
    for block, batch in enumerate(splits().validation.split(15)[:2]):  # of 40 examples
        with seeded(777, "loss", block), torch.no_grad():
            losses.append(float(annealed(1)(batch, 1).loss()))
    assert value == pytest.approx(sum(losses) / 2, rel=1e-6)
    with torch.no_grad():
        assert abs(float(annealed(1000)(splits().validation, 0).loss()) - value) > 1


def test_validation_of_few_examples():
    """Fault: no batch at all where the validation set is smaller than one."""
    assert validated(annealed(1), batch_size=100) > 0


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("folder", [True, False], ids=["in a folder", "in memory"])
def test_which_weights_are_kept(keep, folder, tmp_path):
    """Fault: "last" that gives the best, or stops early. At this rate validation does not improve
    every time.
    """
    options = {
        "epochs": 8,
        "lr": 0.3,
        "schedule": "constant",
        "patience": 1 if keep == "last" else None,
    }
    objective = BetaVAE(wrong())
    result = fitted(objective, keep=keep, out=tmp_path if folder else None, **options)
    values = [line["validation"]["loss"] for line in result.history]
    assert len(values) == result.epochs == 8
    assert values[-1] > min(values)
    chosen = values.index(min(values)) + 1 if keep == "best" else 8
    assert result.best_epoch == chosen
    assert result.best == values[chosen - 1]
    assert validated(objective, OPTIONS["batch_size"]) == result.best
