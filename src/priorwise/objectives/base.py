"""What an objective is: a module that holds the model and gives the terms of the loss, in nats per example."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from priorwise.models import AbstractModel

__all__ = ["AbstractObjective", "Explanation", "Player", "Terms", "Weight", "refuse_unnormalised", "weight_at"]

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
        return torch.stack([self.weights.get(name, 1.0) * term for name, term in means.items()]).sum()


@dataclass(frozen=True)
class Player:
    """A set of parameters that is stepped in its turn.

    Attributes:
        name: How the objective is asked for this player's terms.
        module: Whose parameters are stepped.
        lr: Learning rate at the start; that of the fit if None.
        betas: Averaging of Adam.
    """

    name: str
    module: nn.Module
    lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)


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
    reduction: str = "each term is summed over pixels or latent dimensions and averaged over the batch, once"
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"Minimised: {self.minimised}"]
        lines += [f"  {name}: {meaning}" for name, meaning in self.terms.items()]
        lines += [f"Reduction: {self.reduction}."]
        lines += [f"A bound on the log-likelihood: {'yes' if self.is_bound else 'no'}; {self.bound}."]
        return "\n".join(lines + [f"Note: {remark}." for remark in self.remarks])


class AbstractObjective(nn.Module, ABC):
    """How to write an objective.

    1. Inherit, keep the model as a submodule.
    2. Implement ``forward(x, step)``: the ``Terms`` on a batch ``(B, *event)``, nats per example, the batch mean left to
       ``Terms.loss``.
    3. Name the module whose parameters are stepped in ``trained``; open what must surround all steps in ``running``.
    4. If more than one set of parameters is stepped in turn (a discriminator, say), list them in ``players``, and give
       ``forward`` a keyword ``player`` for those after the first. A player's terms should send no gradient into another's
       parameters.
    5. Set ``judged_by`` to "loss" if validation should be by the objective itself, its schedules at their end, and not by the
       model's ELBO.
    6. Say in ``explain`` what the number is, and whether it bounds the likelihood.
    """

    judged_by: ClassVar[Literal["negative_elbo", "loss"]] = "negative_elbo"

    @property
    @abstractmethod
    def trained(self) -> nn.Module:
        """The module whose parameters are trained."""

    @property
    def players(self) -> tuple[Player, ...]:
        """Who is stepped in turn, the model first; one player unless the objective says otherwise."""
        return (Player("model", self.trained),)

    @abstractmethod
    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """The terms of the loss on one batch."""

    @abstractmethod
    def explain(self) -> Explanation:
        """What the number is: terms, weights, reduction, and whether it is a bound on the likelihood."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Surrounds a whole fit."""
        yield


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
            f"expected a model that is trained by its {name}; got one whose prior is tilted by {tilt}, whose normaliser "
            f"moves as it is trained. A {tilt} has an objective of its own: priorwise.fit(model, data), or priorwise.fit("
            "model, data, objective)."
        )
