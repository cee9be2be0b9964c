"""Recipes: what to do to a model, and when. Everything here works without torch."""

from colonnade.sparsify.recipe.read import load_recipe, read_recipe
from colonnade.sparsify.recipe.recipe import Recipe, Stage

__all__ = ["Recipe", "Stage", "load_recipe", "read_recipe"]
