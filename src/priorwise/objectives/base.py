"""What an objective is: a module that holds the model and gives the terms of the loss, in nats per example."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from priorwise.choices import OptimizerName
from priorwise.compilation import untraced
from priorwise.distributions import is_normalised
from priorwise.models import AbstractModel, Group
from priorwise.objectives.judging import FINAL_STEP, mean_over_whole_batches

__all__ = [
    "AbstractModelObjective",
    "AbstractObjective",
    "Explanation",
    "Player",
    "Terms",
    "Weight",
    "refuse_unnormalised",
    "require_normalised",
    "weight_at",
]

Weight: TypeAlias = float | Callable[[int], float]


@dataclass(frozen=True)
class Terms:
    """The terms of a loss on one batch.

    Attributes:
        per_example: Name to ``(B,)`` nats, signed as they are minimised.
        batch: Name to a scalar of the batch as a whole, signed as it is minimised.
        weights: Weight of each term; 1 where none stands.
    """

    per_example: dict[str, Tensor]
    batch: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def loss(self) -> Tensor:
        """The scalar that is minimised: weighted batch means plus the weighted batch terms."""
        means = {name: term.mean() for name, term in self.per_example.items()} | self.batch
        return torch.stack(
            [self.weights.get(name, 1.0) * term for name, term in means.items()]
        ).sum()


@dataclass(frozen=True)
class Player:
    """A set of parameters that is stepped in its turn; what is None here is as the fit says.

    Attributes:
        name: How the objective is asked for this player's terms.
        module: What is in training mode while the fit runs.
        parameters: Which of the module's parameters are stepped; all if None. No two players may
            share one.
        lr: Learning rate at the start.
        betas: Averaging of Adam or Adamax.
        weight_decay: Weight of the squared norm, as in ``TrainingConfig``.
        optimizer: Which optimiser steps them, as in ``TrainingConfig``.
    """

    name: str
    module: nn.Module
    _: KW_ONLY
    parameters: Sequence[nn.Parameter] | None = None
    lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float | None = None
    optimizer: OptimizerName | None = None

    def trained(self) -> list[nn.Parameter]:
        """The parameters that are stepped: those that require gradients."""
        owned = self.module.parameters() if self.parameters is None else self.parameters
        return [parameter for parameter in owned if parameter.requires_grad]


@dataclass(frozen=True)
class Explanation:
    """What the number of an objective is, in words.

    Attributes:
        minimised: The loss as a formula.
        terms: Each term's name in ``Terms`` with its weight, unit and meaning.
        reduction: What the terms are summed and averaged over.
        is_bound: Whether the negative loss is, in expectation, a lower bound on the log-likelihood.
        bound: Why it is a bound or not.
        remarks: What one should know before choosing or comparing it.
    """

    minimised: str
    terms: dict[str, str]
    is_bound: bool
    bound: str
    reduction: str = (
        "each term is summed over pixels or latent dimensions and averaged over the batch, once"
    )
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"Minimised: {self.minimised}"]
        lines += [f"  {name}: {meaning}" for name, meaning in self.terms.items()]
        lines += [f"Reduction: {self.reduction}."]
        lines += [
            f"A bound on the log-likelihood: {'yes' if self.is_bound else 'no'}; {self.bound}."
        ]
        return "\n".join(lines + [f"Note: {remark}." for remark in self.remarks])


class AbstractObjective(nn.Module, ABC):
    """How to write an objective.

    1. Inherit, keep the model as a submodule.
    2. Implement ``forward(x, step)``: the ``Terms`` on a batch ``(B, *event)``, nats per example,
       the batch mean left to ``Terms.loss``.
    3. Name the module whose parameters are stepped in ``trained``; open what must surround all
       steps in ``running``.
    4. If more than one set of parameters is stepped in turn (a discriminator, say), list them in
       ``players``, and give ``forward`` a keyword ``player`` for those after the first. A player's
       terms should send no gradient into another's parameters.
    5. Clip gradients, or look at them, in ``before_step``.
    6. Say in ``judge`` what a fit is judged by on held-out data, and in ``metric`` what that number
       is called. Without these it is the objective's own loss, its schedules at their end.
    7. Give in ``large_state`` what is too large for every checkpoint, such as a replay buffer, and
       keep it out of the module's own state.
    8. Say in ``explain`` what the number is, and whether it bounds the likelihood.
    """

    @property
    @abstractmethod
    def trained(self) -> nn.Module:
        """The module whose parameters are trained."""

    @property
    def players(self) -> tuple[Player, ...]:
        """Who is stepped in turn, the model first; one player unless the objective says otherwise."""
        return (Player("model", self.trained),)

    @property
    def may_skip_parameters(self) -> bool:
        """Whether a turn may leave trained parameters without a gradient.

        Fits in several processes must know it.
        """
        return len(self.players) > 1

    @abstractmethod
    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """The terms of the loss on one batch."""

    @abstractmethod
    def explain(self) -> Explanation:
        """What the number is: terms, weights, reduction, and whether it is a bound on the likelihood."""

    @property
    def metric(self) -> str:
        """Name of the number that ``judge`` gives."""
        return "loss"

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float | None:
        """The number by which held-out data choose the weights, lower is better; None judges nothing.

        It is called without gradients and with the whole objective ``frozen``, outside ``running``
        too, and for each checkpoint on a few examples, by which a resumed run knows its model.
        Without another implementation: the mean loss over whole batches, with every schedule at its
        end.

        Arguments:
            x: Prepared observations ``(N, *event)``.
            batch_size: That of the fit, for what depends on it.
            seed: Seed of the draws: the same one gives the same number for the same weights.
        """
        return mean_over_whole_batches(
            lambda batch: self(batch, FINAL_STEP).loss(), x, batch_size=batch_size, seed=seed
        )

    def before_step(self, player: Player, optimizer: Optimizer, step: int) -> None:
        """Called once the gradients of a turn are there, just before they are used; for clipping.

        Arguments:
            player: Whose turn it is; ``player.trained()`` hold the gradients.
            optimizer: Its optimiser, whose ``state`` holds the running moments.
            step: The step of the fit, from 0.
        """

    def large_state(self) -> dict[str, Tensor]:
        """What a fit needs in order to go on and would bloat each checkpoint.

        It is written only when it has changed. Of several processes the first one's is kept, and
        given to all when the fit goes on.
        """
        return {}

    def load_large_state(self, tensors: dict[str, Tensor]) -> None:
        """Take back what ``large_state`` gave, if that was something; before ``running`` is opened.

        Raises:
            ValueError: from this base class, which has none.
        """
        raise ValueError(
            f"expected an objective that takes back its large state ({', '.join(tensors)}); "
            f"{type(self).__name__} implements no `load_large_state`. Go on with the objective of "
            "this run, or take another folder."
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Surrounds a whole fit."""
        yield


@untraced
def weight_at(weight: Weight, step: int) -> float:
    """The value of a weight, a number or a function of the step."""
    return float(weight(step)) if callable(weight) else float(weight)


def refuse_unnormalised(model: AbstractModel, name: str) -> None:
    """Refuse a model whose prior has an unknown normaliser, which its own loss could lower without bound.

    Raises:
        TypeError: for a model with a module that owns a tilt.
    """
    if model.tilts:
        tilt = type(model.tilts[0]).__name__
        raise TypeError(
            f"expected a model that is trained by its {name}; got one that is tilted by {tilt}, "
            "whose normaliser moves with its parameters, so that the loss has no lower bound. Fit "
            "it by an objective of its own; an NCP has one: priorwise.fit(ncp, data)."
        )


class AbstractModelObjective(AbstractObjective):
    """An objective of a whole model, which tilts nothing.

    1. Inherit, hand the model and the objective's name to this constructor, and go on as
       ``AbstractObjective`` says from 2 on.

    Raises:
        TypeError: for a model with a module that owns a tilt.
    """

    def __init__(self, model: AbstractModel, name: str) -> None:
        super().__init__()
        refuse_unnormalised(model, name)
        self.model = model

    @property
    def trained(self) -> nn.Module:
        """The whole model."""
        return self.model


def require_normalised(groups: Sequence[Group]) -> None:
    """Refuse a pass with a prior whose normaliser is unknown: the loss could be lowered without bound.

    Raises:
        ValueError: naming the group.
    """
    for group in groups:
        if not is_normalised(group.prior):
            raise ValueError(
                f"expected normalised priors; the normaliser of group {group.index} is unknown, so "
                "the loss could be lowered without bound. Give the Tilted its `log_norm`, or "
                "train the tilt by an objective of its own."
            )
