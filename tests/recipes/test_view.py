"""The terminal table of published numbers beside ours."""

from priorwise.recipes.published import published_beside_ours
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
