"""``torch.compile`` for fits and likelihoods: what it does not see, and what it says when it fails.

A compiler traces every call. Some of ours compute nothing and look at much: a search through Python
objects, a function of the step that the user wrote, a choice by a number that a tensor holds. They
are marked ``untraced`` and run as they stand.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

__all__ = [
    "BACKEND",
    "CompilationError",
    "advice_if_compiled",
    "compiled",
    "explained",
    "is_compiled",
    "uncompiled_name",
    "untraced",
]

BACKEND = "inductor"

P = ParamSpec("P")
R = TypeVar("R")

_untraced: dict[Callable[..., Any], Callable[..., Any]] = {}


class CompilationError(ValueError):
    """Code that cannot be compiled on this machine."""


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that ``torch.compile`` should call as it stands, without looking inside."""
    _untraced[function] = function

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return _untraced[function](*args, **kwargs)

    return call


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function behind ``torch.compile``, which compiles it at its first call.

    Random numbers stay torch's own. Importing torch's compiler takes a second, so it is done here
    and not with the library.
    """
    for plain, run in _untraced.items():
        if run is plain:
            _untraced[plain] = torch.compiler.disable(plain)
    options: dict[str, Any] = {"fallback_random": True} if BACKEND == "inductor" else {}
    return torch.compile(function, backend=BACKEND, options=options or None)


def is_compiled(thing: object) -> bool:
    """Whether ``torch.compile`` returned this module; torch's compiler is not imported for it."""
    return (type(thing).__module__, type(thing).__name__) == (
        "torch._dynamo.eval_frame",
        "OptimizedModule",
    )


def uncompiled_name(name: str) -> str:
    """The name that a tensor has in the module before ``torch.compile``.

    Checkpoints and hashes use these names, so a model has the same ones with and without compiled
    parts.

    Example:
        >>> uncompiled_name("encoder._orig_mod.weight")
        'encoder.weight'
    """
    return name.replace("_orig_mod.", "")


def advice_if_compiled(thing: object) -> str:
    """What to do about a whole model or prior that is compiled; empty for anything else."""
    if not is_compiled(thing):
        return ""
    return (
        " torch.compile hides what it is, as it compiles calls on tensors alone. Compile the "
        "networks inside it, such as encoder and decoder, or pass compile=True to priorwise.fit."
    )


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Say in words that something could not be compiled.

    Raises:
        CompilationError: with the compiler's own message.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        with warnings.catch_warnings():  # torch's compiler looks at gradients of inner tensors
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor")
            yield
    except TorchDynamoException as error:
        reason = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
        raise CompilationError(
            f"expected {what} that torch.compile can compile here; got: {reason}. It needs a C++ "
            "compiler such as g++, which torch finds by the variable CXX. Or leave `compile` at "
            "False."
        ) from error
