"""All recipes by name, and a user's own by its file: functions that return a complete ``Run``."""

import difflib
import inspect
from collections.abc import Callable
from typing import TypeAlias

from priorwise.config.own_code import CodePath, OwnCodeError, own_code
from priorwise.config.run import Run
from priorwise.recipes import digits, dpvae, own, vampprior
from priorwise.recipes.family import Family

__all__ = ["FAMILIES", "UnknownRecipeError", "packaged_recipe", "recipe", "recipes"]

FAMILIES: tuple[Family, ...] = (
    *vampprior.FAMILIES,
    *dpvae.FAMILIES,
    *digits.FAMILIES,
    *own.FAMILIES,
)

Recipe: TypeAlias = Callable[[], Run]


class UnknownRecipeError(ValueError):
    """A name that no recipe bears."""


def recipes() -> dict[str, Recipe]:
    """Every recipe by its name."""
    return {name: make for family in FAMILIES for name, make in family.recipes().items()}


def recipe(name: str) -> Run:
    """The run of one recipe: by its name, or by where it stands, as ``FILE.py:NAME``.

    A file is executed. A name that is read from a file goes to ``packaged_recipe`` instead.

    Arguments:
        name: A name of ``priorwise list``; or ``FILE.py:NAME`` or ``package.module:NAME``, a
            function without arguments that returns a ``Run``, or a ``Run``.

    Raises:
        UnknownRecipeError: if there is none of that name; the nearest names are suggested.
        OwnCodeError: if there is no such file or name, it fails, or it gives no ``Run``.
    """
    return _own_recipe(CodePath.parse(name)) if ":" in name else packaged_recipe(name)


def packaged_recipe(name: str) -> Run:
    """The run of one of the recipes of ``recipes()``; nothing else is executed.

    Raises:
        UnknownRecipeError: if there is none of that name; the nearest names are suggested.
    """
    known = recipes()
    if name not in known:
        near = difflib.get_close_matches(name.strip().lower(), known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        if name.endswith(".py"):
            hint = f" To take one from a file, name its function too: {name}:NAME."
        raise UnknownRecipeError(f"unknown recipe {name!r}.{hint} `priorwise list` shows all.")
    return known[name]()


def _own_recipe(path: CodePath) -> Run:
    """The run that stands in a file or module of the user's."""
    code = own_code(path.code)
    made = code.get(path.name)
    if callable(made) and not isinstance(made, Run):
        missing = _arguments_needed(made)
        if missing:
            raise OwnCodeError(
                f"expected {path} to take no arguments; it needs {', '.join(missing)}. Give them "
                "defaults, and set what differs by KEY.PATH=VALUE."
            )
        with code.at_home(f"calling {path}"):
            made = made()
    if not isinstance(made, Run):
        raise OwnCodeError(
            f"expected {path} to be a function that returns a Run of priorwise.config, or a Run; "
            f"got {type(made).__name__}."
        )
    return made


def _arguments_needed(function: Callable[..., object]) -> list[str]:
    """The arguments of a function that have no default."""
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in optional
    ]
