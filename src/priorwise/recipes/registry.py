"""All recipes by name. A recipe is a function that returns a complete ``Run``."""

import difflib
from collections.abc import Callable
from typing import TypeAlias

from priorwise.config.run import Run
from priorwise.recipes import digits, dpvae, own, vampprior
from priorwise.recipes.family import Family

__all__ = ["FAMILIES", "UnknownRecipeError", "recipe", "recipes"]

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
    """The run of one recipe.

    Raises:
        UnknownRecipeError: if there is none of that name; the nearest names are suggested.
    """
    known = recipes()
    if name not in known:
        near = difflib.get_close_matches(name.strip().lower(), known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UnknownRecipeError(f"unknown recipe {name!r}.{hint} `priorwise list` shows all.")
    return known[name]()
