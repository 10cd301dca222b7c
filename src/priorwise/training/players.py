"""The players of an objective with their optimisers, and how a turn uses gradients."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from priorwise.choices import OptimizerName
from priorwise.compilation import uncompiled_name
from priorwise.config.training import TrainingConfig
from priorwise.objectives import AbstractObjective, Player
from priorwise.training.checkpoint import CheckpointError
from priorwise.training.optimizer import build_optimizer, lr_factor, normalize_gradients_, set_lrs
from priorwise.training.own_optimizer import (
    Factories,
    described_optimizer,
    described_schedule,
    fault_of_plain_state,
    load_plain_optimizer_state,
    plain_optimizer_state,
)
from priorwise.training.plain import as_json, restored

__all__ = ["Stepper", "stepped_parameters", "steppers_for"]


class Stepper:
    """One player, its optimiser and the course of its learning rate.

    Arguments:
        player: The player.
        config: The options of the fit, for what the player leaves open.
        steps: Steps of the whole fit.
        steps_per_epoch: Steps of an epoch.
        factories: The user's own optimiser and schedule, which go before those of player and
            options.
    """

    def __init__(
        self,
        player: Player,
        config: TrainingConfig,
        steps: int,
        steps_per_epoch: int,
        factories: Factories,
    ) -> None:
        self.player = player
        self.config = config
        self.steps = steps
        self.period = steps_per_epoch if factories.every == "epoch" else 1
        name = config.optimizer if player.optimizer is None else player.optimizer
        self.normalises = factories.optimizer is None and name == "adam_normalized"
        self.optimizer = (
            _named_optimizer(player, config, name)
            if factories.optimizer is None
            else factories.optimizer_of(player)
        )
        self.lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.own: dict[str, Any] = {}
        if factories.optimizer is not None:
            self.own["optimizer"] = described_optimizer(self.optimizer)
        self.schedule = factories.schedule_of(self.optimizer, steps)
        if self.schedule is not None:
            self.own["schedule"] = described_schedule(self.schedule, factories.every)

    def step(self, objective: AbstractObjective, step: int) -> None:
        """Normalise and clip the gradients if asked to, let the objective see them, and step."""
        if self.normalises:
            normalize_gradients_(self.optimizer)
        if self.config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.player.trained(), self.config.gradient_clip)
        if self.schedule is None:
            set_lrs(self.optimizer, self.lrs, lr_factor(step, self.steps, self.config))
        objective.before_step(self.player, self.optimizer, step)
        self.optimizer.step()
        waits = isinstance(self.schedule, ReduceLROnPlateau)
        if self.schedule is not None and not waits and (step + 1) % self.period == 0:
            self.schedule.step()

    def finish_line(self, verdict: float | None) -> None:
        """Tell a schedule that waits for a plateau what the validation gave.

        Raises:
            ValueError: if there was no verdict.
        """
        if isinstance(self.schedule, ReduceLROnPlateau):
            if verdict is None:
                raise ValueError(
                    "expected an objective that judges the model for a ReduceLROnPlateau; this "
                    "one gives no verdict. Use a schedule that only counts, such as StepLR."
                )
            self.schedule.step(verdict)

    def plain_state(self) -> dict[str, Any]:
        """What the user's own optimiser and schedule keep besides tensors; empty for ours."""
        if not self.own:
            return {}
        schedule = {} if self.schedule is None else self.schedule.state_dict()
        return as_json({**plain_optimizer_state(self.optimizer), "schedule": schedule})

    def load_plain_state(self, stored: dict[str, Any]) -> None:
        """Restore what ``plain_state`` returned, after the tensors of the optimiser.

        Raises:
            CheckpointError: if something else is stored.
        """
        if not self.own:
            return
        fault = fault_of_plain_state(self.optimizer, stored)
        if fault:
            raise CheckpointError(
                f"expected what the optimiser of {self.player.name!r} keeps besides tensors in the "
                f"checkpoint; its `{fault}` is missing or damaged. Restore the file from a backup, "
                "or start the run again in another folder."
            )
        load_plain_optimizer_state(self.optimizer, stored)
        if self.schedule is not None:
            self.schedule.load_state_dict(restored(self.schedule.state_dict(), stored["schedule"]))


def _named_optimizer(player: Player, config: TrainingConfig, name: OptimizerName) -> Optimizer:
    """The optimiser that player or options name."""
    decay = config.weight_decay if player.weight_decay is None else player.weight_decay
    return build_optimizer(
        player.trained(),
        config.lr if player.lr is None else player.lr,
        player.betas,
        name=name,
        weight_decay=decay,
        eps=config.eps,
    )


def steppers_for(
    objective: AbstractObjective,
    config: TrainingConfig,
    steps: int,
    steps_per_epoch: int = 1,
    factories: Factories | None = None,
) -> list[Stepper]:
    """One stepper a player, in the order of their turns.

    Raises:
        ValueError: if two players have one name or share a parameter, if a player's parameter is
            not the objective's, or if a player has nothing to train.
    """
    players = objective.players
    names = [player.name for player in players]
    if not players or any("/" in name or not name for name in names):
        raise ValueError(
            f"expected `players` with at least one, each with a name without a slash; got {names} "
            f"from {type(objective).__name__}."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"expected players of different names; got {', '.join(names)}.")
    _refuse_shared(objective, players)
    factories = Factories() if factories is None else factories
    return [Stepper(player, config, steps, steps_per_epoch, factories) for player in players]


def stepped_parameters(model: nn.Module, steppers: Sequence[Stepper]) -> dict[str, nn.Parameter]:
    """The model's parameters that a player steps, by the names that checkpoints use."""
    stepped = {id(each) for stepper in steppers for each in stepper.player.trained()}
    named = model.named_parameters()
    return {uncompiled_name(name): each for name, each in named if id(each) in stepped}


def _refuse_shared(objective: AbstractObjective, players: tuple[Player, ...]) -> None:
    paths = {id(parameter): path for path, parameter in objective.named_parameters()}
    owners: dict[nn.Parameter, str] = {}
    for player in players:
        for parameter in player.trained():
            if id(parameter) not in paths:
                raise ValueError(
                    f"expected the parameters of player {player.name!r} among those of "
                    f"{type(objective).__name__}; one of shape {tuple(parameter.shape)} is not. "
                    "Keep its module as a submodule of the objective."
                )
            if parameter in owners:
                raise ValueError(
                    f"expected players with parameters of their own; {owners[parameter]!r} and "
                    f"{player.name!r} both step `{paths[id(parameter)]}`. Give one of them its "
                    "`parameters` without it."
                )
            owners[parameter] = player.name
