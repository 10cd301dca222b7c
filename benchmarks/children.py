"""Peak memory and time of one function in a process of its own.

Run as ``python -m benchmarks.children MODULE FUNCTION ARGUMENTS THREADS``, it calls the function
with the keyword arguments of a JSON object and prints what it took. The function returns what is to
be measured, ready to run, so that building it is not counted in the time.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import is_clean, others_share

__all__ = ["Cost", "in_child", "peak_megabytes"]


@dataclass(frozen=True)
class Cost:
    """What a function took.

    Attributes:
        peak: Peak memory of the whole process, in MB.
        before: Peak memory before the function ran: the interpreter, torch, the model.
        wall: Wall time in seconds.
        cpu: CPU time in seconds.
        others: Share of the machine that other processes took meanwhile; None where it is not told.
    """

    peak: float
    before: float
    wall: float
    cpu: float
    others: float | None

    @property
    def clean(self) -> bool:
        """Whether the wall time can be trusted."""
        return is_clean(self.others)

    @property
    def own(self) -> float:
        """Peak memory above that before the function, in MB."""
        return self.peak - self.before


def peak_megabytes() -> float:
    """The largest resident memory of this process so far.

    Linux hands the parent's ``ru_maxrss`` to a child, so the process's own high-water mark is read
    where there is one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError, ValueError):
        unit = 1024 * 1024 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_child(module: str, function: str, threads: int, **arguments: object) -> Cost:
    """Measure ``module.function(**arguments)()`` in a process of its own.

    Raises:
        RuntimeError: if the process fails; its errors are in the message.
    """
    root = Path(__file__).parents[1]
    command = [
        sys.executable,
        "-m",
        "benchmarks.children",
        module,
        function,
        json.dumps(arguments),
        str(threads),
    ]
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(
            f"expected {module}.{function} to run in a child process; it failed:\n{done.stderr}"
        )
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _main(module: str, function: str, arguments: str, threads: str) -> None:
    build = getattr(importlib.import_module(module), function)
    import torch

    torch.set_num_threads(int(threads))
    run = build(**json.loads(arguments))
    before = peak_megabytes()
    share, wall, cpu = others_share(), time.perf_counter(), time.process_time()
    run()
    times = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "others": share(),
    }
    print(json.dumps({**times, "before": before, "peak": peak_megabytes()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
