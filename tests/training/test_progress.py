"""What a fit says: lines where standard error is no terminal, a bar where it is, three lines at
the end.
"""

import re
import sys
import time

import pytest
from toys import OPTIONS, splits, wrong

from priorwise import fit, progress
from priorwise.objectives import ELBO
from priorwise.progress import progress_bar
from priorwise.training import TrainingDivergedError

SHOWN = OPTIONS | {"progress": True}


@pytest.mark.parametrize("every", [None, 1, 2, 5])
def test_one_line_an_epoch_without_a_terminal(every, capsys):
    """Fault: a bar in a log file, a line for each of many validations, or none where validations
    are rarer than epochs.

    Three steps make an epoch. With a validation every 5 steps lines come after steps 5 and 9.
    """
    result = fit(wrong(), splits(), validate_every=every, **SHOWN)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("training")]
    expected = [2, 3] if every == 5 else [1, 2, 3]
    pattern = r"training: epoch (\d) of 3: negative_elbo (\S+), best (\S+?)(; about \d+ s left)?"
    found = [re.fullmatch(pattern, line) for line in lines]
    assert all(found), lines
    assert [int(match[1]) for match in found] == expected
    assert [bool(match[4]) for match in found] == [*[True] * (len(expected) - 1), False]
    assert float(found[-1][3]) == pytest.approx(result.best, abs=0.01)


def test_an_objective_without_a_verdict_has_its_line(capsys):
    """Fault: silence for a whole fit that judges nothing."""

    class Unjudged(ELBO):
        def judge(self, x, *, batch_size, seed):
            return None

    model = wrong()
    result = fit(model, splits(), Unjudged(model), **SHOWN)
    assert "\ntraining: epoch 1 of 3; about" in capsys.readouterr().err
    assert (
        "Nothing was judged, so LinearGaussianVAE has its last weights, those of epoch 3."
        in str(result)
    )


def test_other_loops_have_a_line_now_and_then(monkeypatch, capsys):
    """Fault: an hour without a word, or a line for each of a million images.

    The clock moves 7 seconds with each of 20 images.
    """
    clock = iter(7.0 * tick for tick in range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress_bar("likelihood", 20, done=0, unit="images") as advance:
        for _ in range(20):
            advance(1)
    assert capsys.readouterr().err.splitlines() == [
        "likelihood: 5 of 20 images; about 105 s left",
        "likelihood: 10 of 20 images; about 70 s left",
        "likelihood: 15 of 20 images; about 35 s left",
        "likelihood: 20 of 20 images",
    ]


def test_a_short_loop_says_nothing(capsys):
    """Fault: noise from every loop of a second."""
    with progress_bar("likelihood", 20) as advance:
        advance(20)
    with progress_bar("training", 20, show=False) as advance:
        advance(20, status="epoch 1", milestone=True)
    assert capsys.readouterr().err == ""


def test_a_resumed_loop_counts_its_own_time(monkeypatch, capsys):
    """Fault: a time left that takes what an earlier session did for this session's work."""
    clock = iter([0.0, 40.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress_bar("training", 100, done=50) as advance:
        advance(10)
    assert capsys.readouterr().err == "training: 60 of 100; about 160 s left\n"


def test_a_terminal_has_its_bar(monkeypatch, capsys):
    """Fault: lines where a bar belongs."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert progress._draws_bars()
    monkeypatch.setenv("TERM", "dumb")
    assert not progress._draws_bars()


# -- what a fit came to ----------------------------------------------------------------------------


def test_a_result_prints_in_three_lines(tmp_path):
    """Fault: a dump of all lines of metrics and of the model; a verdict without its epoch."""
    result = fit(wrong(), splits(), out=tmp_path / "run", **OPTIONS)
    assert repr(result) == str(result)
    first, second, third = str(result).splitlines()
    assert re.fullmatch(
        r"LinearGaussianVAE was trained for 3 epochs \(all of them\) in \d+\.\d s: "
        r"decoder, encoder: 20 of 20 parameters of the model\.",
        first,
    )
    assert second.startswith(
        f"negative_elbo {result.best:.4g} on validation data (lower is better)"
    )
    assert f"weights of epoch {result.best_epoch}, which" in second
    assert third == (
        f'Kept in {tmp_path / "run"}. Next: priorwise.report(result.model, data, "report.html").'
    )
    kept = fit(wrong(), splits(), **OPTIONS | {"epochs": 9, "patience": 1, "lr": 1e-30})
    assert "2 epochs (stopped early, as validation no longer improved) in" in str(kept)
    assert "Kept in memory; `out=FOLDER` keeps a fit on the disk." in str(kept)


def test_divergence_names_clipping():
    """The message names every setting that helps."""
    with pytest.raises(TrainingDivergedError, match="set `gradient_clip`"):
        fit(wrong(), splits(), **OPTIONS | {"lr": 1e30})
