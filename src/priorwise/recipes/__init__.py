"""Recipes: functions that return complete runs."""

from priorwise.recipes.registry import UnknownRecipeError, recipe, recipes

__all__ = ["UnknownRecipeError", "recipe", "recipes"]
