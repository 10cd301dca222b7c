"""``priorwise list``: it says all there is, in one screen."""

import json
import re
from itertools import product

import pytest

from priorwise.config.models import VAEConfig
from priorwise.config.run import DataConfig, Run
from priorwise.config.training import TrainingConfig
from priorwise.data.known_sets import EMBEDDED, NAMED, availability, names, state
from priorwise.recipes import recipes
from priorwise.recipes.family import Family
from priorwise.recipes.listing import details, details_text, overview, overview_text, topics
from priorwise.recipes.published import papers

GROUPS = ["vampprior", "dpvae", "digits", "own", "ncp"]


@pytest.fixture(params=["nothing", "everything"])
def at_hand(request, monkeypatch, tmp_path):
    """A cache with no data set in it, or with all."""
    monkeypatch.delenv("PRIORWISE_DATA", raising=False)
    monkeypatch.setenv("PRIORWISE_CACHE", str(tmp_path))
    if request.param == "everything":
        for name in NAMED:
            (tmp_path / f"{name}.npz").touch()
    return request.param == "everything"


def expanded(pattern: str) -> list[str]:
    """What a shell makes of words in braces."""
    parts = [part.split(",") for part in re.split(r"[{}]", pattern)]
    return ["".join(words) for words in product(*parts)]


def test_patterns_are_the_recipes():
    """Fault: a pattern that promises a recipe which is not there, or forgets one."""
    patterns = [entry["names"] for group in overview()["groups"].values() for entry in group]
    results = [name for pattern in patterns for name in expanded(pattern)]
    assert sorted(results) == sorted(recipes())
    text = re.sub(r"\n +_\{", "_{", overview_text())
    for pattern in patterns:
        assert pattern in text


def test_the_overview_fits_on_one_screen(at_hand):
    lines = overview_text().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100


def test_the_overview_tells_which_data_are_at_hand(at_hand):
    """Fault: a set under the wrong heading, or under none."""
    text = overview_text()
    rows = {
        word: set(re.split(r",\s+", re.search(rf"^  {word} +(.*(?:\n {{12}}.*)*)", text, re.M)[1]))
        for word in ["embedded", *(["at hand"] if at_hand else ["download", "missing"])]
    }
    assert rows.pop("embedded") == set(EMBEDDED)
    assert set.union(*rows.values()) == set(NAMED)
    if not at_hand:
        assert rows["download"] == {"mnist", "fashion_mnist"}
    for name in names():
        place = availability()[name]
        assert place.startswith(str(state(name))) or (at_hand and place.endswith(f"{name}.npz"))


def test_papers_are_named():
    assert f"  {', '.join(papers())}" in overview_text()


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_shows_each_of_its_recipes(group):
    """Fault: a recipe that is left out, a line that is wrapped, a fact that stands nowhere."""
    record = details(group)
    assert list(record["recipes"]) == [name for name in recipes() if name.startswith(f"{group}/")]
    lines = details_text(group).splitlines()
    assert max(map(len, lines)) <= 100
    shared = dict(
        pair.split()
        for pair in lines[1].removeprefix("The same for all: ").split(", ")
        if lines[1].startswith("The same")
    )
    head = next(line for line in lines if line.startswith("recipe ")).split()[1:]
    for name, facts in record["recipes"].items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        told = shared | dict(zip(head, line.split()[1:], strict=True))
        assert told == {key: "-" if fact is None else str(fact) for key, fact in facts.items()}


def test_a_line_says_what_its_run_is():
    """Fault: facts of another recipe, or written beside the recipes and not read from them."""
    for name, facts in details("dpvae")["recipes"].items():
        run = recipes()[name]()
        assert facts == {
            "model": run.model.kind,
            "latents": run.model.latent,
            "prior": run.model.prior.kind,
            "objective": run.objective.kind,
            "data": run.data.name or "--data",
            "epochs": run.training.epochs,
        }


def test_a_name_may_be_several_things():
    """Fault: the data set behind the recipes of its name."""
    assert set(details("digits")) == {"name", "recipes", "data"}
    assert set(details("dpvae")) == {"name", "recipes", "table"}
    assert set(details("vaebm")) == {"name", "table"}
    assert set(details("mnist")) == {"name", "data"}
    text = details_text("digits")
    assert "Recipes of digits" in text
    assert "Data set digits:\n  1x8x8, 17 levels, gaussian likelihood by default" in text


def test_data_sets_say_where_they_are(at_hand):
    """Fault: a missing set without the way to get it."""
    assert "needs no file" in details_text("two_moons")
    words = "at hand: " if at_hand else "missing: expected omniglot.npz"
    assert words in details_text("omniglot")
    assert ("is downloaded when" in details_text("mnist")) != at_hand


@pytest.mark.parametrize("topic", topics())
def test_everything_that_is_offered_is_there(topic):
    assert json.loads(json.dumps(details(topic)))["name"] == topic
    assert details_text(topic)


def test_what_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match=r"a data set or a paper; got 'dpave'. Did you mean 'dpvae'\?"
    ):
        details("dpave")
    with pytest.raises(ValueError, match=r"got 'x'. `priorwise list` shows them"):
        details_text("x")


def test_a_family_makes_every_combination():
    """Fault: words in the wrong places."""

    def make(name: str, *words: str) -> Run:
        data = DataConfig(name="-".join(words))
        return Run(name=name, data=data, model=VAEConfig(), training=TrainingConfig())

    family = Family("g/{}_x_{}", "examples", make, (("a", "b"), ("c",)))
    assert family.group == "g"
    assert family.pattern == "g/{a,b}_x_c"
    made = {name: build() for name, build in family.recipes().items()}
    assert [(name, run.name, run.data.name) for name, run in made.items()] == [
        ("g/a_x_c", "g/a_x_c", "a-c"),
        ("g/b_x_c", "g/b_x_c", "b-c"),
    ]
