"""Settings on top of a recipe."""

import pytest

from priorwise.config.overrides import OverrideError, override
from priorwise.recipes import recipe


def changed(*texts: str, name: str = "own/vae") -> dict:
    return override(recipe(name), texts).model_dump()


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("training.epochs=7", ("training", "epochs"), 7),
        ("training.lr=1e-3", ("training", "lr"), 0.001),
        ("training.patience=null", ("training", "patience"), None),
        ("training.precision=bf16", ("training", "precision"), "bf16"),
        ("training.precision=no", ("training", "precision"), "no"),
        ("model.kind=hvae", ("model", "kind"), "hvae"),
        ('data.name="a=b: c.npz"', ("data", "name"), "a=b: c.npz"),
        ("data.name=runs/faces.npz", ("data", "name"), "runs/faces.npz"),
        ("name=mine", ("name",), "mine"),
    ],
)
def test_values_are_read(text, path, value):
    """Fault: `no` taken for False, 1e-3 for a word, a path cut at its second sign of equality."""
    part = changed(text)
    for name in path:
        part = part[name]
    assert part == value
    assert type(part) is type(value)


def test_nothing_else_changes():
    """Fault: an override that resets its neighbours."""
    before, after = changed(), changed("training.epochs=7")
    before["training"]["epochs"] = 7
    assert before == after


def test_truth_values():
    run = changed("model.prior.kind=mixture", "model.prior.learn_weights=true")
    assert run["model"]["prior"]["learn_weights"] is True
    with pytest.raises(OverrideError, match=r"learn_weights.*got 'on'|learn_weights"):
        changed("model.prior.kind=mixture", "model.prior.learn_weights=perhaps")


@pytest.mark.parametrize("order", [1, -1])
def test_kinds_come_first(order):
    """Fault: fields of a new kind set before the kind, or fields of the old kind that stay."""
    texts = [
        "model.prior.components=20",
        "model.prior.kind=vamp",
        "model.kind=hvae",
        "model.latent=3",
    ][::order]
    model = changed(*texts)["model"]
    assert (model["kind"], model["latent"]) == ("hvae", 3)
    assert (model["prior"]["kind"], model["prior"]["components"]) == ("vamp", 20)
    back = changed("model.prior.kind=standard", name="own/vae_vamp")["model"]["prior"]
    assert back == {"kind": "standard"}
    kept = changed("model.prior.kind=vamp", name="own/vae_vamp")["model"]["prior"]
    assert kept["mean"] == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.epoch=3", r"unknown field 'training\.epoch'\. Did you mean 'epochs'\?"),
        ("trainin.epochs=3", r"unknown field 'trainin'\. Did you mean 'training'\?"),
        ("model.prior.components=3", r"unknown field 'model\.prior\.components'\. There are: kind"),
        ("training.epochs.more=3", r"unknown field 'training\.epochs'"),
        ("epochs", r"form key\.path=value; got 'epochs'"),
        ("=3", r"form key\.path=value"),
        ("training.epochs=[1", r"reads as YAML"),
        ("training.epochs=0", r"training\.epochs: expected at least 1; got 0"),
        ("training.epochs=-2", r"training\.epochs: expected at least 1; got -2"),
        ("model.latent=0", r"  model\.latent: expected at least 1; got 0"),
        ("model.prior.kind=5", r"  model\.prior: .*'standard', 'full_mixture', 'mixture', 'vamp'"),
        ("training.epochs=many", r"training\.epochs: expected a whole number; got 'many'"),
        (
            "training.optimizer=sgd",
            r"training\.optimizer: expected 'adam', 'adam_normalized' or 'adamax'; got 'sgd'",
        ),
        ("epochs=15", r"unknown field 'epochs'\. Did you mean 'training\.epochs'\?"),
        ("seed=3", r"Did you mean 'training\.seed' or 'evaluation\.seed'\?"),
        ("model.epochs=3", r"unknown field 'model\.epochs'\. Did you mean 'training\.epochs'\?"),
        ("training.seed=-1", r"training\.seed: expected at least 0; got -1"),
        ("training.epochs=1" + 22 * "0", r"expected at most 1,000,000,000; got 1000000"),
        ("evaluation.samples=1" + 22 * "0", r"samples: expected at most 1,000,000,000; got"),
        ("model.hidden=1" + 22 * "0", r"hidden: expected at most 1,000,000; got"),
        ("training.lr=" + 4000 * "x", r"training\.lr: expected a number; got 'x+\.\.\.x+'$"),
        ("training.compile=maybe", r"training\.compile: expected true or false; got 'maybe'"),
        ("model.kind=gan", r"model: expected a kind among 'vae', .*'hvae', .*'ncp'; got 'gan'"),
    ],
)
def test_mistakes_are_named(text, words):
    """Fault: a message without the field, the value, or the nearest name."""
    with pytest.raises(OverrideError, match=words):
        changed(text)
