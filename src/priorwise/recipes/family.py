"""Families of recipes, whose names are combinations of the same words."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

from priorwise.config.run import Run

__all__ = ["Family"]


@dataclass(frozen=True)
class Family:
    """Recipes that differ in the words of their names, one for each combination.

    Arguments:
        template: The names, with ``{}`` for each word; the group stands before the slash.
        about: What the recipes are, in one line.
        make: Makes the run from its name and the words in it.
        words: The possible words at each place.

    Example:
        >>> family = Family("own/{}_{}", "examples", Run, (("vae", "hvae"), ("standard", "vamp")))
        >>> family.pattern
        'own/{vae,hvae}_{standard,vamp}'
        >>> len(family.recipes())
        4
    """

    template: str
    about: str
    make: Callable[..., Run]
    words: tuple[tuple[str, ...], ...] = ()

    @property
    def group(self) -> str:
        """The part of the names before the slash."""
        return self.template.partition("/")[0]

    @property
    def pattern(self) -> str:
        """All names as one pattern, with braces as in a shell."""
        return self.template.format(
            *(f"{{{','.join(words)}}}" if len(words) > 1 else words[0] for words in self.words)
        )

    def recipes(self) -> dict[str, Callable[[], Run]]:
        """Every recipe by its name."""
        names = {self.template.format(*words): words for words in product(*self.words)}
        return {name: partial(self.make, name, *words) for name, words in names.items()}
