"""A setting that the validation bound chooses, from the command."""

import json
import sys
from pathlib import Path

import pytest

from priorwise.training import FitResult, load, read_group

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


def ended(*arguments: object) -> int:
    from priorwise.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["priorwise", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    return end.value.code


@pytest.fixture(scope="module")
def train(images, tmp_path_factory) -> list[object]:
    """The command that chooses among two numbers of pseudo-inputs."""
    out = tmp_path_factory.mktemp("candidates") / "k"
    values = "candidates.values=[2,5]"
    return ["train", "own/vae_vamp", *SMALL, values, "--data", images, "--out", out]


@pytest.fixture(scope="module")
def chosen(train) -> Path:
    """The folder of the candidates, after it."""
    assert ended(*train) == 0
    return train[-1]


def test_the_command_says_what_was_chosen_and_why(train, chosen, capsys):
    assert ended(*train) == 0  # once more, to see what it prints
    lines = capsys.readouterr().out.splitlines()
    choice = read_group(chosen).choice
    assert [line.partition(":")[0] for line in lines[:2]] == ["components-2", "components-5"]
    assert lines[2] == f"chosen: components-{choice.value}; {choice.why}"
    assert lines[3] == f"Next: priorwise evaluate {chosen}"
    assert ended(*train, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["choice"]["value"] == choice.value
    assert record["choice"]["numbers"] == choice.numbers
    assert set(record["members"]) == {"components-2", "components-5"}


def test_doubts_about_the_fits_are_repeated_at_the_end(train, chosen, capsys, monkeypatch):
    """Fault: a candidate that diverged after its best, chosen without a word."""
    monkeypatch.setattr(FitResult, "warnings", property(lambda result: (result.folder.name + "!",)))
    assert ended(*train) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:5] == [f"warning: {name}: {name}!" for name in read_group(chosen).members]
    assert lines[5].startswith("Next: ")


def test_the_other_commands_take_the_chosen_one(chosen, capsys):
    """Fault: the first candidate instead, or a mean over runs that are not one."""
    member = chosen / f"components-{read_group(chosen).choice.value}"
    assert ended("evaluate", chosen, "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["nll"] == json.loads((member / "evaluation.json").read_text())["nll"]
    assert not any((chosen / name / "evaluation.json").exists() for name in others(chosen))
    for command in ("sample", "report"):
        assert ended(command, chosen) == 0
        assert f"{member.name} was chosen" in capsys.readouterr().err
    assert (member / "samples.png").exists()
    assert (chosen / "report.html").exists()
    assert len(load(chosen).prior.pseudo_inputs) == read_group(chosen).choice.value


def others(folder: Path) -> list[str]:
    group = read_group(folder)
    return [name for name in group.members if name != group.name_of(group.choice.value)]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seeds", 2], "expected candidates or --seeds; got both. Choose first"),
        (["candidates.values=[]"], "they differ in model.prior.components, not in training.seed"),
        (["candidates.values=[2]"], "A group may grow but not shrink"),
        (["candidates.values=[2,5,x]"], "model.prior.components"),
        (["candidates.setting=model.latent"], "not in model.latent"),
    ],
)
def test_another_choice_in_the_folder_is_refused(train, chosen, more, words, capsys):
    before = (chosen / "group.json").read_bytes()
    assert ended(*train, *more) == 2
    assert words in capsys.readouterr().err
    assert (chosen / "group.json").read_bytes() == before
