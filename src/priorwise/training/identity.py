"""What defines a fit in its folder, where no recipe does."""

from collections.abc import Sequence
from typing import Any

from priorwise.config.training import TrainingConfig
from priorwise.objectives import AbstractObjective
from priorwise.training.players import Stepper

__all__ = ["identity_without_recipe", "own_parts"]


def identity_without_recipe(
    config: TrainingConfig, objective: AbstractObjective | None
) -> dict[str, Any]:
    """What defines a run without a recipe, but for the model, whose tensors speak for it."""
    training = {"training": config.model_dump(mode="json")}
    if objective is None:
        return training
    explained = objective.explain()
    players = {
        player.name: [player.lr, list(player.betas), player.weight_decay, player.optimizer]
        for player in objective.players
    }
    return {
        **training,
        "objective": {"minimised": explained.minimised, **explained.terms},
        "players": players,
    }


def own_parts(steppers: Sequence[Stepper]) -> dict[str, Any]:
    """The user's own optimisers and schedules in words, by player; empty if there are none."""
    own = {stepper.player.name: stepper.own for stepper in steppers if stepper.own}
    return {"own": own} if own else {}
