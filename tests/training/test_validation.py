"""When a fit validates, by what, and which weights it keeps:
every epoch, every n steps, or never.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from kills import killed_before_each_write, same_bits
from torch import Tensor
from toys import Hooked, splits, with_batch_norm, wrong

from priorwise import NCP, fit
from priorwise.data import DataError, Splits
from priorwise.models import AbstractModel
from priorwise.objectives import ELBO, NCE, AbstractObjective, Terms, default_objective
from priorwise.testing import LinearGaussianVAE
from priorwise.training import TrainingConfig
from priorwise.training.checkpoint import read_checkpoint
from priorwise.training.stage import config_for

QUICK: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 25,
    "warmup_epochs": 0,
    "lr": 0.05,
    "progress": False,
}
STEPS = 12  # batches of 25, 25 and 10


class Judged(Hooked):
    """The ELBO, judged by a list of numbers, one a validation."""

    def __init__(self, model: AbstractModel, verdicts: list[float | None]) -> None:
        super().__init__(ELBO(model), lambda terms, step: terms)
        self.verdicts = verdicts
        self.weights: list[Tensor] = []

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float | None:
        if len(x) < 40:  # a few examples by which a checkpoint knows the model
            return 0.0
        self.weights.append(self.inner.model.encoder.weight.detach().clone())
        return self.verdicts[len(self.weights) - 1]


class Unjudged(Hooked):
    def __init__(self, model: AbstractModel) -> None:
        super().__init__(ELBO(model), lambda terms, step: terms)

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> None:
        return None


# -- every n steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        (None, [3, 6, 9, 12]),
        (1, list(range(1, 13))),
        (2, [2, 4, 6, 8, 10, 12]),
        (5, [5, 10, 12]),
        (7, [7, 12]),
        (12, [12]),
        (100, [12]),
    ],
)
def test_lines_stand_where_they_should(every, steps):
    """Fault: an epoch's end that is validated too, a last step that is not, an epoch that is off by
    one.
    """
    result = fit(wrong(), splits(), validate_every=every, **QUICK)
    assert [line["step"] for line in result.history] == steps
    assert [line["epoch"] for line in result.history] == [-(-step // 3) for step in steps]
    assert (result.epochs, result.stopped) == (4, "epochs")
    values = [line["validation"]["negative_elbo"] for line in result.history]
    assert result.best == min(values)
    assert result.best_step == steps[values.index(min(values))]
    assert result.best_epoch == -(-result.best_step // 3)
    assert {line["best_step"] for line in result.history} <= set(steps)


def test_when_to_validate_has_no_influence_on_training():
    """Fault: a validation that draws from the stream of the steps, or moves statistics."""
    plain, often = with_batch_norm(), with_batch_norm()
    often.load_state_dict(plain.state_dict())
    fit(plain, splits(), keep="last", **QUICK)
    fit(often, splits(), keep="last", validate_every=1, **QUICK)
    assert all(
        same_bits(tensor, often.state_dict()[name]) for name, tensor in plain.state_dict().items()
    )


@pytest.mark.parametrize("every", [None, 2, 5])
def test_training_terms_are_means_over_the_examples_since_the_last_line(every):
    """Fault: a mean of batch means, or one divided by an epoch's examples. Batches are 25, 25 and
    10.
    """
    seen: list[tuple[int, float]] = []

    def noted(terms: Terms, step: int) -> Terms:
        if torch.is_grad_enabled():
            seen.append(
                (
                    len(terms.per_example["distortion"]),
                    float(terms.per_example["distortion"].detach().mean()),
                )
            )
        return terms

    model = wrong()
    result = fit(model, splits(), Hooked(ELBO(model), noted), validate_every=every, **QUICK)
    start = 0
    for line in result.history:
        part = seen[start : line["step"]]
        expected = sum(rows * mean for rows, mean in part) / sum(rows for rows, _ in part)
        assert line["train"]["distortion"] == pytest.approx(expected, rel=1e-12)
        start = line["step"]
    assert start == len(seen) == STEPS


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("folder", [True, False], ids=["in a folder", "in memory"])
def test_best_weights_of_the_steps_come_back(every, folder, tmp_path):
    """Fault: the weights of the epoch's end instead of the step's."""
    model = wrong()
    verdicts: list[float | None] = [3.0, 1.0, 2.0, *[4.0] * 9]
    objective = Judged(model, verdicts)
    result = fit(
        model, splits(), objective, validate_every=every, out=tmp_path if folder else None, **QUICK
    )
    assert (result.best, result.best_step) == (1.0, 2 * every)
    assert torch.equal(model.encoder.weight, objective.weights[1])
    if folder:
        _, state = read_checkpoint(tmp_path / "best.safetensors")
        assert state == {"epoch": -(-2 * every // 3), "step": 2 * every, "negative_elbo": 1.0}


@pytest.mark.parametrize(
    ("every", "warmup", "patience", "steps"),
    [
        (1, 0, 3, 4),
        (2, 0, 3, 8),
        (1, 2, 3, 8),
        (5, 0, 1, 10),
        (1, 0, None, 12),
        (1, 5, 1, 12),
        (2, 1, 1, 4),
    ],
)
def test_patience_counts_validations(every, warmup, patience, steps):
    """Fault: patience in epochs, or counted while the weight of the KL still rises (3 steps an
    epoch). Only the first is best.
    """
    model = wrong()
    objective = Judged(model, [1.0, *[2.0] * 11])
    options = QUICK | {"warmup_epochs": warmup}
    result = fit(model, splits(), objective, validate_every=every, patience=patience, **options)
    assert result.history[-1]["step"] == steps
    assert result.stopped == ("patience" if steps < STEPS else "epochs")
    assert result.epochs == steps // 3
    assert result.best_step == every


@pytest.mark.parametrize("seconds", [1e-9, 1e9], ids=["often", "seldom"])
@pytest.mark.parametrize("every", [2, 5])
def test_killed_between_validations(every, seconds, tmp_path):
    """Fault: a line twice or never, sums that start again, an order of examples that does; before
    every write.
    """
    options = QUICK | {"validate_every": every, "checkpoint_seconds": seconds}
    quiet, resumed = killed_before_each_write(
        lambda out: fit(wrong(), splits(), out=out, **options), tmp_path
    )
    for result in resumed:
        assert (result.history, result.best_step) == (quiet.history, quiet.best_step)


# -- never -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("folder", [True, False], ids=["in a folder", "in memory"])
def test_without_a_judge_the_last_weights_are_kept(keep, folder, tmp_path):
    """Fault: a crash on None, the first weights, patience that runs out, a made-up number."""
    model, plain = wrong(), wrong()
    fit(plain, splits(), **QUICK | {"keep": "last"})
    out = tmp_path if folder else None
    result = fit(model, splits(), Unjudged(model), out=out, patience=1, keep=keep, **QUICK)
    assert all(
        same_bits(tensor, model.state_dict()[name]) for name, tensor in plain.state_dict().items()
    )
    assert (result.best, result.best_epoch, result.best_step, result.stopped) == (
        None,
        4,
        12,
        "epochs",
    )
    assert result.metric == "negative_elbo"  # what it would be
    assert [line.keys() for line in result.history] == [
        {"epoch", "step", "train", "best_epoch", "best_step"}
    ] * 4
    if folder:
        tensors, state = read_checkpoint(tmp_path / "best.safetensors")
        assert torch.equal(tensors["model/encoder.weight"], model.encoder.weight)
        assert state == {"epoch": 4, "step": 12}
        assert json.loads(
            (tmp_path / "metrics.jsonl").read_text().splitlines()[0]
        ).keys() == result.history[0].keys() | {"check"}


def test_killed_without_a_judge(tmp_path):
    """Fault: best weights that lag behind the last ones after a kill."""

    def train(out: Path) -> LinearGaussianVAE:
        model = wrong()
        fit(model, splits(), Unjudged(model), out=out, **QUICK)
        return model

    quiet, resumed = killed_before_each_write(train, tmp_path)
    for model in resumed:
        assert torch.equal(model.encoder.weight, quiet.encoder.weight)


def test_a_judge_may_stay_silent_now_and_then():
    """Fault: silence that counts as an improvement, or against patience. Verdicts: none, 2, none,
    3, none, 4.
    """
    model = wrong()
    objective = Judged(model, [None, 2.0, None, 3.0, None, 4.0])
    result = fit(model, splits(), objective, validate_every=2, patience=2, **QUICK)
    assert (result.best, result.best_step, result.stopped) == (2.0, 4, "patience")
    assert torch.equal(model.encoder.weight, objective.weights[1])
    assert ["validation" in line for line in result.history] == [False, True] * 3
    assert [line["best_step"] for line in result.history] == [2, 4, 4, 4, 4, 4]


def test_validation_data_without_an_example_are_refused():
    """Fault: a mean over nothing, found after the first epoch."""
    whole = splits()
    with pytest.raises(
        DataError, match="at least one observation in the validation split; got none"
    ):
        fit(wrong(), Splits(whole.train, whole.validation[:0], whole.test, whole.spec), **QUICK)


def test_one_example_of_each_kind_is_enough():
    """Fault: a division by the number of whole batches, which is none."""
    whole = splits()
    single = Splits(whole.train[:1], whole.validation[:1], whole.test[:1], whole.spec)
    result = fit(wrong(), single, **QUICK)
    assert result.best is not None
    assert len(result.history) == 4


@pytest.mark.parametrize("count", [0, -1])
def test_never_is_no_number_of_steps(count):
    with pytest.raises(ValueError, match="validate_every"):
        TrainingConfig(validate_every=count)


# -- who says so -----------------------------------------------------------------------------------


class OwnModel(LinearGaussianVAE):
    training_defaults = {"epochs": 7, "patience": None}


class OwnObjective(ELBO):
    pass


@default_objective.register
def _(model: OwnModel, *, beta: object = 1.0) -> AbstractObjective:
    return OwnObjective(model, beta=0.5)


class TunedNCP(NCP):
    pass


def test_a_model_says_how_it_is_trained():
    """Fault: a special case of one class in the loop; a kind of model that inherits nothing."""
    assert type(default_objective(wrong())) is ELBO
    assert default_objective(wrong(), beta=0.25).beta == 0.25
    for ncp in (NCP(wrong()), TunedNCP(wrong())):
        assert type(default_objective(ncp)) is NCE
        assert config_for(ncp, {"lr": 0.1}) == TrainingConfig(lr=0.1, warmup_epochs=0, patience=20)
    assert config_for(wrong(), {}) == TrainingConfig()
    own = OwnModel(2, 3)
    assert config_for(own, {"epochs": 2}) == TrainingConfig(epochs=2, patience=None)
    assert type(default_objective(own)) is OwnObjective
    result = fit(own, splits(), batch_size=60, progress=False)
    assert (result.epochs, result.history[0]["train"].keys()) == (7, {"distortion", "rate_1"})
