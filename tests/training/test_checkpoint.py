"""Checkpoints: whole or not there, data and never code, of this model or refused."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from full_disk import no_file_above
from safetensors.torch import save_file
from torch import nn
from toys import with_batch_norm, wrong

from priorwise.storage import WriteError
from priorwise.training.checkpoint import (
    CheckpointError,
    load_model,
    load_optimizer,
    model_tensors,
    optimizer_tensors,
    read_checkpoint,
    write_checkpoint,
)
from priorwise.training.optimizer import build_optimizer


def written(path: Path, model: nn.Module, **state: object) -> Path:
    write_checkpoint(path, model_tensors(model), state)
    return path


def test_everything_comes_back(tmp_path):
    """Fault: a buffer, a type or a digit that gets lost."""
    model = with_batch_norm()
    state = {"step": 3, "best": 0.1 + 0.2, "sums": {"a": 1e-17}, "stopped": "ä"}
    tensors, stored = read_checkpoint(written(tmp_path / "a.safetensors", model, **state))
    assert stored == state
    other = with_batch_norm()
    load_model(other, tensors, tmp_path)
    assert {name: tensor.dtype for name, tensor in other.state_dict().items()} == {
        name: tensor.dtype for name, tensor in model.state_dict().items()
    }
    assert all(
        torch.equal(tensor, other.state_dict()[name]) for name, tensor in model.state_dict().items()
    )


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    sum(parameter.cos().sum() for parameter in model.parameters()).backward()
    optimizer.step()


def test_optimizer_goes_on_where_it_was(tmp_path):
    """Fault: moments or step counts that start again, or that lie in memory otherwise than their
    parameters.

    The decoder's weight is a transposed matrix, as many a user's is.
    """
    assert not wrong().decoder.weight.is_contiguous()
    model = wrong()
    optimizer = build_optimizer(model.parameters(), 0.1)
    for _ in range(3):
        step(model, optimizer)
    write_checkpoint(tmp_path / "a", model_tensors(model) | optimizer_tensors(optimizer), {})
    tensors, _ = read_checkpoint(tmp_path / "a")
    other = wrong()
    fresh = build_optimizer(other.parameters(), 0.1)
    load_model(other, tensors, tmp_path)
    load_optimizer(fresh, tensors)
    for _ in range(2):
        step(model, optimizer)
        step(other, fresh)
    assert all(
        torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True)
    )


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("kind", ["pickle", "torch", "half", "byte", "empty", "zeros"])
def test_what_is_no_checkpoint_is_refused_unread(tmp_path, kind):
    """Fault: falling back on pickle; a cut file that is read as far as it goes."""
    path, sprung = tmp_path / "best.safetensors", tmp_path / "sprung"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(sprung)))
    elif kind == "torch":
        torch.save({"trap": Trap(sprung)}, path)
    else:
        whole = written(path, wrong()).read_bytes()
        cut = {
            "half": whole[: len(whole) // 2],
            "byte": whole[:-1],
            "empty": b"",
            "zeros": bytes(len(whole)),
        }
        path.write_bytes(cut[kind])
    with pytest.raises(
        CheckpointError, match=r"best\.safetensors is not a whole safetensors file.*Restore it"
    ):
        read_checkpoint(path)
    assert not sprung.exists()


def test_the_trap_works(tmp_path):
    """Without this the test above might prove nothing."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"expected a checkpoint at .*none\.safetensors; there is none"
    ):
        read_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="there is none"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"format": "priorwise-1"}, {"format": "priorwise-2"}]
)
def test_foreign_safetensors_are_refused(tmp_path, metadata):
    """Fault: another library's file taken for ours, or a KeyError."""
    path = tmp_path / "foreign.safetensors"
    save_file({"model/a": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(
        CheckpointError, match=r"foreign\.safetensors was not written by this version of priorwise"
    ):
        read_checkpoint(path)


def test_other_models_are_refused(tmp_path):
    """Fault: loading what fits and leaving the rest; the model must stay as it was."""
    model, other = with_batch_norm(), wrong()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors, _ = read_checkpoint(written(tmp_path / "a", other))
    with pytest.raises(
        CheckpointError, match=r"holds another model: \d+ tensors differ, the first are `"
    ):
        load_model(model, tensors, tmp_path / "a")
    tensors, _ = read_checkpoint(written(tmp_path / "b", model))
    tensors["model/encoder.head.linear.bias"] = torch.zeros(5)
    words = (
        r"1 tensors differ, the first is `encoder\.head\.linear\.bias` "
        r"\(expected \(4,\), got \(5,\)\)"
    )
    with pytest.raises(CheckpointError, match=words):
        load_model(model, tensors, tmp_path / "b")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_full_disk_leaves_the_old_checkpoint(tmp_path):
    """Fault: writing into the old file; half a file that stays behind; an error without a path."""
    path = written(tmp_path / "last.safetensors", wrong(), step=1)
    before = path.read_bytes()
    with (
        no_file_above(100),
        pytest.raises(
            WriteError, match=r"last\.safetensors .*unharmed\. Free some space there, or"
        ),
    ):
        written(path, wrong(), step=2)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["last.safetensors"]
    assert read_checkpoint(written(path, wrong(), step=2))[1] == {"step": 2}


def test_state_is_json(tmp_path):
    """Fault: state in a form that only one program reads."""
    content = written(tmp_path / "a", wrong(), step=4).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["state"]) == {"step": 4}
