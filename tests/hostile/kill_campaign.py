"""Kills commands at random moments, and compares what they leave with the unbroken run.

``python tests/hostile/kill_campaign.py --count 200``: each trial is killed once to three times,
then runs to its end; weights, metrics and evaluation must be those of the unbroken run, bit for
bit. Other trials run on a full disk, or as two processes on one folder.
"""

import argparse
import fcntl
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "NO_COLOR": "1"}

import torch
from targets import command, imported_by, make_targets, train_again

torch.set_num_threads(1)

DISKS = (0, 100, 1500, 3000, 5000)  # bytes of the largest file on a full disk
ENDLESS = 120  # seconds after which a command hangs
LONG = ["training.epochs=6", "training.checkpoint_seconds=1e-9"]
CODE = ["--code", "own.py"]


def training(run: str) -> list[str]:
    """The arguments of a training that takes a checkpoint after every step."""
    arguments = train_again(run)
    arguments[arguments.index("training.epochs=2")] = LONG[0]
    return [*arguments, LONG[1]]


def measuring(name: str, run: str) -> list[str]:
    """The arguments of an evaluation or report that takes a while."""
    return [name, run, "--samples", "2000", "--images", "all", *(CODE if run == "buffered" else [])]


def fitting(prior: str) -> list[str]:
    """The arguments of a prior that is fitted over the VAE, into a folder of its name."""
    settings = ["model.prior.components=2", "training.batch_size=10", *LONG]
    return ["train", f"posthoc/{prior}", *settings, "--base", "vae", "--out", prior]


COMMANDS: dict[str, tuple[str, list[str]]] = {
    "train a VAE": ("vae", training("vae")),
    "train two players": ("factor", training("factor")),
    "train with a buffer": ("buffered", training("buffered")),
    "train an average": ("vae", [*training("vae"), "training.ema=0.9", "training.gradient_clip=1"]),
    "fit a mixture": ("mixture", fitting("mixture")),
    "fit a full mixture": ("full-mixture", fitting("full-mixture")),
    "evaluate a VAE": ("vae", measuring("evaluate", "vae")),
    "evaluate an NCP": ("ncp", measuring("evaluate", "ncp")),
    "report": ("ncp", measuring("report", "ncp")),
}


def start(arguments: list[str], work: Path, disk: tuple[int, int] | None = None) -> int:
    """A child that runs the command in a folder; its process number.

    Arguments:
        arguments: The arguments of the command.
        work: The folder.
        disk: The largest file that it can write, and a pipe for what it prints.
    """
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.chdir(work)
        for number, name in ((1, "output.txt"), (2, "errors.txt")):
            mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            os.dup2(os.open(work / name, mode), number)
        if disk is not None:
            largest, pipe = disk
            os.dup2(pipe, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        code = command(*arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def finish(child: int) -> int:
    """Wait for a child; its exit code."""
    limit = time.monotonic() + ENDLESS
    while time.monotonic() < limit:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -int(signal.SIGALRM)


def contents(folder: Path) -> dict[str, object]:
    """What must not depend on kills: tensors and progress without times, metrics and numbers."""
    from priorwise.training.checkpoint import read_checkpoint

    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors" and not path.name.startswith("."):
            tensors, state = read_checkpoint(path)
            state["seconds"] = 0
            bits = {
                key: (tensor.dtype, tensor.numpy().tobytes()) for key, tensor in tensors.items()
            }
            found[name] = (bits, json.dumps(state))
        elif path.name in ("metrics.jsonl", "evaluation.json", "report.md"):
            found[name] = path.read_bytes()
    return found


class Trials:
    """The campaign: the unbroken runs, and trials that are compared with them."""

    def __init__(self, folder: Path, targets: Path) -> None:
        self.folder, self.targets = folder, targets
        self.expected: dict[str, dict[str, object]] = {}
        self.seconds: dict[str, float] = {}

    def place(self, name: str) -> Path:
        """A fresh copy of everything, in which the run is not there yet if it is to be trained."""
        run, arguments = COMMANDS[name]
        work = Path(tempfile.mkdtemp(dir=self.folder))
        shutil.copytree(self.targets, work, dirs_exist_ok=True)
        if arguments[0] == "train":
            shutil.rmtree(work / run, ignore_errors=True)
        else:
            for path in (work / run).glob("evaluation*"):
                path.unlink()
        return work

    def unbroken(self, name: str) -> None:
        """Run the command once without a kill, and keep what it leaves."""
        work, begin = self.place(name), time.monotonic()
        code = finish(start(COMMANDS[name][1], work))
        assert code == 0, (name, code, (work / "errors.txt").read_text())
        self.seconds[name] = time.monotonic() - begin
        self.expected[name] = contents(work / COMMANDS[name][0])

    def judged(self, name: str, work: Path) -> str:
        """Run the command to its end and compare; empty if all is as it must be."""
        code = finish(start(COMMANDS[name][1], work))
        errors = (work / "errors.txt").read_text(errors="replace")
        if code or "Traceback" in errors:
            return f"ends with {code}: {errors[-300:]}"
        left = contents(work / COMMANDS[name][0])
        differing = [
            key
            for key in left.keys() | self.expected[name].keys()
            if left.get(key) != self.expected[name].get(key)
        ]
        return f"{', '.join(sorted(differing))} differ" if differing else ""

    def killed(self, name: str, random: Random) -> str:
        """Kill the command at random moments, then run it to its end."""
        work = self.place(name)
        for _ in range(random.choice([1, 1, 2, 3])):
            child = start(COMMANDS[name][1], work)
            time.sleep(random.uniform(0, 1.1 * self.seconds[name]))
            if os.waitpid(child, os.WNOHANG)[0]:
                break  # it was faster
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return self.judged(name, work)

    def full_disk(self, name: str, random: Random) -> str:
        """Run where no file may be larger than so many bytes, then where there is room again."""
        work = self.place(name)
        reader, pipe = os.pipe()
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 2**20)
        code = finish(start(COMMANDS[name][1], work, (random.choice(DISKS), pipe)))
        os.close(pipe)
        with os.fdopen(reader, errors="replace") as stream:
            errors = stream.read()
        if code not in (0, 2) or "Traceback" in errors or "is a bug" in errors:
            return f"a full disk ends with {code}: {errors[-300:]}"
        return self.judged(name, work)

    def two_at_once(self, name: str, random: Random) -> str:
        """Two processes on one folder: one works, the other is refused by the lock."""
        work = self.place(name)
        first = start(COMMANDS[name][1], work)
        while not (work / COMMANDS[name][0] / "metrics.jsonl").exists():
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.3) * self.seconds[name])
        os.kill(first, signal.SIGSTOP)  # so that it cannot be at its end before the second starts
        code = finish(start(COMMANDS[name][1], work))
        os.kill(first, signal.SIGCONT)
        codes = [finish(first), code]
        if codes != [0, 2]:
            return f"expected the second process to be refused; they ended with {codes}"
        return self.judged(name, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="trials in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["killed", "full disk", "two at once"], action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        trials = prepared(Path(folder).resolve())
        kinds: dict[str, tuple[int, Callable[[str, Random], str]]] = {
            "killed": (8, trials.killed),  # of so many trials in ten
            "full disk": (1, trials.full_disk),
            "two at once": (1, trials.two_at_once),
        }
        wheel = [
            kind
            for kind, (share, _) in kinds.items()
            for _ in range(share)
            if kind in (options.only or kinds)
        ]
        trained = [name for name in COMMANDS if name.startswith(("train", "fit"))]
        counts: Counter[tuple[str, str, bool]] = Counter()
        for number in range(options.count):
            random = Random(f"{options.seed}/{number}")
            kind = wheel[number % len(wheel)]
            name = random.choice(trained if kind == "two at once" else list(COMMANDS))
            fault = kinds[kind][1](name, random)
            counts[kind, name, bool(fault)] += 1
            if fault:
                print(f"--seed {options.seed}, trial {number}, {kind}, {name}: {fault}", flush=True)
            for path in trials.folder.glob("tmp*"):
                shutil.rmtree(path, ignore_errors=True)
    print("| trial | command | as unbroken | failures |\n|---|---|---|---|")
    for kind, name in sorted({key[:2] for key in counts}):
        passed, failed = counts[kind, name, False], counts[kind, name, True]
        print(f"| {kind} | {name} | {passed} | {failed} |")
    sys.exit(any(failed for *_, failed in counts))


def prepared(folder: Path) -> Trials:
    """The runs to be killed, made in a child, and what the unbroken commands leave."""
    targets = folder / "targets"
    targets.mkdir()
    imported_by(make_targets, targets)
    trials = Trials(folder, targets)
    for name in COMMANDS:
        trials.unbroken(name)
    return trials


if __name__ == "__main__":
    main()
