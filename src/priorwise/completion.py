"""Completion in the shell: names of recipes, data sets and papers."""

from collections.abc import Iterable

__all__ = ["complete_data", "complete_paper", "complete_recipe", "complete_topic"]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def complete_recipe(incomplete: str) -> list[str]:
    """The recipes that begin with ``incomplete``."""
    from priorwise.recipes import recipes

    return _beginning(recipes(), incomplete)


def complete_data(incomplete: str) -> list[str]:
    """The data sets that begin with ``incomplete``; without any, the shell completes files."""
    from priorwise.data import names

    return _beginning(names(), incomplete)


def complete_paper(incomplete: str) -> list[str]:
    """The papers that begin with ``incomplete``."""
    from priorwise.recipes.published import papers

    return _beginning(papers(), incomplete)


def complete_topic(incomplete: str) -> list[str]:
    """The names with details in ``priorwise list`` that begin with ``incomplete``."""
    from priorwise.recipes.listing import topics

    return _beginning(topics(), incomplete)
