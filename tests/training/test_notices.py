"""What a fit says about itself: a loss that exploded, and a warm-up without an end."""

import json

import pytest
from toys import splits, with_batch_norm, wrong

from priorwise.config.training import TrainingConfig
from priorwise.objectives import ELBO
from priorwise.training import fit
from priorwise.training.notices import diverged, still_warming_up

QUICK = {"epochs": 3, "batch_size": 20, "warmup_epochs": 0, "progress": False}


def lines(*values: float) -> list[dict]:
    return [{"validation": {"loss": value}} for value in values]


@pytest.mark.parametrize(
    ("untrained", "values", "words"),
    [
        (100.0, [90.0, 80.0], None),
        (100.0, [101.0, 109.0], None),  # noise around a model that cannot be improved
        (100.0, [3e11, 1e11], "its best loss is 1e+11, while that of the untrained model is 100"),
        (-50.0, [-40.0, -44.0], "is -44, while that of the untrained model is -50"),
        (100.0, [60.0, 480.0], "loss rose from 60 to 480"),
        (100.0, [60.0, 109.0], None),
        (1e5, [90.0, 9e5], "loss rose from 90 to 9e+05"),  # whatever was gained before
        (-0.002, [-0.001], None),  # the zero of a density depends on the unit of the data
        (2.8, [2.0, 3.5], None),
        (0.01, [1.2, 1.3], "its best loss is 1.2"),
        (100.0, [99.0, 205.0], "loss rose from 99 to 205"),
        (None, [1e11], None),
    ],
)
def test_divergence_is_told_by_the_untrained_model(untrained, values, words):
    """Fault: the first epoch as the measure, which is already lost at a rate far too high."""
    doubts = diverged("loss", untrained, min(values), lines(*values))
    assert len(doubts) == (words is not None)
    assert words is None or words in doubts[0]


def test_a_fit_that_explodes_ends_with_a_warning(tmp_path):
    """Fault: a loss of 1e11 and exit 0. The warning stays with the run."""
    out = tmp_path / "run"
    with pytest.warns(UserWarning, match="the fit diverged") as told:
        result = fit(wrong(), splits(), out=out, **QUICK | {"lr": 10.0})
    assert result.warnings == (str(told[0].message),)
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert tuple(last["warnings"]) == result.warnings
    again = fit(wrong(), splits(), out=out, **QUICK | {"lr": 10.0})
    assert again.warnings == result.warnings
    assert fit(wrong(), splits(), **QUICK | {"lr": 0.01}).warnings == ()


@pytest.mark.parametrize(
    ("epochs", "warmup", "words"),
    [(4, 2, None), (4, 3, None), (4, 4, "trained for one epoch only"), (4, 5, "never trained")],
)
def test_a_warm_up_without_an_end_is_told(epochs, warmup, words):
    """Of 60 examples, batches of 20. Weight 1 is reached in the epoch that is the last of the
    warm-up.
    """
    config = TrainingConfig(epochs=epochs, warmup_epochs=warmup, batch_size=20)
    objective = ELBO(wrong(), beta=config.kl_weight(60))
    notices = still_warming_up(objective, config, steps_per_epoch=3)
    assert len(notices) == (words is not None)
    if words:
        assert words in notices[0]
        assert f"`warmup_epochs` is {warmup}" in notices[0]
        assert still_warming_up(ELBO(wrong(), beta=0.5), config, 3) == ()


def test_statistics_of_other_weights_are_told(capsys):
    """Fault: an average that is judged with the batch statistics of the last weights, in silence;
    a note where nothing is averaged, or nothing has such statistics.
    """
    options = QUICK | {"epochs": 1, "lr": 0.01, "progress": True}
    told = []
    for model, ema in ((with_batch_norm(), 0.9), (with_batch_norm(), None), (wrong(), 0.9)):
        fit(model, splits(), ema=ema, **options)
        told.append("note: the average of the weights (`ema`)" in capsys.readouterr().err)
    assert told == [True, False, False]


def test_the_notice_comes_first(capsys):
    """Fault: a word at the end of a fit of hours only, or one where all output is off."""
    result = fit(wrong(), splits(), **QUICK | {"warmup_epochs": 10, "lr": 0.01})
    assert capsys.readouterr().err == ""
    assert "never trained" in result.warnings[0]
    fit(wrong(), splits(), **QUICK | {"warmup_epochs": 10, "lr": 0.01, "progress": True})
    assert "note: the full objective is never trained" in capsys.readouterr().err
