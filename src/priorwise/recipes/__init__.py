"""Recipes: functions that return complete runs."""

from priorwise.recipes.registry import UnknownRecipeError, packaged_recipe, recipe, recipes

__all__ = ["UnknownRecipeError", "packaged_recipe", "recipe", "recipes"]
