"""Names that are near to one that does not exist, for messages that correct a typing error."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "suggestion"]

_LONGEST = 100  # characters of a name that are compared


def did_you_mean(names: Iterable[str]) -> str:
    """A sentence that offers names, with the space before it; empty if there are none.

    Example:
        >>> did_you_mean(["epochs", "lr"])
        " Did you mean 'epochs' or 'lr'?"
    """
    words = " or ".join(map(repr, names))
    return f" Did you mean {words}?" if words else ""


def suggestion(name: str, known: Iterable[str], *, count: int = 1) -> str:
    """A sentence that offers the known names nearest to a wrong one; empty if none is near.

    Arguments:
        name: The wrong name.
        known: The names that exist.
        count: How many are offered, at most.

    Example:
        >>> suggestion("epoch", ["epochs", "lr"])
        " Did you mean 'epochs'?"
    """
    return did_you_mean(
        difflib.get_close_matches(name[:_LONGEST], list(known), n=count, cutoff=0.5)
    )
