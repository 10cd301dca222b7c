"""State that is too large for every checkpoint: beside it, always the one that goes with it, and no
more often than needed.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disk import no_file_above
from kills import KilledError, Writes, assert_same_run, same_bits
from torch import Tensor
from toys import OPTIONS, Hooked, splits, wrong

from priorwise import fit
from priorwise.objectives import ELBO, AbstractObjective, Terms
from priorwise.storage import WriteError
from priorwise.training import CheckpointError
from priorwise.training.checkpoint import read_checkpoint, write_checkpoint
from priorwise.training.large import drop_others, identity_of, large_path, load_large


class Replayed(Hooked):
    """Adds to the loss how far the decoder's bias is from a buffer, into which every ``every``-th
    batch is put.
    """

    def __init__(self, every: int = 2) -> None:
        super().__init__(ELBO(wrong()), self.pull)
        self.every = every
        self.buffer = torch.zeros(64, 3)
        self.loaded = 0

    @property
    def model(self) -> torch.nn.Module:
        return self.inner.model

    def pull(self, terms: Terms, step: int) -> Terms:
        if torch.is_grad_enabled() and step % self.every == self.every - 1:
            drawn = torch.randn(16, 3)
            self.buffer = torch.cat([self.buffer[16:], self.model.decoder.bias.detach() + drawn])
        distance = (self.buffer - self.model.decoder.bias).square().sum(-1).mean()
        return Terms(terms.per_example, {"pull": distance}, terms.weights | {"pull": 5.0})

    def large_state(self) -> dict[str, Tensor]:
        return {"images": self.buffer}

    def load_large_state(self, tensors: dict[str, Tensor]) -> None:
        self.buffer = tensors["images"].clone()
        self.loaded += 1


def fitted(objective: AbstractObjective, **options: Any) -> Any:
    return fit(objective.model, splits(), objective, **(OPTIONS | options))


def buffers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("buffer-*"))


@pytest.mark.parametrize("every", [1, 4], ids=["changes always", "changes seldom"])
@pytest.mark.parametrize("seconds", [1e-9, 1e9], ids=["often", "seldom"])
def test_killed_between_buffer_and_checkpoint(every, seconds, tmp_path, monkeypatch):
    """Fault: a checkpoint with the buffer of another step, an old buffer that goes too early;
    before every single write.

    The loss reads the buffer, so training on with another one moves the weights.
    """
    options = {"checkpoint_seconds": seconds}
    quiet = Replayed(every)
    with monkeypatch.context() as patch:
        writes = Writes(patch, None, "drop_others")
        expected = fitted(quiet, out=tmp_path / "quiet", **options)
    assert len(buffers(tmp_path / "quiet")) == 1
    agreed = 0
    for at in range(1, writes.count + 1, 5 if seconds < 1 else 1):  # 5 meets every kind of write
        out = tmp_path / str(at)
        with monkeypatch.context() as patch:
            Writes(patch, at, "drop_others")
            with pytest.raises(KilledError):
                fitted(Replayed(every), out=out, **options)
        if (out / "last.safetensors").exists():
            state = read_checkpoint(out / "last.safetensors")[1]
            assert f"buffer-{state['large']}.safetensors" in buffers(out)
            agreed += 1
        assert len(buffers(out)) <= 2
        resumed = Replayed(every)
        assert fitted(resumed, out=out, **options).history == expected.history
        assert_same_run(out, tmp_path / "quiet")
        assert buffers(out) == buffers(tmp_path / "quiet")
        assert same_bits(resumed.buffer, quiet.buffer)
        for name, tensor in resumed.model.state_dict().items():
            assert same_bits(tensor, quiet.model.state_dict()[name]), name
    assert agreed >= (1 if seconds > 1 else 3)


def test_a_buffer_is_written_when_it_changed(tmp_path, monkeypatch):
    """Fault: a buffer with every checkpoint. It changes at steps 3 and 7 of 9, and there is a
    checkpoint after each.
    """
    from priorwise.training import store

    written = []
    write = store.write_checkpoint
    monkeypatch.setattr(
        store,
        "write_checkpoint",
        lambda path, *rest, **words: (written.append(path.name), write(path, *rest, **words)),
    )
    fitted(Replayed(4), out=tmp_path, checkpoint_seconds=1e-9)
    assert (
        sum(name.startswith("buffer-") for name in written) == 3
    )  # the first one, and two that are new
    assert written.count("last.safetensors") == 11  # one before the first step, one at the end
    tensors, state = read_checkpoint(tmp_path / "last.safetensors")
    assert state["large"] == buffers(tmp_path)[0].removeprefix("buffer-").removesuffix(
        ".safetensors"
    )
    assert not any("images" in name for name in tensors)


def test_objectives_without_large_state_write_none(tmp_path):
    model = wrong()
    fit(model, splits(), out=tmp_path, **OPTIONS)
    assert buffers(tmp_path) == []
    assert read_checkpoint(tmp_path / "last.safetensors")[1]["large"] == ""


def test_in_memory_nothing_is_asked():
    """Fault: hashing a buffer that nobody keeps."""
    objective = Replayed()
    objective.large_state = lambda: pytest.fail("asked")
    fitted(objective)


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_damaged_buffers_stop_the_run(damage, tmp_path):
    """Fault: training on with an empty buffer, or with one of another step."""
    fitted(Replayed(), out=tmp_path)
    path = tmp_path / buffers(tmp_path)[0]
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        tensors, _ = read_checkpoint(path)
        write_checkpoint(path, {"images": tensors["images"] + 1}, {})
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    objective = Replayed()
    weight = objective.model.encoder.weight.detach().clone()
    with pytest.raises(CheckpointError, match=re.escape(path.name)):
        fitted(objective, out=tmp_path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    assert torch.equal(objective.model.encoder.weight, weight)
    assert objective.loaded == 0


def wide() -> Replayed:
    objective = Replayed(1)
    objective.buffer = torch.zeros(2000, 3)
    return objective


def test_no_checkpoint_without_its_buffer_on_a_full_disk(tmp_path):
    """Fault: a checkpoint that names a buffer which did not fit."""
    objective = wide()
    with no_file_above(12_000), pytest.raises(WriteError, match=r"buffer-.*from the last checkp"):
        fitted(objective, out=tmp_path)
    assert buffers(tmp_path) == []
    assert not (tmp_path / "last.safetensors").exists()
    fitted(wide(), out=tmp_path)
    assert len(buffers(tmp_path)) == 1


def test_identity_is_that_of_the_content():
    """Fault: values, types or shapes that the name does not tell."""
    one = {"a": torch.arange(6.0), "b": torch.tensor(True)}
    assert identity_of({}) == ""
    assert identity_of(one) == identity_of(dict(reversed(one.items())))
    others = [
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(True)},
        {"a": torch.arange(6.0), "b": torch.tensor(False)},
        {"a": torch.arange(6.0).int(), "b": torch.tensor(True)},
        {"c": torch.arange(6.0), "b": torch.tensor(True)},
        {"a": torch.arange(6.0), "b": torch.zeros(0)},
        {"a": torch.arange(6.0).bfloat16(), "b": torch.tensor(True)},
    ]
    identities = {identity_of(each) for each in [one, *others]}
    assert len(identities) == 7
    assert all(re.fullmatch("[0-9a-f]{16}", identity) for identity in identities)


def test_nothing_is_loaded_for_nothing(tmp_path):
    assert load_large(tmp_path, "", torch.device("cpu")) == {}
    assert large_path(tmp_path, "ab").name == "buffer-ab.safetensors"


def test_copies_of_a_buffer_stay(tmp_path):
    """Fault: files of the user's that begin with the same word are removed with the earlier
    buffers.
    """
    mine = [
        tmp_path / name
        for name in ("buffer-mine.safetensors", "buffer-0123456789abcdef-copy.safetensors")
    ]
    for path in mine:
        path.write_bytes(b"mine")
    drop_others(tmp_path, "")
    assert all(path.exists() for path in mine)


def test_a_buffer_that_nobody_takes_is_refused():
    """Fault: an objective without a place for it resumes in silence, and the buffer is removed."""
    with pytest.raises(
        ValueError, match=r"expected an objective that restores its large state \(images\)"
    ):
        ELBO(wrong()).load_large_state({"images": torch.zeros(2)})


class JudgedByBuffer(Replayed):
    """Its verdict depends on the large state."""

    def judge(self, x: Tensor, *, batch_size: int, seed: int) -> float:
        return -float(self.buffer.square().mean())


def test_a_verdict_may_read_the_large_state(tmp_path):
    """Fault: a probe that is taken on a resume before the large state is there."""
    first = fitted(JudgedByBuffer(), out=tmp_path / "run")
    assert fitted(JudgedByBuffer(), out=tmp_path / "run").history == first.history
