"""A likelihood that is killed and resumed, or shared by processes, is the likelihood of one quiet
run.
"""

import copy
import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from chains import LinearLogit, chain_hvae, tilted_linear
from members import images, vae
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from priorwise import NCP, seeded
from priorwise.checked_lines import checked_line, read_line
from priorwise.estimators import nll
from priorwise.estimators.journal import Journal
from priorwise.likelihoods import Gaussian
from priorwise.storage import append_line
from priorwise.testing import LinearGaussianVAE

SAMPLES = 150
PROBE = 4 * 8  # images and draws that a journal looks at to know its model again


def build() -> tuple[LinearGaussianVAE, Tensor]:
    model = LinearGaussianVAE(2, 3, shift=0.5, stretch=1.5)
    return model, torch.linspace(-2, 2, 43 * 3).reshape(43, 3)


def counted(model: LinearGaussianVAE) -> list[int]:
    """The rows of every pass (S, B); looks of one row at the shapes do not count."""
    rows: list[int] = []

    def count(module: nn.Module, given: tuple[Tensor]) -> None:
        if given[0].dim() == 3:
            rows.append(given[0].shape[:-1].numel())

    model.decoder.register_forward_pre_hook(count)
    return rows


def killed_after(model: LinearGaussianVAE, x: Tensor, path: Path, images: int) -> None:
    """A run that stops once so many images are finished."""
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if done >= images:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nll(model, x, samples=SAMPLES, resume=path, report=report)


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_resumed_run_gives_the_same_numbers(tmp_path, cut):
    """Fault: a cut last line that is read, or kept in front of the next; finished images that are
    computed again.
    """
    model, x = build()
    quiet = nll(model, x, samples=SAMPLES)
    path = tmp_path / "journal.jsonl"
    killed_after(model, x, path, 20)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut])
    rows = counted(model)
    resumed = nll(model, x, samples=SAMPLES, resume=str(path))
    assert torch.equal(resumed.per_example, quiet.per_example)
    assert (resumed.value, resumed.stderr, resumed.diagnostics) == (
        quiet.value,
        quiet.stderr,
        quiet.diagnostics,
    )
    assert sum(rows) == PROBE + SAMPLES * (23 if cut == 0 else 33)
    rows.clear()
    again = nll(model, x, samples=SAMPLES, resume=path)
    assert rows == [PROBE]
    assert torch.equal(again.per_example, quiet.per_example)


@pytest.mark.parametrize("kept", [0, 1, 30])
def test_killed_in_the_first_line(tmp_path, kept):
    """Fault: a file that holds half a first line is taken for another computation's, and refused
    for ever.
    """
    model, x = build()
    path = tmp_path / "journal.jsonl"
    nll(model, x, samples=SAMPLES, resume=path)
    path.write_bytes(path.read_bytes()[:kept])
    resumed = nll(model, x, samples=SAMPLES, resume=path)
    assert torch.equal(resumed.per_example, nll(model, x, samples=SAMPLES).per_example)


@pytest.mark.parametrize("rows", [1000, 4000])
def test_resume_does_not_depend_on_the_tiling(tmp_path, rows):
    """Fault: entries kept by chunk, so that a resume with other chunks finds none or wrong ones."""
    model, x = build()
    path = tmp_path / "journal.jsonl"
    killed_after(model, x, path, 10)
    resumed = nll(model, x, samples=SAMPLES, resume=path, rows=rows)
    torch.testing.assert_close(
        resumed.per_example, nll(model, x, samples=SAMPLES).per_example, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "change", ["samples", "seed", "model", "data", "text", "setting", "precision"]
)
def test_journal_of_another_computation_is_refused(tmp_path, change):
    """Fault: mixing the images of two computations; the file must stay as it was."""
    model, x = build()
    path = tmp_path / "journal.jsonl"
    nll(model, x, samples=SAMPLES, resume=path)
    options = {"samples": SAMPLES, "seed": 0}
    options |= {
        "samples": {"samples": SAMPLES + 1},
        "seed": {"seed": 1},
        "precision": {"precision": "bf16"},
    }.get(change, {})
    if change == "model":
        model = copy.deepcopy(model)
        with torch.no_grad():
            model.decoder.bias[0] += 1e-3
    if change == "data":
        x = x + 1e-3
    if change == "text":
        path.write_text("notes of mine")
    if change == "setting":
        model.decoder.register_forward_hook(
            lambda module, given, law: Independent(Normal(law.mean, 0.2), 1)
        )
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"journal\.jsonl.*(another one|something else|not a parameter).*Remove it"
    ):
        nll(model, x, resume=path, **options)
    assert path.read_bytes() == before


def test_another_log_norm_is_no_other_computation(tmp_path):
    """Fault: images computed again because log Z, which is added after them, was estimated in
    another way.
    """
    ncp, x = tilted_linear(0.5), torch.randn(12, 3)
    ncp.set_log_norm(0.25, 0.01)
    path = tmp_path / "journal.jsonl"
    first = nll(ncp, x, samples=50, resume=path)
    ncp.set_log_norm(0.75, 0.02)
    second = nll(ncp, x, samples=50, resume=path)
    assert second.value == pytest.approx(first.value + 0.5, abs=1e-6)


@pytest.mark.parametrize("change", ["normalizer_samples", "density"])
def test_settings_of_a_hierarchy_belong_to_its_identity(tmp_path, change):
    """Fault: a file of one density, or of few normaliser draws, that answers for another."""
    ncp, x = NCP(chain_hvae(), [LinearLogit(0.4), LinearLogit(-0.6)]), torch.randn(5, 3)
    ncp.set_log_norm(0.26, 0.01)
    path = tmp_path / "journal.jsonl"
    nll(ncp, x, samples=30, density="groups", normalizer_samples=5, resume=path)
    other = {"density": "groups", "normalizer_samples": 6} if change == "normalizer_samples" else {}
    with pytest.raises(ValueError, match="normalizer_samples was 5"):
        nll(ncp, x, samples=30, resume=path, **other)


def test_the_scale_of_a_likelihood_is_seen(tmp_path):
    """Fault: `Gaussian(scale=.5)`, then `.2`, in one file: 9.10 nats for 36.75. A fixed scale is no
    tensor.
    """
    pictures = images(6)
    path = tmp_path / "journal.jsonl"
    with seeded(0, "test"):
        first = vae(likelihood=partial(Gaussian, scale=0.5))
    with seeded(0, "test"):
        second = vae(likelihood=partial(Gaussian, scale=0.2))
    nll(first, pictures, samples=20, resume=path)
    with pytest.raises(ValueError, match="a setting that is not a parameter differs"):
        nll(second, pictures, samples=20, resume=path)


WORKER = """
import json, sys, torch
sys.path.append("..")  # where the members are
from torch import distributed
from priorwise.estimators import nll
from priorwise.testing import LinearGaussianVAE
from test_journal import SAMPLES, build, counted

rank, store, journal, out = int(sys.argv[1]), *sys.argv[2:]
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
model, x = build()
rows = counted(model)
estimate = nll(model, x, samples=SAMPLES, resume=journal)
distributed.barrier()
values = estimate.per_example.tolist()
with open(f"{out}{rank}", "w") as file:
    json.dump({"rows": sum(rows), "values": values, "stderr": estimate.stderr}, file)
distributed.destroy_process_group()
"""


def test_two_processes_share_the_work(tmp_path):
    """Fault: a process that does all the work or misses the other's, and two that write one journal
    over each other.
    """
    model, x = build()
    quiet = nll(model, x, samples=SAMPLES)
    path = tmp_path / "journal.jsonl"
    killed_after(model, x, path, 10)
    arguments = [str(tmp_path / "store"), str(path), str(tmp_path / "out")]
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen(
            [*command, str(rank), *arguments], cwd=Path(__file__).parent, stderr=subprocess.PIPE
        )
        for rank in (0, 1)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=600)
        assert worker.returncode == 0, errors.decode()
    found = [json.loads((tmp_path / f"out{rank}").read_text()) for rank in (0, 1)]
    for part in found:
        assert part["values"] == quiet.per_example.tolist()
        assert part["stderr"] == quiet.stderr
        assert 0 < part["rows"] < 33 * SAMPLES
    assert sum(part["rows"] for part in found) == 33 * SAMPLES + 2 * PROBE
    lines = [read_line(line) for line in path.read_bytes().splitlines()]
    assert sorted(int(index) for line in lines[1:] for index in line) == list(range(43))


@pytest.mark.parametrize(
    ("stored", "now"),
    [(math.nan, math.inf), (math.inf, -math.inf), (-803.64, -803.14), (math.nan, 1.0)],
)
def test_a_probe_tells_close_models_and_kinds_of_nothing_apart(tmp_path, stored, now):
    """Fault: a tolerance of a thousandth, half a nat of 800; NaN and infinity as one."""
    Journal(tmp_path / "journal", {"of": "x"}, [stored])
    Journal(tmp_path / "journal", {"of": "x"}, [stored])
    with pytest.raises(ValueError, match="a setting that is not a parameter differs"):
        Journal(tmp_path / "journal", {"of": "x"}, [now])


@pytest.mark.parametrize(
    ("place", "change"), [(2, b"0."), (3, b'"check": "'), (4, b"]"), (5, b"{")], ids=str
)
def test_a_damaged_line_is_computed_again(tmp_path, place, change):
    """Fault: a number that was changed on the disk becomes the result; a journal that is refused
    although all of it can be computed again.
    """
    model, x = build()
    path = tmp_path / "journal.jsonl"
    quiet = nll(model, x, samples=SAMPLES, rows=300, resume=path)
    whole = path.read_bytes()
    lines = whole.split(b"\n")
    assert change in lines[place - 1]
    lines[place - 1] = lines[place - 1].replace(change, b"9" * len(change), 1)
    path.write_bytes(b"\n".join(lines))
    with pytest.warns(UserWarning, match=f"is damaged in line {place}: those lines are removed"):
        resumed = nll(model, x, samples=SAMPLES, rows=300, resume=path)
    assert torch.equal(resumed.per_example, quiet.per_example)
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_journal_of_an_earlier_version_is_read_with_a_warning(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"of": "x", "probe": [1.0]}\n{"0": [2.0]}\n')
    with pytest.warns(UserWarning, match="lines without a checksum"):
        journal = Journal(path, {"of": "x"}, [1.0])
    assert journal.read() == {0: [2.0]}


@pytest.mark.parametrize(
    "entry",
    [{0: [1.0]}, {99: [1.0] * 4}, {3: [1e300] * 4}, {3: [True] * 4}, {3: "text"}, {-1: [1.0] * 4}],
    ids=str,
)
def test_an_entry_of_another_computation_is_computed_again(tmp_path, entry):
    """Fault: a line with a right checksum whose values no computation gave: a traceback, an image
    too many, or a likelihood of 308 digits.
    """
    path = tmp_path / "journal"
    Journal(path, {"of": "x"}, [1.0], shape=(9, 4)).append({3: [1.0, 2.0, -math.inf, 4.0]})
    append_line(path, checked_line(entry))
    with pytest.warns(UserWarning, match="is damaged in line 3: those lines are removed"):
        journal = Journal(path, {"of": "x"}, [1.0], shape=(9, 4))
    assert journal.read() == {3: [1.0, 2.0, -math.inf, 4.0]}


def test_a_finished_image_stays_as_it_is(tmp_path):
    """Fault: a line that was added later replaces the number of an image; a carriage return that
    one reader takes for the end of a line and the other does not.
    """
    path = tmp_path / "journal"
    journal = Journal(path, {"of": "x"}, [1.0])
    journal.append({3: [1.0]})
    journal.append({3: [2.0], 4: [2.0]})
    assert journal.read() == {3: [1.0], 4: [2.0]}
    with path.open("ab") as file:
        file.write(b'{"5": [1.0],\r "6": [2.0]}\n')
    with pytest.warns(UserWarning, match="lines without a checksum"):
        assert Journal(path, {"of": "x"}, [1.0]).read().keys() == {3, 4, 5, 6}
