"""The runs and data that are attacked, made once: small enough that a command takes a moment."""

import importlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

OWN = """
import torch
import priorwise as pw
from priorwise.objectives import ELBO, AbstractObjective, Terms


class Replayed(AbstractObjective):
    # Pulls the mean of the codes to a buffer of codes, which is state beside the checkpoint.
    def __init__(self, model):
        super().__init__()
        self.inner = ELBO(model)
        self.buffer = torch.zeros(8, 2)

    @property
    def trained(self):
        return self.inner.trained

    def explain(self):
        return self.inner.explain()

    def forward(self, x, step=0):
        terms = self.inner(x, step)
        codes = self.inner.model.infer(x)[0].z
        pull = (codes.mean(0) - self.buffer.mean(0)).square().sum()
        if torch.is_grad_enabled():
            self.buffer = torch.cat([self.buffer[2:], codes[:2].detach()])
        return Terms(terms.per_example, {"pull": pull}, terms.weights | {"pull": 1.0})

    def large_state(self):
        return {"codes": self.buffer}

    def load_large_state(self, tensors):
        self.buffer = tensors["codes"].clone()
"""
SMALL = [
    "model.hidden=4",
    "model.latent=2",
    "training.epochs=2",
    "training.warmup_epochs=1",
    "training.batch_size=20",
    "evaluation.hole_classifier=false",
    "evaluation.quality=none",
    "evaluation.samples=10",
    "evaluation.images=8",
    "evaluation.quality_images=50",
]
RUNS = {
    "vae": ["own/vae", *SMALL, "--data", "small.npz"],
    "factor": ["own/vae", *SMALL, "objective.kind=factor_vae", "--data", "small.npz"],
    "buffered": [
        "own/vae",
        *SMALL,
        "objective.kind=own",
        "objective.path=own.py:Replayed",
        "--data",
        "small.npz",
    ],
    "half": ["own/vae", *SMALL, "--data", "small.npz"],
    "seeds": ["own/vae", *SMALL, "--data", "small.npz", "--seeds", "2"],
    "ncp": [
        "ncp/posthoc",
        "model.hidden_features=[4]",
        "training.epochs=2",
        "evaluation.log_norm_samples=200",
        "--base",
        "vae",
    ],
}


def train_again(run: str) -> list[str]:
    """The arguments that trained a run, and continue it."""
    seconds = ["training.checkpoint_seconds=1e-9"] if run == "half" else []
    return ["train", *RUNS[run], *seconds, "--out", run]


def command(*arguments: str) -> int:
    """The command in this process; its exit code."""
    from priorwise.cli import main

    sys.argv = ["priorwise", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _stopped(arguments: list[str]) -> None:
    """Train, and stop after a few checkpoints."""
    from priorwise.training import store

    write, written = store.write_checkpoint, []

    def stops(path: Path, *others: object, **words: str) -> None:
        write(path, *others, **words)
        written.append(path.name)
        if written.count("last.safetensors") == 5:
            raise KeyboardInterrupt

    store.write_checkpoint = stops
    try:
        assert command(*arguments) == 130
    finally:
        store.write_checkpoint = write


def make_targets(folder: Path) -> None:
    """Data, code and runs in a folder; runs in a child of ours, which works in that folder."""
    os.chdir(folder)
    bits = np.random.RandomState(0).rand(60, 4, 4) < np.linspace(0.1, 0.9, 16).reshape(4, 4)
    np.savez("small.npz", x=bits.astype(np.uint8))
    Path("own.py").write_text(OWN)
    for run in RUNS:
        if run == "half":
            _stopped(train_again(run))
            continue
        code = ["--code", "own.py"] if run == "buffered" else []
        for arguments in (train_again(run), ["evaluate", run, *code]):
            if command(*arguments):
                raise AssertionError(f"expected {' '.join(arguments)} to succeed.")
    # What is read only if somebody asks: the picture code and the report of a run on a base.
    for arguments in (["compare", "vae", "ncp"], ["traverse", "vae"], ["report", "ncp"]):
        if command(*arguments):
            raise AssertionError(f"expected {' '.join(arguments)} to succeed.")
    Path("comparison.png").unlink()
    # A report keeps the record of the base here unless the base's own run has all that it needs.
    shutil.copy("vae/evaluation.json", "ncp/base/evaluation.json")


def in_child(work: Callable[..., object], *arguments: object) -> int:
    """Call ``work`` in a child; its exit code."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work(*arguments)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def _quietly(work: Callable[[Path], object], folder: Path) -> None:
    """Call ``work`` with its output in a file, and note what it imported."""
    stream = os.open(folder.parent / "made.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    work(folder)
    (folder.parent / "imported.txt").write_text("\n".join(sys.modules))


def imported_by(work: Callable[[Path], object], folder: Path) -> None:
    """Call ``work`` in a child and import what it imported, so that later children have it.

    This process itself computes nothing, so that it can be forked.
    """
    if in_child(_quietly, work, folder):
        sys.exit((folder.parent / "made.txt").read_text())
    for name in (folder.parent / "imported.txt").read_text().split():
        try:
            importlib.import_module(name)
        except ImportError:  # parts of packages that are made while they are imported
            continue
