"""Callbacks see the fit and do not change it, and TensorBoard's curves survive a resume."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from kills import KilledError, assert_same_run
from toys import OPTIONS, checks_off, splits, with_batch_norm, wrong

from priorwise import fit
from priorwise.training import AbstractCallback, FitResult, Moment, TensorBoard
from priorwise.training.stage import judged

STEPS = 9  # 3 epochs of 3 batches


class Notes(AbstractCallback):
    """Writes down what it was told, and raises the error at a step or at a line."""

    def __init__(self, error: BaseException | None = None, at: str = "") -> None:
        self.notes: list[Any] = []
        self.error, self.at = error, at

    def note(self, *what: object) -> None:
        self.notes.append(what)
        if self.error is not None and f"{what[0]} {what[1]}" == self.at:
            raise self.error

    def on_start(self, moment: Moment, history: list[dict[str, Any]]) -> None:
        self.note("start", moment.step, len(history))

    def on_step(self, moment: Moment) -> None:
        assert moment.model.training
        assert all(parameter.grad is not None for parameter in moment.model.parameters())
        self.note("step", moment.step)

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        self.note("line", moment.step, moment.epoch, line["validation"])

    def on_end(self, result: FitResult) -> None:
        self.note("end", result.best_step)


class Meddler(AbstractCallback):
    """Draws random numbers, seeds the global generator and leaves the model in evaluation."""

    def on_start(self, moment: Moment, history: list[dict[str, Any]]) -> None:
        self.on_step(moment)

    def on_step(self, moment: Moment) -> None:
        torch.randn(moment.step + 1)
        torch.manual_seed(5)
        moment.model.eval()
        moment.model.sample(2)

    def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
        self.on_step(moment)


def test_callbacks_are_called_in_order():
    """Fault: a line before it is stored, a last line or the end left out."""
    watcher = Notes()
    result = fit(wrong(), splits(), callbacks=[watcher], **OPTIONS)
    validations = [line["validation"] for line in result.history]
    expected: list[tuple] = [("start", 0, 0)]
    for step in range(1, STEPS + 1):
        expected.append(("step", step))
        if step % 3 == 0:
            expected.append(("line", step, step // 3, validations[step // 3 - 1]))
    assert watcher.notes == [*expected, ("end", result.best_step)]


def test_a_callback_does_not_disturb_the_fit(tmp_path):
    """Fault: draws from the caller's generator, or a model that trains on in evaluation mode."""
    torch.manual_seed(0)
    model = with_batch_norm()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fit(model, splits(), out=tmp_path / "quiet", **OPTIONS)
    model.load_state_dict(state)
    with torch.random.fork_rng(devices=[]):
        fit(model, splits(), out=tmp_path / "watched", callbacks=[Meddler()], **OPTIONS)
    assert_same_run(tmp_path / "quiet", tmp_path / "watched")


@pytest.mark.parametrize("at", ["step 4", "line 6", "line 9"])
@pytest.mark.parametrize("error", [RuntimeError("mine"), KilledError()], ids=["error", "exit"])
def test_a_failing_callback_leaves_a_checkpoint(at, error, tmp_path):
    """Fault: work since the last checkpoint is lost, or a line is written twice on the resume."""
    options = OPTIONS | {"checkpoint_seconds": 1e9, "ema": 0.9}
    fit(wrong(), splits(), out=tmp_path / "quiet", **options)
    with pytest.raises(type(error)):
        fit(wrong(), splits(), out=tmp_path / "run", callbacks=[Notes(error, at)], **options)
    watcher = Notes()
    fit(wrong(), splits(), out=tmp_path / "run", callbacks=[watcher], **options)
    step = int(at.split()[1])
    assert watcher.notes[0] == ("start", step, step // 3)
    assert ("step", step) not in watcher.notes
    assert_same_run(tmp_path / "quiet", tmp_path / "run")


def test_a_line_shows_the_weights_that_were_judged():
    """Fault: a callback at a line that sees the weights of the step, not their average."""
    seen = []

    class Judge(AbstractCallback):
        def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None:
            x = splits().evaluation("validation")
            seen.append(
                judged(moment.objective, x, 25) == line["validation"][moment.objective.metric]
            )

    fit(wrong(), splits(), callbacks=[Judge()], ema=0.5, **OPTIONS)
    assert seen == [True] * 3


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        ([print], "AbstractCallback; got builtin_function_or_method"),
        ([Notes], "AbstractCallback; got Notes"),
        (Notes(), r"as a list; got one Notes\. Write callbacks=\[\.\.\.\]"),
    ],
)
def test_what_is_no_callback_is_refused(callbacks, words, tmp_path):
    """Fault: an error at the first line, after an epoch of training."""
    with checks_off(), pytest.raises(TypeError, match=words):
        fit(wrong(), splits(), callbacks=callbacks, out=tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run").exists()


# -- TensorBoard -----------------------------------------------------------------------------------


class Writer:
    """Stands for torch's writer: it keeps the scalars, voids as TensorBoard does, and counts."""

    folders: dict[str, list[tuple[str, float, int]]] = {}

    def __init__(self, folder: str, purge_step: int) -> None:
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "events.out.tfevents.1").touch()
        earlier = self.folders.get(folder, [])
        self.scalars = [each for each in earlier if each[2] < purge_step]
        self.folders[folder] = self.scalars

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def curves(monkeypatch):
    """The scalars of a folder, by tags; TensorBoard's own reader if it is installed."""
    if importlib.util.find_spec("tensorboard") is not None:
        return _real_curves
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr("priorwise.training.tensorboard.find_spec", lambda name: True)
    monkeypatch.setattr(Writer, "folders", {})

    def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
        tags: dict[str, list[tuple[int, float]]] = {}
        for name, value, step in Writer.folders[str(folder)]:
            tags.setdefault(name, []).append((step, value))
        return tags

    return read


def _real_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(each.step, each.value) for each in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.mark.parametrize("late", [False, True], ids=["from the start", "late"])
def test_tensorboard_has_every_line_once(curves, late, tmp_path):
    """Fault: lines after a checkpoint twice, lines before a resume lost, or epochs on the axis.

    The first session is killed at step 7, after the line of step 6 and a checkpoint of step 5.
    """
    board, out = TensorBoard(tmp_path / "board"), tmp_path / "run"
    options = OPTIONS | {"checkpoint_seconds": 1e9, "lr_final": 0.5}
    with pytest.raises(KilledError):
        fit(wrong(), splits(), out=out, callbacks=[Notes(KilledError(), "step 5")], **options)
    killer = Notes(KilledError(), "step 7")
    watching = [killer] if late else [board, killer]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("priorwise.training.running_fit.RunningFit._save_last", lambda self: None)
        with pytest.raises(KilledError):
            fit(wrong(), splits(), out=out, callbacks=watching, **options)
    result = fit(wrong(), splits(), out=out, callbacks=[board], **options)
    scalars = curves(tmp_path / "board")
    for kind, name in [("train", "distortion"), ("validation", "negative_elbo")]:
        steps, values = zip(*scalars[f"{kind}/{name}"], strict=True)
        assert list(steps) == [3, 6, 9]
        assert values == pytest.approx([line[kind][name] for line in result.history])
    assert dict(scalars["lr/model"])[9] == pytest.approx(0.05 * 0.5, rel=0.1)


def test_missing_tensorboard_is_told_before_training(monkeypatch, tmp_path):
    """Fault: an import error from torch after the first epoch."""
    monkeypatch.setattr("priorwise.training.tensorboard.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"extra `tensorboard`.*'priorwise\[tensorboard\]'"):
        TensorBoard(tmp_path / "board")
    assert not (tmp_path / "board").exists()
