"""One case of an attack: hostile input, one command in a child of its own, and what came of it.

A child is forked from a process that has imported everything, so a case costs about 0.1 s.
"""

import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from targets import command

SECONDS = 20  # of processor time, after which a command hangs
PATIENCE = 60  # seconds of wall-clock time, after which a command hangs that waits for something
MEMORY = 1536 * 2**20  # bytes of resident memory that a command may take
ADDRESSES = 3 * 2**30  # bytes of addresses beyond those after the imports
LARGEST_FILE = 256 * 2**20  # bytes that a command may write to one file
LONGEST_MESSAGE = 4000  # characters on standard error, beyond what was typed
CODES = (0, 2, 130)  # done, refused, stopped; 1 is what Python itself ends with
CANARY = "executed"  # a file beside the cases that appears if hostile input is executed


@dataclass(frozen=True)
class Case:
    """What a maker of hostile input hands over.

    Attributes:
        arguments: The arguments of the command, or a call of the library.
        names: A refusal must contain one of these, or one of the files in ``arguments``.
        written: Patterns of files that were there before and that the command may change, beside
            what a killed process left (``.NAME.partial``). Refused training may change none.
        then: A second command, if the first one succeeds.
    """

    arguments: list[str] | Callable[[], object]
    names: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    then: list[str] | None = None


@dataclass
class Outcome:
    """What came of a case.

    Attributes:
        kind: Class of the hostile input.
        number: Number of the case, which repeats it together with the seed.
        code: Exit code; negative for a signal.
        faults: What is wrong, in words; empty for a case that passed.
    """

    kind: str
    number: int
    code: int
    faults: list[str] = field(default_factory=list)
    printed: str = ""
    arguments: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


Maker = Callable[[Random, Path], Case]
"""Puts hostile input into a folder, which is also the working directory of the command."""


def run_case(
    kind: str, maker: Maker, number: int, seed: int, targets: Path, place: Path
) -> Outcome:
    """Make a case, run its command with limits, and judge it.

    Arguments:
        kind: Name of the class.
        maker: Makes the case.
        number: Number of the case.
        seed: Seed of the campaign.
        targets: Folder with the runs of ``make_targets``.
        place: An empty folder for this case.
    """
    random = Random(f"{seed}/{kind}/{number}")
    work = place / "work"
    shutil.copytree(targets, work, symlinks=True)
    os.chdir(work)
    case = maker(random, work)
    before = _contents(work, targets)
    start = time.monotonic()
    code, usage = _run(case, place)
    outcome = Outcome(kind, number, code, seconds=time.monotonic() - start)
    outcome.megabytes = usage / 2**20
    if isinstance(case.arguments, list):
        outcome.arguments = " ".join(map(repr, case.arguments))
    outcome.printed = _read(place / "errors") + _read(place / "output")
    outcome.faults = [
        *_faults_of_end(outcome),
        *_faults_of_words(case, code, _read(place / "errors"), _read(place / "output")),
        *_faults_of_files(case, code, before, _contents(work, targets)),
    ]
    if (place / CANARY).exists():
        outcome.faults.append("executed")
    return outcome


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def _contents(folder: Path, source: Path) -> dict[str, str]:
    """A mark of each file below a folder; what is not a plain file is only named.

    A run that goes on may note that its data lie in ``folder`` now, and no longer in ``source``.
    """
    marks = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            marks[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            marks[name] = _mark(path, folder, source)
        elif not path.is_dir():
            marks[name] = "special"
    return marks


def _mark(path: Path, folder: Path, source: Path) -> str:
    if path.stat().st_size >= 2**22:
        return "large"
    content = path.read_bytes()
    if path.name == "run.json":
        content = content.replace(str(source).encode(), str(folder).encode())
        # The same record may be written in another form, and how often it saves may change. What
        # is damaged is compared byte for byte.
        with suppress(ValueError, RecursionError):
            content = json.dumps(_without_pace(json.loads(content)), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _without_pace(record: object) -> object:
    if isinstance(record, dict):
        return {
            name: _without_pace(value)
            for name, value in record.items()
            if name != "checkpoint_seconds"
        }
    return record


# -- the child -------------------------------------------------------------------------------------


def _run(case: Case, place: Path) -> tuple[int, int]:
    """The exit code and the peak memory of a child that runs the case."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _limit(place)
        os._exit(_code_of(case))
    limit = time.monotonic() + PATIENCE
    pause = 0.002
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), 1024 * usage.ru_maxrss
        if time.monotonic() > limit:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return -int(signal.SIGKILL), 1024 * usage.ru_maxrss
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _limit(place: Path) -> None:
    """Streams into files, and limits on memory, file sizes and processes."""
    for number, name in ((1, "output"), (2, "errors")):
        stream = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    addresses = pages * resource.getpagesize() + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.environ |= {
        "PRIORWISE_CACHE": str(place / "cache"),
        "HOME": str(place),
        "COLUMNS": "200",
        "PATH": f"{place / 'work' / 'bin'}:{os.environ['PATH']}",
    }


def _code_of(case: Case) -> int:
    try:
        if isinstance(case.arguments, list):
            code = command(*case.arguments)
            return code or (command(*case.then) if case.then else 0)
        try:
            case.arguments()
        except (ValueError, TypeError) as refusal:
            print(f"error: {refusal}", file=sys.stderr)
            return 2
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


# -- the verdict -----------------------------------------------------------------------------------


def _faults_of_end(outcome: Outcome) -> list[str]:
    faults = []
    if outcome.code in (-signal.SIGKILL, -signal.SIGXCPU) and outcome.seconds >= SECONDS:
        faults.append("hangs")
    elif outcome.code not in CODES:
        faults.append(f"ends with {outcome.code}")
    if "Traceback" in outcome.printed or "is a bug" in outcome.printed:
        faults.append("traceback")
    if outcome.megabytes * 2**20 > MEMORY:
        faults.append(f"takes {outcome.megabytes:.0f} MB")
    return faults


def _faults_of_words(case: Case, code: int, errors: str, output: str) -> list[str]:
    faults = []
    typed = sum(map(len, case.arguments)) if isinstance(case.arguments, list) else 0
    if len(errors) > LONGEST_MESSAGE + typed:
        faults.append(f"{len(errors)} characters on standard error")
    raw = {char for char in errors + output if _is_control(char)}
    if raw:
        faults.append(f"raw control characters {sorted(raw)}")
    if code == 2 and not any(_plain(name)[:200] in errors for name in case.names if name):
        faults.append("a refusal without the name of the file or setting")
    return faults


def _is_control(char: str) -> bool:
    return char not in "\n\t" and (ord(char) < 32 or 127 <= ord(char) < 160)


def _plain(name: str) -> str:
    """The longest part of a name that is printed as it is."""
    plain = "".join(char if " " < char < "\x7f" else "\0" for char in name)
    return max(plain.split("\0"), key=len)


def _faults_of_files(
    case: Case, code: int, before: dict[str, str], after: dict[str, str]
) -> list[str]:
    refused_training = code == 2 and isinstance(case.arguments, list) and "train" in case.arguments
    allowed_names = () if refused_training else (*case.written, ".*.partial")
    changed = [name for name, mark in before.items() if after.get(name) != mark]
    return [
        f"{name} {'changed' if name in after else 'is lost'}"
        for name in changed
        if not any(Path(name).match(allowed) for allowed in allowed_names)
    ]
