"""An optimiser and a schedule of the user's own: built, checked, recorded and kept."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR

from priorwise.objectives import Player
from priorwise.training.plain import is_plain, restored

__all__ = [
    "Factories",
    "Interval",
    "described_optimizer",
    "described_schedule",
    "factories_among",
    "fault_of_plain_state",
    "load_plain_optimizer_state",
    "plain_optimizer_state",
]

OptimizerFactory: TypeAlias = Callable[[list[nn.Parameter]], Optimizer]
ScheduleFactory: TypeAlias = Callable[[Optimizer], LRScheduler]
Interval: TypeAlias = Literal["epoch", "step"]

_OF_THE_OPTIMIZER = ("lr", "weight_decay", "eps")
_OF_THE_SCHEDULE = ("lr_final", "lr_warmup_steps")


@dataclass(frozen=True)
class Factories:
    """How to build the user's optimiser and schedule for each player; None leaves it to the fit.

    Attributes:
        optimizer: Maps the parameters of a player to an optimiser over all of them.
        schedule: Maps this optimiser to a scheduler of ``torch.optim.lr_scheduler``.
        every: Whether the schedule is stepped after each epoch or after each step.
    """

    optimizer: OptimizerFactory | None = None
    schedule: ScheduleFactory | None = None
    every: Interval = "epoch"

    def optimizer_of(self, player: Player) -> Optimizer:
        """The user's optimiser of a player.

        Raises:
            TypeError: if the factory returns something else.
            ValueError: if the optimiser is not over the player's parameters, needs a closure, or
                has a tensor as its learning rate.
        """
        assert self.optimizer is not None
        parameters = player.trained()
        optimizer = self.optimizer(parameters)
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                "expected `optimizer` to return a torch.optim.Optimizer; got "
                f"{type(optimizer).__name__}. Write optimizer=lambda parameters: "
                "torch.optim.SGD(parameters, lr=0.1)."
            )
        _refuse_other_parameters(optimizer, player)
        closure = inspect.signature(optimizer.step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:
            raise ValueError(
                "expected an optimiser that steps without a closure; got "
                f"{type(optimizer).__name__}, which computes the loss several times in a step."
            )
        if not all(is_plain(_hyper_parameters(group)) for group in optimizer.param_groups):
            raise ValueError(
                "expected an optimiser whose settings are numbers and words, which a checkpoint "
                f"can keep; got {type(optimizer).__name__} with others. Give `lr` as a number."
            )
        return optimizer

    def schedule_of(self, optimizer: Optimizer, steps: int) -> LRScheduler | None:
        """The user's schedule over an optimiser, for a fit of so many steps; None if there is none.

        Raises:
            TypeError: if the factory returns something else.
            ValueError: if the schedule is over another optimiser, is made for steps but stepped
                after epochs, ends before the fit does, or has a state that is not plain.
        """
        if self.schedule is None:
            return None
        schedule = self.schedule(optimizer)
        name = type(schedule).__name__
        if not isinstance(schedule, LRScheduler):
            raise TypeError(
                "expected `schedule` to return a scheduler of torch.optim.lr_scheduler; got "
                f"{name}. Write schedule=lambda optimizer: "
                "torch.optim.lr_scheduler.StepLR(optimizer, 30)."
            )
        if schedule.optimizer is not optimizer:
            raise ValueError(
                f"expected `schedule` to use the optimiser that it is given; got a {name} over "
                "another one."
            )
        if isinstance(schedule, (OneCycleLR, CyclicLR)) and self.every == "epoch":
            raise ValueError(
                f"expected `schedule_every='step'` for {name}, which counts steps; got 'epoch'."
            )
        if isinstance(schedule, OneCycleLR) and schedule.total_steps < steps:
            raise ValueError(
                f"expected `total_steps` of {name} as the {steps} steps of this fit or more; got "
                f"{schedule.total_steps}."
            )
        if not is_plain(schedule.state_dict()):
            raise ValueError(
                f"expected a schedule whose state is numbers and words, which a checkpoint can "
                f"keep; that of {name} holds more."
            )
        return schedule


_EXAMPLES = {
    "optimizer": "optimizer=lambda parameters: torch.optim.{}(parameters, lr=0.1)",
    "schedule": "schedule=lambda optimizer: torch.optim.lr_scheduler.{}(optimizer, ...)",
}


def factories_among(
    options: Mapping[str, Any], every: Interval
) -> tuple[Factories, dict[str, Any]]:
    """The factories among the options of a fit, and the other options.

    With an optimiser of the user's own the learning rate is constant unless a schedule is given.

    Raises:
        ValueError: for options that a factory would overrule, for an optimiser or a schedule in
            place of a function, and for an unknown interval.
    """
    if every not in get_args(Interval):
        raise ValueError(f"expected `schedule_every` as 'epoch' or 'step'; got {every!r}.")
    for name, kind in (("optimizer", Optimizer), ("schedule", LRScheduler)):
        if isinstance(options.get(name), kind):
            made = type(options[name]).__name__
            raise ValueError(
                f"expected `{name}` as a word or a function, since each player gets its own; got "
                f"one {made}. Give the function that makes it: {_EXAMPLES[name].format(made)}."
            )
    own = {name: options[name] for name in ("optimizer", "schedule") if callable(options.get(name))}
    others = {name: value for name, value in options.items() if name not in own}
    overruled = (_OF_THE_OPTIMIZER if "optimizer" in own else ()) + (
        _OF_THE_SCHEDULE if "schedule" in own else ()
    )
    both = [name for name in overruled if name in others]
    if both:
        raise ValueError(
            f"expected `{both[0]}` inside your own {' and '.join(own)}; got it as an option of the "
            "fit, too. Leave the option out."
        )
    if every != "epoch" and "schedule" not in own:
        raise ValueError(
            f"expected `schedule_every` together with a `schedule` of your own; got {every!r} "
            "alone. The named schedules change with every step."
        )
    if own:
        others.setdefault("schedule", "constant")
    return Factories(**own, every=every), others


def _refuse_other_parameters(optimizer: Optimizer, player: Player) -> None:
    trained = {id(parameter) for parameter in player.trained()}
    stepped = {id(each) for group in optimizer.param_groups for each in group["params"]}
    if trained != stepped:
        raise ValueError(
            f"expected an optimiser over the {len(trained)} parameters that `optimizer` is given "
            f"for player {player.name!r}; got one that leaves out {len(trained - stepped)} of them "
            f"and has {len(stepped - trained)} others. Set requires_grad=False on what should stay "
            "as it is."
        )


def _hyper_parameters(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in ("params", "param_names")}


# -- what a checkpoint keeps besides tensors ------------------------------------------------------


def plain_optimizer_state(optimizer: Optimizer) -> dict[str, Any]:
    """The settings of each group, which a schedule may change, and the state that is no tensor.

    Raises:
        ValueError: if the optimiser keeps something that is neither a tensor nor plain.
    """
    state: dict[str, dict[str, Any]] = {}
    for place, entries in optimizer.state_dict()["state"].items():
        plain = {name: value for name, value in entries.items() if not isinstance(value, Tensor)}
        for name, value in plain.items():
            if not is_plain(value):
                raise ValueError(
                    "expected an optimiser whose state is tensors, numbers and words, which a "
                    f"checkpoint can keep; `{name}` of {type(optimizer).__name__} is a "
                    f"{type(value).__name__}."
                )
        if plain:
            state[str(place)] = plain
    groups = [_hyper_parameters(group) for group in optimizer.param_groups]
    return {"groups": groups, "state": state}


def fault_of_plain_state(optimizer: Optimizer, stored: Mapping[str, Any]) -> str:
    """The part of a stored state that is missing or of another optimiser; empty if none is."""
    groups, state = stored.get("groups"), stored.get("state")
    count = sum(len(group["params"]) for group in optimizer.param_groups)
    if not isinstance(groups, list) or len(groups) != len(optimizer.param_groups):
        return "groups"
    if not all(isinstance(group, dict) for group in groups):
        return "groups"
    if not isinstance(state, dict) or not all(
        place.isdecimal() and int(place) < count and isinstance(entries, dict)
        for place, entries in state.items()
    ):
        return "state"
    return "" if isinstance(stored.get("schedule"), dict) else "schedule"


def load_plain_optimizer_state(optimizer: Optimizer, stored: Mapping[str, Any]) -> None:
    """Restore what ``plain_optimizer_state`` returned, after the tensors."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for place, entries in stored["state"].items():
        optimizer.state[parameters[int(place)]].update(entries)
    for group, settings in zip(optimizer.param_groups, stored["groups"], strict=True):
        group.update({name: restored(group.get(name), each) for name, each in settings.items()})


# -- what a run folder records ---------------------------------------------------------------------


def described_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """The class of an optimiser and its settings, group by group."""
    groups = [
        {"tensors": len(group["params"]), **_said(_hyper_parameters(group))}
        for group in optimizer.param_groups
    ]
    settings = (
        groups[0] if len(groups) == 1 else {f"group_{n}": each for n, each in enumerate(groups)}
    )
    return {"class": _class_of(optimizer), **settings}


def described_schedule(schedule: LRScheduler, every: Interval) -> dict[str, Any]:
    """The class of a schedule, when it is stepped, and its settings."""
    settings = {k: v for k, v in schedule.state_dict().items() if not k.startswith("_")}
    return {"class": _class_of(schedule), "every": every, **_said(settings)}


def _said(settings: Mapping[Any, Any]) -> dict[str, Any]:
    """The settings that are switched on: what a later version of torch adds is off by default."""
    return {
        str(name): _said(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if value is not None and value is not False
    }


def _class_of(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
