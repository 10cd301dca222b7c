"""The moving average of the weights: its recursion, what is judged and kept, and its resume."""

import copy

import pytest
import torch
from kills import killed_before_each_write, same_bits
from torch import nn
from toys import OPTIONS, splits, with_batch_norm, wrong

from priorwise import fit
from priorwise.objectives import ELBO
from priorwise.training import AbstractCallback, CheckpointError
from priorwise.training.average import WeightAverage
from priorwise.training.checkpoint import read_checkpoint
from priorwise.training.stage import judged


class Weights(AbstractCallback):
    """Every step's weights and batch statistics."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_step(self, moment) -> None:
        state = moment.model.state_dict()
        self.steps.append({name: tensor.detach().clone() for name, tensor in state.items()})

    def on_line(self, moment, line) -> None: ...


def weighted_mean(tensors: list[torch.Tensor], decay: float) -> torch.Tensor:
    """The average in closed form, in double precision: weights in proportion to decay^(n-i)."""
    weights = [decay ** (len(tensors) - 1 - place) for place in range(len(tensors))]
    total = sum(weight * tensor.double() for weight, tensor in zip(weights, tensors, strict=True))
    return total / sum(weights)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_recursion_is_the_weighted_mean(decay):
    """Fault: initial weights that count, a wrong correction of the start, an average in half
    precision, which stands still.
    """
    weight = nn.Parameter(torch.zeros(4, dtype=torch.bfloat16))
    average = WeightAverage({"weight": weight}, decay)
    torch.manual_seed(0)
    values = [torch.randn(4).bfloat16() for _ in range(50)]
    for step, value in enumerate(values):
        weight.data.copy_(value)
        average.update(step + 1)
    held = average.tensors()["average/weight"]
    assert held.dtype == torch.float32
    torch.testing.assert_close(held.double(), weighted_mean(values, decay), rtol=1e-5, atol=1e-6)
    with average.applied():
        assert torch.equal(weight, held.bfloat16())
    assert torch.equal(weight, values[-1])


def test_the_average_is_judged_and_kept(tmp_path):
    """Fault: the last weights judged or kept, averaged batch statistics, a frozen weight that
    drifts, and steps that start from the average.
    """
    torch.manual_seed(0)
    model = with_batch_norm()
    plain = copy.deepcopy(model)
    watched, unwatched = Weights(), Weights()
    options = OPTIONS | {"epochs": 2, "keep": "last"}
    result = fit(model, splits(), out=tmp_path, ema=0.8, callbacks=[watched], **options)
    fit(plain, splits(), callbacks=[unwatched], **options)
    for with_average, without in zip(watched.steps, unwatched.steps, strict=True):
        assert all(same_bits(tensor, without[name]) for name, tensor in with_average.items())
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    for name, tensor in model.state_dict().items():
        if name in trained:
            expected = weighted_mean([state[name] for state in watched.steps], 0.8).float()
            torch.testing.assert_close(tensor, expected)
        else:
            assert same_bits(tensor, watched.steps[-1][name]), name
    x = splits().evaluation("validation")
    assert judged(ELBO(model), x, OPTIONS["batch_size"]) == result.best
    best, _ = read_checkpoint(tmp_path / "best.safetensors")
    assert same_bits(best["model/encoder.body.0.weight"], model.encoder.body[0].weight)


def test_resume_of_an_average_is_bit_exact(tmp_path):
    """Fault: an average that starts again, or a checkpoint of lent weights."""
    torch.manual_seed(0)
    model = with_batch_norm()
    options = OPTIONS | {"checkpoint_seconds": 1e-9, "ema": 0.9}
    quiet, resumed = killed_before_each_write(
        lambda out: fit(copy.deepcopy(model), splits(), out=out, **options), tmp_path, every=3
    )
    assert len(resumed) >= 4
    for result in resumed:
        assert result.history == quiet.history
        for name, tensor in result.model.state_dict().items():
            assert same_bits(tensor, quiet.model.state_dict()[name])


def test_a_fit_that_was_killed_before_its_first_step_goes_on(tmp_path):
    """Fault: a demand for an average that no step has made."""

    class Killed(Weights):
        def on_start(self, moment, history) -> None:
            raise KeyboardInterrupt

    options = OPTIONS | {"epochs": 1, "ema": 0.9}
    with pytest.raises(KeyboardInterrupt):
        fit(wrong(), splits(), out=tmp_path, callbacks=[Killed()], **options)
    assert fit(wrong(), splits(), out=tmp_path, **options).best == (
        fit(wrong(), splits(), **options).best
    )


def test_a_lost_average_is_told(tmp_path):
    """Fault: an average that starts again without a word."""
    model = wrong()
    average = WeightAverage(dict(model.named_parameters()), 0.9)
    with pytest.raises(
        CheckpointError, match=r"expected the average of `\S+`, of shape .* got none"
    ):
        average.load({}, tmp_path)


@pytest.mark.parametrize(("option", "value"), [("ema", 1.0), ("ema", 0.0), ("gradient_clip", 0.0)])
def test_senseless_values_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        fit(wrong(), splits(), **{option: value})
