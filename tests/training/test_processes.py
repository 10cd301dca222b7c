"""Two processes train one model, through torch's launcher."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toys import splits, wrong
from worker import OPTIONS, Fixed, model

from priorwise import fit
from priorwise.training.checkpoint import read_checkpoint

LAUNCHER = Path(sys.executable).parent / "torchrun"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Path:
    """Fits of ``worker.py`` in two processes."""
    out = tmp_path_factory.mktemp("two")
    here = Path(__file__).parent
    paths = [str(here), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [
        str(LAUNCHER),
        "--nproc_per_node",
        "2",
        "--master_addr",
        "127.0.0.1",
        "--master_port",
        str(free_port()),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [*command, str(here / "worker.py"), str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_both_processes_agree(launched):
    """Fault: processes that train apart, or that write one folder over each other."""
    first, second = (torch.load(launched / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["world"] == second["world"] == 2
    for name, tensor in first["sampled"].items():
        assert torch.equal(tensor, second["sampled"][name])
    best, _ = read_checkpoint(launched / "run" / "best.safetensors")
    assert all(
        torch.equal(tensor, best[f"model/{name}"]) for name, tensor in first["sampled"].items()
    )
    lines = [
        json.loads(line) for line in (launched / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert (
        first["history"]
        == second["history"]
        == [line["validation"]["negative_elbo"] for line in lines]
    )


def test_gradient_is_that_of_the_whole_batch(launched):
    """Fault: a mean of unequal shares, or a step without rows: batches are 25, 25 and 1 here.

    The objective draws nothing, so one process must come to the same weights but for rounding.
    """
    alone = model()
    fit(alone, splits(51), Fixed(alone), **OPTIONS)
    for rank in (0, 1):
        weights = torch.load(launched / f"rank{rank}.pt", weights_only=True)["fixed"]
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)
    assert not torch.equal(alone.decoder.bias, model().decoder.bias)


def test_two_players_in_two_processes(launched):
    """Fault: a wrapper that waits for the other player's gradients, or a discriminator for each
    process.
    """
    first, second = (torch.load(launched / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    before = wrong().state_dict()
    for name, tensor in first["players"].items():
        assert torch.equal(tensor, second["players"][name]), name
        assert not torch.equal(tensor, before.get(name.removeprefix("model."), torch.zeros(()))), (
            name
        )
    assert [line["validation"] for line in first["played"]] == [
        line["validation"] for line in second["played"]
    ]
    assert first["played"][0]["train"].keys() == {
        "distortion",
        "rate_1",
        "total_correlation",
        "discriminator_bce",
    }


def test_a_prior_without_a_gradient_in_two_processes(launched):
    """Fault: a wrapper that waits for the gradient of a rate that nobody computes."""
    first, second = (torch.load(launched / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["mixture_stays"]
    assert all(
        torch.equal(tensor, second["without_rate"][name])
        for name, tensor in first["without_rate"].items()
    )


def test_objects_are_not_left_wrapped(launched):
    """Fault: hooks of the data-parallel wrapper that stay in the model."""
    for rank in (0, 1):
        assert torch.load(launched / f"rank{rank}.pt", weights_only=True)["unchanged"]
