"""How much memory there is, and a refusal of what cannot fit before any of it is taken."""

import os
import sys

__all__ = ["MemoryLimitError", "refuse_beyond_memory", "usable_memory"]


class MemoryLimitError(ValueError):
    """Something that needs more memory than this machine has."""


def usable_memory() -> int:
    """Bytes of memory of this machine, or of what the process may address if that is less."""
    limits = []
    if sys.platform != "win32":
        import resource

        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits, default=2**63)


def refuse_beyond_memory(size: int, what: str, advice: str, *, share: float = 0.5) -> None:
    """Refuse something of so many bytes if it takes more than a share of the memory.

    Arguments:
        size: Bytes that it needs.
        what: What it is, with the name of its file or setting.
        advice: What to do instead.
        share: Of the memory, at most 1; what reads it needs the rest for copies.

    Raises:
        MemoryLimitError: if it does not fit.

    Example:
        >>> refuse_beyond_memory(10**18, "the array x of faces.npz", "Take less.")
        Traceback (most recent call last):
        priorwise.memory.MemoryLimitError: expected the array x of faces.npz to fit ...
    """
    limit = int(share * usable_memory())
    if size > limit:
        raise MemoryLimitError(
            f"expected {what} to fit into memory, in {limit / 2**30:.1f} GiB here; it needs "
            f"{size / 2**30:,.1f} GiB. {advice}"
        )
