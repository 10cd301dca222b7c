"""Ctrl-C is never swallowed, and leaves no traceback."""

import importlib
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from toys import OPTIONS, splits, wrong

from priorwise import fit
from priorwise.estimators import c2st
from priorwise.interrupts import interruptible_imports, kept_interrupts
from priorwise.training import AbstractCallback, Moment, running_fit
from priorwise.training.checkpoint import read_checkpoint


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Swallowing:
    """A classifier that does with Ctrl-C what those of scikit-learn do."""

    def fit(self, X, y):
        try:
            press_ctrl_c()
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)

    def predict_proba(self, X):
        return torch.full((len(X), 2), 0.5)


def test_a_classifier_cannot_swallow_an_interrupt():
    """Fault: the accuracy of a classifier that was not fitted to the end, as the result."""
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        c2st(torch.randn(100, 2), torch.randn(100, 2), classifier=Swallowing())
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_network_of_scikit_learn_cannot_either(monkeypatch):
    from sklearn.neural_network import MLPClassifier

    backprop = MLPClassifier._backprop

    def interrupted(network, *arguments):
        monkeypatch.setattr(MLPClassifier, "_backprop", backprop)
        press_ctrl_c()

    monkeypatch.setattr(MLPClassifier, "_backprop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        c2st(torch.randn(100, 2), torch.randn(100, 2))


def test_what_was_not_interrupted_or_is_handled_elsewhere_goes_on(monkeypatch):
    """Fault: an interrupt out of nothing; one that is raised twice."""
    with kept_interrupts():
        pass
    caught = []
    monkeypatch.setattr(signal, "default_int_handler", signal.default_int_handler)
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        with kept_interrupts():
            press_ctrl_c()
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == [signal.SIGINT]


def test_an_interrupt_in_the_last_validation_is_raised(tmp_path, monkeypatch):
    """Fault: Ctrl-C that is ignored; or that costs the run which is complete by then."""
    judged, calls = running_fit.judged, []
    validations = OPTIONS["epochs"] + 1  # the first one is before the first step

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == validations:
            press_ctrl_c()
        return judged(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(running_fit, "judged", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    result = fit(wrong(), splits(), out=tmp_path, **OPTIONS)
    assert (result.stopped, len(result.history)) == ("epochs", OPTIONS["epochs"])


WAITING = """
import importlib.abc, sys, time
from priorwise.__main__ import main

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            print("ready", flush=True)
            try:
                time.sleep(600)
            except BaseException:
                raise RuntimeError("lost")

sys.meta_path.insert(0, Slow())
"""
COMMAND = """
sys.argv[1:] = ["list"]
main()
"""
LISTING = """
from priorwise.recipes import listing

def overview_text():
    import slow

listing.overview_text = overview_text
"""


@pytest.mark.parametrize(
    ("slow", "before"),
    [("priorwise.cli", ""), ("slow", LISTING)],
    ids=["the command itself", "what it imports later"],
)
def test_an_interrupt_in_an_import_ends_the_command_quietly(slow, before):
    """Fault: a traceback out of a half-imported package, or an interrupt that the package loses."""
    script = WAITING.replace("sys.argv[1]", repr(slow)) + before + COMMAND
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (130, "")


def test_an_import_in_the_middle_of_a_fit_does_not_end_it(tmp_path, monkeypatch):
    """Fault: Ctrl-C during a step that imports something ends the command without a checkpoint."""
    (tmp_path / "pressed.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    class Imports(AbstractCallback):
        def on_step(self, moment: Moment) -> None:
            importlib.import_module("pressed")

        def on_line(self, moment: Moment, line: Mapping[str, Any]) -> None: ...

    options = OPTIONS | {"checkpoint_seconds": 1e9}
    with pytest.raises(KeyboardInterrupt), interruptible_imports():
        fit(wrong(), splits(), out=tmp_path / "run", callbacks=[Imports()], **options)
    assert not ended
    assert read_checkpoint(tmp_path / "run" / "last.safetensors")[1]["step"] == 1
    monkeypatch.delitem(sys.modules, "pressed")
    with pytest.raises(KeyboardInterrupt), interruptible_imports():  # elsewhere it does
        importlib.import_module("pressed")
    assert set(ended) == {130}
