"""Clipping, and optimisers and schedules of the user's own: by hand, recorded, resumed."""

import copy
import json
import math
from collections.abc import Mapping

import pytest
import torch
from kills import killed_before_each_write, same_bits
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, AdamW, NAdam
from torch.optim.lr_scheduler import (
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from toys import OPTIONS, Hooked, checks_off, splits, wrong

from priorwise import fit
from priorwise.models import moons_vae
from priorwise.objectives import ELBO, Discriminator, FactorVAE, Terms
from priorwise.training import AbstractCallback, CheckpointError, RunFolderError
from priorwise.training.checkpoint import read_checkpoint, write_checkpoint
from priorwise.training.folder import read_record
from priorwise.training.plain import is_plain, restored
from priorwise.training.run_identity import name_of

OWN = {name: value for name, value in OPTIONS.items() if name != "lr"}


class Rates(AbstractCallback):
    """The learning rate after each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_step(self, moment) -> None:
        self.rates.append(moment.optimizers["model"].param_groups[0]["lr"])

    def on_line(self, moment: object, line: Mapping) -> None: ...


def straight(model: nn.Module, slope: float) -> Hooked:
    """A loss whose gradient is the slope in each of the decoder's weights, and 0 elsewhere."""

    def change(terms: Terms, step: int) -> Terms:
        total = slope * model.decoder.weight.sum() + 0 * sum(p.sum() for p in model.parameters())
        return Terms({"slope": total.expand(2)})

    return Hooked(ELBO(model), change)


@pytest.mark.filterwarnings("ignore:the fit diverged")
@pytest.mark.parametrize("clip", [None, 0.5, 1e3])
def test_one_clipped_step_by_hand(clip):
    """Fault: a clip by value, one norm a tensor, a clip after the step, or Adam instead of SGD.

    The whole gradient has the norm 3 sqrt(n); a clip to 0.5 leaves 0.5 / sqrt(n) in each weight.
    """
    model = wrong()
    before = model.decoder.weight.detach().clone()
    norm = 3.0 * math.sqrt(before.numel())
    fit(
        model,
        splits(),
        straight(model, 3.0),
        **OWN | {"epochs": 1, "batch_size": 60},
        gradient_clip=clip,
        optimizer=lambda parameters: SGD(parameters, lr=0.1),
    )
    scale = 1.0 if clip is None else min(1.0, clip / norm)
    expected = before - 0.1 * 3.0 * scale
    torch.testing.assert_close(model.decoder.weight.detach(), expected, rtol=1e-5, atol=1e-6)


def test_each_player_is_clipped_alone():
    """Fault: a clip that only the first player gets, or one norm over all players."""
    torch.manual_seed(0)
    model = moons_vae()
    objective = FactorVAE(model, 2, discriminator=Discriminator(2, (8,)))
    before = {name: each.detach().clone() for name, each in objective.named_parameters()}
    x = torch.rand(40, 2)
    fit(
        model,
        x,
        objective,
        **OWN | {"epochs": 1, "batch_size": 100},
        gradient_clip=1e-3,
        optimizer=lambda parameters: SGD(parameters, lr=1.0),
    )
    for player in objective.players:
        owned = {id(parameter) for parameter in player.trained()}
        moved = [
            each.detach() - before[name]
            for name, each in objective.named_parameters()
            if id(each) in owned
        ]
        length = torch.stack([move.norm() for move in moved]).norm()
        assert float(length) == pytest.approx(1e-3, rel=1e-2), player.name


SCHEDULES = {
    "StepLR, epochs": (lambda o: StepLR(o, 1, 0.5), "epoch", [1, 1, 0.5, 0.5, 0.5, 0.25]),
    "StepLR, steps": (lambda o: StepLR(o, 2, 0.5), "step", [1, 0.5, 0.5, 0.25, 0.25, 0.125]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_stepped_when_it_says(name):
    """Fault: a schedule that is stepped at each line, before the first step, or not at all.

    Three steps make an epoch; the rate is noted after a step and after its schedule.
    """
    schedule, every, factors = SCHEDULES[name]
    rates = Rates()
    options = OWN | {"epochs": 2, "validate_every": 1}
    fit(
        wrong(),
        splits(),
        callbacks=[rates],
        optimizer=lambda parameters: SGD(parameters, lr=0.1),
        schedule=schedule,
        schedule_every=every,
        **options,
    )
    assert rates.rates == pytest.approx([0.1 * factor for factor in factors])


def test_without_a_schedule_the_rate_of_an_own_optimizer_is_constant():
    """Fault: our cosine over the user's rates; one rate for all groups."""
    rates = Rates()

    def groups(parameters: list[nn.Parameter]) -> SGD:
        return SGD([{"params": parameters[:1], "lr": 0.2}, {"params": parameters[1:]}], lr=0.1)

    fit(wrong(), splits(), optimizer=groups, callbacks=[rates], **OWN)
    assert rates.rates == [0.2] * 9
    rates = Rates()
    fit(wrong(), splits(), optimizer=groups, schedule="cosine", callbacks=[rates], **OWN)
    assert rates.rates[0] == 0.2 > rates.rates[1] > rates.rates[-1] > 0


def test_a_plateau_lowers_the_rate():
    """Fault: a schedule that waits for a plateau and never hears of the validation."""
    rates = Rates()
    fit(
        wrong(),
        splits(),
        optimizer=lambda parameters: SGD(parameters, lr=1e-30),
        schedule=lambda optimizer: ReduceLROnPlateau(optimizer, factor=0.1, patience=0, eps=0),
        callbacks=[rates],
        **OWN | {"epochs": 4},
    )
    assert rates.rates[::3] == pytest.approx([1e-30, 1e-30, 1e-31, 1e-32], rel=1e-6)


def sequential(optimizer: torch.optim.Optimizer) -> SequentialLR:
    rise = LinearLR(optimizer, 0.1, total_iters=2)
    return SequentialLR(optimizer, [rise, MultiStepLR(optimizer, [1, 2], 0.5)], [2])


PAIRS = {
    "SGD, sequential": (lambda p: SGD(p, lr=0.05, momentum=0.9), sequential, "step"),
    "SGD, multi-step": (lambda p: SGD(p, lr=0.05), lambda o: MultiStepLR(o, [1, 2], 0.5), "epoch"),
    "NAdam, one cycle": (
        lambda p: NAdam(p, lr=0.05),
        lambda o: OneCycleLR(o, 0.1, total_steps=9),
        "step",
    ),
    "AdamW, function": (
        lambda p: AdamW(p, lr=0.05),
        lambda o: LambdaLR(o, lambda epoch: 0.7**epoch),
        "epoch",
    ),
    "Adagrad, plateau": (
        lambda p: Adagrad(p, lr=0.05),
        lambda o: ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=10.0),
        "epoch",
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("name", PAIRS)
def test_resume_is_bit_exact(name, tmp_path):
    """Fault: a moment, a rate, a count or a milestone that is not in the checkpoint, or that comes
    back from JSON as text.
    """
    optimizer, schedule, every = PAIRS[name]
    options = OWN | {"checkpoint_seconds": 1e-9}

    def train(out):
        return fit(
            wrong(),
            splits(),
            out=out,
            optimizer=optimizer,
            schedule=schedule,
            schedule_every=every,
            **options,
        )

    quiet, resumed = killed_before_each_write(train, tmp_path, every=3)
    assert len(resumed) >= 4
    for result in resumed:
        assert result.history == quiet.history
        for parameter, expected in zip(
            result.model.parameters(), quiet.model.parameters(), strict=True
        ):
            assert same_bits(parameter, expected)


def test_the_folder_records_class_and_settings(tmp_path):
    """Fault: a run that goes on with another optimiser or another schedule without a word."""

    def train(lr: float, gamma: float) -> None:
        fit(
            wrong(),
            splits(),
            out=tmp_path,
            optimizer=lambda parameters: SGD(parameters, lr=lr, momentum=0.9),
            schedule=lambda optimizer: StepLR(optimizer, 2, gamma),
            **OWN,
        )

    train(0.1, 0.5)
    own = json.loads((tmp_path / "run.json").read_text())["identity"]["own"]["model"]
    assert own["optimizer"]["class"] == "torch.optim.sgd.SGD"
    assert (own["optimizer"]["lr"], own["optimizer"]["momentum"]) == (0.1, 0.9)
    assert own["schedule"]["class"] == "torch.optim.lr_scheduler.StepLR"
    assert (own["schedule"]["step_size"], own["schedule"]["every"]) == (2, "epoch")
    with pytest.raises(RunFolderError, match=r"own\.model\.optimizer\.lr was 0\.1, now 0\.2"):
        train(0.2, 0.5)
    with pytest.raises(RunFolderError, match=r"own\.model\.schedule\.gamma was 0\.5, now 0\.4"):
        train(0.1, 0.4)
    with pytest.raises(RunFolderError, match=r"own\.model\.optimizer\.class was 'torch"):
        fit(wrong(), splits(), out=tmp_path, **OPTIONS)


SGD_ = {"optimizer": lambda parameters: SGD(parameters, lr=0.1)}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"optimizer": lambda p: SGD(p[:1], lr=0.1)}, ValueError, "leaves out 5 of them and has 0"),
        (
            {"optimizer": lambda p: SGD([*p, nn.Parameter(torch.zeros(1))], lr=0.1)},
            ValueError,
            "leaves out 0 of them and has 1 others",
        ),
        ({"optimizer": lambda p: p}, TypeError, "to return a torch.optim.Optimizer; got list"),
        ({"optimizer": LBFGS}, ValueError, "without a closure; got LBFGS"),
        (
            {"optimizer": lambda p: SGD(p, lr=torch.tensor(0.1))},
            ValueError,
            "Give `lr` as a number",
        ),
        (SGD_ | {"lr": 0.1}, ValueError, "`lr` inside your own optimizer; got it as an option"),
        (
            {"schedule": lambda o: StepLR(o, 1), "lr_warmup_steps": 3},
            ValueError,
            "`lr_warmup_steps` inside your own schedule",
        ),
        ({"schedule": lambda o: o}, TypeError, "a scheduler of torch.optim.lr_scheduler; got Adam"),
        (
            {"schedule": lambda o: StepLR(SGD([nn.Parameter(torch.ones(1))]), 1)},
            ValueError,
            "StepLR over another one",
        ),
        ({"schedule": lambda o: OneCycleLR(o, 1, 9)}, ValueError, "'step'` for OneCycleLR"),
        (
            {"schedule": lambda o: OneCycleLR(o, 1, 5), "schedule_every": "step"},
            ValueError,
            "the 9 steps of this fit or more; got 5",
        ),
        ({"schedule_every": "step"}, ValueError, "together with a `schedule` of your own"),
        ({"optimizer": "sgd"}, ValueError, "optimizer"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_folder_exists(options, error, words, tmp_path):
    """Fault: an error from deep inside, or a setting that has no effect."""
    model = wrong()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=words):
        fit(model, splits(), out=tmp_path / "run", **OWN, **options)
    assert not (tmp_path / "run").exists()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_unknown_interval_is_refused():
    """Fault: a word that no branch knows, taken for the other one."""
    with checks_off(), pytest.raises(ValueError, match="'epoch' or 'step'; got 'batch'"):
        fit(wrong(), splits(), schedule_every="batch")


def test_plain_state_goes_through_json():
    """Fault: numbers as keys that come back as text, tuples as lists, an infinity lost."""
    state = {"milestones": {30: 1}, "betas": (0.9, 0.99), "best": math.inf, "list": [1, [2.5]]}
    assert restored(state, json.loads(json.dumps(state))) == state
    assert is_plain(state)
    assert not is_plain({"best": torch.zeros(1)})
    assert not is_plain([print])


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"groups": []},
        {"groups": [5]},
        {"state": {"99": {}}},
        {"schedule": None},
        {"state": [1]},
    ],
    ids=str,
)
def test_a_damaged_state_of_an_own_optimiser_is_refused(damage, tmp_path):
    """Fault: a traceback from a checkpoint that lacks what the optimiser or its schedule kept."""
    own = {
        "optimizer": lambda parameters: SGD(parameters, lr=0.01),
        "schedule": lambda optimizer: StepLR(optimizer, 2),
    }
    fit(wrong(), splits(), out=tmp_path, **OWN, **own)
    tensors, state = read_checkpoint(tmp_path / "last.safetensors")
    kept = state["optimizers"]["model"]
    state["optimizers"]["model"] = kept | damage if damage else {}
    run = name_of(read_record(tmp_path / "run.json")["identity"])
    write_checkpoint(tmp_path / "last.safetensors", tensors, state, run=run)
    with pytest.raises(CheckpointError, match=r"optimiser of 'model' .*; its `\w+` is missing or"):
        fit(wrong(), splits(), out=tmp_path, **OWN, **own)


def test_an_optimizer_that_keeps_nothing_resumes(tmp_path):
    """Fault: plain gradient descent, whose missing state is taken for damage."""
    options = {**OWN, "optimizer": lambda parameters: SGD(parameters, lr=1e-3)}
    first = fit(wrong(), splits(), out=tmp_path / "run", **options)
    assert fit(wrong(), splits(), out=tmp_path / "run", **options).history == first.history
