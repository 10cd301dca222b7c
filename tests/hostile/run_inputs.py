"""Hostile run folders: each file that the command reads back, damaged or replaced."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from attack import Case, Maker
from mutations import damaged_json, damaged_lines, damaged_tensors, nasty_text
from targets import train_again

Damage = Callable[[bytes, Random], bytes]

_MEASURED = ("evaluation.json", "evaluation_per_image.safetensors", "nll-*.jsonl")
_TRAINED = ("metrics.jsonl", "last.safetensors", "best.safetensors", "buffer-*", "group.json")
_SHOWN = ("report.*", "traversal.png")


def command_on(run: str, random: Random, names: tuple[str, ...]) -> Case:
    """A command that reads a run."""
    code = ["--code", "own.py"] if run == "buffered" else []
    name = random.choice(
        ["sample", "evaluate", "evaluate", "train", "train", "report", "traverse", "compare"]
    )
    names = (*names, run)
    if name == "train":
        return Case(train_again(run), names, _TRAINED)
    if name == "compare":
        return Case(["compare", run, *code, "--draws", "50"], names, ())
    if name == "traverse":
        return Case(["traverse", run, *code, "--pairs", "1"], names, _SHOWN)
    if name == "sample":
        return Case(["sample", run, *code], names, ("samples.png",))
    written = (*_MEASURED, *_SHOWN, "best.safetensors") if name == "report" else _MEASURED
    fresh = ["--seed", "1"] if random.random() < 0.3 else []
    return Case([name, run, *code, *fresh], names, (*written, "best.safetensors"))


def _damaged_file(runs: list[str], file: str, damage: Damage) -> Maker:
    """Makes cases in which one file of a run is damaged."""

    def make(random: Random, work: Path) -> Case:
        run = random.choice(runs)
        path = next((work / run).glob(file))
        path.write_bytes(damage(path.read_bytes(), random))
        return command_on(run, random, (path.name,))

    return make


def _swapped(random: Random, work: Path) -> Case:
    """A file of another run, a missing file, or two files in each other's place."""
    run = random.choice(["vae", "factor", "half", "ncp", "buffered"])
    files = [path for path in (work / run).iterdir() if path.suffix != ".html" and path.is_file()]
    path = random.choice(files)
    kind = random.randrange(3)
    other = random.choice(["vae", "factor", "half", "ncp", "buffered"])
    if kind == 0:
        path.unlink()
    elif kind == 1 and (work / other / path.name).exists() and other != run:
        shutil.copy(work / other / path.name, path)
    else:
        shutil.copy(random.choice(files), work / "kept")
        (work / "kept").replace(path)
    return command_on(run, random, (path.name, "run.json", "best.safetensors", "last.safetensors"))


def _special(random: Random, work: Path) -> Case:
    """A FIFO, a folder, a device or a link in the place of a file; links planted for writes."""
    run = random.choice(["vae", "half", "ncp"])
    names = [path.name for path in (work / run).iterdir() if path.is_file()]
    name = random.choice([*names, "evaluation.json", "metrics.jsonl", "nll-6x10-seed0.jsonl"])
    path = work / run / name
    kind = random.randrange(7)
    if kind < 5:
        path.unlink(missing_ok=True)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to("/dev/zero")
    elif kind == 3:
        path.symlink_to(path.name)
    elif kind == 4:
        path.symlink_to(work / "nowhere" / "else")
    elif kind == 5:
        path.touch()
        path.chmod(0)
    else:
        (work / "precious").write_text("precious")
        (work / run / f".{name}.partial").symlink_to(work / "precious")
    return command_on(run, random, (name,))


def _large(random: Random, work: Path) -> Case:
    """A file that has a gigabyte on paper, and none on the disk."""
    run = random.choice(["vae", "half", "ncp"])
    names = ["run.json", "evaluation.json", "metrics.jsonl", "last.safetensors", "best.safetensors"]
    name = random.choice(names)
    path = work / run / name
    path.touch()
    with path.open("rb+") as file:
        file.truncate(random.choice([2**30, 2**33]))
    return command_on(run, random, (name,))


def _code(random: Random, work: Path) -> Case:
    """A run.json that names code, which nobody allowed."""
    run = random.choice(["vae", "half"])
    (work / "evil.py").write_text(f"open({str(work.parent / 'executed')!r}, 'w')\nPrior = print\n")
    path = work / run / "run.json"
    record = json.loads(path.read_text())
    named = random.choice(["evil.py:Prior", "os:system", "evil:Prior", "vae/evil.py:Prior"])
    own = {"kind": "own", "path": named, "options": {nasty_text(random): nasty_text(random)}}
    place = random.choice(["prior", "model", "objective"])
    holder = record["identity"]["run"]["model"] if place == "prior" else record["identity"]["run"]
    holder[place] = own
    path.write_text(json.dumps(record))
    return command_on(run, random, ("run.json",))


PLAIN = ["vae", "half", "factor", "ncp"]
MAKERS: dict[str, Maker] = {
    "run.json": _damaged_file([*PLAIN, "buffered"], "run.json", damaged_json),
    "group.json": _damaged_file(["seeds"], "group.json", damaged_json),
    "metrics.jsonl": _damaged_file(PLAIN, "metrics.jsonl", damaged_lines),
    "journal": _damaged_file(["vae", "factor", "ncp"], "nll-*.jsonl", damaged_lines),
    "evaluation.json": _damaged_file(["vae", "factor", "ncp"], "evaluation.json", damaged_json),
    "per image": _damaged_file(["vae", "ncp"], "evaluation_per_image.*", damaged_tensors),
    "last": _damaged_file([*PLAIN, "buffered"], "last.safetensors", damaged_tensors),
    "best": _damaged_file([*PLAIN, "buffered"], "best.safetensors", damaged_tensors),
    "buffer": _damaged_file(["buffered"], "buffer-*", damaged_tensors),
    "base record": _damaged_file(["ncp"], "base/*", damaged_json),
    "swapped files": _swapped,
    "special files": _special,
    "large files": _large,
    "code in run.json": _code,
}
