"""The main job with two epochs of everything: it runs, it goes on where it stopped, its runs are
complete.
"""

import json

import pytest

from priorwise import NCP, load
from priorwise.recipes.demo import demo


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    return out, demo(out, progress=False, quick=True)


NAMES = {
    "standard": "standard",
    "NCP": "ncp",
    "VampPrior": "vamp",
    "mixture": "mixture",
    "flow, afterwards": "posthoc_flow",
    "NCP over the flow": "ncp_flow",
}


def test_report_holds_them_all(made):
    out, result = made
    assert result.report == out / "report.html"
    assert [row["model"] for row in result.rows] == list(NAMES)
    assert result.rows[0]["gain"] is None
    unchanged = [row["model"] for row in result.rows if row["same_vae"]]
    assert unchanged == [n for n in NAMES if "NCP" in n or "afterwards" in n]
    record = json.loads(result.record.read_text(encoding="utf-8"))
    assert result.findings == [record["verdict"], *record["findings"]]
    assert len(result.findings) >= 1 + 1 + 5


def test_runs_are_complete(made):
    """Each folder is a run of its own, log Z included."""
    out, result = made
    for name, folder in NAMES.items():
        model = load(out / folder)
        if isinstance(model, NCP):
            assert model.known_log_norm() is not None
            row = next(row for row in result.rows if row["model"] == name)
            assert model.known_log_norm().value == pytest.approx(row["log_norm"]["value"])


def test_second_call_trains_nothing_and_finds_the_same(made, capsys):
    out, first = made
    files = [out / name / "metrics.jsonl" for name in NAMES.values()]
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    second = demo(out, progress=True, quick=True)
    assert [file.read_bytes() for file in files] == [content for content, _ in before]
    for one, two in zip(first.rows, second.rows, strict=True):
        assert one["nll"] == two["nll"]
        assert one["hole"] == two["hole"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "VampPrior" in shown.err
    for sentence in second.findings:
        assert sentence in shown.err
