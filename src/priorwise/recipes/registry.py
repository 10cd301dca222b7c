"""All recipes by name, and users' own recipes by file: functions that return a ``Run``."""

import inspect
from collections.abc import Callable
from typing import TypeAlias

from priorwise.config.own_code import CodePath, OwnCodeError, own_code
from priorwise.config.run import Run
from priorwise.nearest import suggestion
from priorwise.recipes import digits, dpvae, own, posthoc, vampprior
from priorwise.recipes.family import Family

__all__ = ["FAMILIES", "UnknownRecipeError", "packaged_recipe", "recipe", "recipes"]

FAMILIES: tuple[Family, ...] = (
    *vampprior.FAMILIES,
    *dpvae.FAMILIES,
    *digits.FAMILIES,
    *own.FAMILIES,
    *posthoc.FAMILIES,
)

Recipe: TypeAlias = Callable[[], Run]


class UnknownRecipeError(ValueError):
    """A name that no recipe bears."""


def recipes() -> dict[str, Recipe]:
    """All recipes of priorwise by name."""
    return {name: make for family in FAMILIES for name, make in family.recipes().items()}


def recipe(name: str) -> Run:
    """The run of one recipe, by name or as ``FILE.py:NAME``.

    A file is executed. So use ``packaged_recipe`` for a name that was read from a file.

    Arguments:
        name: A name from ``priorwise list``; or ``FILE.py:NAME`` or ``package.module:NAME``, where
            ``NAME`` is a ``Run`` or a function without arguments that returns one.

    Raises:
        UnknownRecipeError: for an unknown name; the message suggests the nearest ones.
        OwnCodeError: if the file or the name does not exist, if the code fails, or if it does not
            return a ``Run``.
    """
    return _own_recipe(CodePath.parse(name)) if ":" in name else packaged_recipe(name)


def packaged_recipe(name: str) -> Run:
    """The run of a recipe from ``recipes()``; no other code is executed.

    Raises:
        UnknownRecipeError: for an unknown name; the message suggests the nearest ones.
    """
    packaged = recipes()
    if name not in packaged:
        hint = suggestion(name.strip().lower(), packaged, count=3)
        if name.endswith(".py"):
            hint = f" To use a recipe from a file, name its function too: {name}:NAME."
        raise UnknownRecipeError(f"unknown recipe {name!r}.{hint} `priorwise list` shows all.")
    return packaged[name]()


def _own_recipe(path: CodePath) -> Run:
    """The run that a file or module of the user defines."""
    code = own_code(path.code)
    run = code.get(path.name)
    if callable(run) and not isinstance(run, Run):
        missing = _required_arguments(run)
        if missing:
            raise OwnCodeError(
                f"expected {path} to take no arguments; it needs {', '.join(missing)}. Give them "
                "defaults, and change settings with KEY.PATH=VALUE."
            )
        with code.at_home(f"calling {path}"):
            run = run()
    if not isinstance(run, Run):
        raise OwnCodeError(
            f"expected {path} to be a function that returns a Run of priorwise.config, or a Run; "
            f"got {type(run).__name__}."
        )
    return run


def _required_arguments(function: Callable[..., object]) -> list[str]:
    """The arguments of a function that have no default."""
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind not in optional
    ]
