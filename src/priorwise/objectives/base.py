"""What an objective is: a module that holds the model and computes the terms of the loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, TypeAlias

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
        per_example: Maps a name to a term ``(B,)`` in nats, with the sign that is minimised.
        batch: Maps a name to a scalar of the whole batch, with the sign that is minimised.
        weights: Weight of each term; a term that is not listed has weight 1.
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
    """A set of parameters that takes its turn in each step; the fit decides what is None here.

    Attributes:
        name: The fit passes this name to the objective to get this player's terms.
        module: The module that is in training mode while the fit runs.
        parameters: Which of the module's parameters are updated; all if None. Two players may not
            share a parameter.
        lr: Learning rate at the start.
        betas: Averaging coefficients of Adam or Adamax.
        weight_decay: Weight of the squared norm, as in ``TrainingConfig``.
        optimizer: Which optimiser updates them, as in ``TrainingConfig``.
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
        """The parameters that are updated: those that require gradients."""
        owned = self.module.parameters() if self.parameters is None else self.parameters
        return [parameter for parameter in owned if parameter.requires_grad]


@dataclass(frozen=True)
class Explanation:
    """What an objective computes, in words.

    Attributes:
        minimised: The loss as a formula.
        terms: The name of each term in ``Terms``, with its weight, unit and meaning.
        reduction: What the terms are summed and averaged over.
        is_bound: Whether the negative loss is, in expectation, a lower bound on the log-likelihood.
        bound: Why it is a bound or not.
        remarks: What to know before choosing this objective or comparing its values.
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

    1. Inherit from this class and keep the model as a submodule.
    2. Implement ``forward(x, step)``: it returns the ``Terms`` on a batch ``(B, *event)``, in nats
       per example. ``Terms.loss`` takes the batch mean.
    3. Return the module whose parameters are updated from ``trained``. Open what must surround all
       steps in ``running``.
    4. If several sets of parameters take turns (a discriminator, say), list them in ``players``,
       and give ``forward`` a keyword ``player`` for those after the first. A player's terms should
       send no gradient into the parameters of another player.
    5. Clip or inspect gradients in ``before_step``.
    6. Return from ``judge`` the number that a fit is judged by on held-out data, and name it in
       ``metric``. By default it is the objective's own loss with every schedule at its end.
    7. Return from ``large_state`` what is too large for every checkpoint, such as a replay buffer,
       and keep it out of the module's own state.
    8. If the fit starts from the data, set the starting values in ``start``.
    9. Explain the loss in ``explain``, and whether it bounds the likelihood.
    """

    @property
    @abstractmethod
    def trained(self) -> nn.Module:
        """The module whose parameters are trained."""

    @property
    def players(self) -> tuple[Player, ...]:
        """The players that take turns, the model first; one player by default."""
        return (Player("model", self.trained),)

    sees_only_codes: ClassVar[bool] = False
    """Whether no network that sees the data is trained, so that their scale does not matter."""

    @property
    def may_skip_parameters(self) -> bool:
        """Whether a turn may leave trained parameters without a gradient.

        Fits in several processes need to know this.
        """
        return len(self.players) > 1

    @abstractmethod
    def forward(self, x: Tensor, step: int = 0) -> Terms:
        """The terms of the loss on one batch."""

    @abstractmethod
    def explain(self) -> Explanation:
        """Terms, weights and reduction of the loss, and whether it bounds the likelihood."""

    @property
    def metric(self) -> str:
        """Name of the number that ``judge`` returns."""
        return "loss"

    def is_final(self, step: int) -> bool:
        """Whether every schedule of the loss is at its end at this step; true without schedules."""
        return True

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float | None:
        """The number that selects the best weights on held-out data; lower is better.

        None means that the objective does not judge. This method is called without gradients and
        with the whole objective ``frozen``, also outside ``running``. It is also called for each
        checkpoint on a few examples, so that a resumed run can recognise its model. By default it
        is the mean loss over whole batches, with every schedule at its end.

        Arguments:
            x: Prepared observations ``(N, *event)``.
            batch_size: Batch size of the fit, for numbers that depend on it.
            seed: Seed of the draws: the same seed gives the same number for the same weights.
        """
        return mean_over_whole_batches(
            lambda batch: self(batch, FINAL_STEP).loss(), x, batch_size=batch_size, seed=seed
        )

    def before_step(self, player: Player, optimizer: Optimizer, step: int) -> None:
        """Called after the gradients of a turn are computed and before they are used; for clipping.

        Arguments:
            player: The player whose turn it is; the parameters ``player.trained()`` hold the
                gradients.
            optimizer: The player's optimiser, whose ``state`` holds the running moments.
            step: The step of the fit, from 0.
        """

    def large_state(self) -> dict[str, Tensor]:
        """Tensors that a resumed fit needs and that are too large for every checkpoint.

        They are written only when they have changed. Of several processes, only the first one's
        are written, and every process gets them when the fit goes on.
        """
        return {}

    def load_large_state(self, tensors: dict[str, Tensor]) -> None:
        """Restore the tensors that ``large_state`` returned; called before ``running`` is opened.

        It is not called where ``large_state`` was empty.

        Raises:
            ValueError: from this base class, which has no large state.
        """
        raise ValueError(
            f"expected an objective that restores its large state ({', '.join(tensors)}); "
            f"{type(self).__name__} implements no `load_large_state`. Continue with the objective "
            "of this run, or choose another folder."
        )

    def start(self, batches: Iterator[Tensor], *, show: bool) -> Mapping[str, float] | None:
        """Set what starts from the data, once, before the first step; by default nothing.

        It is called inside ``running`` and with the draws of the fit's seed.

        Arguments:
            batches: The prepared training data, batch by batch.
            show: Whether to show progress.

        Returns:
            Mapping[str, float] | None: The mean of each term on the training data if this was the
            whole fit, such as one by expectation maximisation; None if steps follow.
        """
        return None

    @contextmanager
    def running(self) -> Iterator[None]:
        """A context that surrounds the whole fit."""
        yield


@untraced
def weight_at(weight: Weight, step: int) -> float:
    """The value at a step of a weight that is a number or a function of the step."""
    return float(weight(step)) if callable(weight) else float(weight)


def refuse_unnormalised(model: AbstractModel, name: str) -> None:
    """Refuse a model whose prior has an unknown normaliser: its loss has no lower bound.

    Raises:
        TypeError: for a model with a module that owns a tilt.
    """
    if model.tilts:
        tilt = type(model.tilts[0]).__name__
        raise TypeError(
            f"expected a model that can be trained by its {name}; got one tilted by {tilt}. The "
            "normaliser of the tilt changes with its parameters, so the loss has no lower bound. "
            "Fit it by an objective made for it; an NCP has one: priorwise.fit(ncp, data)."
        )


class AbstractModelObjective(AbstractObjective):
    """An objective that trains a whole model without tilted priors.

    1. Inherit, pass the model and the objective's name to this constructor, and continue with step
       2 of ``AbstractObjective``.

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
    """Refuse a pass with a prior whose normaliser is unknown: its loss has no lower bound.

    Raises:
        ValueError: naming the group.
    """
    for group in groups:
        if not is_normalised(group.prior):
            raise ValueError(
                f"expected normalised priors; the normaliser of group {group.index} is unknown, so "
                "the loss has no lower bound. Pass `log_norm` to the Tilted, or train the tilt by "
                "an objective made for it."
            )
