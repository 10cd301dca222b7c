"""The benchmarks run in tiny sizes, count the floor rightly, and form their ratios rightly. Nothing
here judges a time.
"""

import importlib
import json
import os
import subprocess
import sys
from inspect import isclass
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import pytest
import torch
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal
from torch.utils._python_dispatch import TorchDispatchMode

from priorwise import objectives

ROOT = Path(__file__).parents[2]
ERRORS = 5.03  # standard errors, two-sided: the suite's false-alarm rate of 1e-6 a test


@pytest.fixture
def bench(monkeypatch):
    """The modules of the package, imported from the root of the repository, on synthetic data and
    one thread.
    """
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delenv("PRIORWISE_DATA", raising=False)
    names = (
        "__main__",
        "contenders",
        "density",
        "floor",
        "flow",
        "images",
        "likelihood",
        "objectives",
        "peer",
    )
    names += ("report", "scale", "timing", "training")
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield SimpleNamespace(**modules, main=modules["__main__"])
    torch.set_num_threads(threads)


@pytest.fixture
def no_peer(bench, monkeypatch):
    """As if the peers were not installed."""
    monkeypatch.setattr(bench.peer, "available", lambda: False)
    monkeypatch.setattr(bench.flow, "available", lambda: False)


# -- how figures are formed ------------------------------------------------------------------------


def _race(bench, others):
    """Ours takes 1 s a round, the other 3 s, for half the work;
    the machine slows round by round.
    """
    rounds = [
        bench.timing.Round(
            {"ours": slow * 1.0, "other": slow * 3.0}, {"ours": 2.0, "other": 8.0}, share
        )
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
    contenders = {
        name: bench.timing.Contender(lambda name=name: calls.append(name), 2.0) for name in "ab"
    }
    result = bench.timing.race(contenders, rounds=3, turns=2, warmup=1)
    assert calls == ["a", "b", *["a", "b", "b", "a"] * 3]
    assert result.amounts == {"a": 4.0, "b": 4.0}


def test_a_missed_target_is_said_to_be_missed(bench):
    figure = _race(bench, (0.0, 0.0, 0.0, 0.0)).ratio("ours", "other")
    assert bench.report.row_of("s", "w", figure, "x", at_least=6.5).met is False
    assert bench.report.row_of("s", "w", figure, "x", at_least=5.5).met is True
    assert bench.report.row_of("s", "w", figure, "x").met is None


# -- the floor -------------------------------------------------------------------------------------


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
    ("architecture", "gigaflops"),
    [("vae_standard", 0.574), ("vae_vamp", 2.62), ("hvae_vamp", 3.31)],
)
def test_the_floor_of_the_papers_networks(bench, architecture, gigaflops):
    counted = bench.floor.flops(bench.floor.products(architecture, bench.scale.FULL))
    assert counted / 1e9 == pytest.approx(gigaflops, rel=2e-3)


@pytest.mark.parametrize("architecture", ["vae_standard", "vae_vamp", "hvae_vamp"])
def test_our_step_multiplies_exactly_what_the_floor_does(bench, architecture):
    """An independent count. Would catch a gradient of the data, an identity product, or a floor
    that is too low.
    """
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


def test_a_step_of_factor_vae_multiplies_what_its_note_says(bench):
    """An independent count. Would catch a model's turn that forms the gradient of the
    discriminator's weights.
    """
    scale = bench.scale.TINY
    built, batches = (
        bench.objectives.build_objectives(scale),
        bench.images.binary_batches(scale.batch),
    )
    with CountedProducts() as plain:
        bench.contenders.objective_step(built["ELBO"], batches)()
    with CountedProducts() as factor:
        bench.contenders.objective_step(built["FactorVAE"], batches)()
    assert factor.flops - plain.flops == bench.floor.factor_flops(scale)


# -- the steps of the objectives -------------------------------------------------------------------


def test_every_objective_of_a_model_from_scratch_is_measured(bench):
    """Would catch an objective that is added to the library and forgotten here."""
    kinds = (getattr(objectives, name) for name in objectives.__all__)
    known = {
        kind.__name__
        for kind in kinds
        if isclass(kind) and issubclass(kind, objectives.AbstractObjective)
    }
    measured = {
        type(one).__name__ for one in bench.objectives.build_objectives(bench.scale.TINY).values()
    }
    assert known - measured == {
        "AbstractModelObjective",
        "AbstractObjective",
        "ExPostPrior",
        "IWAE",
        "NCE",
    }  # an IWAE's step goes with its samples


def test_a_step_moves_every_player_and_no_model_of_another(bench):
    """Would catch a discriminator that stands still,
    and contenders that train one model together.
    """
    scale = bench.scale.TINY
    built = bench.objectives.build_objectives(scale)
    factor = built["FactorVAE"]
    before = {name: [p.detach().clone() for p in one.parameters()] for name, one in built.items()}
    bench.contenders.objective_step(factor, bench.images.binary_batches(scale.batch))()
    for name, one in built.items():
        moved = [not p.equal(was) for p, was in zip(one.parameters(), before[name], strict=True)]
        assert all(moved) if one is factor else not any(moved)


# -- the density of an aggregate posterior ---------------------------------------------------------


def test_the_broadcast_density_is_torchs_mixture(bench):
    """The judge is judged. Would catch a dropped log N, or a chunk that is lost."""
    posterior = Independent(Normal(torch.randn(7, 3).double(), 0.1 + torch.rand(7, 3).double()), 1)
    z = torch.randn(5, 3).double()
    expected = MixtureSameFamily(Categorical(torch.ones(7).double()), posterior).log_prob(z)
    torch.testing.assert_close(bench.density.broadcast(posterior, z, 2), expected)


def test_the_children_compute_one_density(bench):
    """Would catch a memory that is measured of something else."""
    sizes = {"points": 9, "encodings": 50, "features": 3}
    ours, theirs = bench.density.our_run(**sizes)(), bench.density.peer_run(**sizes, chunk=4)()
    assert ours.shape == (9,)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_our_density_is_exact_over_blocks_and_tiles(bench):
    """300 points are two blocks, 5,000 encodings two tiles. Would catch one that is dropped or
    weighted wrongly.
    """
    rows = bench.main.run(bench.scale.TINY, ["density"])["rows"]
    (error,) = [row for row in rows if row.unit == "nats"]
    assert error.met is True
    assert {row.unit for row in rows} == {"points/s", "x", "nats"}


# -- the subjects ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_peer")
@pytest.mark.parametrize(
    "subject", ["training", "objectives", "flow", "pipeline", "likelihood", "precision"]
)
def test_a_subject_runs_without_the_peer(bench, subject):
    name, how = (
        ("zuko", bench.flow.HOW_TO_INSTALL)
        if subject == "flow"
        else ("pythae", bench.peer.HOW_TO_INSTALL)
    )
    rows = bench.main.run(bench.scale.TINY, [subject])["rows"]
    missing = [row for row in rows if row.value is None]
    assert len(rows) > len(missing)
    assert all(row.note == how for row in missing)
    assert all(name in row.what for row in missing)
    assert {row.subject for row in rows} == {subject}


def test_convolutions_on_small_images(bench, monkeypatch):
    """Fault: a floor that leaves out the backward pass or computes more than products."""
    convolutions = importlib.import_module("benchmarks.convolutions")
    monkeypatch.setattr(convolutions, "SHAPE", (1, 4, 5))
    x = torch.bernoulli(torch.full((10, 1, 4, 5), 0.5))
    monkeypatch.setattr(convolutions, "binary_batches", lambda batch: [x])
    rows = convolutions.measure(bench.scale.TINY)
    assert len(rows) == 18
    assert all(row.value > 0 for row in rows)
    layer = torch.nn.Conv2d(1, 3, 3)
    with convolutions.Products() as products:
        layer(x[:, :, :3, :3]).sigmoid().sum().backward()
    assert len(products.calls) == 2
    assert products.calls[0]().shape == (10, 3, 1, 1)


@pytest.mark.usefixtures("no_peer")
def test_what_compilation_brings_is_measured(bench, monkeypatch):
    """Traced only, so that it is quick. Would catch contenders that compute different things."""
    monkeypatch.setattr("priorwise.compilation.BACKEND", "eager")
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        rows = bench.main.run(bench.scale.TINY, ["compilation"])["rows"]
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
        torch._dynamo.reset()
    differences = [row.value for row in rows if row.unit in ("of it", "nats")]
    assert len(differences) == 5
    assert max(map(abs, differences)) < 1e-5


@pytest.mark.usefixtures("zuko")
def test_the_flow_runs_beside_zuko_and_leaves_validation_alone(bench):
    """Would catch zuko's switch of torch's argument validation left behind for the subjects that
    follow.
    """
    Distribution.set_default_validate_args(True)  # the fixture puts it back
    rows = bench.main.run(bench.scale.TINY, ["flow"])["rows"]
    assert Distribution._validate_args is True
    assert all(row.value > 0 for row in rows)
    assert sum(row.unit == "x" for row in rows) == 3


@pytest.mark.usefixtures("no_peer")
def test_the_command_prints_one_json_object(bench, monkeypatch, capsys):
    """The memory of SIR, in child processes. Would catch a child's output, or a message, among the
    JSON.
    """
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


def test_make_bench_prints_the_json_alone(tmp_path):
    """Also where .venv has to be built first. Would catch a recipe that make echoes, or what pip
    prints.
    """
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    for needed in ("pyproject.toml", "constraints.txt"):
        (tmp_path / needed).touch()
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho building; mkdir -p .venv/bin\n"
        "printf '#!/bin/sh\\necho {}\\n' > .venv/bin/python\n"
        "printf '#!/bin/sh\\necho collecting\\n' > .venv/bin/pip\n"
        "chmod +x .venv/bin/*\n"
    )
    python.chmod(0o755)
    command = ["make", "bench", "ARGS=--json", f"PYTHON={python}"]
    # the suite itself may run under make, which tells its children to name their folders
    of_make = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    environment = {name: text for name, text in os.environ.items() if name not in of_make}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {}
    assert "building" in done.stderr
    assert "collecting" in done.stderr


def test_an_unknown_subject_is_refused(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main.main(["--only", "speed"])
    assert "training" in capsys.readouterr().err


def test_a_child_that_fails_shows_its_error(bench):
    children = sys.modules["benchmarks.children"]
    with pytest.raises(RuntimeError, match="no_such_module"):
        children.in_child("benchmarks.no_such_module", "run", 1)


# -- the peer, where it is installed ---------------------------------------------------------------


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
