"""The players of an objective with their optimisers, and how a turn uses gradients."""

from torch import nn

from priorwise.config.training import TrainingConfig
from priorwise.objectives import AbstractObjective, Player
from priorwise.training.optimizer import build_optimizer, lr_factor, normalize_gradients_, set_lr

__all__ = ["Stepper", "steppers_for"]


class Stepper:
    """One player and its optimiser.

    Arguments:
        player: The player.
        config: The options of the fit, for what the player leaves open.
        steps: Steps of the whole fit.
    """

    def __init__(self, player: Player, config: TrainingConfig, steps: int) -> None:
        self.player = player
        self.config = config
        self.steps = steps
        self.lr = config.lr if player.lr is None else player.lr
        self.name = config.optimizer if player.optimizer is None else player.optimizer
        self.optimizer = build_optimizer(
            player.trained(),
            self.lr,
            player.betas,
            name=self.name,
            weight_decay=config.weight_decay
            if player.weight_decay is None
            else player.weight_decay,
            eps=config.eps,
        )

    def step(self, objective: AbstractObjective, step: int) -> None:
        """Normalise the gradients if asked to, let the objective see them, and step."""
        if self.name == "adam_normalized":
            normalize_gradients_(self.optimizer)
        set_lr(self.optimizer, self.lr * lr_factor(step, self.steps, self.config))
        objective.before_step(self.player, self.optimizer, step)
        self.optimizer.step()


def steppers_for(objective: AbstractObjective, config: TrainingConfig, steps: int) -> list[Stepper]:
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
    return [Stepper(player, config, steps) for player in players]


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
