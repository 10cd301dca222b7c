"""Runs that are killed before any of their writes, and resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from priorwise.training import folder, store
from priorwise.training.checkpoint import read_checkpoint

Result = TypeVar("Result")


class KilledError(BaseException):
    """Stands for a kill: nothing in the library may catch it."""


class Writes:
    """Counts the changes of a run's folder, and kills the run before one of them.

    That is the same as just after the change before.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None = None, *also: str) -> None:
        self.count, self.at = 0, at
        for name in ("write_checkpoint", *also):
            monkeypatch.setattr(store, name, self.wrapped(getattr(store, name)))
        append = folder.RunFolder.append_metrics
        monkeypatch.setattr(folder.RunFolder, "append_metrics", self.wrapped(append))

    def wrapped(self, write: Callable[..., None]) -> Callable[..., None]:
        def counted(*arguments: object, **words: str) -> None:
            self.count += 1
            if self.count == self.at:
                raise KilledError
            write(*arguments, **words)

        return counted


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal to the last bit; a NaN, such as an unknown log_norm, equals itself."""
    return first.detach().numpy().tobytes() == second.detach().numpy().tobytes()


def assert_same_run(first: Path, second: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        tensors, state = read_checkpoint(first / name)
        others, other_state = read_checkpoint(second / name)
        assert list(tensors) == list(others)
        assert all(same_bits(tensor, others[key]) for key, tensor in tensors.items())
        assert {**state, "seconds": 0} == {**other_state, "seconds": 0}
    assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()


def killed_before_each_write(
    train: Callable[[Path], Result], path: Path, *, every: int = 1
) -> tuple[Result, list[Result]]:
    """What an undisturbed run returns, and what each killed and resumed run returns.

    The folders of all of them must be the same in the end.

    Arguments:
        train: Builds a model afresh and trains it into a folder.
        path: Where the folders are made.
        every: Kills the runs before every so many writes only, to save time.
    """
    with pytest.MonkeyPatch.context() as patch:
        writes = Writes(patch)
        quiet = train(path / "quiet")
    resumed = []
    for at in range(1, writes.count + 1, every):
        out = path / str(at)
        with pytest.MonkeyPatch.context() as patch:
            Writes(patch, at)
            with pytest.raises(KilledError):
                train(out)
        resumed.append(train(out))
        assert_same_run(out, path / "quiet")
    return quiet, resumed
