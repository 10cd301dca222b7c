"""A run is measured once: the command, the page, the table,
the card and the comparison show that record.
"""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from priorwise.conditionals import PixelConditional
from priorwise.config import DataConfig, EvaluationConfig, NCPConfig, Run, TrainingConfig, VAEConfig
from priorwise.data import as_splits
from priorwise.estimators import nll
from priorwise.evaluation import (
    QUANTITIES,
    EvaluationRecord,
    Subject,
    evaluate_run,
    kept_record,
    measure,
    measuring,
    record_of_run,
)
from priorwise.models import moons_vae, pixel_hvae
from priorwise.recipes.result import result_record
from priorwise.reporting import model_card, report_runs
from priorwise.reporting.comparison import compare_runs
from priorwise.reporting.entries import side_by_side
from priorwise.reporting.tables import record_lines
from priorwise.training.checkpoint import read_checkpoint, write_checkpoint
from priorwise.training.run_data import load_splits
from priorwise.training.runner import load, train_run

EVALUATION = EvaluationConfig(samples=30, images=None, quality="raw", log_norm_samples=2000)
TRAINING = TrainingConfig(epochs=2, warmup_epochs=0, seed=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    """A VAE on two moons and an NCP over it."""
    root = tmp_path_factory.mktemp("runs")
    base = Run(
        name="own/vae",
        data=DataConfig(name="two_moons"),
        model=VAEConfig(latent=2, hidden=8),
        training=TRAINING,
        evaluation=EVALUATION,
    )
    ncp = base.model_copy(
        update={
            "name": "ncp/posthoc",
            "model": NCPConfig(base=base.model, base_run=str(root / "vae"), hidden_features=(8,)),
        }
    )
    for name, run in (("vae", base), ("ncp", ncp)):
        train_run(run, root / name, progress=False)
    return {"vae": root / "vae", "ncp": root / "ncp"}


@pytest.fixture
def runs(trained, tmp_path) -> dict[str, Path]:
    """Copies, which a test may write to."""
    for name, folder in trained.items():
        shutil.copytree(folder, tmp_path / name)
    return {name: tmp_path / name for name in trained}


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The keys of all quantities that are computed from now on."""
    computed: list[str] = []
    for quantity in QUANTITIES:
        compute = quantity.compute

        def noted(subject, key=quantity.key, compute=compute):
            computed.append(key)
            return compute(subject)

        monkeypatch.setitem(vars(quantity), "compute", noted)
    return computed


def test_every_view_shows_the_same_words(runs, tmp_path):
    """Fault: two NLLs of one run, or one that is rounded in another way."""
    record = evaluate_run(runs["vae"], progress=False)
    page = report_runs({"vae": runs["vae"]}, tmp_path / "page.html", progress=False)
    html = page.read_text(encoding="utf-8")
    stored = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    card = model_card(side_by_side({"vae": record}))
    lines = record_lines(record)
    _, compared = compare_runs([runs["vae"]], tmp_path / "picture.png")
    assert compared["vae"].numbers == record.numbers
    assert stored["models"]["vae"] == record.numbers | {"gain": None, "same_vae": False}
    assert page.with_suffix(".md").read_text(encoding="utf-8") == card
    rows = {row["title"]: row["cells"][0] for row in stored["table"]["rows"]}
    assert rows.keys() == record.cells().keys()
    for title, cell in record.cells().items():
        assert rows[title]["text"] == cell.marked
        assert cell.marked in html
        assert f"| {title} | {cell.marked}" in card
        assert any(line.startswith(f"{title}: {cell.marked}") for line in lines)
        for doubt in cell.doubts:
            assert f"  warning: {doubt}" in lines
            assert any(doubt in said for said in stored["warnings"])
    committed = result_record(runs["vae"], paper="own")
    assert committed["nll"] == record.numbers["nll"]["value"]
    assert f"{committed['nll']:.2f}" == record.cells()["NLL"].text


def test_the_numbers_are_those_of_the_estimators(runs):
    """Fault: a record whose settings do not reach the estimator."""
    record = evaluate_run(runs["vae"], progress=False, samples=20, images=50, seed=3)
    x = load_splits(runs["vae"]).evaluation("test")
    expected = nll(load(runs["vae"]), x[record_rows(x, 50, 3)], samples=20, seed=3)
    assert record.numbers["nll"]["value"] == pytest.approx(expected.value)
    assert record.numbers["images"] == 50
    assert torch.allclose(record.per_image["nll"], expected.per_example)
    check_an_edited_number_is_seen(runs["vae"] / "evaluation.json")


def check_an_edited_number_is_seen(path: Path) -> None:
    """Fault: a number, or a setting that goes with it, that somebody wrote into the file."""
    numbers = json.loads(path.read_text())
    numbers["nll"]["value"] += 1
    numbers["settings"]["symmetric_kl"]["seed"] = 4
    del numbers["checksums"]["leakage"]
    path.write_text(json.dumps(numbers))
    with pytest.warns(UserWarning, match="was changed since it was measured") as warned:
        record = EvaluationRecord.read(path)
    assert record is not None
    assert {"nll", "symmetric_kl", "leakage"}.isdisjoint(record.numbers)
    assert "two_sample" in record.numbers
    assert len([w for w in warned if "was changed" in str(w.message)]) == 3
    del numbers["checksums"]
    path.write_text(json.dumps(numbers))
    with pytest.warns(UserWarning, match="has no checksums"):
        assert EvaluationRecord.read(path).numbers["nll"] == numbers["nll"]


def record_rows(x: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """The places of the random part, drawn here once more."""
    from priorwise.randomness import seeded

    with seeded(seed, "subset"):
        return torch.randperm(len(x))[:count].sort().values


def test_nothing_is_measured_twice(runs, tmp_path, calls):
    """Fault: an evaluation, a report or a table that computes again what the record holds."""
    evaluate_run(runs["ncp"], progress=False)
    assert sorted(calls) == sorted(
        quantity.key for quantity in QUANTITIES if quantity.key != "disentanglement"
    )
    before = (runs["ncp"] / "evaluation.json").read_bytes()
    calls.clear()
    evaluate_run(runs["ncp"], progress=False)
    record_of_run(runs["ncp"], progress=False)
    compare_runs([runs["ncp"]], tmp_path / "picture.png")
    assert not calls
    assert (runs["ncp"] / "evaluation.json").read_bytes() == before
    page = tmp_path / "page.html"
    report_runs({"ncp": runs["ncp"]}, page, progress=False)  # the model underneath is new
    assert "log_norm" not in calls
    assert calls.count("nll") == 1
    assert (runs["ncp"] / "base" / "evaluation.json").exists()
    calls.clear()
    report_runs({"ncp": runs["ncp"]}, page, progress=False)
    assert not calls
    models = json.loads(page.with_suffix(".json").read_text())["models"]
    assert list(models) == ["base", "ncp"]
    assert models["ncp"]["same_vae"]


def test_only_what_a_setting_changes_is_measured_again(runs, calls):
    """Fault: a likelihood under an old log Z; or a symmetric KL for every change of samples."""
    evaluate_run(runs["ncp"], progress=False)
    calls.clear()
    evaluate_run(runs["ncp"], progress=False, samples=31)
    assert calls == ["nll"]
    calls.clear()
    record = evaluate_run(runs["ncp"], progress=False, samples=31, log_norm_samples=3000)
    assert calls[:2] == ["log_norm", "nll"]
    assert "symmetric_kl" not in calls
    assert record.numbers["nll"]["diagnostics"]["log_norm"] == pytest.approx(
        record.numbers["log_norm"]["value"], abs=1e-6
    )


def test_a_report_keeps_the_settings_of_the_evaluation(runs, tmp_path, calls):
    """Fault: a page with another NLL than the command that was run before it."""
    evaluate_run(runs["vae"], progress=False, samples=17)
    calls.clear()
    page = report_runs({"vae": runs["vae"]}, tmp_path / "page.html", progress=False)
    assert not calls
    numbers = json.loads(page.with_suffix(".json").read_text())["models"]["vae"]
    assert numbers["nll"]["protocol"]["samples"] == 17


def test_a_record_of_other_weights_is_not_shown(runs, calls):
    """Fault: a run that was trained on, with the numbers of before; or that cannot be evaluated any
    more, since the journal of before is in the way.
    """
    evaluate_run(runs["vae"], progress=False)
    calls.clear()
    best = runs["vae"] / "best.safetensors"
    tensors, state = read_checkpoint(best)
    write_checkpoint(best, {name: tensor + 0.01 for name, tensor in tensors.items()}, state)
    splits = load_splits(runs["vae"])
    assert kept_record(runs["vae"], load(runs["vae"]), splits) is None
    record_of_run(runs["vae"], progress=False)
    assert {"nll", "symmetric_kl", "leakage"} <= set(calls)


def test_an_interruption_loses_one_quantity(runs, monkeypatch, calls):
    """Fault: a record that is written at the end alone."""
    leakage = next(quantity for quantity in QUANTITIES if quantity.key == "leakage")
    compute = leakage.compute

    def stopped(subject):
        raise KeyboardInterrupt

    monkeypatch.setitem(vars(leakage), "compute", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(runs["ncp"], progress=False)
    monkeypatch.setitem(vars(leakage), "compute", compute)
    calls.clear()
    evaluate_run(runs["ncp"], progress=False)
    assert "log_norm" not in calls
    assert "nll" not in calls
    assert "leakage" in calls


def test_a_damaged_or_foreign_record_is_measured_anew(runs, calls):
    """Fault: a record of an older version taken for one of this, a traceback for a damaged file, or
    silence about it.
    """
    path = runs["vae"] / "evaluation.json"
    path.write_text('{"nll": 3}')
    assert EvaluationRecord.read(path) is None
    for content in (b"[1, 2", b"", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.warns(UserWarning, match=r"evaluation\.json cannot be read"):
            assert EvaluationRecord.read(path) is None
    with pytest.warns(UserWarning, match="measured again"):
        record_of_run(runs["vae"], progress=False)
    assert "nll" in calls


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        ("leakage", lambda value: value.pop("warnings")),
        ("nll", lambda value: value.pop("diagnostics")),
        ("active_units", lambda value: value.__setitem__(0, {})),
        ("two_sample", lambda value: value.update(accuracy={})),
        ("symmetric_kl", lambda value: value.update(value="much")),
        ("hole", lambda value: value[0].pop("jsd")),
    ],
)
def test_a_damaged_quantity_is_measured_again(runs, calls, key, damage):
    """Fault: a traceback, or a row that shows half a number."""
    evaluate_run(runs["vae"], progress=False)
    path = runs["vae"] / "evaluation.json"
    numbers = json.loads(path.read_text())
    damage(numbers[key])
    path.write_text(json.dumps(numbers))
    calls.clear()
    with pytest.warns(UserWarning, match=f"damaged `{key}`"):
        evaluate_run(runs["vae"], progress=False)
    assert calls == [key]


@pytest.mark.parametrize("changes", [{"seed": 7}, {"samples": 2}, {"images": 30}])
def test_a_kill_between_the_two_files_mixes_nothing(runs, monkeypatch, changes):
    """Fault: values per image of one evaluation beside the numbers of another, for good."""
    before = evaluate_run(runs["vae"], progress=False)
    write = EvaluationRecord.write

    def killed(record: EvaluationRecord, path: Path) -> None:
        kept = path.read_bytes()
        write(record, path)
        path.write_bytes(kept)  # the second file was never written
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EvaluationRecord, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(runs["vae"], progress=False, again=True, **changes)
    again = evaluate_run(runs["vae"], progress=False)
    assert again.numbers["nll"]["value"] == pytest.approx(before.numbers["nll"]["value"])
    assert torch.allclose(again.per_image["nll"], before.per_image["nll"])


def test_a_scale_that_no_tensor_holds_is_seen():
    """Fault: the likelihood of a model with another scale, taken from the record."""
    from priorwise import wrap
    from priorwise.data import load as load_data
    from priorwise.distributions import diagonal_gaussian
    from priorwise.evaluation import Subject, measure

    encoder, decoder = torch.nn.Linear(2, 4), torch.nn.Linear(2, 2)

    def subject(scale: float) -> Subject:
        model = wrap(
            encode=lambda x: encoder(x).chunk(2, 1),
            decode=decoder,
            latent=2,
            likelihood=lambda mean: diagonal_gaussian(mean, torch.full_like(mean, scale)),
            modules=(encoder, decoder),
        )
        config = EVALUATION.model_copy(update={"quality": "none", "hole_classifier": False})
        return Subject(model, load_data("two_moons"), config, progress=False)

    first = measure(subject(1.0))
    second = measure(subject(0.3), first)
    assert second.numbers["nll"]["value"] != pytest.approx(first.numbers["nll"]["value"], abs=0.01)
    assert second.numbers["nll"] == measure(subject(0.3)).numbers["nll"]


@pytest.mark.parametrize("probe", [[[1.0]], ["a"], [1.0, 2.0], [], None, 3, {}])
def test_a_damaged_probe_is_that_of_another_model(probe):
    """Fault: Python's "must be real number, not list" on a damaged record."""
    assert not measuring._same({"probe": probe}, {"probe": [1.0]})
    assert measuring._same({"probe": [1.0, None]}, {"probe": [1.0 + 1e-9, None]})


def test_a_turned_pixel_is_no_other_model(monkeypatch):
    """Fault: a draw in the probe of a decoder without a mean; rounding may turn a pixel of it."""
    model = pixel_hvae((1, 3, 2), latent=2, hidden=4, features=2)
    x = torch.bernoulli(torch.full((20, 1, 3, 2), 0.5))
    subject = Subject(model, as_splits(x), EvaluationConfig())
    earlier = subject.probe
    draw = PixelConditional.sample_rows
    monkeypatch.setattr(PixelConditional, "sample_rows", lambda law, planes: 1 - draw(law, planes))
    now = Subject(model, as_splits(x), EvaluationConfig()).probe
    assert math.isnan(earlier[0])
    assert not any(map(math.isnan, earlier[1:]))
    assert now[1:] == earlier[1:]
    assert math.isnan(now[0])


def test_runs_on_other_data_are_not_compared(runs, tmp_path, trained):
    other = Run(
        name="own/vae",
        data=DataConfig(name="gaussians25"),
        model=VAEConfig(latent=2, hidden=8),
        training=TRAINING,
        evaluation=EVALUATION,
    )
    train_run(other, tmp_path / "other", progress=False)
    with pytest.raises(ValueError, match="expected runs on the same data"):
        report_runs(
            {"vae": runs["vae"], "other": tmp_path / "other"},
            tmp_path / "page.html",
            progress=False,
        )


def test_an_ncp_is_evaluated_as_its_base_was(trained):
    """Fault: other images or samples for a prior than for the model it is compared with."""
    from priorwise.recipes import recipe
    from priorwise.training.run_record import resolve_base

    assert resolve_base(recipe("ncp/posthoc"), trained["vae"]).evaluation == EVALUATION


def test_half_precision_reaches_the_likelihood_and_its_cost_is_shown(runs):
    """Fault: a setting that changes nothing, or a number in bf16 without its cost beside it."""
    whole = evaluate_run(runs["vae"], progress=False)
    half = evaluate_run(runs["vae"], progress=False, precision="bf16")
    assert half.numbers["nll"]["protocol"]["precision"] == "bf16"
    assert half.numbers["nll"]["value"] != whole.numbers["nll"]["value"]
    difference = half.numbers["nll"]["diagnostics"]["bf16_difference"]
    assert f"bf16 moves it by {difference:+.3g}" in half.cells()["NLL"].small


def test_a_quantity_that_is_switched_off_is_not_lost(runs, calls):
    """Fault: an evaluation without distances that throws away those of an earlier one."""
    first = evaluate_run(runs["vae"], progress=False)
    without = evaluate_run(runs["vae"], progress=False, quality="none")
    assert without.numbers["quality"] == first.numbers["quality"]
    calls.clear()
    evaluate_run(runs["vae"], progress=False)
    assert not calls


def test_all_images_can_be_asked_for(runs):
    """Fault: None taken for "as it was", so that nobody can ask for the whole test set."""
    assert evaluate_run(runs["vae"], progress=False, images=40).numbers["images"] == 40
    assert evaluate_run(runs["vae"], progress=False, images=None).numbers["images"] == 2000


@pytest.mark.parametrize("field", ["data_fingerprint", "priorwise", "weights"])
def test_a_record_of_something_else_is_not_compared(runs, field):
    """Fault: `compare` shows numbers of other data that `report` would measure again."""
    record = evaluate_run(runs["vae"], progress=False)
    model, splits = load(runs["vae"]), load_splits(runs["vae"])
    assert kept_record(runs["vae"], model, splits) is not None
    record.numbers["subject"][field] = "another"
    record.write(runs["vae"] / "evaluation.json")
    assert kept_record(runs["vae"], model, splits) is None


def test_a_data_set_is_known_by_its_name_whoever_asks(tmp_path):
    """Fault: sprites with scores of disentanglement in a run, and without them in a report."""
    from priorwise.data import load as load_data
    from priorwise.evaluation import Subject
    from priorwise.evaluation.latent_use import DISENTANGLEMENT
    from priorwise.testing.oracles import LinearGaussianVAE

    model = LinearGaussianVAE(latent=2, observed=3)
    sprites = Subject(model, load_data("sprites").subset(train=50), EVALUATION)
    assert DISENTANGLEMENT.applies(sprites)
    assert not DISENTANGLEMENT.applies(Subject(model, load_data("two_moons"), EVALUATION))


def test_weights_that_are_lost_are_refused_before_anything_is_saved():
    """Fault: a good evaluation overwritten with NaN, and a crash in the middle."""
    model, saved = moons_vae(), []
    with torch.no_grad():
        next(model.decoder.parameters()).flatten()[0] = math.nan
    subject = Subject(model, as_splits(torch.randn(60, 2)), EVALUATION, progress=False)
    with pytest.raises(ValueError, match=r"finite weights; got one where 1 of .*decoder"):
        measure(subject, save=saved.append)
    assert saved == []
