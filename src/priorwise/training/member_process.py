"""The fit of one member of a group of runs: in this process, or several in processes of their own.

``python -m priorwise.training.member_process FIT`` is such a process; it is started here and meant
for nobody else. It ends, after a checkpoint, as soon as the process that started it is gone.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from priorwise.config.run import Run
from priorwise.interrupts import INTERRUPTED, interruptible_imports
from priorwise.progress import say
from priorwise.training.run_group import End, read_group

if TYPE_CHECKING:
    from priorwise.training.fit_result import FitResult

__all__ = ["MemberError", "MemberFit", "Outcome", "fitted_at_once"]


class MemberError(ValueError):
    """A member of a group that cannot be trained."""


@dataclass(frozen=True)
class MemberFit:
    """The fit of one member of a group of runs.

    Attributes:
        group: The folder of the group, whose record is written already.
        name: The name of the member.
        code: Code of your own that may be executed.
        init: As for ``train_run``.
        tensorboard: Where to write curves for TensorBoard; None writes none.
        progress: Whether to show progress.
    """

    group: str
    name: str
    code: tuple[str, ...] = ()
    init: str | None = None
    tensorboard: str | None = None
    progress: bool = True

    def run(self) -> "Outcome":
        """Train the member in this process, or go on where it was.

        One that patience stopped stays as it is when the group is given more epochs.
        """
        group = read_group(self.group)
        from priorwise.training.extension import StoppedEarlyError
        from priorwise.training.not_finite import TrainingDivergedError
        from priorwise.training.run_record import read_run

        value = next(value for value in group.values if group.name_of(value) == self.name)
        try:
            result = self._fit(group.run_of(value, self.code))
        except TrainingDivergedError as error:
            say(f"diverged: {error}", show=self.progress)
            return Outcome(End("diverged", str(error)))
        except StoppedEarlyError:
            say("stopped early by validation, which more epochs do not change", show=self.progress)
            result = self._fit(read_run(group.members[self.name], self.code)[0])
        say(f"{result.verdict} of {result.epochs} ({result.seconds:.0f} s)", show=self.progress)
        return Outcome(End("finished"), result.numbers)

    def _fit(self, run: Run) -> "FitResult":
        from priorwise.training.runner import train_run
        from priorwise.training.tensorboard import TensorBoard

        return train_run(
            run,
            Path(self.group) / self.name,
            init=self.init,
            progress=self.progress,
            callbacks=[] if self.tensorboard is None else [TensorBoard(self.tensorboard)],
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a member, and ``FitResult.numbers`` if its fit came to its end."""

    end: End
    numbers: dict[str, Any] = field(default_factory=dict)


def fitted_at_once(
    fits: Sequence[MemberFit], jobs: int, *, threads: int
) -> Generator[tuple[str, Outcome]]:
    """Train members in processes of their own, and yield each as it comes to its end.

    If the caller stops early, or is interrupted, all fits that run write a checkpoint and end.

    Arguments:
        fits: The members.
        jobs: How many are trained at once.
        threads: Threads of each process.

    Raises:
        MemberError: if one cannot be trained; the others were stopped then.
    """
    running = _Processes(threads)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            futures = {pool.submit(running.run, fit): fit.name for fit in fits}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            running.stop()
            pool.shutdown(cancel_futures=True)


class _Processes:
    """The processes of the fits that run now."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._alive: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, fit: MemberFit) -> Outcome:
        """Start a process for a fit, repeat what it says, and wait for what it comes to."""
        with self._lock:
            if self._stopped:
                raise MemberError(f"{fit.name} was not started.")
            process = self._started(fit)
            self._alive.add(process)
        with process:
            assert process.stderr is not None
            assert process.stdout is not None
            for line in process.stderr:
                say(f"{fit.name}: {line.rstrip()}")
            answer = process.stdout.read()
        with self._lock:
            self._alive.discard(process)
        if not answer:
            raise MemberError(
                f"expected {Path(fit.group) / fit.name} to be trained; its process ended with code "
                f"{process.returncode}. If it was killed, the memory may have been full: train "
                "fewer at once (--jobs). Run the same command again to continue."
            )
        record = json.loads(answer)
        if "error" in record:
            raise MemberError(f"{fit.name}: {record['error']}")
        return Outcome(End(**record["end"]), record["numbers"])

    def stop(self) -> None:
        """Let all fits that run write a checkpoint and end."""
        with self._lock:
            self._stopped = True
            for process in self._alive:
                assert process.stdin is not None
                process.stdin.close()

    def _started(self, fit: MemberFit) -> "subprocess.Popen[str]":
        """A process that ends when its standard input is closed; Ctrl-C reaches only this one."""
        share = str(self._threads)
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        limits = {"OMP_NUM_THREADS": share, "MKL_NUM_THREADS": share, "PYTHONPATH": path}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, json.dumps(asdict(fit))],
            env=os.environ | limits,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )


def _end_with_the_parent() -> None:
    """Interrupt this process when its standard input is closed, as it is when the parent ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may ignore it

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def _answer(fit: MemberFit) -> dict[str, Any]:
    """What a fit comes to, as plain data; what is printed meanwhile goes to standard error."""
    with redirect_stdout(sys.stderr):
        try:
            return asdict(fit.run())
        except (ValueError, TypeError, ArithmeticError, OSError, ImportError, MemoryError) as error:
            return {"error": str(error) or type(error).__name__}


def _main() -> None:
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    _end_with_the_parent()
    record = json.loads(sys.argv[1])
    try:
        with interruptible_imports():
            answer = _answer(MemberFit(**record | {"code": tuple(record["code"])}))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
