"""Several seeds as one result, from the command."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest

from priorwise.evaluation import EvaluationRecord
from priorwise.recipes.result import result_of
from priorwise.training import runner
from priorwise.training.not_finite import TrainingDivergedError
from priorwise.training.spread import Spread, error_words

SMALL = [
    "model.hidden=4",
    "model.latent=2",
    "training.epochs=2",
    "training.warmup_epochs=1",
    "training.batch_size=20",
    "evaluation.hole_classifier=false",
    "evaluation.quality=none",
    "evaluation.samples=10",
    "evaluation.images=8",
]
NAMES = ["seed-3", "seed-4"]


@pytest.fixture(scope="module")
def group(images, tmp_path_factory) -> Path:
    """Two seeds, trained and evaluated by the command in this process."""
    out = tmp_path_factory.mktemp("seeds") / "two"
    train = ["train", "own/vae", *SMALL, "--data", images, "--seed", 3, "--seeds", 2, "--out", out]
    for arguments in (train, ["evaluate", out]):
        assert ended(*arguments) == 0
    return out


def ended(*arguments: object) -> int:
    from priorwise.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["priorwise", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    return end.value.code


@pytest.mark.parametrize("values", [(83.0,), (1.0, 2.0), (0.2, 0.4, 0.9)])
def test_the_spread_is_the_textbook_one(values):
    """Fault: n instead of n - 1; a spread of 0 for a single seed; the error of the mean."""
    spread = Spread(values)
    mean = sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    assert spread.mean == pytest.approx(mean)
    if len(values) == 1:
        assert spread.deviation is None
        assert str(spread) == "83.00, standard deviation - over 1 seed"
    else:
        assert spread.deviation == pytest.approx(math.sqrt(squares / (len(values) - 1)))
        assert f"over {len(values)} seeds" in str(spread)


def test_a_small_spread_is_not_shown_as_none():
    """Fault: 0.00 for seeds that differ."""
    assert Spread((80.001, 80.002)).deviation_words == "0.0007"
    assert Spread((88.001, 88.0010001)).deviation_words == "7e-08"
    assert Spread((80.0, 80.0)).deviation_words == "0.00"


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf])
def test_a_seed_without_the_number_is_in_no_mean(unknown):
    """Fault: a mean that is NaN; a number of seeds that the mean is not of."""
    spread = Spread((1.0, unknown, 3.0))
    assert str(spread) == "2.00, standard deviation 1.41 over 2 of 3 seeds"
    assert spread.numbers["seeds"] == 2
    assert str(Spread((unknown,))) == "unknown, standard deviation - over 0 of 1 seed"
    assert error_words(unknown) == "unknown"


def test_evaluate_shows_mean_and_spread_beside_each_error(group, inside):
    """Fault: a mean alone; two kinds of errors in one number; a doubt that is gone."""
    words = inside("evaluate", group)
    record = json.loads(inside("evaluate", group, "--json"))
    assert list(record["members"]) == NAMES
    assert record["seeds"] == [3, 4]
    values = [record["members"][name]["nll"]["value"] for name in NAMES]
    (spread,) = record["summary"]["NLL"]
    assert spread == Spread(tuple(values)).numbers
    mean, deviation = f"{spread['mean']:.2f}", f"{spread['standard_deviation']:.2f}"
    assert f"NLL: {mean} (!); standard deviation {deviation} over 2 seeds" in words
    for name, value in zip(NAMES, values, strict=True):
        member = EvaluationRecord.read(group / name / "evaluation.json")
        assert member.numbers["nll"]["value"] == value
        cell = member.cells()["NLL"]
        assert f"  {name}: {value:.2f} (!) ({'; '.join(cell.small)})" in words
        assert all(f"    warning: {doubt}" in words for doubt in cell.doubts)
    assert "so a mean over seeds does not make it smaller" in words


def test_table_takes_the_seeds_as_one_result(group, inside, monkeypatch, tmp_path):
    """Fault: two rows for two seeds; a result that cannot be committed as it is shown."""
    monkeypatch.setenv("COLUMNS", "300")
    nlls = [EvaluationRecord.read(group / n / "evaluation.json").numbers["nll"] for n in NAMES]
    spread = Spread(tuple(nll["value"] for nll in nlls))
    words = f"two: {spread.mean:.2f} ± {spread.deviation:.2f} (2 seeds) (!) *"
    assert words in inside("table", "vampprior", group)
    more = json.loads(inside("table", "vampprior", group, "--json"))["more"]
    assert [record["seed"] for record in more if record.get("run") == "two"] == [3, 4]
    result = result_of(group, paper="vampprior", notes=("a note",))
    assert result["seeds"] == [3, 4]
    assert [member["nll"] for member in result["members"]] == list(spread.values)
    for member in result["members"]:
        assert "a note" in member["departures"]
        assert "likelihood of 8 random test images for 1000" in member["departures"]
        assert member["departures"][0].startswith("training: latent 2 for 40, hidden 4 for 300, ")
        assert not member["other_data"]


def test_the_report_has_the_summary_and_links_each_seed(group, inside):
    """Fault: a page of the first seed alone; a link to nowhere; a mean without its doubt."""
    assert "links that of each" in inside("report", group)
    page = (group / "report.html").read_text()
    record = json.loads((group / "report.json").read_text())
    (spread,) = record["summary"]["NLL"]
    assert record["verdict"] == (
        f"NLL {spread['mean']:.2f} (!); standard deviation "
        f"{spread['standard_deviation']:.2f} over 2 seeds."
    )
    assert record["verdict"] in page
    for name in NAMES:
        assert f'<a href="{name}/report.html">{name}</a>' in page
        assert (group / name / "report.html").is_file()
        assert any(
            words.startswith(f"mean, NLL: the number of {name}") for words in record["warnings"]
        )
    assert "so a mean over seeds does not make it smaller" in page


def test_training_again_extends_the_seeds_that_are_there(group, inside, images, tmp_path):
    """Fault: --out of a group without --seeds that is taken for a folder of something else."""
    out = tmp_path / "group"
    shutil.copytree(group, out)
    again = ["train", "own/vae", *SMALL, "--data", images, "--seed", 3, "--out", out, "--json"]
    record = json.loads(inside(*again))
    assert list(record["members"]) == NAMES
    bests = tuple(record["members"][name]["best"] for name in NAMES)
    assert record["best"] == Spread(bests).numbers
    assert "seed-5: negative_elbo" in inside(*again[:-1], "--seeds", 3)
    words = inside("evaluate", out)
    assert "over 3 seeds" in words


@pytest.mark.filterwarnings("ignore:.*goes on to 3 epochs")
def test_a_table_refuses_numbers_of_earlier_weights(group, inside, refused, images, tmp_path):
    """Fault: numbers of two epochs in the row of a run of three."""
    out = tmp_path / "group"
    shutil.copytree(group, out)
    longer = [*SMALL, "training.epochs=3", "--data", images, "--seed", 3, "--out", out]
    inside("train", "own/vae", *longer)
    for run in (out, out / "seed-3"):
        message = " ".join(refused("table", "vampprior", run).split())
        assert "it was trained on since it was evaluated. Run `priorwise evaluate" in message


def test_a_single_seed_has_no_spread(inside, images, tmp_path):
    """Fault: a spread of 0, which says that training leaves nothing to chance."""
    out = tmp_path / "one"
    train = ["train", "own/vae", *SMALL, "--data", images, "--seeds", 1, "--out", out]
    assert "standard deviation - over 1 seed" in inside(*train)
    assert "standard deviation - over 1 seed" in inside("evaluate", out)


def test_a_seed_that_diverges_is_named_everywhere(group, images, tmp_path, monkeypatch, capsys):
    """Fault: a mean over the seeds that happened to work; a command that ends with 0."""
    train = runner.train_run

    def diverging(run, *arguments, **options):
        if run.training.seed == 5:
            raise TrainingDivergedError("NaN at step 3.")
        return train(run, *arguments, **options)

    monkeypatch.setattr(runner, "train_run", diverging)
    out = tmp_path / "group"
    shutil.copytree(group, out)
    command = ["train", "own/vae", *SMALL, "--data", images, "--seed", 3, "--seeds", 3]
    assert ended(*command, "--out", out) == 2
    printed = capsys.readouterr()
    assert "seed-4: negative_elbo" in printed.out
    assert "error: 1 of 3 seeds diverged: seed-5 (NaN at step 3.)" in printed.err
    assert ended("evaluate", out) == 0
    assert "warning: seed-5 diverged: NaN at step 3; it is in no mean." in capsys.readouterr().out


def test_commands_for_one_run_take_the_first_seed_and_say_so(group, tmp_path, capsys):
    """Fault: a picture of one seed that passes for all of them."""
    for command in (
        ["sample", group, "-n", 4, "--out", tmp_path / "samples.png"],
        ["traverse", group, "--out", tmp_path / "walks.png"],
        ["compare", group, "--draws", 20, "--out", tmp_path / "comparison.png"],
    ):
        assert ended(*command) == 0
        assert "this is its first member, seed-3. Name another one" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "digits/vamp", "--jobs", 2], "expected --seeds together with --jobs"),
        (["train", "ncp/posthoc", "--base", "GROUP"], "Name one of its members, such as"),
        (["train", "own/vae", "--data", "digits", "--out", "GROUP"], "its values of training.seed"),
        (["train", "own/vae", "--seeds", 0], "Invalid value"),
    ],
)
def test_seeds_are_refused_in_words(group, refused, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    message = refused(*[group if part == "GROUP" else part for part in arguments])
    assert words in " ".join(message.split())


@pytest.mark.parametrize(("command", "words"), [("evaluate", " to continue."), ("sample", ".")])
def test_ctrl_c_is_answered_in_every_command(group, monkeypatch, capsys, command, words):
    """Fault: a command that ends without a word; one that promises to go on and starts over."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("priorwise.training.run_group.read_group", interrupted)
    monkeypatch.setattr("priorwise.evaluation.runs.read_group", interrupted)
    assert ended(command, group) == 130
    assert capsys.readouterr().err.endswith(f"stopped; run the same command again{words}\n")
