"""The terminal table of published numbers beside ours."""

import math
import re
from dataclasses import replace

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
    assert re.search(r"4.63±.04 bits/dim │ +4.60 ± 0.05 ", printed)
    assert re.search(r" 88.56 │ +1785.55 ± 19.41 ", printed)
