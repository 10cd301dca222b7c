"""The terminal table of published numbers beside ours."""

import math
import re
from dataclasses import replace

import pytest

from priorwise.recipes.published import published_beside_ours, with_runs
from priorwise.recipes.view import print_table


def test_doubtful_results_are_marked(capsys, monkeypatch):
    """Fault: an NLL of which a third of the images is in doubt, printed like any other."""
    monkeypatch.setenv("COLUMNS", "200")
    row = next(row for row in published_beside_ours("vampprior") if row.ours)
    record = row.ours[0]
    for warnings, mark in ((["5311 of 10000 images: ..."], True), ([], False)):
        changed = type(row)(**{**vars(row), "ours": [{**record, "warnings": warnings}]})
        print_table("vampprior", [changed], [])
        printed = capsys.readouterr().out
        assert ("(!)" in printed) == mark
        assert ("reason for doubt (1 of ours)" in printed) == mark


def test_several_seeds_are_one_line_with_their_spread(capsys, monkeypatch):
    """Fault: seeds of a run that are mixed with those of another run or with committed results; a
    standard deviation without a count; a name that rich takes for markup.
    """
    monkeypatch.setenv("COLUMNS", "200")
    row = next(row for row in published_beside_ours("vampprior") if row.ours)
    record = {**row.ours[0], "departures": [], "warnings": []}
    seeds = [{**record, "nll": nll, "seed": seed} for seed, nll in enumerate((83.0, 83.1, 83.2))]
    results = {"three[red]": {"recipe": row.recipe, "members": seeds}, "one": seeds[0]}
    rows, extra = with_runs([replace(row, ours=[record])], [], results)
    print_table("vampprior", rows, extra)
    printed = capsys.readouterr().out
    single = f"± {record['stderr_data']:.2f}"
    assert f" {record['nll']:.2f} {single} " in printed
    assert "three[red]: 83.10 ± 0.10 (3 seeds) " in printed
    assert f"one: 83.00 {single} " in printed
    assert "± beside several seeds is the standard deviation over the seeds." in printed
    assert extra == []


def test_a_run_without_a_published_number_has_its_own_row():
    rows = published_beside_ours("vampprior")
    more, extra = with_runs(rows, [], {"mine": {"recipe": "own/vae", "nll": 1.0}})
    assert more == rows
    assert extra == [{"recipe": "own/vae", "nll": 1.0, "run": "mine"}]


def test_grey_sets_are_in_bits_a_dimension_as_they_are_published(capsys, monkeypatch):
    """Fault: nats beside bits, which differ by a factor of hundreds; the NLL of a row in nats."""
    monkeypatch.setenv("COLUMNS", "200")
    rows = published_beside_ours("vampprior")
    frey = next(row for row in rows if row.dataset == "FreyFaces")
    mnist = next(row for row in rows if row.ours)
    # 4.60 bits for each of 560 pixels, with an error of 0.05
    nats = {"nll": 4.6 * 560 * math.log(2), "stderr_data": 0.05 * 560 * math.log(2)}
    record = {**mnist.ours[0], **nats, "dimensions": 560, "departures": [], "warnings": []}
    rows = [replace(frey, ours=[record]), replace(mnist, ours=[record])]
    print_table("vampprior", rows, [])
    printed = capsys.readouterr().out
    assert re.search(r"4.63±.04 bits/dim │ +4.60 ± 0.05 bits/dim ", printed)
    assert re.search(r" 88.56 │ +1785.55 ± 19.41 ", printed)


PARTS = {
    "random": {"value": 8.0},
    "low_posterior": {"value": 3.0},
    "protocol": {"extractor": "classifier", "weights": "0123"},
}
MEASURED = {"quality": PARTS, "symmetric_kl": {"value": 0.5}}


def cell_of(paper, changes, monkeypatch, capsys):
    """What is printed for a run whose seeds have these numbers, in a paper's first table."""
    monkeypatch.setenv("COLUMNS", "250")
    row = next(row for row in published_beside_ours(paper) if row.ours)
    plain = {**row.ours[0], "departures": [], "warnings": [], "quality": None}
    seeds = [{**plain, "nll": 80.0, "stderr_data": 0.1, **change} for change in changes]
    rows, extra = with_runs([replace(row, ours=[])], [], {"mine": {**plain, "members": seeds}})
    print_table(paper, rows, extra)
    return capsys.readouterr().out


CELLS = {
    "distances without a published one": ("vampprior", [MEASURED], "mine: 80.00 ± 0.10 │"),
    "distances": ("dpvae", [MEASURED], "mine: 8.00 / 3.00 / 0.500 / 80.00 │"),
    "no distances": ("dpvae", [{}], "mine: NLL 80.00 ± 0.10 │"),
    "distances of one seed": (
        "dpvae",
        [MEASURED, {"nll": 81.0}],
        "mine: 8.00 (1 of 2 seeds) / 3.00 (1 of 2 seeds) / 0.500 (1 of 2 seeds) / "
        "80.50 ± 0.71 (2 seeds) │",
    ),
    "a refused distance": (
        "dpvae",
        [MEASURED, {**MEASURED, "quality": {**PARTS, "random": {"refused": "too few"}}}],
        "mine: 8.00 (1 of 2 seeds) / 3.00 ± 0.00 / 0.500 ± 0.000 / 80.00 ± 0.00 (2 seeds) │",
    ),
    "two refused distances": (
        "dpvae",
        [{**MEASURED, "quality": {**PARTS, "random": {"refused": "too few"}}}] * 2,
        "mine: unknown / 3.00 ± 0.00 / 0.500 ± 0.000 / 80.00 ± 0.00 (2 seeds) │",
    ),
    "one image": ("vampprior", [{"stderr_data": None}], "mine: 80.00 ± unknown │"),
    "a small error": ("vampprior", [{"stderr_data": 0.0012}], "mine: 80.00 ± 0.001 │"),
}


@pytest.mark.parametrize("case", CELLS)
def test_the_cell_of_a_result(case, monkeypatch, capsys):
    """Fault: a distance that reads as the NLL; a crash where a number is lacking."""
    paper, changes, cell = CELLS[case]
    printed = cell_of(paper, changes, monkeypatch, capsys)
    assert f" {cell}" in printed
    measured = any(change.get("quality") for change in changes)
    assert ("Features of our distances" in printed) == (paper == "dpvae" and measured)


@pytest.mark.parametrize("other", [{"images": 7}, {"samples": 9}, {"draws_seed": 3}])
def test_seeds_that_were_measured_differently_have_no_spread(other, monkeypatch, capsys):
    """Fault: the choice of test images in a deviation that is called that of training."""
    printed = cell_of("vampprior", [{}, {"nll": 82.0, **other}], monkeypatch, capsys)
    assert "mine: 80.00 ± 0.10 " in printed
    assert "mine: 82.00 ± 0.10 " in printed
    assert "mine: its seeds differ in the images, the draws or the departures" in printed
    assert "seeds)" not in printed


def test_results_on_different_data_have_rows_of_their_own(monkeypatch, capsys):
    """Fault: two data sets under the name of the first."""
    monkeypatch.setenv("COLUMNS", "200")
    record = next(row for row in published_beside_ours("vampprior") if row.ours).ours[0]
    extra = [{**record, "dataset": name, "run": name} for name in ("first", "second")]
    print_table("vampprior", [], extra)
    printed = capsys.readouterr().out
    assert f"{record['title']}, first" in printed
    assert f"{record['title']}, second" in printed


def test_a_result_beside_two_published_numbers_is_one_seed(monkeypatch, capsys):
    """Fault: a word about several seeds where there are none; a doubt that is counted twice."""
    monkeypatch.setenv("COLUMNS", "200")
    row = next(row for row in published_beside_ours("vampprior") if row.ours)
    row = replace(row, ours=[{**row.ours[0], "warnings": ["..."]}])
    print_table("vampprior", [row, replace(row, table="T9")], [])
    printed = capsys.readouterr().out
    assert "several seeds" not in printed
    assert "(1 of ours)" in printed
