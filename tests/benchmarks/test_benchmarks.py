"""The benchmarks run in tiny sizes, count the floor rightly, and form their ratios rightly. Nothing here judges a time."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).parents[2]
ERRORS = 5.03  # standard errors, two-sided: the suite's false-alarm rate of 1e-6 a test


@pytest.fixture
def bench(monkeypatch):
    """The modules of the package, imported from the root of the repository, on synthetic data and one thread."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delenv("PRIORWISE_DATA", raising=False)
    names = ("__main__", "contenders", "floor", "images", "likelihood", "peer", "report", "scale", "timing", "training")
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield SimpleNamespace(**modules, main=modules["__main__"])
    torch.set_num_threads(threads)


@pytest.fixture
def no_peer(bench, monkeypatch):
    """As if the peer were not installed."""
    monkeypatch.setattr(bench.peer, "available", lambda: False)


# -- how figures are formed -----------------------------------------------------------------------------------------------


def _race(bench, others):
    """Ours takes 1 s a round, the other 3 s, for half the work; the machine slows round by round."""
    rounds = [
        bench.timing.Round({"ours": slow * 1.0, "other": slow * 3.0}, {"ours": 2.0, "other": 8.0}, share)
        for slow, share in zip((1.0, 2.0, 4.0, 8.0), others, strict=True)
    ]
    return bench.timing.Race(rounds, {"ours": 10.0, "other": 5.0})


def test_a_ratio_is_formed_round_by_round_and_counts_the_work(bench):
    """Would catch a ratio upside down, one of medians, or one that forgets the amounts."""
    figure = _race(bench, (0.0, 0.0, 0.0, 0.0)).ratio("ours", "other")
    assert (figure.wall.median, figure.wall.low, figure.wall.high) == (6.0, 6.0, 6.0)
    assert figure.cpu.median == 8.0
    assert figure.trusted is figure.wall


def test_speeds_come_from_the_clean_rounds_alone(bench):
    figure = _race(bench, (0.0, 0.05, 0.5, 0.01)).speed("ours")
    assert (figure.wall.low, figure.wall.median, figure.wall.high) == (1.25, 5.0, 10.0)
    assert figure.clean


@pytest.mark.parametrize("others", [(0.5, 0.5, 0.0, 0.0), (None, None, None, None)])
def test_a_disturbed_or_unknown_machine_falls_back_to_cpu_time(bench, others):
    figure = _race(bench, others).ratio("ours", "other")
    assert not figure.clean
    assert figure.clock == "cpu"
    assert figure.trusted.median == 8.0


def test_every_contender_has_its_turns(bench):
    calls = []
    contenders = {name: bench.timing.Contender(lambda name=name: calls.append(name), 2.0) for name in "ab"}
    result = bench.timing.race(contenders, rounds=3, turns=2, warmup=1)
    assert calls == ["a", "b", *["a", "b", "b", "a"] * 3]
    assert result.amounts == {"a": 4.0, "b": 4.0}


def test_a_missed_target_is_said_to_be_missed(bench):
    figure = _race(bench, (0.0, 0.0, 0.0, 0.0)).ratio("ours", "other")
    assert bench.report.row_of("s", "w", figure, "x", at_least=6.5).met is False
    assert bench.report.row_of("s", "w", figure, "x", at_least=5.5).met is True
    assert bench.report.row_of("s", "w", figure, "x").met is None


# -- the floor ------------------------------------------------------------------------------------------------------------


class CountedProducts(TorchDispatchMode):
    """Counts the operations of every matrix product that torch runs, forwards and backwards."""

    flops = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        assert operation.overloadpacket not in (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
        if operation.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            left, right = args[-2:]
            self.flops += 2 * left.shape[0] * left.shape[1] * right.shape[1]
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("architecture", "gigaflops"), [("vae_standard", 0.574), ("vae_vamp", 2.62), ("hvae_vamp", 3.31)]
)
def test_the_floor_of_the_papers_networks(bench, architecture, gigaflops):
    counted = bench.floor.flops(bench.floor.products(architecture, bench.scale.FULL))
    assert counted / 1e9 == pytest.approx(gigaflops, rel=2e-3)


@pytest.mark.parametrize("architecture", ["vae_standard", "vae_vamp", "hvae_vamp"])
def test_our_step_multiplies_exactly_what_the_floor_does(bench, architecture):
    """An independent count. Would catch a gradient of the data, an identity product, or a floor that is too low."""
    scale = bench.scale.TINY
    step = bench.contenders.training_step(
        bench.contenders.build(architecture, scale), bench.images.binary_batches(scale.batch)
    )
    needed = bench.floor.products(architecture, scale)
    with CountedProducts() as ours:
        step()
    with CountedProducts() as floor:
        bench.floor.training_pass(needed)()
    assert ours.flops == bench.floor.flops(needed)
    assert floor.flops == bench.floor.flops(needed)


# -- the subjects ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_peer")
@pytest.mark.parametrize("subject", ["training", "pipeline", "likelihood", "precision"])
def test_a_subject_runs_without_the_peer(bench, subject):
    rows = bench.main.run(bench.scale.TINY, [subject])["rows"]
    missing = [row for row in rows if row.value is None]
    assert len(rows) > len(missing)
    assert all(row.note == bench.peer.HOW_TO_INSTALL for row in missing)
    assert all("pythae" in row.what for row in missing)
    assert {row.subject for row in rows} == {subject}


@pytest.mark.usefixtures("no_peer")
def test_the_command_prints_one_json_object(bench, monkeypatch, capsys):
    """The memory of SIR, in child processes. Would catch a child's output, or a message, among the JSON."""
    monkeypatch.setattr(bench.main, "QUICK", bench.scale.TINY)
    bench.main.main(["--quick", "--json", "--threads", "1", "--only", "sir"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["machine"]["threads"] == 1
    assert [row["unit"] for row in printed["rows"]] == ["MB", "MB", "x", "us", "us"]
    assert all(row["value"] > 0 for row in printed["rows"])


@pytest.mark.usefixtures("no_peer")
def test_the_command_prints_a_table(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench.main, "QUICK", bench.scale.TINY)
    bench.main.main(["--quick", "--threads", "1", "--only", "training"])
    printed = capsys.readouterr().out
    assert "VAE VampPrior step, priorwise / floor" in printed
    assert "load_average_after" in printed


def test_an_unknown_subject_is_refused(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main.main(["--only", "speed"])
    assert "training" in capsys.readouterr().err


def test_a_child_that_fails_shows_its_error(bench):
    children = sys.modules["benchmarks.children"]
    with pytest.raises(RuntimeError, match="no_such_module"):
        children.in_child("benchmarks.no_such_module", "run", 1)


# -- the peer, where it is installed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["vae_standard", "vae_vamp"])
def test_the_peer_computes_the_same_likelihood_on_our_weights(bench, architecture):
    """Would catch weights that were copied to the wrong place, or a peer of another size."""
    pytest.importorskip("pythae")
    from priorwise.estimators import nll

    scale = bench.scale.TINY
    model = bench.contenders.build(architecture, scale)
    other = bench.peer.build_peer(scale, vamp=architecture == "vae_vamp")
    bench.peer.copy_weights_(other, model)
    x = bench.images.binary_test(20)
    ours = nll(model, x, samples=2000)
    theirs = -bench.peer.log_likelihood(other, x, 2000)
    assert ours.stderr < 0.5
    assert abs(theirs - ours.value) < ERRORS * 2**0.5 * ours.stderr
