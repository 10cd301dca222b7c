"""Importing the package changes nothing outside it, and loads nothing that only some of its users
need.
"""

import json
import subprocess
import sys

import pytest
import source

HEAVY = ["matplotlib", "sklearn", "jinja2", "pooch", "zuko", "PIL", "typer"]

PROGRAM = """
import importlib, json, logging, random, signal, sys, threading, warnings
import numpy, torch
from torch.distributions import Distribution

def state():
    names = sorted(logging.root.manager.loggerDict)
    loggers = [logging.getLogger(), *map(logging.getLogger, names)]
    return {
        "torch's random state": torch.get_rng_state().sum().item(),
        "python's random state": hash(random.getstate()),
        "numpy's random state": numpy.random.get_state()[1].sum().item(),
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(),
        "inter-op threads": torch.get_num_interop_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "gradients": torch.is_grad_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "validation of distributions": Distribution._validate_args,
        "print options": str(torch._tensor_str.PRINT_OPTS),
        "root handlers": len(logging.getLogger().handlers),
        "root level": logging.getLogger().level,
        "our handlers": [
            name
            for name in names
            if name.startswith("priorwise") and logging.getLogger(name).handlers
        ],
        "interrupt handler": str(signal.getsignal(signal.SIGINT)),
        "exception hook": str(sys.excepthook),
        "threads running": threading.active_count(),
    }

import accelerate  # a dependency whose own effects are not ours
filters = list(warnings.filters)
before = state()
for name in %r:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):  # a lazy package imports what is asked for
        getattr(module, public)
after = state()
added = [item for item in warnings.filters if item not in filters]
print(json.dumps({
    "changed": [key for key in before if before[key] != after[key]],
    "filters": [str(item) for item in added if item[0] == "ignore"],
    "loaded": [name for name in %r if name in sys.modules],
}))
"""


def report(names):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM % (names, HEAVY)], capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout.splitlines()[-1]), process


@pytest.fixture(scope="module")
def imported():
    """The facade, and every module of the core."""
    core = {unit for row in source.ROWS[:7] for unit in row}
    names = [f"priorwise.{module}" for module in source.modules() if source.unit_of(module) in core]
    return report(["priorwise", *names])


def test_nothing_outside_is_changed(imported):
    """Fault: a seed, a thread count, a default dtype or a handler that is set at import; zuko's
    switch.
    """
    assert imported[0]["changed"] == []
    assert imported[0]["filters"] == []


def test_nothing_heavy_is_loaded(imported):
    """Fault: plotting, web and download libraries that `import priorwise` waits for."""
    assert imported[0]["loaded"] == []


def test_nothing_is_printed(imported):
    """Fault: a banner."""
    process = imported[1]
    assert len(process.stdout.splitlines()) == 1
    assert process.stderr == ""


def test_the_probe_sees_changes(tmp_path):
    """Fault: a probe that compares nothing."""
    (tmp_path / "rude.py").write_text(
        "import torch, logging, warnings, sys\n"
        "torch.manual_seed(0); torch.set_default_dtype(torch.float64)\n"
        "logging.getLogger().addHandler(logging.StreamHandler())\n"
        "warnings.simplefilter('ignore')\n"
        "torch.distributions.Distribution.set_default_validate_args(False)\n"
        "import jinja2\n"
    )
    record, _ = report_with_path(tmp_path)
    assert {
        "torch's random state",
        "default dtype",
        "root handlers",
        "validation of distributions",
    } <= set(record["changed"])
    assert record["filters"]
    assert record["loaded"] == ["jinja2"]


def report_with_path(path):
    program = f"import sys; sys.path.insert(0, {str(path)!r})\n" + PROGRAM % (["rude"], HEAVY)
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return json.loads(process.stdout.splitlines()[-1]), process
