"""The versions and the machine of a run, recorded so that a difference can be traced."""

import platform
import sys
from importlib.metadata import version

import torch

__all__ = ["versions"]


def _processor() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{platform.machine()} {capability}"
    )


def versions() -> dict[str, str | int]:
    """Versions, processor kind and thread count, on which a bit-for-bit resume depends."""
    return {
        "priorwise": version("priorwise"),
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "processor": _processor(),
        "threads": torch.get_num_threads(),
    }
